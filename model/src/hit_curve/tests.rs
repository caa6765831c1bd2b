//! The properties of the hit ratio curve, against an exact LRU cache.

use proptest::prelude::*;

use super::*;
use crate::mix::next_unit;

/// Long enough that nothing ages.
const FOR_EVER: u64 = u64::MAX / 4;

fn exact() -> HitCurve {
    sampled(1 << 20)
}

fn sampled(max_keys: usize) -> HitCurve {
    HitCurve::new(Sampling { max_keys, max_rate: 1.0, half_life_accesses: FOR_EVER })
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Access(u64, u32),
    Forget(u64),
}

/// An LRU cache as one writes it down: evicts from the old end until the rest fits.
struct Lru {
    capacity: u64,
    /// Oldest first.
    entries: Vec<(u64, u32)>,
}

impl Lru {
    fn take(&mut self, key: u64) -> bool {
        let place = self.entries.iter().position(|(k, _)| *k == key);
        place.map(|i| self.entries.remove(i)).is_some()
    }

    /// Whether it hits.
    fn access(&mut self, key: u64, bytes: u32) -> bool {
        let hit = self.take(key);
        self.entries.push((key, bytes));
        let used = |entries: &[(u64, u32)]| entries.iter().map(|e| u64::from(e.1)).sum::<u64>();
        while used(&self.entries) > self.capacity {
            self.entries.remove(0);
        }
        hit
    }

    /// Share of the accesses that hit in a cache of this size.
    fn hit_ratio(capacity: u64, steps: &[Step]) -> f64 {
        let mut lru = Self { capacity, entries: Vec::new() };
        let (mut hits, mut accesses) = (0, 0);
        for step in steps {
            match *step {
                Step::Access(key, bytes) => {
                    accesses += 1;
                    hits += u32::from(lru.access(key, bytes));
                }
                Step::Forget(key) => {
                    lru.take(key);
                }
            }
        }
        f64::from(hits) / f64::from(accesses)
    }
}

fn play(curve: &mut HitCurve, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Access(key, bytes) => curve.access(key, bytes),
            Step::Forget(key) => curve.forget(key),
        }
    }
}

/// Few keys, so that they come back; sizes from 0 over small to large; a key may change its size.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![0_u32..4, 1_u32..100, 1000_u32..5000];
    let access = (0_u64..40, bytes).prop_map(|(key, bytes)| Step::Access(key, bytes));
    let forget = (0_u64..40).prop_map(Step::Forget);
    prop::collection::vec(prop_oneof![8 => access, 1 => forget], 1..300)
}

fn assert_well_formed(curve: &[Point]) {
    assert!(curve.iter().all(|point| (0.0..=1.0).contains(&point.hit_ratio)), "{curve:?}");
    let rises =
        |pair: &[Point]| pair[0].bytes < pair[1].bytes && pair[0].hit_ratio <= pair[1].hit_ratio;
    assert!(curve.windows(2).all(rises), "{curve:?}");
}

/// A stream of keys whose popularity falls with this exponent; a key's size follows from the key.
struct Zipf {
    cumulated: Vec<f64>,
    seed: u64,
    state: u64,
}

impl Zipf {
    fn new(keys: u32, exponent: f64, seed: u64) -> Self {
        let weight = |rank: u32| f64::from(rank).powf(-exponent);
        let mut sum = 0.0;
        let add = |rank| {
            sum += weight(rank);
            sum
        };
        Self { cumulated: (1..=keys).map(add).collect(), seed, state: seed }
    }
}

impl Iterator for Zipf {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let end = *self.cumulated.last()?;
        let drawn = next_unit(&mut self.state) * end;
        let rank = self.cumulated.partition_point(|sum| *sum <= drawn) as u64;
        let key = mix64(rank + 1_000_000 * self.seed);
        Some((key, 100 + (key % 4000) as u32))
    }
}

