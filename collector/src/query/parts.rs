//! Which parts of a grid are kept for how long: what is closed for long, what is open for a moment.
//!
//! A bucket is closed when samples that come for it from now on are late: their marks then invalidate what is kept. Marks are made for samples that are stored half a minute after the end of
//! their ten minutes, so all buckets before the last ten minutes that ended that long ago are closed. A rate also depends on the sample after its bucket, which may come as much later as
//! samples may lie apart.
//!
//! A grid has at most two parts. The head is closed and its ends lie on a coarse grid of an eighth of the range, so that *the last 24 hours*, asked again a minute later, has the same head; the tail
//! is the rest. Why not many small parts: a cold question would be many questions to ClickHouse, each of which costs 4 ms whatever it asks; and the head is asked anew once in an eighth
//! of its range.
//!
//! Properties, each a test: the parts cover the grid; a closed part ends before what is open; a grid that moves by less than an eighth of itself mostly keeps its head.

use std::time::Duration;

use super::Buckets;
use super::fold::Within;
use crate::rollup::SPAN_MS;

/// Samples that are stored later than this after the end of their ten minutes are marked as late; and a little for clocks that differ.
const LATE_MS: i64 = 30_000 + 5_000;
/// Parts of a range that is asked again and again.
const PARTS: i64 = 8;
/// Shortest and longest time that open buckets are kept.
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Buckets that are kept together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The buckets; a head may begin before the grid.
    pub(super) buckets: Buckets,
    /// Only late samples change it.
    pub(super) is_closed: bool,
}

/// The time before which buckets are closed. `gap_ms` is how far samples of a counter may lie apart.
pub(super) const fn closed_until_ms(now_ms: i64, within: Within, gap_ms: i64) -> i64 {
    let until_ms = now_ms - LATE_MS - if matches!(within, Within::Rate) { gap_ms } else { 0 };
    until_ms - until_ms.rem_euclid(SPAN_MS)
}

/// The parts of a grid, in order.
pub(super) fn split(buckets: Buckets, closed_until_ms: i64) -> Vec<Part> {
    let part = |from_ms, to_ms, is_closed| Part {
        buckets: Buckets::covering(from_ms, to_ms, buckets.step_ms()),
        is_closed,
    };
    let (first_ms, end_ms) = (buckets.first_ms(), buckets.end_ms());
    if end_ms <= closed_until_ms {
        return vec![part(first_ms, end_ms, true)];
    }
    let width = (buckets.count() / PARTS).max(1) as u64;
    let coarse_ms = width.next_power_of_two() as i64 * buckets.step_ms();
    let head_first_ms = first_ms - first_ms % coarse_ms;
    let head_end_ms = closed_until_ms - closed_until_ms.rem_euclid(coarse_ms);
    if head_end_ms <= first_ms {
        return vec![part(first_ms, end_ms, false)];
    }
    vec![part(head_first_ms, head_end_ms, true), part(head_end_ms, end_ms, false)]
}

/// How long open buckets are kept.
pub(super) fn open_for(step_ms: i64) -> Duration {
    Duration::from_millis(step_ms as u64 / 10).clamp(OPEN.0, OPEN.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    proptest! {
        #[test]
        fn parts_cover_the_grid_and_what_is_closed_is(
            from_ms in 100 * HOUR_MS..200 * HOUR_MS,
            span_ms in 1..50 * HOUR_MS,
            step_ms in prop_oneof![1..100_000_i64, (1..50_i64).prop_map(|n| n * HOUR_MS)],
            now_ms in 100 * HOUR_MS..260 * HOUR_MS,
        ) {
            let buckets = Buckets::covering(from_ms, from_ms + span_ms, step_ms);
            let closed_ms = closed_until_ms(now_ms, Within::Mean, 0);
            prop_assert!(closed_ms <= now_ms - LATE_MS && closed_ms % SPAN_MS == 0);
            let parts = split(buckets, closed_ms);
            prop_assert!(parts[0].buckets.first_ms() <= buckets.first_ms());
            prop_assert_eq!(parts.last().unwrap().buckets.end_ms(), buckets.end_ms());
            for pair in parts.windows(2) {
                prop_assert_eq!(pair[0].buckets.end_ms(), pair[1].buckets.first_ms());
                prop_assert!(pair[0].is_closed && !pair[1].is_closed);
            }
            for part in &parts {
                prop_assert!(!part.is_closed || part.buckets.end_ms() <= closed_ms);
                prop_assert!(part.buckets.count() <= buckets.count() * 2);
            }
        }
    }

    #[test]
    fn the_last_day_keeps_its_head_for_hours() {
        let step_ms = 300_000;
        let head = |now_ms: i64| {
            let grid = Buckets::covering(now_ms - 24 * HOUR_MS, now_ms, step_ms);
            split(grid, closed_until_ms(now_ms, Within::Mean, 0))[0]
        };
        let heads: Vec<_> =
            (0..24 * 60).map(|minute| head(1_000 * HOUR_MS + minute * 60_000)).collect();
        let changes = heads.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(heads.iter().all(|head| head.is_closed));
        // Each end of the head moves every 64 buckets of five minutes.
        assert!((4..=20).contains(&changes), "{changes}");
    }

    #[test]
    fn rates_are_closed_later() {
        let now_ms = 10 * HOUR_MS;
        assert_eq!(closed_until_ms(now_ms, Within::Mean, 300_000), now_ms - SPAN_MS);
        assert_eq!(closed_until_ms(now_ms + 40_000, Within::Mean, 300_000), now_ms);
        assert_eq!(closed_until_ms(now_ms + 40_000, Within::Rate, 300_000), now_ms - SPAN_MS);
    }
}
