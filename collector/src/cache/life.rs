//! How long an entry lives.

use std::time::Duration;

/// How long an entry lives, from the moment when its loading began.
///
/// ```text
/// |-- fresh --|-- refreshing --|
/// |-- fresh --|-- on error -------------------|
/// ```
///
/// It is served while it is *fresh*, some callers refresh it a little earlier. For as long as *refreshing* after that it is served once more while it is loaded again behind the caller's back.
/// When loading fails it is served for as long as *on error* after being fresh. Never longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Time that it is served as it is, in milliseconds.
    pub fresh_ms: i64,
    /// Time after that in which it is served while it is loaded again.
    pub refreshing_ms: i64,
    /// Time after being fresh in which it is served when loading fails.
    pub on_error_ms: i64,
}

/// What an entry is good for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To be served.
    Fresh,
    /// To be served, and loaded again meanwhile, before it ends and many ask at once.
    Early,
    /// To be served, and loaded again meanwhile.
    Stale,
    /// To be served only when loading fails.
    OnError,
    /// For nothing.
    Dead,
}

/// An entry that seems to come from the future by more than this is none: the clock was set back.
const CLOCK_TOLERANCE_MS: i64 = 1_000;
/// Lives differ by a tenth to either side, so that what was loaded together does not end together.
const JITTER: f64 = 0.1;

impl Life {
    /// Lives so long, is refreshed for as long again, and serves on errors.
    pub const fn new(fresh: Duration, refreshing: Duration, on_error: Duration) -> Self {
        Self {
            fresh_ms: fresh.as_millis() as i64,
            refreshing_ms: refreshing.as_millis() as i64,
            on_error_ms: on_error.as_millis() as i64,
        }
    }

    /// With another time of being fresh; `random` is in [0, 1).
    #[must_use]
    pub(super) fn jittered(self, random: f64) -> Self {
        let factor = 1.0 - JITTER * random;
        Self { fresh_ms: (self.fresh_ms as f64 * factor) as i64, ..self }
    }

    /// The whole of it.
    pub(super) fn longest_ms(self) -> i64 {
        self.fresh_ms + self.refreshing_ms.max(self.on_error_ms)
    }

    /// What an entry of this age is good for. `cost_ms` is how long loading took; `random` is in (0, 1].
    ///
    /// Early refreshing is XFetch with its parameter 1 (Vattani, Chierichetti, Lowenstein, VLDB 2015): refresh when `age - cost * ln(random) >= fresh`.
    /// The dearer an entry is, the earlier; at any moment few of many callers do it.
    pub(super) fn verdict(self, age_ms: i64, cost_ms: f64, random: f64) -> Verdict {
        if age_ms < -CLOCK_TOLERANCE_MS {
            return Verdict::Dead;
        }
        if age_ms < self.fresh_ms {
            let early_ms = -cost_ms * random.max(f64::MIN_POSITIVE).ln();
            let is_early = early_ms > 0.0 && age_ms as f64 + early_ms >= self.fresh_ms as f64;
            return if is_early { Verdict::Early } else { Verdict::Fresh };
        }
        if age_ms < self.fresh_ms + self.refreshing_ms {
            Verdict::Stale
        } else if age_ms < self.fresh_ms + self.on_error_ms {
            Verdict::OnError
        } else {
            Verdict::Dead
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_outlives_its_bound_and_verdicts_only_worsen(
            fresh_ms in 0..1_000_000_i64,
            refreshing_ms in 0..1_000_000_i64,
            on_error_ms in 0..1_000_000_i64,
            age_ms in -5_000..4_000_000_i64,
            later_ms in 0..100_000_i64,
            cost_ms in 0.0..10_000.0,
            random in 1e-9..1.0,
        ) {
            let life = Life { fresh_ms, refreshing_ms, on_error_ms };
            let verdict = life.verdict(age_ms, cost_ms, random);
            if age_ms >= life.longest_ms() {
                prop_assert_eq!(verdict, Verdict::Dead);
            }
            if verdict == Verdict::Fresh || verdict == Verdict::Early {
                prop_assert!(age_ms < fresh_ms);
            }
            if age_ms >= -CLOCK_TOLERANCE_MS {
                let later = life.verdict(age_ms + later_ms, cost_ms, random);
                prop_assert!(later as u8 >= verdict as u8, "{:?} after {:?}", later, verdict);
            }
            prop_assert!(life.verdict(age_ms, 0.0, random) != Verdict::Early, "what costs nothing waits");
            let short = life.jittered(random);
            prop_assert!(short.fresh_ms <= fresh_ms && short.fresh_ms as f64 >= fresh_ms as f64 * 0.9 - 1.0);
        }
    }

    #[test]
    fn few_of_many_callers_refresh_early_and_more_towards_the_end() {
        let life = Life { fresh_ms: 10_000, refreshing_ms: 0, on_error_ms: 0 };
        let early = |age_ms| {
            let randoms = (1..=10_000).map(|n| f64::from(n) / 10_000.0);
            randoms.filter(|&random| life.verdict(age_ms, 100.0, random) == Verdict::Early).count()
        };
        assert_eq!(early(5_000), 0);
        assert!((1..30).contains(&early(9_400)), "{}", early(9_400));
        assert!((3_000..5_000).contains(&early(9_900)), "{}", early(9_900));
    }
}
