//! Timestamps that are given once, whatever the clock of the host does.
//!
//! A sample is known by its series and its time, so a second sample with the same time would overwrite the first. A clock that is set back brings times again
//! that were given before. Then the frames keep the true time but for an offset of a few milliseconds: each *offset* is a track on which time only moves
//! forward, and a tick is stamped on the first track whose last stamp lies before it. So
//!
//! - as long as the clock only moves forward, and again as soon as it has passed every earlier stamp, stamps are the scheduled times themselves;
//! - while a clock repeats an hour, its stamps are 1 ms off, 2 ms when it repeats it once more, and so on;
//! - a time that was repeated [`OFFSETS`] times is not stamped again: the tick is left out until the clock has passed it.
//!
//! Scheduled times are multiples of the interval, so tracks of one interval never meet. The tracks are kept on disk with the account.
//!
//! Properties, each a test: no stamp is given twice, over steps and restarts; a stamp is less than [`OFFSETS`] ms after its scheduled time, and exactly it when
//! that is the latest ever.

/// Tracks; also the largest offset and one, in milliseconds.
pub const OFFSETS: usize = 64;

/// The last stamp of each track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    last_ms: [i64; OFFSETS],
    current: usize,
}

impl Default for Stamps {
    fn default() -> Self {
        Self { last_ms: [i64::MIN; OFFSETS], current: 0 }
    }
}

impl Stamps {
    /// Stamps as they were kept: the last one of each track that was used, and the track of the latest one. Others than [`Stamps::kept`] gave are taken as far as
    /// they make sense.
    pub fn from_kept(current: u64, last_ms: impl IntoIterator<Item = i64>) -> Self {
        let mut stamps = Self::default();
        for (track, kept) in stamps.last_ms.iter_mut().zip(last_ms) {
            *track = kept;
        }
        stamps.current = (current as usize).min(OFFSETS - 1);
        stamps
    }

    /// What is to be kept: the track of the latest stamp, and the last stamp of each track up to the last one that was used.
    pub fn kept(&self) -> (u64, &[i64]) {
        let used = self.last_ms.iter().rposition(|last| *last > i64::MIN).map_or(0, |i| i + 1);
        (self.current as u64, &self.last_ms[..used])
    }

    /// Takes over that a stamp of `ts_ms` may have been given after these were kept.
    #[must_use]
    pub fn caught_up(mut self, ts_ms: i64) -> Self {
        let last = &mut self.last_ms[self.current];
        *last = (*last).max(ts_ms);
        self
    }

    /// The stamp of a tick, `None` when it can have none. It is given with this call.
    pub fn give(&mut self, scheduled_ms: i64, interval_ms: u32) -> Option<i64> {
        let tracks = &mut self.last_ms[..OFFSETS.min(interval_ms as usize)];
        let mut stamps = tracks.iter_mut().zip(scheduled_ms..).enumerate();
        let (track, (last, stamp_ms)) = stamps.find(|(_, (last, stamp_ms))| **last < *stamp_ms)?;
        *last = stamp_ms;
        self.current = track;
        Some(stamp_ms)
    }

    /// The track of the latest stamp, which is its offset in milliseconds.
    pub fn offset_ms(&self) -> u64 {
        self.current as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const SECOND_MS: u32 = 1_000;

    #[test]
    fn a_clock_that_moves_forward_is_not_touched() {
        let mut stamps = Stamps::default();
        for second in 1..100 {
            assert_eq!(stamps.give(second * 1_000, SECOND_MS), Some(second * 1_000));
        }
    }

    #[test]
    fn repeated_times_are_offset_until_the_clock_has_passed_them() {
        let mut stamps = Stamps::default();
        for second in 1..=10 {
            stamps.give(second * 1_000, SECOND_MS);
        }
        let again: Vec<_> = (5..=12).filter_map(|s| stamps.give(s * 1_000, SECOND_MS)).collect();
        assert_eq!(again, [5_001, 6_001, 7_001, 8_001, 9_001, 10_001, 11_000, 12_000]);
        assert_eq!(stamps.give(9_000, SECOND_MS), Some(9_002));
        assert_eq!(stamps.give(11_000, SECOND_MS), Some(11_001), "repeated once only");
    }

    #[test]
    fn a_time_that_was_repeated_too_often_is_left_out() {
        let mut stamps = Stamps::default();
        let given = (0..100).filter_map(|_| stamps.give(5_000, SECOND_MS)).count();
        assert_eq!(given, OFFSETS);
        assert_eq!(stamps.give(6_000, SECOND_MS), Some(6_000));
    }

    #[test]
    fn what_was_given_after_the_tracks_were_kept_is_not_given_again() {
        let mut stamps = Stamps::default();
        stamps.give(1_000, SECOND_MS);
        let (current, tracks) = stamps.kept();
        let mut again = Stamps::from_kept(current, tracks.iter().copied()).caught_up(9_000);
        assert_eq!(again.give(9_000, SECOND_MS), Some(9_001));
    }

    proptest! {
        #[test]
        fn no_stamp_is_given_twice(
            runs in prop::collection::vec((0_i64..60, 1_i64..40, any::<bool>()), 1..40),
        ) {
            let (mut stamps, mut given, mut highest) = (Stamps::default(), HashSet::new(), i64::MIN);
            for (from, ticks, restarts) in runs {
                if restarts {
                    let (current, tracks) = stamps.kept();
                    stamps = Stamps::from_kept(current, tracks.iter().copied()).caught_up(highest);
                }
                for second in from..from + ticks {
                    let Some(stamp_ms) = stamps.give(second * 1_000, SECOND_MS) else { continue };
                    prop_assert!(given.insert(stamp_ms), "{} again", stamp_ms);
                    prop_assert!((second * 1_000..second * 1_000 + 64).contains(&stamp_ms));
                    prop_assert!(stamp_ms == second * 1_000 || stamp_ms - 64 < highest);
                    highest = highest.max(stamp_ms);
                }
            }
        }
    }
}
