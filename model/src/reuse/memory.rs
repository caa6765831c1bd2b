//! From `maxmemory` to the keys that fit, and from `used_memory` to what the host must have.
//!
//! `used_memory` is what a server without keys uses, its buffers, the keys, and its hash tables of 8
//! bytes a bucket. The bytes of a key are what INFO's sums leave for it: `MEMORY USAGE` says a few
//! percent less and is good for comparing keys only.
//!
//! A table doubles when it holds a key for each bucket, if the new one fits beside the old one at
//! that moment, else when it holds 1.618 keys for each bucket. So growing `maxmemory` across such a
//! step buys a few keys less at once.

use super::Present;

/// Bytes of a bucket.
const BUCKET_BYTES: f64 = 8.0;
const FIRST_BUCKETS: f64 = 4.0;
/// Keys for each bucket at which a table grows whether there is room or not.
const MOST_LOAD: f64 = 1.618;

/// Where a server's memory goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Without keys and tables: the server itself and its buffers.
    pub base_bytes: f64,
    /// All keys, without tables.
    pub data_bytes: f64,
    /// Keys.
    pub keys: f64,
    /// Share of the keys that expire: they are in a second table.
    pub expiring_share: f64,
}

impl Memory {
    /// What the server says of itself; `None` when it has no keys or the sums do not add up.
    pub fn new(present: &Present) -> Option<Self> {
        let base_bytes = present.startup_bytes + present.buffer_bytes;
        let keys = present.keys;
        let expiring_share = (present.expiring_keys / keys).clamp(0.0, 1.0);
        let mut memory = Self { base_bytes, data_bytes: 0.0, keys, expiring_share };
        memory.data_bytes = present.used_bytes - base_bytes - memory.table_bytes(keys);
        (keys >= 1.0 && memory.data_bytes > 0.0 && memory.data_bytes.is_finite()).then_some(memory)
    }

    /// The same with all the keys that fit, of a server that evicts: where many have just expired it
    /// says so when it is not full.
    pub(super) fn full(present: &Present) -> Option<Self> {
        let is_evicting = present.evictions_per_second > 0.0;
        let room = (present.maxmemory_bytes - present.used_bytes).max(0.0);
        let memory = Self::new(present)?;
        Some(if is_evicting { memory.with(room / memory.key_bytes()) } else { memory })
    }

    /// With so many keys of the mean size more, or fewer.
    pub(super) fn with(&self, keys: f64) -> Self {
        let keys = keys.max(1.0 - self.keys);
        let data_bytes = self.data_bytes + keys * self.key_bytes();
        Self { data_bytes, keys: self.keys + keys, ..*self }
    }

    /// Bytes of a key on average.
    pub fn key_bytes(&self) -> f64 {
        self.data_bytes / self.keys
    }

    /// `used_memory` with so many keys of the present mean size.
    pub fn used_bytes(&self, keys: f64) -> f64 {
        self.base_bytes + keys * self.key_bytes() + self.table_bytes(keys)
    }

    /// Bytes of keys that a server of this `maxmemory` holds when it is full. `keys_of` tells how
    /// many keys so many bytes are.
    pub fn fitting_bytes(&self, maxmemory_bytes: f64, keys_of: impl Fn(f64) -> f64) -> f64 {
        let mut buckets = FIRST_BUCKETS;
        loop {
            let others = self.base_bytes + buckets * BUCKET_BYTES;
            let keys = keys_of((maxmemory_bytes - others).max(0.0));
            let expiring = buckets_of(keys * self.expiring_share) * BUCKET_BYTES;
            let room = (maxmemory_bytes - others - expiring).max(0.0);
            let keys = keys_of(room);
            // With a key for each bucket there is still so much left.
            let left = room * (1.0 - buckets / keys);
            let is_doubled = left >= 2.0 * buckets * BUCKET_BYTES || keys > MOST_LOAD * buckets;
            if keys <= buckets || !is_doubled {
                return room;
            }
            buckets *= 2.0;
        }
    }

    fn table_bytes(&self, keys: f64) -> f64 {
        (buckets_of(keys) + buckets_of(keys * self.expiring_share)) * BUCKET_BYTES
    }
}

