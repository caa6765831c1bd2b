//! Which share of requests is refused because all of them wait for a processor.
//!
//! Answers from memory never wait inside the collector: when there are too many, or they are large, they wait for a thread of the runtime. What waits is
//! measured by a timer that fires late by just that time. The share follows it as PIE does (RFC 8033, Proportional Integral controller Enhanced): it grows with the
//! delay above the target and with its rise, and falls with the delay below. A random share is refused when a request arrives, before it is read. A limit of requests in
//! flight (Netflix's and Envoy's gradients) could not see this queue: not one of these requests is in flight while it waits.
//!
//! The delay is the least of the last [`WINDOW`] measurements (as CoDel, RFC 8289): a standing queue counts, a burst or a busy moment of the host does not.
//!
//! Properties, each a test: the share is between 0 and [`MOST`]; it is 0 as long as the delay has never stood above the target; under a standing delay
//! it never falls and reaches [`MOST`]; when the delay is gone it goes to 0; one late measurement changes nothing.

use std::time::Duration;

/// Largest share that is refused: what is left shows when the queue is gone.
pub const MOST: f64 = 0.95;
/// Measurements that must all be late.
pub const WINDOW: usize = 5;
/// Share for each second of delay above the target, in each [`STEP`]. Eight times that of RFC 8033: what is refused here is gone at once, while a sender
/// there learns of it a round trip later.
const ALPHA: f64 = 1.0;
/// Share for each second by which the delay grew since the last measurement.
const BETA: f64 = 1.25;
/// Time between two steps that the constants are made for.
const STEP: Duration = Duration::from_millis(15);
/// Time in which the share halves while the delay is below half the target.
const HALVES: Duration = Duration::from_millis(250);
/// A share that is none.
const LEAST: f64 = 0.001;

/// The share, and what it follows.
#[derive(Debug, Clone)]
pub struct Shedding {
    target: Duration,
    last: [Duration; WINDOW],
    next: usize,
    delay: Duration,
    share: f64,
}

impl Shedding {
    /// Nothing is refused until the delay stands above `target`.
    pub const fn new(target: Duration) -> Self {
        let zero = Duration::ZERO;
        Self { target, last: [zero; WINDOW], next: 0, delay: zero, share: 0.0 }
    }

    /// The share of requests to refuse, after the next measurement of the delay, `since` the last one.
    pub fn update(&mut self, measured: Duration, since: Duration) -> f64 {
        self.last[self.next] = measured;
        self.next = (self.next + 1) % WINDOW;
        let before = self.delay.as_secs_f64();
        self.delay = self.last.iter().copied().min().unwrap_or_default();
        let (now, target) = (self.delay.as_secs_f64(), self.target.as_secs_f64());
        let steps = since.div_duration_f64(STEP);
        if now < target / 2.0 {
            self.share *= 0.5_f64.powf(since.div_duration_f64(HALVES));
        } else {
            let rise = if now > target { (now - before).max(0.0) } else { 0.0 };
            self.share += ALPHA * (now - target) * steps + BETA * rise;
        }
        self.share = if self.share < LEAST { 0.0 } else { self.share.min(MOST) };
        self.share
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: Duration = Duration::from_millis(10);
    const PERIOD: Duration = Duration::from_millis(20);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    proptest! {
        #[test]
        fn the_share_is_a_share(delays in prop::collection::vec(0_u64..10_000, 0..300)) {
            let mut shedding = Shedding::new(TARGET);
            for delay in delays {
                let share = shedding.update(ms(delay), PERIOD);
                prop_assert!((0.0..=MOST).contains(&share));
            }
        }

        #[test]
        fn nothing_is_refused_below_the_target(delays in prop::collection::vec(0_u64..=10, 0..300)) {
            let mut shedding = Shedding::new(TARGET);
            for delay in delays {
                prop_assert!(shedding.update(ms(delay), PERIOD) <= 0.0);
            }
        }

        #[test]
        fn a_standing_delay_refuses_more_and_more_and_its_end_nothing(
            delays in prop::collection::vec(20_u64..500, 1_000),
        ) {
            let mut shedding = Shedding::new(TARGET);
            let mut last = 0.0;
            for delay in delays {
                let share = shedding.update(ms(delay), PERIOD);
                prop_assert!(share >= last);
                last = share;
            }
            prop_assert!(last >= MOST);
            for _ in 0..WINDOW * 40 {
                last = shedding.update(ms(1), PERIOD);
            }
            prop_assert!(last <= 0.0);
        }
    }

    #[test]
    fn a_late_moment_changes_nothing() {
        let mut shedding = Shedding::new(TARGET);
        for _ in 0..WINDOW - 1 {
            assert!(shedding.update(ms(1_000), PERIOD) <= 0.0);
        }
        assert!(shedding.update(ms(0), PERIOD) <= 0.0);
    }
}
