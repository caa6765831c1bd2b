//! The curve against servers of other sizes that really run, in process.

use proptest::prelude::*;

use super::super::lab::{Kind, Lab, Seen, Workload, truth, truth_of};
use super::super::{Cause, Drawn, Lifetime, Misses, Sampling, Traffic};
use super::*;
use crate::emulate::{MiniRedis, Policy, Settings};

const SIZE: u64 = 4_000_000;
const KEYS: u32 = 40_000;
const PER_SECOND: f64 = 1600.0;

fn watched(workload: &Workload, policy: Policy, bytes: u64, max_keys: usize) -> Seen {
    let mut lab = Lab::new(workload.clone(), policy, bytes);
    lab.run(90.0, &mut |_: &mut MiniRedis, _| {});
    lab.watch(120.0, 500.0, Sampling { max_keys, max_rate: 1.0 })
}

fn drawn(seen: &Seen) -> Curve {
    let priors = Priors::default();
    curve(&seen.present, &seen.ages, &seen.ghosts, seen.now_ms, &priors).unwrap()
}

fn assert_well_formed(curve: &Curve) {
    for pair in curve.points.windows(2) {
        assert!(pair[0].bytes < pair[1].bytes, "{curve:?}");
        assert!(pair[0].hit_ratio <= pair[1].hit_ratio, "{curve:?}");
        assert!(pair[0].low <= pair[1].low && pair[0].high <= pair[1].high, "{curve:?}");
    }
    for point in &curve.points {
        assert!(0.0 <= point.low && point.low <= point.hit_ratio, "{point:?}");
        assert!(point.hit_ratio <= point.high && point.high <= 1.0, "{point:?}");
    }
}

/// Errors in points of the hit ratio at half and twice the size, and how many intervals miss.
fn errors(kind: Kind, max_keys: usize) -> (Vec<f64>, usize) {
    let size = if kind == Kind::Sized { 4 * SIZE } else { SIZE };
    let workload = Workload::new(kind, KEYS, PER_SECOND, 1);
    let seen = watched(&workload, Policy::AllkeysLru, size, max_keys);
    let curve = drawn(&seen);
    assert_well_formed(&curve);
    assert_eq!((curve.below, curve.above), (Method::IdleAges, Method::GhostTail));
    let Answer::Estimate(present) = curve.at(size) else { panic!("{curve:?}") };
    assert!((present.hit_ratio - seen.present.hit_ratio).abs() < 1e-9, "meets the present");
    let (mut errors, mut outside) = (Vec::new(), 0);
    for ratio in [0.5, 1.5, 2.0] {
        let bytes = (size as f64 * ratio) as u64;
        let other = Workload::new(kind, KEYS, PER_SECOND, 100);
        let truth = truth(other, Policy::AllkeysLru, bytes, 150.0);
        match curve.at(bytes) {
            Answer::Estimate(point) => {
                println!("{kind:?} x{ratio}: {point:?}, is {truth}");
                errors.push(100.0 * (point.hit_ratio - truth).abs());
                outside += usize::from(truth < point.low || truth > point.high);
            }
            Answer::Between(low, high) => {
                println!("{kind:?} x{ratio}: {low} to {high}, is {truth}");
                assert!((low..=high).contains(&truth), "{low} {truth} {high}");
            }
        }
    }
    (errors, outside)
}

#[test]
fn other_sizes_are_met_within_half_a_point_on_average() {
    let (mut all, mut outside) = (Vec::new(), 0);
    for kind in [Kind::Still, Kind::Drifting, Kind::Expiring, Kind::Sized] {
        let (errors, out) = errors(kind, 1 << 16);
        all.extend(errors);
        outside += out;
    }
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let worst = all.iter().copied().fold(0.0, f64::max);
    assert!(mean < 0.5 && worst < 1.5, "{all:?}");
    assert!(outside <= 1, "{all:?}");
}

/// What expires each minute leaves room, in a larger server for most of the minute.
#[test]
fn keys_that_expire_all_at_once_leave_room_in_a_larger_server() {
    let (mut all, mut outside) = (Vec::new(), 0);
    for (seed, size) in [(1, SIZE), (2, SIZE), (3, SIZE * 5 / 4)] {
        let seen = watched(
            &Workload::new(Kind::Together, KEYS, PER_SECOND, seed),
            Policy::AllkeysLru,
            size,
            1 << 16,
        );
        let curve = drawn(&seen);
        assert_well_formed(&curve);
        for ratio in [1.5, 1.75, 2.0] {
            let bytes = (size as f64 * ratio) as u64;
            let other = Workload::new(Kind::Together, KEYS, PER_SECOND, 100 + seed);
            // Whole minutes, so that as many keys expire in them as there do.
            let truth = truth(other, Policy::AllkeysLru, bytes, 240.0);
            match curve.at(bytes) {
                Answer::Estimate(point) => {
                    println!("{seed} x{ratio}: {point:?}, is {truth}");
                    all.push(100.0 * (point.hit_ratio - truth));
                    outside += usize::from(truth < point.low || truth > point.high);
                }
                Answer::Between(low, high) => {
                    println!("{seed} x{ratio}: {low} to {high}, is {truth}");
                    assert!((low..=high).contains(&truth), "{low} {truth} {high}");
                }
            }
        }
    }
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let worst = all.iter().map(|error| error.abs()).fold(0.0, f64::max);
    assert!(mean.abs() < 0.35 && worst < 0.75 && outside == 0, "{all:?}");
}

