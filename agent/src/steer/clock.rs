//! The clock that leases are measured by: time since the host's boot, suspension included.
//!
//! It is the same for all processes of one boot, so a lease runs on while the agent is down, and setting the wall clock changes nothing. What another boot
//! has written cannot be compared; there a lease begins anew.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A moment, in milliseconds since the host's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(pub u64);

/// The host's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    boot: String,
}

impl Moment {
    /// This much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this one; none when it is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Clock {
    /// The clock of this boot. Where the system does not name its boots, each process counts as one.
    pub fn host() -> Self {
        let named = std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let boot =
            if named.is_empty() { format!("{:032x}", rand::random::<u128>()) } else { named };
        Self { boot }
    }

    /// Names this boot.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The present.
    pub fn now(&self) -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        Moment(time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_within_one_boot() {
        let (first, second) = (Clock::host(), Clock::host());
        assert_eq!(first.boot(), second.boot());
        let (earlier, later) = (first.now(), second.now());
        assert!(earlier <= later && later.since(earlier) < Duration::from_mins(1));
        assert_eq!(earlier.since(later.after(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(Moment(1).after(Duration::MAX), Moment(u64::MAX));
    }
}
