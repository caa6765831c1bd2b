//! Rows of `cache_stats`: one for each cache and tick, put together from the samples of a frame.
//!
//! What the agents' samplers of Redis and memcached publish as series is here also written as one wide row, which is what reads of a cache as a whole want. A row
//! is made of the samples that are stored anyway, so it travels with them: it is written before its frame is acknowledged, and a frame that comes again makes the
//! same row, which the table keeps once.
//!
//! Properties, each tested below: a row has the values of one tick only, also when a tick comes in several frames; without hits, misses, memory and the series that
//! says what the cache is, there is none; a frame that is durable already makes none, but its values count for the rest of its tick.

mod field;

use std::sync::Arc;

use flyball_proto::frame::{Decoded, Slot};
use flyball_proto::series::{NodeName, Scale, Series};

use self::field::{BUCKETS, Field, MissReason, Number};
use crate::store::CacheRow;

/// Most caches of one stream; an agent watches a few.
const MOST_CACHES: usize = 256;

/// The caches of one stream.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// Slots that say something of a cache, in ascending order.
    slots: Vec<Place>,
    all: Vec<Cache>,
}

/// What a slot says, and of which cache.
#[derive(Debug, Clone, Copy)]
struct Place {
    slot: Slot,
    cache: usize,
    field: Field,
    scale: Scale,
}

/// One cache with the values of its last tick.
#[derive(Debug)]
struct Cache {
    name: String,
    kind: &'static str,
    ts_ms: i64,
    is_new: bool,
    numbers: [Option<u64>; Number::COUNT],
    misses: [u64; MissReason::COUNT],
    buckets: Vec<(u32, u64)>,
    cpu_seconds: f64,
    /// Version and eviction policy, of each series that says them.
    labels: Vec<(String, String)>,
    label: Option<usize>,
}

impl Caches {
    /// The dictionary begins anew.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes note of new slots, in ascending order.
    pub(crate) fn define<'a>(&mut self, slots: impl Iterator<Item = (Slot, &'a Arc<Series>)>) {
        for (slot, series) in slots {
            let Some((kind, mut field)) = Field::of(series) else { continue };
            let Some(name) = series.attribute("cache") else { continue };
            let Some(cache) = self.cache(kind, name) else { continue };
            if let Field::Label(label) = &mut field {
                let text = |key| series.attribute(key).unwrap_or_default().to_owned();
                let labels = &mut self.all[cache].labels;
                *label = labels.len();
                labels.push((text("version"), text("eviction_policy")));
            }
            self.slots.push(Place { slot, cache, field, scale: series.scale });
        }
    }

    /// Most rows that a frame can make.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The rows of a frame.
    pub(crate) fn rows(&mut self, node: &NodeName, decoded: &Decoded<'_>) -> Vec<CacheRow> {
        if self.slots.is_empty() {
            return Vec::new();
        }
        self.pass(decoded);
        let row = |cache: &mut Cache| {
            let is_new = std::mem::take(&mut cache.is_new);
            is_new.then(|| cache.row(node)).flatten()
        };
        self.all.iter_mut().filter_map(row).collect()
    }

    /// Takes note of a frame that is durable already.
    pub(crate) fn pass(&mut self, decoded: &Decoded<'_>) {
        let mut places = self.slots.iter().peekable();
        for sample in decoded.samples {
            while places.next_if(|place| place.slot < sample.slot).is_some() {}
            let Some(place) = places.next_if(|place| place.slot == sample.slot) else { continue };
            let cache = &mut self.all[place.cache];
            if cache.ts_ms != decoded.ts_ms {
                cache.begin(decoded.ts_ms);
            }
            cache.set(place.field, place.scale, sample.raw);
        }
    }

    fn cache(&mut self, kind: &'static str, name: &str) -> Option<usize> {
        let known = self.all.iter().position(|cache| cache.kind == kind && cache.name == name);
        if known.is_none() && self.all.len() < MOST_CACHES {
            self.all.push(Cache::new(kind, name));
            return Some(self.all.len() - 1);
        }
        known
    }
}

impl Cache {
    fn new(kind: &'static str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            ts_ms: i64::MIN,
            is_new: false,
            numbers: [None; Number::COUNT],
            misses: [0; MissReason::COUNT],
            buckets: Vec::new(),
            cpu_seconds: 0.0,
            labels: Vec::new(),
            label: None,
        }
    }

    fn begin(&mut self, ts_ms: i64) {
        self.ts_ms = ts_ms;
        self.numbers = [None; Number::COUNT];
        self.misses = [0; MissReason::COUNT];
        self.buckets.clear();
        (self.cpu_seconds, self.label) = (0.0, None);
    }

    fn set(&mut self, field: Field, scale: Scale, raw: i64) {
        self.is_new = true;
        let value = scale.value(raw);
        // Whole numbers stay exact, others are small.
        let whole = if scale == Scale::UNIT { raw.max(0) as u64 } else { value.max(0.0) as u64 };
        match field {
            Field::Number(number) => {
                // Several series of one number are its parts: databases, kinds of expiry.
                let sum = &mut self.numbers[number as usize];
                *sum = Some(sum.unwrap_or(0).saturating_add(whole));
            }
            Field::Started => {
                self.numbers[Number::StartedMs as usize] =
                    Some((value * 1_000.0).round().max(0.0) as u64);
            }
            Field::Miss(reason) => self.misses[reason as usize] = whole,
            Field::Bucket(bound) => self.buckets.push((bound, whole)),
            Field::Cpu => self.cpu_seconds += value,
            Field::Label(label) => self.label = Some(label),
        }
    }

    fn row(&self, node: &NodeName) -> Option<CacheRow> {
        let number = |number: Number| self.numbers[number as usize];
        let or_none = |wanted| number(wanted).unwrap_or(0);
        let (hits, misses) = (number(Number::Hits)?, number(Number::Misses)?);
        let used_bytes = number(Number::Used)?;
        let (version, eviction_policy) = self.labels[self.label?].clone();
        let mut buckets = self.buckets.clone();
        buckets.sort_unstable();
        let (latency_bounds_us, latency_counts) = buckets.into_iter().take(BUCKETS).unzip();
        let [misses_capacity, misses_expired, misses_invalidated, misses_cold] = self.misses;
        Some(CacheRow {
            node: node.as_str().to_owned(),
            cache: self.name.clone(),
            ts: self.ts_ms,
            kind: self.kind.to_owned(),
            version,
            started_at: or_none(Number::StartedMs) as i64,
            eviction_policy,
            max_bytes: or_none(Number::Max),
            used_bytes,
            resident_bytes: or_none(Number::Resident),
            keys: or_none(Number::Keys),
            keys_with_ttl: or_none(Number::KeysWithTtl),
            clients: or_none(Number::Clients).min(u64::from(u32::MAX)) as u32,
            requests: hits.saturating_add(misses),
            hits,
            misses,
            misses_capacity,
            misses_expired,
            misses_invalidated,
            misses_cold,
            evictions: or_none(Number::Evictions),
            expirations: or_none(Number::Expirations),
            received_bytes: or_none(Number::Received),
            sent_bytes: or_none(Number::Sent),
            cpu_seconds: self.cpu_seconds,
            latency_bounds_us,
            latency_counts,
        })
    }
}

#[cfg(test)]
mod tests;