/// What the old size would hit now, told by a server that has grown, while the rate of requests
/// changes: that changes nothing of the truth, which is the same at any rate.
#[test]
fn twice_or_half_the_requests_change_nothing_of_a_smaller_size() {
    for kind in [Kind::Still, Kind::Drifting] {
        let workload = Workload::new(kind, KEYS, PER_SECOND, 6);
        let before = truth(workload.clone(), Policy::AllkeysLru, SIZE, 150.0);
        let mut off = Vec::new();
        for factor in [0.5, 2.0] {
            let mut lab = Lab::new(workload.clone(), Policy::AllkeysLru, 2 * SIZE);
            lab.run(200.0, &mut |_: &mut MiniRedis, _| {});
            lab.pace(factor * PER_SECOND);
            // Just after it, while keys of both rates are there, and later.
            for wait_s in [0.0, 10.0, 30.0] {
                lab.run(wait_s, &mut |_: &mut MiniRedis, _| {});
                let sampling = Sampling { max_keys: 1 << 12, max_rate: 1.0 };
                let seen = lab.watch(30.0, 1000.0, sampling);
                let Answer::Estimate(now) = drawn(&seen).at(SIZE) else { panic!("in reach") };
                println!("{kind:?} x{factor} after {wait_s}: {now:?}, is {before}");
                assert!(now.low <= before && before <= now.high, "{now:?} {before}");
                off.push(100.0 * (now.hit_ratio - before).abs());
            }
        }
        assert!(off.iter().all(|off| *off < 1.0), "{off:?}");
    }
}

/// A server that looks at few keys loses what the bend of the curve says.
#[test]
fn what_sampling_costs_is_told_by_the_bend_of_the_curve() {
    let workload = Workload::new(Kind::Drifting, KEYS, PER_SECOND, 5);
    let at = |samples: usize, size: f64| {
        let base = 900_000.0;
        let bytes = (base + (SIZE as f64 - base) * size) as u64;
        let settings = Settings { samples, ..Settings::new(Policy::AllkeysLru, bytes) };
        truth_of(workload.clone(), settings, 250.0)
    };
    let (xs, ys): (Vec<f64>, Vec<f64>) = [-0.6, -0.3, 0.0, 0.3, 0.6]
        .map(|x: f64| (x, (1.0 - at(64, x.exp())).ln()))
        .into_iter()
        .unzip();
    let exact = 1.0 - ys[2].exp();
    for samples in [3, 5] {
        let present = Present {
            samples: samples as u32,
            policy: Some(Policy::AllkeysLru),
            ..Present::default()
        };
        let said = present.spread().powi(2) / 2.0 * bend(&xs, &ys, 0.0);
        let lost = exact - at(samples, 1.0);
        println!("{samples} samples: {lost:.4}, said {said:.4}");
        assert!(lost > 0.001 && (lost / said - 1.0).abs() < 0.5, "{samples}: {lost} {said}");
    }
}

#[test]
fn few_sampled_keys_are_enough_for_larger_sizes() {
    let (errors, outside) = errors(Kind::Drifting, 2048);
    assert!(errors.iter().all(|error| *error < 1.5) && outside == 0, "{errors:?}");
}

#[test]
fn outside_of_what_was_seen_there_is_a_bound() {
    let workload = Workload::new(Kind::Still, KEYS, PER_SECOND, 2);
    let seen = watched(&workload, Policy::AllkeysLru, SIZE, 1 << 16);
    let curve = drawn(&seen);
    let Answer::Between(low, high) = curve.at(64 * SIZE) else { panic!("{curve:?}") };
    let truth = truth(workload, Policy::AllkeysLru, 64 * SIZE, 200.0);
    assert!(low < truth && truth < high && low > seen.present.hit_ratio, "{low} {truth} {high}");
    let Answer::Between(low, high) = curve.at(900_000) else { panic!("{curve:?}") };
    assert!(low.abs() < 1e-9 && high < 0.5, "{low} {high}");
    assert!(curve.reach_high_bytes() > 2 * SIZE && curve.reach_low_bytes() < SIZE / 2);
}

#[test]
fn a_server_that_evicts_nothing_gains_nothing() {
    let workload = Workload::new(Kind::Expiring, 2000, PER_SECOND, 2);
    let seen = watched(&workload, Policy::AllkeysLru, SIZE, 1 << 16);
    let curve = drawn(&seen);
    assert_eq!((curve.below, curve.above), (Method::IdleAges, Method::NotFull));
    let Answer::Estimate(twice) = curve.at(2 * SIZE) else { panic!("{curve:?}") };
    assert!((twice.hit_ratio - seen.present.hit_ratio).abs() < 1e-9);
    let misses = Misses::of(&seen.ghosts, &seen.present, seen.now_ms).unwrap();
    assert!(misses.capacity.abs() < 1e-9 && misses.expired > 0.8, "{misses:?}");
}