fn buckets_of(keys: f64) -> f64 {
    if keys < 1.0 { 0.0 } else { keys.log2().ceil().exp2().max(FIRST_BUCKETS) }
}

/// Resident memory by `used_memory`: a line through what was seen, `bytes = slope * used + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resident {
    /// Bytes for each used byte.
    pub slope: f64,
    /// Bytes beside.
    pub offset_bytes: f64,
    /// Standard deviation of what was seen around the line.
    pub sd_bytes: f64,
}

/// What a growing server must leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Memory that the server may have in all: its container's limit, or the host's memory without
    /// what others use.
    pub limit_bytes: f64,
    /// What must stay free.
    pub reserve_bytes: f64,
    /// Share of the keys that a snapshot copies while it is written, where snapshots are made.
    pub fork_share: f64,
}

/// Why a server may not grow.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("it would take {needed_bytes:.0} bytes of {allowed_bytes:.0}")]
pub struct NoRoom {
    /// Resident memory, with what a snapshot copies, and the reserve.
    pub needed_bytes: f64,
    /// The limit.
    pub allowed_bytes: f64,
}

impl Resident {
    /// Least and greatest slope that are believed: below 1 memory would come from nowhere.
    const SLOPES: std::ops::RangeInclusive<f64> = 1.0..=1.5;
    /// The spread of `used_memory`, as a share of its mean, that a slope can be seen in.
    const LEAST_SPREAD: f64 = 0.05;

