//! Since when frames of a segment are neither acknowledged nor synced.
//!
//! Marks of number and time, a few for each period of syncs: a frame counts as old as the last mark at or before it, so the answer is never too young, and
//! old by an eighth of the period at most. Frames tell the time; no clock is needed.

use std::collections::VecDeque;

/// Marks in one period.
const MARKS: usize = 8;
/// Most marks, for when a sync does not come to its end.
const MAX_MARKS: usize = 2 * MARKS;

/// The exposed frames of one segment.
#[derive(Debug)]
pub(super) struct Exposure {
    period_ms: i64,
    /// Number and time of frames, ascending by number. Empty: nothing is exposed.
    marks: VecDeque<(u64, i64)>,
    last: (u64, i64),
}

impl Exposure {
    /// Nothing is exposed. No frame is to be for longer than `period_ms`.
    pub(super) fn new(period_ms: i64) -> Self {
        Self { period_ms, marks: VecDeque::new(), last: (0, 0) }
    }

    /// A frame was written.
    pub(super) fn add(&mut self, seq: u64, ts_ms: i64) {
        self.last = (seq, ts_ms);
        let spacing_ms = self.period_ms / MARKS as i64;
        let far = |(_, marked_ms): &(u64, i64)| ts_ms.saturating_sub(*marked_ms) >= spacing_ms;
        if self.marks.back().is_none_or(far) && self.marks.len() < MAX_MARKS {
            self.marks.push_back((seq, ts_ms));
        }
    }

    /// Frames up to a number are acknowledged or synced.
    pub(super) fn end(&mut self, up_to_seq: u64) {
        if up_to_seq >= self.last.0 {
            self.marks.clear();
        }
        while self.marks.get(1).is_some_and(|(seq, _)| *seq <= up_to_seq.saturating_add(1)) {
            self.marks.pop_front();
        }
    }

    /// True when a frame is exposed.
    pub(super) fn is_any(&self) -> bool {
        !self.marks.is_empty()
    }

    /// True when a frame would be exposed for the period if it had to wait for the next one, which comes in `interval_ms`.
    pub(super) fn is_due(&self, interval_ms: u32) -> bool {
        self.marks.front().is_some_and(|(_, since_ms)| {
            let age_ms = self.last.1.saturating_sub(*since_ms);
            age_ms < 0 || age_ms.saturating_add(i64::from(interval_ms)) >= self.period_ms
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_before_the_period_is_over_and_never_when_acknowledgements_come() {
        let mut exposure = Exposure::new(5000);
        for seq in 1..=4 {
            exposure.add(seq, seq as i64 * 1000);
            assert!(!exposure.is_due(1000), "{seq}");
        }
        exposure.add(5, 5000);
        assert!(exposure.is_due(1000));
        exposure.end(4);
        assert!(!exposure.is_due(1000));
        exposure.end(5);
        assert!(!exposure.is_any());
        for seq in 6..100 {
            exposure.add(seq, seq as i64 * 1000);
            exposure.end(seq - 1);
            assert!(exposure.is_any() && !exposure.is_due(1000), "{seq}");
        }
    }

    #[test]
    fn a_clock_that_went_back_makes_it_due() {
        let mut exposure = Exposure::new(5000);
        exposure.add(1, 100_000);
        exposure.add(2, 1000);
        assert!(exposure.is_due(1000));
    }

    #[test]
    fn marks_are_bounded_and_an_age_is_never_too_young() {
        let mut exposure = Exposure::new(800);
        for seq in 1..10_000 {
            exposure.add(seq, seq as i64 * 100);
        }
        assert_eq!(exposure.marks.len(), MAX_MARKS);
        exposure.end(9000);
        assert!(exposure.is_due(1));
    }
}
