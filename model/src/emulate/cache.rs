//! The keys of a server, their ages or counts, and what happens when they no longer fit.

use super::index::Index;
use super::policy::{Policy, Rank, Uses, clock, idle};
use super::pool::Pool;
use crate::mix::next_unit;

/// The time at which a key without one expires.
pub const NEVER: u64 = u64::MAX;
/// Bytes of a bucket of the server's hash tables.
const BUCKET_BYTES: f64 = 8.0;
/// Bytes of an entry in the table of keys that expire.
const EXPIRING_BYTES: f64 = 32.0;
/// Buckets of a new hash table.
const FIRST_BUCKETS: f64 = 4.0;
/// A full server lets a hash table grow only when it holds so many keys for each bucket.
const MOST_LOAD: f64 = 1.618;
/// Time between two rounds that look for expired keys.
const EXPIRE_EVERY_MS: u64 = 100;
/// Keys of one look, and the share of expired ones among them that asks for another look.
const EXPIRE_KEYS: usize = 20;
const EXPIRE_SHARE: f64 = 0.1;
/// Looks in one round; the server stops after a quarter of the time between rounds.
const EXPIRE_LOOKS: usize = 1000;
const SEED: u64 = 0x0dd5_eed5_0f5a_3b1e;

/// The server that is followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// `maxmemory-policy`.
    pub policy: Policy,
    /// `maxmemory` in bytes; 0 for no limit.
    pub maxmemory_bytes: u64,
    /// Bytes of `used_memory` that no key accounts for: what a server without keys uses, buffers,
    /// and, where only keys that expire are given up and only those are fed, all other keys.
    pub base_bytes: u64,
    /// `maxmemory-samples`.
    pub samples: usize,
    /// `lfu-log-factor`.
    pub lfu_log_factor: f64,
    /// `lfu-decay-time`, in minutes.
    pub lfu_decay_minutes: u32,
    /// Share of the keys whose requests are fed, above 0 to 1.
    pub rate: f64,
}

/// Counts since the start. Of sampled keys only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that were given up for room.
    pub evicted: u64,
    /// Keys whose time was over.
    pub expired: u64,
}

/// A server's keys. About 60 bytes for each.
#[derive(Debug)]
pub struct MiniRedis {
    settings: Settings,
    uses: Uses,
    entries: Vec<Entry>,
    free: Vec<u32>,
    all: Index,
    expiring: Index,
    pool: Pool,
    bytes: u64,
    /// Buckets of the server's two tables.
    buckets: [f64; 2],
    random: u64,
    expire_due_ms: u64,
    counts: Counts,
    found: Vec<u32>,
    /// Keys that were evicted or have expired, for those who ask.
    #[cfg(test)]
    pub(crate) gone: Vec<(u64, bool)>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    dies_ms: u64,
    bytes: u32,
    /// Clock of the last use, or minute and count.
    field: u32,
}

impl Settings {
    /// A server of this size and policy with all other settings as they come.
    pub const fn new(policy: Policy, maxmemory_bytes: u64) -> Self {
        Self {
            policy,
            maxmemory_bytes,
            base_bytes: 0,
            samples: 5,
            lfu_log_factor: 10.0,
            lfu_decay_minutes: 1,
            rate: 1.0,
        }
    }
}

impl MiniRedis {
    /// A server without keys.
    pub fn new(settings: Settings) -> Self {
        let is_share = settings.rate > 0.0 && settings.rate < 1.0;
        let settings = Settings { rate: if is_share { settings.rate } else { 1.0 }, ..settings };
        Self {
            settings,
            uses: Uses {
                log_factor: settings.lfu_log_factor,
                decay_minutes: settings.lfu_decay_minutes,
            },
            entries: Vec::new(),
            free: Vec::new(),
            all: Index::new(),
            expiring: Index::new(),
            pool: Pool::default(),
            bytes: 0,
            buckets: [FIRST_BUCKETS; 2],
            random: SEED,
            expire_due_ms: 0,
            counts: Counts::default(),
            found: Vec::new(),
            #[cfg(test)]
            gone: Vec::new(),
        }
    }

    /// Changes size and policy of the running server, as `CONFIG SET` does. Nothing is converted: what
    /// was a clock is read as a minute and a count, so with LFU all keys look unused at first. What is
    /// too much is evicted before the next request.
    pub fn set(&mut self, policy: Policy, maxmemory_bytes: u64) {
        self.settings.policy = policy;
        self.settings.maxmemory_bytes = maxmemory_bytes;
    }

