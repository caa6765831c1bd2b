//! Delays between attempts: exponential, capped, with full jitter above a floor.
//!
//! Attempt `n` waits uniformly between half of `min(cap, floor * 2^n)` and all of it, so that many clients which failed together do not
//! come back together, and none comes back at once. (Equal jitter in Brooker, "Exponential Backoff And Jitter".)
//!
//! Properties, each a test: a delay is never below half the floor and never above the cap; the upper bound never falls from one attempt to the next;
//! `reset` starts again at the floor.

use std::time::Duration;

/// A bounded sequence of growing, jittered delays.
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    cap: Duration,
    attempt: u32,
}

/// Why a pair of bounds is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a backoff needs 0 < floor <= cap")]
pub struct InvalidBackoff;

impl Backoff {
    /// Delays from `floor` on, doubling up to `cap`.
    ///
    /// # Errors
    /// When `floor` is zero or above `cap`.
    pub fn new(floor: Duration, cap: Duration) -> Result<Self, InvalidBackoff> {
        if floor.is_zero() || floor > cap {
            return Err(InvalidBackoff);
        }
        Ok(Self { floor, cap, attempt: 0 })
    }

    /// The next delay. `random` is drawn uniformly from 0 to 1 by the caller; values outside are clamped.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let ceiling = self.ceiling();
        self.attempt = self.attempt.saturating_add(1);
        let random = if random.is_nan() { 1.0 } else { random.clamp(0.0, 1.0) };
        ceiling.mul_f64(0.5 + 0.5 * random).min(ceiling)
    }

    /// Largest delay that the next attempt may get.
    pub fn ceiling(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempt.min(31));
        self.floor.saturating_mul(factor).min(self.cap)
    }

    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// After a success: the next delay is at the floor again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_stay_between_half_the_floor_and_the_cap(
            floor_ms in 1_u64..10_000, extra_ms in 0_u64..100_000, randoms in prop::collection::vec(-1.0_f64..2.0, 1..50),
        ) {
            let (floor, cap) = (Duration::from_millis(floor_ms), Duration::from_millis(floor_ms + extra_ms));
            let mut backoff = Backoff::new(floor, cap).unwrap();
            let mut ceiling = Duration::ZERO;
            for random in randoms {
                prop_assert!(backoff.ceiling() >= ceiling);
                ceiling = backoff.ceiling();
                let delay = backoff.next_delay(random);
                prop_assert!(delay >= floor / 2 && delay <= cap);
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), floor);
        }
    }

    #[test]
    fn bounds_that_make_no_sense_are_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(Backoff::new(Duration::ZERO, second).unwrap_err(), InvalidBackoff);
        assert_eq!(Backoff::new(second * 2, second).unwrap_err(), InvalidBackoff);
    }

    #[test]
    fn a_random_that_is_not_a_number_waits_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8)).unwrap();
        assert_eq!(backoff.next_delay(f64::NAN), Duration::from_secs(1));
    }
}
