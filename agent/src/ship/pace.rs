//! A bounded rate: a bucket of tokens that fills evenly and holds a few.

use std::time::Duration;

use tokio::time::Instant;

/// Time for which a full bucket lasts at the full rate.
const BURST: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// Time from one token to the next.
    step: Duration,
    /// When the bucket will be full.
    full_at: Instant,
}

impl Pace {
    /// A full bucket that gives `multiple` tokens in the time of `interval`.
    pub(super) fn new(interval: Duration, multiple: u32, now: Instant) -> Self {
        Self { step: interval / multiple.max(1), full_at: now }
    }

    /// When the next token can be taken; not in the future when there is one now.
    pub(super) fn ready_at(&self) -> Instant {
        let burst = BURST.max(self.step);
        (self.full_at + self.step).checked_sub(burst).unwrap_or(self.full_at)
    }

    /// Takes a token.
    pub(super) fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_it_gives_its_rate_and_one_burst_at_most() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(1), 50, start);
        let (mut now, mut taken) = (start, 0_u32);
        while now < start + Duration::from_secs(10) {
            if pace.ready_at() <= now {
                pace.take(now);
                taken += 1;
            } else {
                now = pace.ready_at();
            }
        }
        assert!((500..=511).contains(&taken), "{taken} in 10 s at 50 a second");
    }

    #[test]
    fn a_rest_gives_no_more_than_one_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(1), 50, start);
        let later = start + Duration::from_hours(1);
        let mut taken = 0;
        while pace.ready_at() <= later {
            pace.take(later);
            taken += 1;
        }
        assert_eq!(taken, 10);
    }

    #[test]
    fn a_rate_below_one_in_a_burst_still_gives_one() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_mins(1), 2, start);
        assert!(pace.ready_at() <= start);
        pace.take(start);
        assert_eq!(pace.ready_at(), start + Duration::from_secs(30));
    }
}