    /// Keys, also those that have expired and were not looked at since.
    pub fn keys(&self) -> usize {
        self.all.len()
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the server that is followed would say of itself, `used_memory`.
    pub fn used_bytes(&self) -> f64 {
        let tables: f64 = self.buckets.iter().map(|buckets| buckets * BUCKET_BYTES).sum();
        let keys = self.bytes as f64 + self.expiring.len() as f64 * EXPIRING_BYTES;
        self.settings.base_bytes as f64 + keys / self.settings.rate + tables
    }

    /// Reads a key. Whether it is there.
    pub fn read(&mut self, key: u64, now_ms: u64) -> bool {
        self.before(now_ms);
        let is_hit = self.touch(key, now_ms).is_some();
        if is_hit {
            self.counts.hits += 1;
        } else {
            self.counts.misses += 1;
        }
        is_hit
    }

    /// Whether the key is there, without using it.
    pub fn holds(&self, key: u64, now_ms: u64) -> bool {
        self.find(key).is_some_and(|slot| self.entries[slot as usize].dies_ms > now_ms)
    }

    /// Writes a key of this size (all that the server spends on it), which expires at `dies_ms` or
    /// [`NEVER`].
    pub fn write(&mut self, key: u64, bytes: u32, dies_ms: u64, now_ms: u64) {
        self.before(now_ms);
        let slot = self.touch(key, now_ms).unwrap_or_else(|| self.insert(key, now_ms));
        self.resize(slot, bytes);
        self.set_expiry(slot, dies_ms);
    }

    /// Sets when a key expires. Nothing when it is not there.
    pub fn expire(&mut self, key: u64, dies_ms: u64, now_ms: u64) {
        self.before(now_ms);
        if let Some(slot) = self.touch(key, now_ms) {
            self.set_expiry(slot, dies_ms);
        }
    }

    /// Corrects what was written of a key that is there, without using it.
    pub fn amend(&mut self, key: u64, bytes: u32, dies_ms: u64) {
        if let Some(slot) = self.find(key) {
            self.resize(slot, bytes);
            self.set_expiry(slot, dies_ms);
        }
    }

    /// When a key that is there expires; `None` when it is not there.
    pub fn dies_ms(&self, key: u64) -> Option<u64> {
        self.find(key).map(|slot| self.entries[slot as usize].dies_ms)
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: u64, now_ms: u64) {
        self.before(now_ms);
        if let Some(slot) = self.find(key) {
            self.remove(slot);
        }
    }

    /// A random key, its seconds without use, its size, and when it expires.
    #[cfg(test)]
    pub(crate) fn draw(&mut self, now_ms: u64) -> Option<(u64, u64, u32, u64)> {
        if self.all.len() == 0 {
            return None;
        }
        let slot = loop {
            let slot = (next_unit(&mut self.random) * self.entries.len() as f64) as u32;
            if self.find(self.entries[slot as usize].key) == Some(slot) {
                break slot;
            }
        };
        let entry = self.entries[slot as usize];
        let idle_s = u64::from(idle(clock(now_ms), entry.field));
        Some((entry.key, idle_s, entry.bytes, entry.dies_ms))
    }

    /// What the server does before each command.
    fn before(&mut self, now_ms: u64) {
        if now_ms >= self.expire_due_ms {
            self.expire_due_ms = now_ms + EXPIRE_EVERY_MS;
            self.expire_some(now_ms);
        }
        self.evict(now_ms);
    }

    /// Finds a key that has not expired and counts a use of it.
    fn touch(&mut self, key: u64, now_ms: u64) -> Option<u32> {
        let slot = self.find(key)?;
        if self.entries[slot as usize].dies_ms <= now_ms {
            self.expire_slot(slot);
            return None;
        }
        let field = self.entries[slot as usize].field;
        self.entries[slot as usize].field = if self.settings.policy.is_lfu() {
            self.uses.used(field, now_ms, next_unit(&mut self.random))
        } else {
            clock(now_ms)
        };
        Some(slot)
    }

    fn find(&self, key: u64) -> Option<u32> {
        self.all.find(key, |slot| self.entries[slot as usize].key)
    }

    fn insert(&mut self, key: u64, now_ms: u64) -> u32 {
        let is_lfu = self.settings.policy.is_lfu();
        let field = if is_lfu { Uses::start(now_ms) } else { clock(now_ms) };
        let entry = Entry { key, dies_ms: NEVER, bytes: 0, field };
        let slot = if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = entry;
            slot
        } else {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        };
        self.grow_table(0, self.all.len());
        self.all.insert(key, slot, |slot| self.entries[slot as usize].key);
        slot
    }