proptest! {
    #[test]
    fn with_all_keys_it_is_the_exact_lru(steps in steps()) {
        let mut curve = exact();
        play(&mut curve, &steps);
        assert_well_formed(&curve.curve());
        for point in curve.curve() {
            let hits = Lru::hit_ratio(point.bytes, &steps);
            prop_assert!((point.hit_ratio - hits).abs() < 1e-9, "{point:?}, exactly {hits}");
            let below = Lru::hit_ratio(point.bytes - point.bytes / 16, &steps);
            prop_assert!(below <= hits + 1e-9);
        }
        let most = Lru::hit_ratio(u64::MAX, &steps);
        if !most.is_nan() {
            prop_assert!((curve.hit_ratio_at(u64::MAX) - most).abs() < 1e-9);
        }
    }

    #[test]
    fn whatever_comes_the_curve_is_one_and_the_sample_is_bounded(
        steps in prop::collection::vec((0_u64..500, any::<u32>(), 0_u8..10), 1..2000),
        max_rate in -1.0_f64..2.0,
    ) {
        let sampling = Sampling { max_keys: 16, max_rate, half_life_accesses: 1024 };
        let mut curve = HitCurve::new(sampling);
        for (key, bytes, kind) in steps {
            let before = curve.sampling_rate();
            if kind == 0 { curve.forget(key) } else { curve.access(key, bytes) }
            prop_assert!(curve.sampled_keys() <= 16);
            prop_assert!(curve.sampling_rate() <= before && curve.sampling_rate() > 0.0);
        }
        assert_well_formed(&curve.curve());
        prop_assert!(curve.sampled() <= curve.accesses());
    }
}

#[test]
fn zipf_streams_are_met_with_few_of_the_keys() {
    for (seed, exponent) in [(1, 0.6), (2, 0.8), (3, 0.9), (4, 1.0), (5, 1.2)] {
        let (mut all, mut few) = (exact(), sampled(2048));
        for (key, bytes) in Zipf::new(30_000, exponent, seed).take(200_000) {
            all.access(key, bytes);
            few.access(key, bytes);
        }
        assert!(few.sampling_rate() < 0.17, "{}", few.sampling_rate());
        assert_well_formed(&few.curve());
        let largest = all.working_set_bytes();
        let error_at = |percent: u64| {
            let bytes = largest / 100 * percent;
            (all.hit_ratio_at(bytes) - few.hit_ratio_at(bytes)).abs()
        };
        let mean = (1..=100).map(error_at).sum::<f64>() / 100.0;
        let worst = (1..=100).map(error_at).fold(0.0, f64::max);
        let size = few.working_set_bytes() as f64 / largest as f64;
        println!("exponent {exponent}: mean {mean:.4}, worst {worst:.4}, working set {size:.3}");
        assert!(mean < 0.02, "exponent {exponent}: mean error {mean}");
        assert!(worst < 0.06, "exponent {exponent}: worst error {worst}");
        assert!((size - 1.0).abs() < 0.08, "exponent {exponent}: working set {size}");
    }
}

#[test]
fn first_accesses_miss_at_every_size_and_so_do_forgotten_keys() {
    let mut curve = exact();
    (0..100).for_each(|key| curve.access(key, 10));
    assert_eq!(curve.curve(), []);
    assert!(curve.hit_ratio_at(u64::MAX).abs() < 1e-9);
    curve.forget(7);
    curve.forget(1000);
    curve.access(7, 10);
    assert_eq!(curve.curve(), []);
    curve.access(7, 10);
    assert_eq!(curve.curve(), [Point { bytes: 10, hit_ratio: 1.0 / 102.0 }]);
    assert_eq!((curve.accesses(), curve.sampled(), curve.sampled_keys()), (102, 102, 100));
    assert_eq!(curve.working_set_bytes(), 1000);
}

#[test]
fn nothing_one_key_and_size_zero() {
    let mut curve = HitCurve::new(Sampling::default());
    assert_eq!((curve.curve(), curve.working_set_bytes()), (Vec::new(), 0));
    assert!(curve.hit_ratio_at(1).abs() < 1e-9);
    (0..4).for_each(|_| curve.access(0, 0));
    assert_eq!(curve.curve(), [Point { bytes: 0, hit_ratio: 0.75 }]);
    curve.clear();
    assert_eq!((curve.accesses(), curve.curve()), (0, Vec::new()));
    (0..4).for_each(|_| curve.access(u64::MAX, u32::MAX));
    let point = curve.curve()[0];
    assert_eq!((point.bytes, curve.curve().len()), (u64::from(u32::MAX), 1));
    assert!(curve.hit_ratio_at(point.bytes - 1).abs() < 1e-9);
}