#[test]
fn other_policies_have_no_ages_and_wider_intervals() {
    let workload = Workload::new(Kind::Still, KEYS, PER_SECOND, 3);
    let [lru, random] = [Policy::AllkeysLru, Policy::AllkeysRandom]
        .map(|policy| drawn(&watched(&workload, policy, SIZE, 1 << 16)));
    assert_eq!((random.below, random.above), (Method::None, Method::GhostTail));
    assert_eq!(random.reach_low_bytes(), SIZE);
    let width = |curve: &Curve| match curve.at(SIZE * 3 / 2) {
        Answer::Estimate(point) => point.high - point.low,
        Answer::Between(..) => panic!("{curve:?}"),
    };
    assert!(width(&random) > 2.0 * width(&lru));
}

#[test]
fn misses_are_told_apart() {
    let workload = Workload::new(Kind::Expiring, KEYS, PER_SECOND, 4);
    let seen = watched(&workload, Policy::AllkeysLru, SIZE, 1 << 16);
    let misses = Misses::of(&seen.ghosts, &seen.present, seen.now_ms).unwrap();
    let sum = misses.capacity + misses.expired + misses.invalidated + misses.cold;
    assert!((sum - 1.0).abs() < 1e-9, "{misses:?}");
    assert!(misses.capacity > 0.2 && misses.expired > 0.04 && misses.cold > 0.2, "{misses:?}");
    let mut ghosts = Ghosts::new(Sampling::default());
    ghosts.open(0);
    assert_eq!(Misses::of(&ghosts, &seen.present, 1000), None);
    for key in 0..100 {
        ghosts.gone(key, Cause::Invalidated, 1000);
    }
    for key in 0..100 {
        ghosts.missed(key, 1500 + 40 * key);
        ghosts.missed(1000 + key, 1500);
    }
    let misses = Misses::of(&ghosts, &seen.present, 6000).unwrap();
    // The last twenty are too few to go on.
    assert!((misses.invalidated - 0.4).abs() < 0.05 && (misses.cold - 0.6).abs() < 0.05);
}

#[test]
fn what_cannot_be_said_is_refused() {
    let (ages, ghosts) = (Ages::default(), Ghosts::new(Sampling::default()));
    let priors = Priors::default();
    let present = Present {
        maxmemory_bytes: 2e6,
        used_bytes: 2e6,
        startup_bytes: 1e6,
        keys: 1000.0,
        hit_ratio: 0.5,
        requests: 1000.0,
        evictions_per_second: 1.0,
        ..Present::default()
    };
    let of = |present: &Present| curve(present, &ages, &ghosts, 0, &priors);
    let only = of(&present).unwrap();
    assert_eq!((only.points.len(), only.below, only.above), (1, Method::None, Method::None));
    assert_eq!(of(&Present { maxmemory_bytes: 0.0, ..present }), Err(Refused::NoLimit));
    assert_eq!(of(&Present { requests: 0.0, ..present }), Err(Refused::NoRequests));
    assert_eq!(of(&Present { hit_ratio: f64::NAN, ..present }), Err(Refused::NoRequests));
    assert_eq!(of(&Present { used_bytes: 0.0, ..present }), Err(Refused::Memory));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_seen_the_curve_rises(
        idle in prop::collection::vec((0_u64..100, 0_u32..9000), 0..1500),
        events in prop::collection::vec((0_u64..200, 0_u8..5, 0_u64..300), 0..1500),
        hit_ratio in 0.0_f64..=1.0, keys in 1.0_f64..1e6, maxmemory in 1e5_f64..1e9,
        evictions in prop_oneof![Just(0.0), 0.1_f64..1000.0],
    ) {
        let (mut ages, mut ghosts) = (Ages::default(), Ghosts::new(Sampling::default()));
        for (idle_s, bytes) in idle {
            ages.observe(Drawn { idle_s, bytes, lifetime: Lifetime::Forever });
        }
        ages.finish_block(Traffic { keys, touches_per_second: 100.0 });
        let mut now_ms = 1000;
        ghosts.open(now_ms);
        for (key, what, wait) in events {
            now_ms += wait;
            match what {
                0 => ghosts.gone(key, Cause::Evicted, now_ms),
                1 => ghosts.gone(key, Cause::Expired, now_ms),
                _ => ghosts.missed(key, now_ms),
            }
        }
        let present = Present {
            maxmemory_bytes: maxmemory,
            used_bytes: maxmemory,
            startup_bytes: 5e4,
            keys,
            hit_ratio,
            requests: 1e5,
            evictions_per_second: evictions,
            policy: Some(Policy::AllkeysLru),
            ..Present::default()
        };
        if let Ok(curve) = curve(&present, &ages, &ghosts, now_ms, &Priors::default()) {
            assert_well_formed(&curve);
            prop_assert!(!curve.points.is_empty());
        }
    }
}
