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

/// What was seen of `used_memory` and `used_memory_rss` together: sums that tell the line through them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// Pairs.
    pub count: u64,
    /// Mean of `used_memory`, bytes.
    pub used_mean: f64,
    /// Mean of `used_memory_rss`, bytes.
    pub resident_mean: f64,
    /// Variance of `used_memory`, over all pairs.
    pub used_variance: f64,
    /// Variance of `used_memory_rss`.
    pub resident_variance: f64,
    /// Covariance of both.
    pub covariance: f64,
}

/// Resident memory by `used_memory`: a line, `bytes = slope * used + offset`.
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
    /// Share of the process that is copied while a snapshot of it is written, where that happens.
    pub fork_share: f64,
}

impl Resident {
    /// The slope where none was seen: the allocator's, measured 1.06, and some more.
    pub const ASSUMED_SLOPE: f64 = 1.15;
    /// Least and greatest slope that are believed: below 1 memory would come from nowhere.
    const SLOPES: std::ops::RangeInclusive<f64> = 1.0..=1.5;
    /// The spread of `used_memory`, as a share of its mean, that a slope can be seen in.
    const LEAST_SPREAD: f64 = 0.05;
    /// Pairs that a line needs.
    const LEAST_COUNT: u64 = 60;

    /// The line with the least squares; `None` of too little: few pairs, or a `used_memory` that was
    /// always about the same. Where memory that was freed is still resident the slope is 1.
    pub fn fit(seen: &Moments) -> Option<Self> {
        let Moments { count, used_mean, resident_mean, used_variance, covariance, .. } = *seen;
        // What is no number is not spread.
        let is_spread = used_variance.sqrt() > Self::LEAST_SPREAD * used_mean;
        if count < Self::LEAST_COUNT || !is_spread {
            return None;
        }
        let slope = (covariance / used_variance).clamp(*Self::SLOPES.start(), *Self::SLOPES.end());
        let off = seen.resident_variance + slope * (slope * used_variance - 2.0 * covariance);
        let offset_bytes = resident_mean - slope * used_mean;
        let line = Self { slope, offset_bytes, sd_bytes: off.max(0.0).sqrt() };
        (slope.is_finite() && offset_bytes.is_finite() && off.is_finite()).then_some(line)
    }

    /// A line with the assumed slope through what is measured now.
    pub fn assumed(used_bytes: f64, resident_bytes: f64) -> Self {
        let slope = Self::ASSUMED_SLOPE;
        Self { slope, offset_bytes: resident_bytes - slope * used_bytes, sd_bytes: 0.0 }
    }

    /// The same line, raised where more is measured now than it says. Where less is, some of the
    /// process may be swapped out.
    #[must_use]
    pub fn raised(self, used_bytes: f64, resident_bytes: f64) -> Self {
        let more = (resident_bytes - self.at(used_bytes)).max(0.0);
        Self { offset_bytes: self.offset_bytes + more, ..self }
    }

    /// Resident memory at this `used_memory`.
    pub fn at(&self, used_bytes: f64) -> f64 {
        self.slope * used_bytes + self.offset_bytes
    }

    /// Resident memory that is reckoned with at this `used_memory`: twice the standard deviation above
    /// the line.
    pub fn at_most(&self, used_bytes: f64) -> f64 {
        self.at(used_bytes) + 2.0 * self.sd_bytes
    }

