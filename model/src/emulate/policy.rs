//! Which keys a full server gives up, and how it ranks them.

use serde::{Deserialize, Serialize};

/// Counter of a key that has just come.
pub(super) const LFU_START: u32 = 5;
/// Bits of the clock in an entry that is ranked by age.
const CLOCK_MASK: u64 = (1 << 24) - 1;
/// Bits of the minute in an entry that is ranked by use.
const MINUTE_MASK: u64 = (1 << 16) - 1;

/// `maxmemory-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// `allkeys-lru`: of all keys the one that was not used for longest.
    AllkeysLru,
    /// `allkeys-lfu`: of all keys the one that is used least.
    AllkeysLfu,
    /// `allkeys-random`: any key.
    AllkeysRandom,
    /// `volatile-lru`: as `allkeys-lru`, but only keys that expire.
    VolatileLru,
    /// `volatile-lfu`: as `allkeys-lfu`, but only keys that expire.
    VolatileLfu,
    /// `volatile-random`: any key that expires.
    VolatileRandom,
    /// `volatile-ttl`: the key that expires first.
    VolatileTtl,
    /// `noeviction`: none; writes are refused.
    NoEviction,
}

/// What ranks the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Age,
    Use,
    Expiry,
    None,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 8] = [
        Self::AllkeysLru,
        Self::AllkeysLfu,
        Self::AllkeysRandom,
        Self::VolatileLru,
        Self::VolatileLfu,
        Self::VolatileRandom,
        Self::VolatileTtl,
        Self::NoEviction,
    ];

    /// As the server spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllkeysLru => "allkeys-lru",
            Self::AllkeysLfu => "allkeys-lfu",
            Self::AllkeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
            Self::NoEviction => "noeviction",
        }
    }

    /// The policy of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }

    /// Only keys that expire are given up.
    pub const fn is_volatile(self) -> bool {
        matches!(
            self,
            Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl
        )
    }

    /// Keys are ranked by how often they are used.
    pub const fn is_lfu(self) -> bool {
        matches!(self, Self::AllkeysLfu | Self::VolatileLfu)
    }

    /// Keys are ranked by when they were used last.
    pub const fn is_lru(self) -> bool {
        matches!(self, Self::AllkeysLru | Self::VolatileLru)
    }

    pub(super) const fn rank(self) -> Rank {
        match self {
            Self::AllkeysLru | Self::VolatileLru => Rank::Age,
            Self::AllkeysLfu | Self::VolatileLfu => Rank::Use,
            Self::VolatileTtl => Rank::Expiry,
            Self::AllkeysRandom | Self::VolatileRandom | Self::NoEviction => Rank::None,
        }
    }
}

/// The clock of ages: seconds, in 24 bits.
pub(super) const fn clock(now_ms: u64) -> u32 {
    ((now_ms / 1000) & CLOCK_MASK) as u32
}

/// Seconds since `then` on the clock of ages.
pub(super) const fn idle(now: u32, then: u32) -> u32 {
    if now >= then { now - then } else { now + (CLOCK_MASK as u32 - then) }
}

/// The minute, in 16 bits.
const fn minute(now_ms: u64) -> u32 {
    ((now_ms / 60_000) & MINUTE_MASK) as u32
}

/// How use is counted: the minute of the last use above 8 bits of a logarithm of how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Uses {
    /// `lfu-log-factor`.
    pub(super) log_factor: f64,
    /// `lfu-decay-time`, in minutes; 0 never.
    pub(super) decay_minutes: u32,
}

impl Uses {
    /// The field of a key that has just come.
    pub(super) const fn start(now_ms: u64) -> u32 {
        (minute(now_ms) << 8) | LFU_START
    }

    /// The count after the minutes without a use.
    pub(super) const fn decayed(self, field: u32, now_ms: u64) -> u32 {
        let (then, count, now) = (field >> 8, field & 255, minute(now_ms));
        let elapsed = if now >= then { now - then } else { MINUTE_MASK as u32 - then + now };
        match elapsed.checked_div(self.decay_minutes) {
            Some(periods) => count.saturating_sub(periods),
            None => count,
        }
    }

    /// The field after a use. `drawn` is a random number from 0 to 1.
    pub(super) fn used(self, field: u32, now_ms: u64, drawn: f64) -> u32 {
        let count = self.decayed(field, now_ms);
        let above = f64::from(count.saturating_sub(LFU_START));
        let is_counted = count < 255 && drawn < 1.0 / (above * self.log_factor + 1.0);
        (minute(now_ms) << 8) | (count + u32::from(is_counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USES: Uses = Uses { log_factor: 10.0, decay_minutes: 1 };

    #[test]
    fn names_are_those_of_the_server() {
        for policy in Policy::ALL {
            assert_eq!(Policy::parse(policy.as_str()), Some(policy));
            assert_eq!(policy.is_volatile(), policy.as_str().starts_with("volatile"));
            assert_eq!(policy.is_lfu(), policy.as_str().ends_with("lfu"));
            assert_eq!(policy.is_lru(), policy.as_str().ends_with("lru"));
        }
        assert_eq!(Policy::parse("lru"), None);
    }

    #[test]
    fn a_count_falls_by_one_each_whole_minute_without_use() {
        let start = Uses::start(59_999);
        assert_eq!(USES.decayed(start, 59_999), 5);
        assert_eq!(USES.decayed(start, 60_000), 4, "minutes are those of the wall clock");
        assert_eq!(USES.decayed(start, 600_000), 0);
        let never = Uses { decay_minutes: 0, ..USES };
        assert_eq!(never.decayed(start, 600_000), 5);
        let last = Uses::start(60_000 * 65_535);
        assert_eq!(USES.decayed(last, 60_000 * 65_536), 5, "the minute wraps, less one");
        assert_eq!(USES.decayed(last, 60_000 * 65_537), 4);
    }

    #[test]
    fn a_use_counts_for_certain_at_first_and_rarely_later() {
        assert_eq!(USES.used(Uses::start(0), 0, 0.999) & 255, 6);
        assert_eq!(USES.used(Uses::start(0) + 1, 0, 0.1) & 255, 6);
        assert_eq!(USES.used(Uses::start(0) + 1, 0, 0.09) & 255, 7);
        assert_eq!(USES.used(255, 0, 0.0) & 255, 255);
        assert_eq!(USES.used(Uses::start(0), 120_000, 0.5), (2 << 8) | 4, "decays, then counts");
    }

    #[test]
    fn ages_are_whole_seconds_and_wrap() {
        assert_eq!(idle(clock(10_999), clock(9_000)), 1);
        assert_eq!(idle(clock(11_000), clock(10_999)), 1);
        assert_eq!(idle(3, CLOCK_MASK as u32), 3);
    }
}
