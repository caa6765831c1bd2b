//! Whether a cache entry may be served, and whether it should be computed again.
//!
//! An entry is fresh for `fresh_for` from its creation, then stale for `stale_for`: it is served
//! while it is being computed again, or when that fails (RFC 5861). Then it is dead. Shortly before
//! it becomes stale, each reader may decide to compute it again early, with a probability that
//! rises towards the end and with the cost of computing: when
//! `now - cost * beta * ln(random) >= fresh_until`, with a `random` from 0 to 1. (XFetch, Vattani
//! et al., VLDB 2015, optimal among policies without coordination.) A fixed early moment instead
//! would send all readers at once. Readers in one process still have to share one computation:
//! an entry that costs more than it lives is early all the time.
//!
//! Entries that were created together should not expire together: see [`jittered`].
//!
//! Times of creation come from the wall clocks of other hosts. An entry from the future, up to
//! `future_tolerance`, has the age zero. One from beyond is dead: it would be fresh for as long as
//! the clocks differ.
//!
//! Properties, each a test:
//! - (a) nothing is served from `created + fresh_for + stale_for` on, nor when it is from the future;
//! - (b) the probability of an early refresh is `exp(-left / (cost * beta))`, so it rises towards the
//!   end and with the cost, and is 0 when the cost or `beta` is 0;
//! - (c) for one `random`, the verdict never gets better as time passes;
//! - (d) a jittered time is within 10 % of the time, and grows with `random`;
//! - (e) no input panics; what is not a number refreshes nothing early.

use std::time::Duration;

/// Share by which a jittered time differs at most.
pub const JITTER: f64 = 0.1;

/// What is known of a cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When its value was computed, in milliseconds since 1970.
    pub created_ms: u64,
    /// How long that took.
    pub cost: Duration,
    /// How long it is fresh, in whole milliseconds; what is below is cut off.
    pub fresh_for: Duration,
    /// How long after that it may still be served; also in whole milliseconds.
    pub stale_for: Duration,
}

/// How entries are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// How eager early refreshes are; 1 suits most, more is earlier. Anything else than a finite
    /// number above 0 turns them off.
    pub beta: f64,
    /// How far in the future an entry may have been created.
    pub future_tolerance: Duration,
}

/// What to do with an entry, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Serve it.
    Fresh,
    /// Serve it, and compute it again.
    RefreshEarly,
    /// Serve it while it is computed again, or because that failed.
    Stale,
    /// Do not serve it.
    Dead,
}

impl Default for Policy {
    /// The paper's `beta`, and clocks that differ by up to 2 s.
    fn default() -> Self {
        Self { beta: 1.0, future_tolerance: Duration::from_secs(2) }
    }
}

impl Policy {
    /// The verdict at `now_ms`, milliseconds since 1970. `random` is drawn by the caller for each
    /// read, uniformly from 0 to 1; values outside are clamped.
    pub fn judge(&self, entry: &Entry, now_ms: u64, random: f64) -> Verdict {
        let ahead_ms = entry.created_ms.saturating_sub(now_ms);
        if ahead_ms > whole_ms(self.future_tolerance) {
            return Verdict::Dead;
        }
        let age_ms = now_ms.saturating_sub(entry.created_ms);
        let fresh_ms = whole_ms(entry.fresh_for);
        if age_ms >= fresh_ms.saturating_add(whole_ms(entry.stale_for)) {
            Verdict::Dead
        } else if age_ms >= fresh_ms {
            Verdict::Stale
        } else if self.early_by_ms(entry.cost, random) >= (fresh_ms - age_ms) as f64 {
            Verdict::RefreshEarly
        } else {
            Verdict::Fresh
        }
    }

    /// How long before the end this reader refreshes; finite and not negative.
    fn early_by_ms(&self, cost: Duration, random: f64) -> f64 {
        if !(self.beta.is_finite() && self.beta > 0.0) || random.is_nan() {
            return 0.0;
        }
        let early_ms = -random.clamp(f64::MIN_POSITIVE, 1.0).ln() * cost.as_secs_f64() * 1000.0;
        (early_ms * self.beta).min(f64::MAX)
    }
}

