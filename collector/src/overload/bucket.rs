//! Token buckets, one for each caller: so many requests a second, and a burst above it.
//!
//! The generic cell rate algorithm (ITU-T I.371; the crate governor does the same): a bucket is one number, the time at which it will be full again. A
//! request moves it on by one interval and is refused when that would be more than the burst ahead. That is one atomic exchange without a lock: a
//! connection keeps the bucket of its caller, so that the table is asked once for each connection.
//!
//! A caller is an IPv4 address or the first 64 bits of an IPv6 address, which is what one host may choose freely. Their number is bounded. A full bucket
//! is the same as none, so forgetting idle callers loses nothing; when all are busy, further callers share one bucket.
//!
//! Properties, each a test: in any period a caller gets at most the burst and the rate times the period; one that waits as long as it was told to is
//! served; callers do not take from each other; the table never grows over its bound.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

/// Time between two searches for callers to forget: a search looks at all of them.
const SWEEP_NS: u64 = 100_000_000;

/// How much one caller may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run; at least 1.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

/// What is left of one caller's burst.
#[derive(Debug, Default)]
pub struct Bucket {
    /// Nanoseconds since the table was made.
    full_at_ns: AtomicU64,
}

/// Every caller's bucket.
#[derive(Debug)]
pub struct Callers {
    rate: Rate,
    most: usize,
    table: Mutex<Table>,
    /// For callers that the table has no room for.
    shared: Arc<Bucket>,
    /// Callers that were idle and made room for others.
    pub forgotten: Counter,
}

#[derive(Debug, Default)]
struct Table {
    buckets: HashMap<IpAddr, Arc<Bucket>>,
    swept_at_ns: u64,
}

impl Rate {
    const fn interval_ns(self) -> u64 {
        1_000_000_000 / self.per_second as u64
    }
}

impl Bucket {
    /// Takes one token.
    ///
    /// # Errors
    /// When there is none; with the time until there is one.
    pub fn take(&self, rate: Rate, now_ns: u64) -> Result<(), Duration> {
        let interval = rate.interval_ns();
        let burst_ns = interval * u64::from(rate.burst);
        let mut full_at = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now_ns) + interval;
            if let Some(early) = next.checked_sub(now_ns + burst_ns).filter(|&early| early > 0) {
                return Err(Duration::from_nanos(early));
            }
            let taken = self.full_at_ns.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return Ok(()),
                Err(now) => full_at = now,
            }
        }
    }

    fn is_full(&self, now_ns: u64) -> bool {
        self.full_at_ns.load(Ordering::Relaxed) <= now_ns
    }
}

impl Callers {
    /// No callers yet; at most `most` are told apart.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self {
            rate,
            most,
            table: Mutex::default(),
            shared: Arc::default(),
            forgotten: Counter::default(),
        }
    }

    /// How much each may ask.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The bucket of a caller.
    pub fn bucket(&self, address: IpAddr, now_ns: u64) -> Arc<Bucket> {
        let caller = caller(address);
        let mut table = self.table.lock();
        if let Some(bucket) = table.buckets.get(&caller) {
            return Arc::clone(bucket);
        }
        if table.buckets.len() >= self.most {
            self.forgotten.inc_by(table.forget_idle(now_ns));
        }
        if table.buckets.len() >= self.most {
            return Arc::clone(&self.shared);
        }
        Arc::clone(table.buckets.entry(caller).or_default())
    }

    /// Callers that are told apart now.
    pub fn known(&self) -> usize {
        self.table.lock().buckets.len()
    }
}

impl Table {
    /// Forgets callers that are as good as new and have no connection; says how many.
    fn forget_idle(&mut self, now_ns: u64) -> u64 {
        if now_ns < self.swept_at_ns + SWEEP_NS {
            return 0;
        }
        self.swept_at_ns = now_ns;
        let before = self.buckets.len();
        self.buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_full(now_ns));
        (before - self.buckets.len()) as u64
    }
}

/// What counts as one caller.
fn caller(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    proptest! {
        #[test]
        fn no_period_has_more_than_burst_and_rate(
            per_second in 1_u32..5_000, burst in 1_u32..1_000,
            gaps in prop::collection::vec(0_u64..SECOND_NS / 100, 1..500),
        ) {
            let rate = Rate { per_second, burst };
            let bucket = Bucket::default();
            let (mut now, mut served) = (5 * SECOND_NS, Vec::new());
            for gap in gaps {
                now += gap;
                if bucket.take(rate, now).is_ok() {
                    served.push(now);
                }
            }
            for (i, from) in served.iter().enumerate() {
                for (count, to) in served[i..].iter().enumerate() {
                    let most = (to - from) / rate.interval_ns() + u64::from(burst);
                    prop_assert!(count < most as usize, "{} in {} ns", count + 1, to - from);
                }
            }
        }

        #[test]
        fn who_waits_as_told_is_served_and_not_before(per_second in 1_u32..100_000, burst in 1_u32..50) {
            let rate = Rate { per_second, burst };
            let bucket = Bucket::default();
            for _ in 0..burst {
                prop_assert!(bucket.take(rate, SECOND_NS).is_ok());
            }
            let wait = bucket.take(rate, SECOND_NS).unwrap_err();
            let at = SECOND_NS + wait.as_nanos() as u64;
            prop_assert!(bucket.take(rate, at - 1).is_err());
            prop_assert!(bucket.take(rate, at).is_ok());
            prop_assert!(bucket.take(rate, at).is_err());
        }

        #[test]
        fn the_table_is_bounded(callers in prop::collection::vec(0_u32..200, 1..400)) {
            let table = Callers::new(Rate { per_second: 1, burst: 1 }, 20);
            let mut now = SECOND_NS;
            for caller in callers {
                let _ = table.bucket(ip(caller), now).take(table.rate(), now);
                now += SECOND_NS / 20;
                prop_assert!(table.known() <= 20);
            }
        }
    }

    #[test]
    fn callers_do_not_take_from_each_other() {
        let callers = Callers::new(Rate { per_second: 1, burst: 1 }, 10);
        let take = |n| callers.bucket(ip(n), 0).take(callers.rate(), 0);
        assert!(take(1).is_ok() && take(1).is_err());
        assert!(take(2).is_ok());
    }

    #[test]
    fn an_idle_caller_makes_room_and_a_busy_or_connected_one_does_not() {
        let callers = Callers::new(Rate { per_second: 1, burst: 1 }, 2);
        let connected = callers.bucket(ip(1), 0);
        callers.bucket(ip(2), 0).take(callers.rate(), 0).unwrap();
        let half = SECOND_NS / 2;
        let strangers = [callers.bucket(ip(3), half), callers.bucket(ip(4), half)];
        assert!(Arc::ptr_eq(&strangers[0], &strangers[1]), "no room: strangers share a bucket");
        let later = callers.bucket(ip(3), SECOND_NS);
        assert!(!Arc::ptr_eq(&later, &strangers[0]));
        assert_eq!((callers.forgotten.get(), callers.known()), (1, 2));
        assert!(Arc::ptr_eq(&connected, &callers.bucket(ip(1), SECOND_NS)));
    }

    #[test]
    fn a_caller_is_a_host() {
        let parse = |text: &str| caller(text.parse().unwrap());
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
        assert_ne!(parse("10.0.0.1"), parse("10.0.0.2"));
        assert_eq!(parse("2001:db8:0:1::7"), parse("2001:db8:0:1:ff::"));
        assert_ne!(parse("2001:db8:0:1::7"), parse("2001:db8:0:2::7"));
    }
}