    /// The line through pairs of `used_memory` and `used_memory_rss`; `None` without any. Where
    /// `used_memory` was always about the same the slope is 1: what a server takes beside is much
    /// the same at any size.
    pub fn fit(seen: &[(f64, f64)]) -> Option<Self> {
        let count = seen.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| seen.iter().map(of).sum::<f64>() / count;
        let (used, resident) = (mean(|pair| pair.0), mean(|pair| pair.1));
        if seen.is_empty() || !used.is_finite() || !resident.is_finite() {
            return None;
        }
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            seen.iter().map(|pair| of(pair.0 - used, pair.1 - resident)).sum::<f64>()
        };
        let square = sum(&|x, _| x * x);
        let is_spread = (square / count).sqrt() > Self::LEAST_SPREAD * used;
        let fitted = if is_spread { sum(&|x, y| x * y) / square } else { 1.0 };
        let slope = fitted.clamp(*Self::SLOPES.start(), *Self::SLOPES.end());
        let sd_bytes = (sum(&|x, y| (y - slope * x).powi(2)) / count).sqrt();
        Some(Self { slope, offset_bytes: resident - slope * used, sd_bytes })
    }

    /// Resident memory at this `used_memory`.
    pub fn at(&self, used_bytes: f64) -> f64 {
        self.slope * used_bytes + self.offset_bytes
    }

    /// Whether a server may use so much.
    ///
    /// # Errors
    /// When twice the standard deviation above the line, with the copies of a snapshot, does not
    /// leave the reserve.
    pub fn check(&self, used_bytes: f64, room: &Room) -> Result<(), NoRoom> {
        let resident = self.at(used_bytes) + 2.0 * self.sd_bytes;
        let needed_bytes = resident * (1.0 + room.fork_share) + room.reserve_bytes;
        let allowed_bytes = room.limit_bytes;
        // What is no number is no room.
        if needed_bytes <= allowed_bytes {
            Ok(())
        } else {
            Err(NoRoom { needed_bytes, allowed_bytes })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn memory(key_bytes: f64) -> Memory {
        let keys = 1000.0;
        Memory { base_bytes: 1e6, data_bytes: keys * key_bytes, keys, expiring_share: 0.0 }
    }

    proptest! {
        #[test]
        fn what_fits_is_used_up(key_bytes in 50.0_f64..5000.0, megabytes in 2.0_f64..500.0) {
            let memory = memory(key_bytes);
            let max = megabytes * 1e6;
            let fitting = memory.fitting_bytes(max, |bytes| bytes / key_bytes);
            let tables = max - memory.base_bytes - fitting;
            let keys = fitting / key_bytes;
            prop_assert!(tables >= keys / MOST_LOAD * BUCKET_BYTES - 1.0);
            prop_assert!(tables <= 2.0 * MOST_LOAD * keys * BUCKET_BYTES + 64.0, "{tables} {keys}");
            let more = memory.fitting_bytes(max * 1.5, |bytes| bytes / key_bytes);
            prop_assert!(more > fitting);
        }
    }

    #[test]
    fn a_table_takes_its_step_when_it_is_full() {
        let memory = memory(100.0);
        let keys = |max: f64| memory.fitting_bytes(max, |bytes| bytes / 100.0) / 100.0;
        let full = 1e6 + 16_384.0 * 108.0;
        assert!((keys(full) - 16_384.0).abs() < 1.0);
        // There is no room for a larger table yet, so chains grow.
        assert!(keys(full + 100_000.0) > 17_000.0);
        let doubled = full + 2.0 * 16_384.0 * 8.0 + 1.0;
        let (before, after) = (keys(doubled - 2.0), keys(doubled));
        assert!((before - after - 16_384.0 * 8.0 / 100.0).abs() < 1.0, "{before} {after}");
    }

    #[test]
    fn where_the_memory_of_a_server_goes() {
        let present = Present {
            keys: 1000.0,
            expiring_keys: 100.0,
            used_bytes: 1_209_216.0,
            startup_bytes: 900_000.0,
            buffer_bytes: 100_000.0,
            ..Present::default()
        };
        let memory = Memory::new(&present).unwrap();
        assert!((memory.key_bytes() - 200.0).abs() < 1e-9, "{memory:?}");
        assert!((memory.used_bytes(1000.0) - present.used_bytes).abs() < 1e-6);
        assert_eq!(Memory::new(&Present { used_bytes: 10.0, ..present }), None);
        let full = |evictions_per_second: f64| {
            let maxmemory_bytes = present.used_bytes + 20_000.0;
            Memory::full(&Present { maxmemory_bytes, evictions_per_second, ..present }).unwrap()
        };
        assert_eq!(full(0.0), memory);
        assert!(
            (full(1.0).keys - 1100.0).abs() < 1e-9 && (full(1.0).key_bytes() - 200.0).abs() < 1e-9
        );
        assert!((full(1.0).with(-9e9).keys - 1.0).abs() < 1e-9);
        assert_eq!(Memory::new(&Present { keys: 0.0, ..present }), None);
        assert_eq!(Memory::new(&Present { keys: f64::NAN, ..present }), None);
    }

    #[test]
    fn resident_memory_is_a_line_and_never_less_than_what_is_used() {
        let seen: Vec<_> =
            (1..10).map(|n| f64::from(n) * 1e7).map(|u| (u, u * 1.1 + 14e6)).collect();
        let line = Resident::fit(&seen).unwrap();
        assert!((line.slope - 1.1).abs() < 1e-9 && (line.offset_bytes - 14e6).abs() < 1.0);
        let still = Resident::fit(&[(64e6, 76e6), (64.1e6, 76e6), (64e6, 78e6)]).unwrap();
        assert!((still.slope - 1.0).abs() < 1e-9);
        assert!((still.at(128e6) - 140.6e6).abs() < 1e6, "{still:?}");
        assert_eq!(Resident::fit(&[]), None);
        assert_eq!(Resident::fit(&[(f64::NAN, 1.0)]), None);
        let shrunk = Resident::fit(&[(64e6, 80e6), (32e6, 80e6)]).unwrap();
        assert!((shrunk.slope - 1.0).abs() < 1e-9, "freed memory is not given back: {shrunk:?}");
    }

    #[test]
    fn growth_beyond_the_limit_is_refused() {
        let line = Resident { slope: 1.0, offset_bytes: 14e6, sd_bytes: 1e6 };
        let room = Room { limit_bytes: 200e6, reserve_bytes: 20e6, fork_share: 0.0 };
        assert_eq!(line.check(164e6, &room), Ok(()));
        assert!(line.check(165e6, &room).unwrap_err().to_string().contains("200000000"));
        assert!(line.check(100e6, &Room { fork_share: 1.0, ..room }).is_err());
        assert!(line.check(1e6, &Room { limit_bytes: f64::NAN, ..room }).is_err());
    }
}