/// The time, longer or shorter by up to [`JITTER`]. Use it for `fresh_for` when an entry is made.
/// `random` is drawn uniformly from 0 to 1 by the caller; values outside are clamped, NaN changes
/// nothing.
pub fn jittered(time: Duration, random: f64) -> Duration {
    let random = if random.is_nan() { 0.5 } else { random.clamp(0.0, 1.0) };
    let factor = 1.0 + JITTER * (2.0 * random - 1.0);
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mix::next_unit;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn entry(cost_ms: u64) -> Entry {
        let (fresh_for, stale_for) = (ms(10_000), ms(5000));
        Entry { created_ms: 1_000_000, cost: ms(cost_ms), fresh_for, stale_for }
    }

    /// Share of 20,000 readers at this age who refresh early.
    fn early_share(policy: &Policy, entry: &Entry, age_ms: u64) -> f64 {
        let mut state = 11;
        let mut judge =
            |_: &u32| policy.judge(entry, entry.created_ms + age_ms, next_unit(&mut state));
        let early = (0..20_000).filter(|i| judge(i) == Verdict::RefreshEarly).count();
        early as f64 / 20_000.0
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let time = || prop_oneof![Just(0), 0_u64..100_000, any::<u64>()].prop_map(ms);
        let created = prop_oneof![0_u64..200_000, any::<u64>()];
        (created, time(), time(), time()).prop_map(|(created_ms, cost, fresh_for, stale_for)| {
            Entry { created_ms, cost, fresh_for, stale_for }
        })
    }

    fn policies() -> impl Strategy<Value = Policy> {
        let beta = prop_oneof![0.0_f64..10.0, any::<f64>()];
        (beta, 0_u64..5000)
            .prop_map(|(beta, tolerance_ms)| Policy { beta, future_tolerance: ms(tolerance_ms) })
    }

    proptest! {
        #[test]
        fn nothing_is_served_after_its_end_or_before_its_time(
            entry in entries(), policy in policies(), now in any::<u64>(), near in 0_u64..300_000,
            random in any::<f64>(),
        ) {
            for now in [now, near, entry.created_ms.saturating_add(near)] {
                let verdict = policy.judge(&entry, now, random);
                let (now, created) = (u128::from(now), u128::from(entry.created_ms));
                let fresh_until = created + entry.fresh_for.as_millis();
                let over = now.max(created) >= fresh_until + entry.stale_for.as_millis();
                let future = created > now + policy.future_tolerance.as_millis();
                prop_assert_eq!(verdict == Verdict::Dead, over || future);
                if verdict <= Verdict::RefreshEarly {
                    prop_assert!(now < fresh_until);
                } else if verdict == Verdict::Stale {
                    prop_assert!(now.max(created) >= fresh_until);
                }
                if verdict == Verdict::RefreshEarly {
                    prop_assert!(!entry.cost.is_zero() && policy.beta > 0.0 && !random.is_nan());
                }
            }
        }

        #[test]
        fn it_never_gets_better_with_time(
            entry in entries(), policy in policies(), random in 0.0_f64..1.0,
            mut ages in prop::collection::vec(0_u64..300_000, 2..20),
        ) {
            ages.sort_unstable();
            let judge = |age: &u64| {
                policy.judge(&entry, entry.created_ms.saturating_add(*age), random)
            };
            let verdicts: Vec<_> = ages.iter().map(judge).collect();
            prop_assert!(verdicts.is_sorted(), "{verdicts:?}");
        }

        #[test]
        fn a_jittered_time_is_within_a_tenth(
            seconds in any::<u64>(), small_ms in 0_u64..100_000, one in any::<f64>(),
            other in any::<f64>(),
        ) {
            for time in [Duration::from_secs(seconds), ms(small_ms)] {
                let share = jittered(time, one).as_secs_f64() / time.as_secs_f64();
                prop_assert!(time.is_zero() || (share - 1.0).abs() < 0.1 + 1e-6, "{share}");
                if one <= other {
                    prop_assert!(jittered(time, one) <= jittered(time, other));
                }
            }
        }
    }

    #[test]
    fn early_refreshes_have_the_probability_of_the_formula() {
        for (beta, cost_ms, age_ms) in
            [(1.0, 500, 9000), (1.0, 500, 9900), (1.0, 1000, 9000), (2.0, 500, 9000)]
        {
            let policy = Policy { beta, ..Policy::default() };
            let share = early_share(&policy, &entry(cost_ms), age_ms);
            let expected = (-((10_000 - age_ms) as f64) / (beta * cost_ms as f64)).exp();
            assert!((share - expected).abs() < 0.015, "{share}, expected {expected}");
        }
        let policy = Policy::default();
        let shares: Vec<_> =
            (0..10).map(|i| early_share(&policy, &entry(2000), i * 1000 + 999)).collect();
        assert!(shares.is_sorted() && shares[9] > 0.99, "{shares:?}");
        assert!(early_share(&policy, &entry(0), 9999) < 1e-9);
    }

    #[test]
    fn the_four_verdicts_follow_each_other_to_the_millisecond() {
        let (policy, entry) = (Policy::default(), entry(100));
        let at = |age_ms: u64| policy.judge(&entry, entry.created_ms + age_ms, (-1.0_f64).exp());
        assert_eq!((at(0), at(9899)), (Verdict::Fresh, Verdict::Fresh));
        assert_eq!((at(9901), at(9999)), (Verdict::RefreshEarly, Verdict::RefreshEarly));
        assert_eq!((at(10_000), at(14_999)), (Verdict::Stale, Verdict::Stale));
        assert_eq!(at(15_000), Verdict::Dead);
    }

    #[test]
    fn a_clock_that_went_back_is_tolerated_a_little() {
        let (policy, entry) = (Policy::default(), entry(1));
        assert_eq!(policy.judge(&entry, entry.created_ms - 2000, 0.5), Verdict::Fresh);
        assert_eq!(policy.judge(&entry, entry.created_ms - 2001, 0.5), Verdict::Dead);
        let dead = Entry { fresh_for: Duration::ZERO, stale_for: Duration::ZERO, ..entry };
        assert_eq!(policy.judge(&dead, entry.created_ms, 0.5), Verdict::Dead);
    }

    #[test]
    fn what_is_not_a_number_refreshes_nothing_early() {
        let entry = entry(1_000_000);
        let judge = |beta, random| {
            let policy = Policy { beta, ..Policy::default() };
            policy.judge(&entry, entry.created_ms + 9999, random)
        };
        for beta in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert_eq!(judge(beta, 0.5), Verdict::Fresh);
        }
        assert_eq!(judge(1.0, f64::NAN), Verdict::Fresh);
        assert_eq!(judge(1.0, 7.0), Verdict::Fresh);
        assert_eq!(judge(f64::MAX, 0.0), Verdict::RefreshEarly);
        assert_eq!(jittered(Duration::MAX, 1.0), Duration::MAX);
        assert_eq!(jittered(ms(10), f64::NAN), ms(10));
    }
}