#[test]
fn what_was_evicted_does_not_come_back_when_room_is_made() {
    let steps = [
        Step::Access(1, 60),
        Step::Access(2, 60),
        Step::Access(2, 1),
        Step::Access(1, 60),
        Step::Access(3, 50),
        Step::Forget(3),
        Step::Access(1, 60),
    ];
    let mut curve = exact();
    play(&mut curve, &steps);
    for capacity in [61, 107, 111, 119, 123, 127] {
        let hits = Lru::hit_ratio(capacity, &steps);
        assert!((curve.hit_ratio_at(capacity) - hits).abs() < 1e-9, "{capacity}: {hits}");
    }
}

/// The first 750 keys once had all others above them, which then became small.
#[test]
fn depths_survive_a_rate_that_falls() {
    let (mut all, mut few) = (exact(), sampled(1024));
    for curve in [&mut all, &mut few] {
        (0..1500).for_each(|key| curve.access(key, 1000));
        (750..1500).for_each(|key| curve.access(key, 1));
        (1500..2500).for_each(|key| curve.access(key, 1));
        (0..750).for_each(|key| curve.access(key, 1000));
    }
    assert!(few.sampling_rate() < 0.5, "{}", few.sampling_rate());
    for kilobytes in 7..17 {
        let bytes = kilobytes * 100_000;
        let (exactly, about) = (all.hit_ratio_at(bytes), few.hit_ratio_at(bytes));
        println!("{bytes}: {exactly:.3} {about:.3}");
        assert!((exactly - about).abs() < 0.03, "{bytes}: {about}, exactly {exactly}");
    }
}

#[test]
fn a_stream_that_has_ended_is_no_longer_seen() {
    let half_life_accesses = 2000;
    let sampling = Sampling { half_life_accesses, ..Sampling::default() };
    let mut curve = HitCurve::new(sampling);
    (0..10 * half_life_accesses).for_each(|i| curve.access(i % 1000, 1000));
    assert!(curve.hit_ratio_at(1_048_575) > 0.9 && curve.hit_ratio_at(500_000) < 0.1);
    (0..10 * half_life_accesses).for_each(|i| curve.access(5000 + i % 10, 1000));
    assert!(curve.hit_ratio_at(10_239) > 0.995, "{:?}", curve.curve());
    assert_eq!(curve.working_set_bytes(), 10_000);
    let unseen = curve.sampled_keys();
    let more = u64::from(IDLE_HALF_LIVES) * half_life_accesses;
    (0..more).for_each(|i| curve.access(5000 + i % 10, 1000));
    assert_eq!((unseen, curve.sampled_keys()), (1010, 10), "idle keys leave the sample");
    assert_eq!(curve.curve().len(), 1, "{:?}", curve.curve());
}

#[test]
fn new_keys_for_ever_do_not_lower_the_rate_for_ever() {
    let sampling = Sampling { max_keys: 1024, max_rate: 1.0, half_life_accesses: 4096 };
    let mut curve = HitCurve::new(sampling);
    let keys_at_a_time = 4096.0 * f64::from(IDLE_HALF_LIVES + 1);
    (0..4_000_000).for_each(|key| curve.access(key, 1));
    let rate = curve.sampling_rate();
    assert!(rate > 0.7 * 1024.0 / keys_at_a_time, "{rate}");
    assert!(rate < 1024.0 / keys_at_a_time * 1.1, "{rate}");
    curve.clear();
    assert!((curve.sampling_rate() - 1.0).abs() < 1e-9);
}

#[test]
fn the_sample_does_not_depend_on_which_bits_the_caller_uses() {
    let patterns: [fn(u64) -> u64; 5] =
        [|i| i, |i| i << 44, |i| i * 1024, mix64, |i| mix64(i) & !0xffff | 0x1234];
    for key in patterns {
        let sampling = Sampling { max_rate: 0.05, ..Sampling::default() };
        let mut curve = HitCurve::new(sampling);
        (0..100_000).for_each(|i| curve.access(key(i), 1));
        assert!((4700..5300).contains(&curve.sampled()), "{}", curve.sampled());
    }
}
