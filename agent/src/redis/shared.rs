//! What whoever works on an instance tells its sampler: own lookups, and why keys are missed.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Lookups of the agent itself that the instance counts among its hits and misses. The sampler subtracts them.
///
/// Redis 7.0 counts one for each `OBJECT IDLETIME`, `OBJECT FREQ`, `PTTL`, `TYPE` and `EXISTS`, none for `INFO`, `RANDOMKEY`, `SCAN` and `MEMORY USAGE`.
#[derive(Debug, Default)]
pub struct Probes {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Why the keys that are missed at present are not there.
#[derive(Debug, Default)]
pub struct Attribution(Mutex<Option<Shares>>);

/// Shares of all misses, each from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// The key had been evicted.
    pub capacity: f64,
    /// The key had expired.
    pub expired: f64,
    /// The key had been deleted or overwritten.
    pub invalidated: f64,
    /// The key had never been there.
    pub cold: f64,
}

impl Probes {
    /// Counts lookups that found their key, and those that did not. To be called when the answer is there, which tells which it was.
    pub fn count(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
    }

    /// Hits and misses so far.
    pub fn get(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

impl Attribution {
    /// Sets the shares, or takes them back when they are not known any more.
    pub fn set(&self, shares: Option<Shares>) {
        *self.0.lock() = shares;
    }

    /// The shares at present.
    pub fn get(&self) -> Option<Shares> {
        *self.0.lock()
    }
}

impl Shares {
    /// Names and shares.
    pub const fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("capacity", self.capacity),
            ("expired", self.expired),
            ("invalidated", self.invalidated),
            ("cold", self.cold),
        ]
    }
}
