//! The first layer: entries in this process, bounded in bytes.

use std::sync::Arc;
use std::time::Duration;

use flyball_model::hit_curve::{HitCurve, Sampling};
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache as Moka;
use parking_lot::Mutex;

use super::key::{Key, Tag};
use super::life::{Life, Verdict};
use super::stamps::Stamps;
use super::stats::{Counters, LayerStats};

/// Bytes of an entry besides its value.
const ENTRY_BYTES: usize = 200;

/// An entry.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) bytes: usize,
    pub(super) tags: Arc<[Tag]>,
    /// When loading began, milliseconds since the Unix epoch.
    pub(super) created_ms: i64,
    /// How many invalidations there had been then.
    pub(super) began: u64,
    pub(super) cost_ms: f64,
    pub(super) life: Life,
    /// It says that there is nothing.
    pub(super) is_negative: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Local<T: Clone + Send + Sync + 'static> {
    entries: Moka<Key, Arc<Entry<T>>>,
    max_bytes: u64,
    curve: Mutex<HitCurve>,
}

/// What is here of a key.
pub(super) enum Seen<T> {
    /// Nothing.
    Absent,
    /// Something that was invalidated.
    Invalidated,
    /// Something past its life.
    Expired,
    /// Something that is good for something.
    Entry(Arc<Entry<T>>, Verdict),
}

/// moka drops what is past its life by itself.
struct Ending;

impl<T> Expiry<Key, Arc<Entry<T>>> for Ending {
    fn expire_after_create(
        &self,
        _: &Key,
        entry: &Arc<Entry<T>>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(Duration::from_millis(entry.life.longest_ms().max(1) as u64))
    }

    fn expire_after_update(
        &self,
        key: &Key,
        entry: &Arc<Entry<T>>,
        now: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, entry, now)
    }
}

impl<T: Clone + Send + Sync + 'static> Local<T> {
    /// Entries of so many bytes together.
    pub(super) fn new(max_bytes: u64, counters: &Arc<Counters>) -> Self {
        let counted = Arc::clone(counters);
        let entries = Moka::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry: &Arc<Entry<T>>| u32::try_from(entry.bytes).unwrap_or(u32::MAX))
            .expire_after(Ending)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counted.evictions.inc();
                }
            })
            .build();
        Self { entries, max_bytes, curve: Mutex::new(HitCurve::new(Sampling::default())) }
    }

    /// What is here of a key.
    pub(super) fn get(&self, key: Key, stamps: &Stamps, now_ms: i64) -> Seen<T> {
        let Some(entry) = self.entries.get(&key) else { return Seen::Absent };
        if !stamps.is_valid(entry.began, &entry.tags, now_ms) {
            return Seen::Invalidated;
        }
        let random = 1.0 - rand::random::<f64>();
        match entry.life.verdict(now_ms - entry.created_ms, entry.cost_ms, random) {
            Verdict::Dead => Seen::Expired,
            verdict => {
                if verdict == Verdict::Fresh {
                    self.sample(key, entry.bytes);
                }
                Seen::Entry(entry, verdict)
            }
        }
    }

    /// Puts an entry. One that is larger than the whole is not kept.
    pub(super) fn put(&self, key: Key, mut entry: Entry<T>) -> Arc<Entry<T>> {
        entry.bytes += ENTRY_BYTES + entry.tags.len() * size_of::<Tag>();
        self.sample(key, entry.bytes);
        let entry = Arc::new(entry);
        self.entries.insert(key, Arc::clone(&entry));
        entry
    }

    /// What this layer tells of itself.
    pub(super) fn stats(&self, counters: &Counters) -> LayerStats {
        self.entries.run_pending_tasks();
        let size = (self.entries.entry_count(), self.entries.weighted_size(), self.max_bytes);
        LayerStats::of(counters, size, &self.curve.lock())
    }

    fn sample(&self, key: Key, bytes: usize) {
        // One access in many is looked at; the others never wait for the lock.
        if let Some(mut curve) = self.curve.try_lock() {
            curve.access(key.short(), u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }
}
