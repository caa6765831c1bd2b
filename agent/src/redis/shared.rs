//! What those who work on an instance tell each other.
//!
//! The observer tells the sampler its own lookups, why keys are missed and what it has done; the sampler tells the observer how many keys expire each second,
//! the actuator what was in force before a trial, and the observer what it must not write down.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// Seconds of expirations that are kept.
const KEPT_RATES: usize = 900;
/// Least of them that a peak is told from.
const LEAST_RATES: usize = 60;

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

/// The settings that a trial may have to go back to.
#[derive(Debug, Default)]
pub struct Trial(Mutex<Option<BTreeMap<String, String>>>);

/// The setting of events while the observer has letters of its own in it: what it was before, and what it is then.
#[derive(Debug, Default)]
pub struct Borrowed(Mutex<Option<(String, String)>>);

/// How many keys expire, second by second.
#[derive(Debug, Default)]
pub struct Expirations(Mutex<Rates>);

#[derive(Debug, Default)]
struct Rates {
    last: Option<(Instant, i64)>,
    per_second: VecDeque<f64>,
}

/// What the observer has done since the agent started.
#[derive(Debug, Default)]
pub struct Observed {
    windows: AtomicU64,
    events: AtomicU64,
    watched_ms: AtomicU64,
    refusals: AtomicU64,
    guard_trips: AtomicU64,
    state_bytes: AtomicU64,
    is_at_work: std::sync::atomic::AtomicBool,
}

/// [`Observed`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservedCounts {
    /// Times that events were heard in one go.
    pub windows: u64,
    /// Events heard.
    pub events: u64,
    /// Time that they were heard, in milliseconds.
    pub watched_ms: u64,
    /// Times that the server refused a part of what was wanted.
    pub refusals: u64,
    /// Times that reading requests was not begun, or was ended, to do no harm.
    pub guard_trips: u64,
    /// Size of what is kept on disk.
    pub state_bytes: u64,
}

impl Trial {
    /// Sets what was in force before, or that there is no trial.
    pub fn set(&self, before: Option<&BTreeMap<String, String>>) {
        let mut trial = self.0.lock();
        if trial.as_ref() != before {
            *trial = before.cloned();
        }
    }

    /// What was in force before the trial that runs.
    pub fn get(&self) -> Option<BTreeMap<String, String>> {
        self.0.lock().clone()
    }
}

impl Borrowed {
    /// What is borrowed. As long as this is held nobody else borrows, gives back or writes the setting down.
    pub fn lock(&self) -> MutexGuard<'_, Option<(String, String)>> {
        self.0.lock()
    }
}

impl Expirations {
    /// So many keys have expired by now, since the counter began.
    pub fn note(&self, now: Instant, total: i64) {
        let mut rates = self.0.lock();
        let Some((at, before)) = rates.last.replace((now, total)) else { return };
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        if total < before || seconds <= 0.0 {
            return;
        }
        if rates.per_second.len() == KEPT_RATES {
            rates.per_second.pop_front();
        }
        rates.per_second.push_back((total - before) as f64 / seconds);
    }

    /// The most expirations in a second over their mean; `None` as long as too little is known.
    pub fn peak(&self) -> Option<f64> {
        let rates = self.0.lock();
        let count = rates.per_second.len();
        let mean = rates.per_second.iter().sum::<f64>() / count as f64;
        let most = rates.per_second.iter().copied().fold(0.0, f64::max);
        (count >= LEAST_RATES && mean > 0.0).then(|| most / mean)
    }
}

impl Observed {
    /// The observer is there.
    pub fn begin(&self) {
        self.is_at_work.store(true, Ordering::Relaxed);
    }

    /// Events are heard from now on.
    pub fn window(&self) {
        self.windows.fetch_add(1, Ordering::Relaxed);
    }

    /// So many events were heard in this time.
    pub fn heard(&self, events: u64, time: Duration) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.watched_ms.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// The server has refused something.
    pub fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests were not read, or no longer, to do no harm.
    pub fn guarded(&self) {
        self.guard_trips.fetch_add(1, Ordering::Relaxed);
    }

    /// So much is kept on disk.
    pub fn keeps(&self, bytes: u64) {
        self.state_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Everything so far; `None` when nobody observes.
    pub fn get(&self) -> Option<ObservedCounts> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.is_at_work.load(Ordering::Relaxed).then(|| ObservedCounts {
            windows: of(&self.windows),
            events: of(&self.events),
            watched_ms: of(&self.watched_ms),
            refusals: of(&self.refusals),
            guard_trips: of(&self.guard_trips),
            state_bytes: of(&self.state_bytes),
        })
    }
}

impl Probes {
    /// Counts lookups that found their key, and those that did not. To be called when the answer is there, which tells which it was.
    pub fn count(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
    }

    /// Lookups that are about to be made count as hits before they are sent, so that nobody who reads the server's counters meanwhile takes them for those of clients.
    pub fn announce(&self, lookups: u64) {
        self.hits.fetch_add(lookups, Ordering::Relaxed);
    }

    /// What has become of lookups that were announced; of some of them nothing.
    pub fn settle(&self, announced: u64, hits: u64, misses: u64) {
        self.count(hits, misses);
        self.hits.fetch_sub(announced, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_that_of_the_worst_second() {
        let (expirations, start) = (Expirations::default(), Instant::now());
        let mut total = 100;
        for second in 0..120 {
            assert!(expirations.peak().is_none() || second > LEAST_RATES as u64);
            total += if second == 70 { 119 } else { 1 };
            expirations.note(start + Duration::from_secs(second), total);
        }
        let peak = expirations.peak().unwrap();
        assert!((peak - 119.0 / (237.0 / 119.0)).abs() < 1e-9, "{peak}");
        // Counters that have begun again tell nothing.
        expirations.note(start + Duration::from_secs(200), 0);
        assert_eq!(expirations.peak(), Some(peak));
    }

    #[test]
    fn counts_are_there_when_somebody_observes() {
        let observed = Observed::default();
        observed.window();
        assert_eq!(observed.get(), None);
        observed.begin();
        observed.heard(3, Duration::from_secs(2));
        let counts = observed.get().unwrap();
        assert_eq!((counts.windows, counts.events, counts.watched_ms), (1, 3, 2000));
    }
}