    /// The `used_memory` whose resident memory, with the copies of a snapshot, just leaves the
    /// reserve; negative when nothing does.
    pub fn largest(&self, room: &Room) -> f64 {
        let resident = (room.limit_bytes - room.reserve_bytes) / (1.0 + room.fork_share);
        (resident - 2.0 * self.sd_bytes - self.offset_bytes) / self.slope
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

    fn moments(seen: &[(f64, f64)]) -> Moments {
        let mean =
            |of: &dyn Fn(&(f64, f64)) -> f64| seen.iter().map(of).sum::<f64>() / seen.len() as f64;
        let (used, resident) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
        Moments {
            count: seen.len() as u64,
            used_mean: used,
            resident_mean: resident,
            used_variance: mean(&|pair| (pair.0 - used).powi(2)),
            resident_variance: mean(&|pair| (pair.1 - resident).powi(2)),
            covariance: mean(&|pair| (pair.0 - used) * (pair.1 - resident)),
        }
    }

    /// A server that grew from nothing to this size.
    fn filled(resident: impl Fn(f64) -> f64) -> Moments {
        let used = (1..=100).map(|n| f64::from(n) * 1e7);
        moments(&used.map(|used| (used, resident(used))).collect::<Vec<_>>())
    }

    #[test]
    fn resident_memory_is_a_line() {
        let line = Resident::fit(&filled(|used| 1.1 * used + 14e6)).unwrap();
        assert!((line.slope - 1.1).abs() < 1e-9 && (line.offset_bytes - 14e6).abs() < 10.0);
        assert!(line.sd_bytes < 100.0, "{line:?}");
        let noise = |used: f64| if ((used / 1e7) as u64).is_multiple_of(2) { 5e6 } else { -5e6 };
        let line = Resident::fit(&filled(|used| used + noise(used))).unwrap();
        assert!((line.sd_bytes - 5e6).abs() < 1e4, "{line:?}");
        assert!((line.at_most(1e9) - line.at(1e9) - 2.0 * line.sd_bytes).abs() < 1.0);
        let shrunk = Resident::fit(&filled(|_| 1e9)).unwrap();
        assert!((shrunk.slope - 1.0).abs() < 1e-9, "freed memory is not given back: {shrunk:?}");
        assert!((Resident::fit(&filled(|used| 3.0 * used)).unwrap().slope - 1.5).abs() < 1e-9);
    }

    #[test]
    fn of_too_little_there_is_no_line() {
        let seen = filled(|used| used + 14e6);
        assert!(Resident::fit(&seen).is_some());
        assert_eq!(Resident::fit(&Moments { count: 59, ..seen }), None);
        let still: Vec<_> = (0..100).map(|n| (64e6 + f64::from(n) * 1e3, 76e6)).collect();
        assert_eq!(Resident::fit(&moments(&still)), None, "a full server is always as large");
        assert_eq!(Resident::fit(&Moments::default()), None);
        assert_eq!(Resident::fit(&Moments { used_variance: f64::NAN, ..seen }), None);
        assert_eq!(Resident::fit(&Moments { resident_variance: f64::NAN, ..seen }), None);
        assert_eq!(Resident::fit(&Moments { covariance: f64::NAN, ..seen }), None);
    }

    #[test]
    fn a_line_goes_through_what_is_measured_now_or_above() {
        let line = Resident { slope: 1.1, offset_bytes: 0.0, sd_bytes: 1e6 };
        assert_eq!(line.raised(100e6, 50e6), line, "swapped out");
        let raised = line.raised(100e6, 150e6);
        assert!((raised.at(100e6) - 150e6).abs() < 1.0 && (raised.at(200e6) - 260e6).abs() < 1.0);
        let assumed = Resident::assumed(100e6, 150e6);
        assert!((assumed.at(200e6) - 265e6).abs() < 1.0 && assumed.sd_bytes.abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_largest_just_leaves_the_reserve(
            slope in 1.0..1.5_f64, offset in -1e9..1e9_f64, sd in 0.0..1e9_f64,
            limit in 0.0..1e12_f64, reserve in 0.0..1e11_f64, fork_share in 0.0..1.0_f64,
        ) {
            let line = Resident { slope, offset_bytes: offset, sd_bytes: sd };
            let room = Room { limit_bytes: limit, reserve_bytes: reserve, fork_share };
            let needed = line.at_most(line.largest(&room)) * (1.0 + fork_share) + reserve;
            prop_assert!((needed - limit).abs() < 1.0, "{needed} {limit}");
        }
    }
}
