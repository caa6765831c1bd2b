//! The grid of buckets that an answer is laid out on.
//!
//! Bucket `i` holds the times `[first + i*step, first + (i+1)*step)`, and `first` is a multiple of `step` since the epoch. So
//! two queries of one step share their buckets whatever their `from`, and a closed bucket never changes but for late samples.
//!
//! Properties, each a test below:
//! - the grid covers `[from, to)` and is the smallest aligned one that does;
//! - each time in the grid is in exactly one bucket;
//! - the default step gives at most [`DEFAULT_POINTS`] buckets, and the next smaller one would give more.

/// Most buckets when no step is asked for.
pub const DEFAULT_POINTS: i64 = 300;

/// Steps to choose from when none is asked for, in milliseconds: those that people read easily.
const NICE_STEPS_MS: [i64; 21] = [
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    2 * 60_000,
    5 * 60_000,
    10 * 60_000,
    15 * 60_000,
    30 * 60_000,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    5 * DAY_MS,
    10 * DAY_MS,
];
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Buckets of one width side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    first_ms: i64,
    step_ms: i64,
    count: i64,
}

impl Buckets {
    /// The smallest aligned grid that covers `[from_ms, to_ms)`.
    ///
    /// # Panics
    /// When the range is empty, begins before the epoch or the step is not positive: validation comes first.
    pub fn covering(from_ms: i64, to_ms: i64, step_ms: i64) -> Self {
        assert!(0 <= from_ms && from_ms < to_ms && step_ms > 0, "the range was validated");
        let first = from_ms / step_ms;
        let last = (to_ms - 1) / step_ms;
        Self { first_ms: first * step_ms, step_ms, count: last - first + 1 }
    }

    /// Width of each bucket in milliseconds.
    pub const fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// Number of buckets.
    pub const fn count(&self) -> i64 {
        self.count
    }

    /// Start of the first bucket.
    pub const fn first_ms(&self) -> i64 {
        self.first_ms
    }

    /// End of the last bucket, which it does not hold.
    pub const fn end_ms(&self) -> i64 {
        self.first_ms.saturating_add(self.count.saturating_mul(self.step_ms))
    }

    /// Index of the bucket that starts at `start_ms`; `None` outside of the grid or between two starts.
    pub fn index_of_start(&self, start_ms: i64) -> Option<usize> {
        let offset = start_ms - self.first_ms;
        let index = offset / self.step_ms;
        let aligned = offset >= 0 && offset % self.step_ms == 0 && index < self.count;
        aligned.then_some(index as usize)
    }

    /// Starts of all buckets, ascending.
    pub fn starts(&self) -> impl Iterator<Item = i64> + use<> {
        let Self { first_ms, step_ms, count } = *self;
        (0..count).map(move |i| first_ms + i * step_ms)
    }
}

/// The smallest nice step that gives at most [`DEFAULT_POINTS`] buckets over `[from_ms, to_ms)`.
pub fn default_step_ms(from_ms: i64, to_ms: i64) -> i64 {
    let fits = |step: &i64| Buckets::covering(from_ms, to_ms, *step).count() <= DEFAULT_POINTS;
    NICE_STEPS_MS.into_iter().find(fits).unwrap_or_else(|| {
        // One more bucket than the division says when the range is not aligned.
        ((to_ms - from_ms) / (DEFAULT_POINTS - 1) / DAY_MS + 1) * DAY_MS
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::time::RANGE_MS;

    fn range() -> impl Strategy<Value = (i64, i64)> {
        let span = prop_oneof![1..100_000_i64, 1..400 * DAY_MS, 1..*RANGE_MS.end()];
        (*RANGE_MS.start()..*RANGE_MS.end(), span)
            .prop_map(|(from, span)| (from, (from + span).min(*RANGE_MS.end())))
    }

    proptest! {
        #[test]
        fn the_grid_covers_the_range_and_no_more((from, to) in range(), step in 1..2 * DAY_MS) {
            let grid = Buckets::covering(from, to, step);
            prop_assert_eq!(grid.first_ms() % step, 0);
            prop_assert!(grid.first_ms() <= from && from < grid.first_ms() + step);
            prop_assert!(grid.end_ms() >= to && to > grid.end_ms() - step);
            prop_assert_eq!(grid.end_ms() - grid.first_ms(), grid.count() * step);
        }

        #[test]
        fn each_time_is_in_one_bucket((from, to) in range(), step in 1..2 * DAY_MS, at in 0.0..1.0) {
            let grid = Buckets::covering(from, to, step);
            let ts = from + ((to - from - 1) as f64 * at) as i64;
            let index = grid.index_of_start(ts / step * step);
            prop_assert!(index.is_some_and(|i| (i as i64) < grid.count()));
            prop_assert_eq!(grid.index_of_start(grid.end_ms()), None);
            prop_assert_eq!(grid.index_of_start(grid.first_ms() - step), None);
        }

        #[test]
        fn the_default_step_is_the_smallest_that_fits((from, to) in range()) {
            let step = default_step_ms(from, to);
            prop_assert!(Buckets::covering(from, to, step).count() <= DEFAULT_POINTS);
            let smaller = NICE_STEPS_MS.iter().rev().find(|s| **s < step);
            if let Some(smaller) = smaller {
                prop_assert!(Buckets::covering(from, to, *smaller).count() > DEFAULT_POINTS);
            }
        }
    }

    #[test]
    fn an_hour_has_steps_of_fifteen_seconds() {
        assert_eq!(default_step_ms(0, HOUR_MS), 15_000);
        assert_eq!(Buckets::covering(0, HOUR_MS, 15_000).count(), 240);
        assert_eq!(default_step_ms(7, 8), 1_000);
    }

    #[test]
    fn starts_are_the_multiples_of_the_step() {
        let grid = Buckets::covering(25, 41, 10);
        assert_eq!(grid.starts().collect::<Vec<_>>(), [20, 30, 40]);
        assert_eq!(grid.index_of_start(30), Some(1));
        assert_eq!(grid.index_of_start(31), None);
    }
}