    fn resize(&mut self, slot: u32, bytes: u32) {
        let entry = &mut self.entries[slot as usize];
        self.bytes = self.bytes - u64::from(entry.bytes) + u64::from(bytes);
        entry.bytes = bytes;
    }

    fn set_expiry(&mut self, slot: u32, dies_ms: u64) {
        let Entry { key, dies_ms: before, .. } = self.entries[slot as usize];
        self.entries[slot as usize].dies_ms = dies_ms;
        if before == NEVER && dies_ms != NEVER {
            self.grow_table(1, self.expiring.len());
            self.expiring.insert(key, slot, |slot| self.entries[slot as usize].key);
        } else if before != NEVER && dies_ms == NEVER {
            self.expiring.remove(key, slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        let Entry { key, dies_ms, bytes, .. } = self.entries[slot as usize];
        self.all.remove(key, slot);
        if dies_ms != NEVER {
            self.expiring.remove(key, slot);
        }
        self.bytes -= u64::from(bytes);
        self.free.push(slot);
    }

    fn expire_slot(&mut self, slot: u32) {
        #[cfg(test)]
        self.gone.push((self.entries[slot as usize].key, false));
        self.remove(slot);
        self.counts.expired += 1;
    }

    /// Doubles a table that is full, unless there is no room for it.
    fn grow_table(&mut self, table: usize, len: usize) {
        let (keys, buckets) = (len as f64 / self.settings.rate, self.buckets[table]);
        if keys < buckets {
            return;
        }
        let more = 2.0 * buckets * BUCKET_BYTES;
        let max = self.settings.maxmemory_bytes;
        let is_room = max == 0 || self.used_bytes() + more <= max as f64;
        if is_room || keys > MOST_LOAD * buckets {
            self.buckets[table] = 2.0 * buckets;
        }
    }

    /// Deletes some of the keys that have expired: a tenth of them is left.
    fn expire_some(&mut self, now_ms: u64) {
        let mut found = std::mem::take(&mut self.found);
        for _ in 0..EXPIRE_LOOKS {
            self.expiring.scan(EXPIRE_KEYS, &mut found);
            let looked = found.len();
            found.retain(|slot| self.entries[*slot as usize].dies_ms <= now_ms);
            for slot in &found {
                self.expire_slot(*slot);
            }
            if found.len() as f64 <= looked as f64 * EXPIRE_SHARE {
                break;
            }
        }
        self.found = found;
    }

    fn evict(&mut self, now_ms: u64) {
        let max = self.settings.maxmemory_bytes;
        while max > 0 && self.used_bytes() > max as f64 {
            let Some(slot) = self.victim(now_ms) else { return };
            #[cfg(test)]
            self.gone.push((self.entries[slot as usize].key, true));
            self.remove(slot);
            self.counts.evicted += 1;
        }
    }

    /// The key to give up; `None` when there is none.
    fn victim(&mut self, now_ms: u64) -> Option<u32> {
        let policy = self.settings.policy;
        let from = if policy.is_volatile() { &self.expiring } else { &self.all };
        if from.len() == 0 || policy == Policy::NoEviction {
            return None;
        }
        if policy.rank() == Rank::None {
            return from.any(&mut self.random);
        }
        loop {
            from.some(self.settings.samples.max(1), &mut self.random, &mut self.found);
            for slot in &self.found {
                let entry = self.entries[*slot as usize];
                let score = match policy.rank() {
                    Rank::Age => u64::from(idle(clock(now_ms), entry.field)),
                    Rank::Use => 255 - u64::from(self.uses.decayed(entry.field, now_ms)),
                    Rank::Expiry | Rank::None => u64::MAX - entry.dies_ms,
                };
                self.pool.offer(score, entry.key);
            }
            while let Some(key) = self.pool.take() {
                if let Some(slot) = from.find(key, |slot| self.entries[slot as usize].key) {
                    return Some(slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
