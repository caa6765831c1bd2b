//! The properties of ages.

use proptest::prelude::*;

use super::*;
use crate::emulate::Policy;
use crate::mix::next_unit;

const PER_SECOND: f64 = 1000.0;
/// The share of requests that come later than an age is `(1 + age)^-0.4`.
const POWER: f64 = 0.4;
/// Oldest key.
const OLDEST_S: f64 = 60.0;

fn later(age_s: f64) -> f64 {
    (1.0 + age_s).powf(-POWER)
}

/// Keys younger than an age: requests a second times the integral of `later`.
fn keys(age_s: f64) -> f64 {
    PER_SECOND * ((1.0 + age_s).powf(1.0 - POWER) - 1.0) / (1.0 - POWER)
}

fn drawn(ages: &mut Ages, count: usize, seed: u64) {
    let mut random = seed;
    for _ in 0..count {
        let share = next_unit(&mut random) * keys(OLDEST_S);
        let age_s = (share * (1.0 - POWER) / PER_SECOND + 1.0).powf(1.0 / (1.0 - POWER)) - 1.0;
        // Both ends of an age are whole seconds.
        let now_s = 1000.0 + next_unit(&mut random);
        let idle_s = now_s.floor() - (now_s - age_s).floor();
        let lifetime = Lifetime::Forever;
        ages.observe(Drawn { idle_s: idle_s as u64, bytes: 100, lifetime });
    }
}

fn present() -> Present {
    Present {
        hit_ratio: 1.0 - later(OLDEST_S),
        requests: 1e6,
        keys: keys(OLDEST_S),
        evictions_per_second: 100.0,
        policy: Some(Policy::AllkeysLru),
        ..Present::default()
    }
}

fn memory() -> Memory {
    let keys = keys(OLDEST_S);
    Memory { base_bytes: 0.0, data_bytes: keys * 100.0, keys, expiring_share: 0.0 }
}

const fn traffic(keys: f64) -> Traffic {
    Traffic { keys, touches_per_second: PER_SECOND }
}

#[test]
fn a_known_law_is_met_within_the_error_that_is_said() {
    let (mut off, mut all) = (0, 0);
    for seed in 1..7 {
        let mut ages = Ages::default();
        for block in 0..4 {
            drawn(&mut ages, 5000, seed * 100 + block);
            ages.finish_block(traffic(keys(OLDEST_S)));
        }
        for knot in ages.knots(&present(), &memory()).unwrap().iter().skip(1) {
            let age_s =
                (knot.keys * (1.0 - POWER) / PER_SECOND + 1.0).powf(1.0 / (1.0 - POWER)) - 1.0;
            let error = knot.miss_ratio - later(age_s);
            assert!(error.abs() < 0.03, "{knot:?} {}", later(age_s));
            all += 1;
            off += u32::from(error.abs() > 2.0 * knot.sd);
        }
    }
    assert!(off * 5 < all, "{off} of {all} are further off than twice their error");
}

#[test]
fn only_the_young_are_believed_where_keys_are_evicted() {
    let mut ages = Ages::default();
    drawn(&mut ages, 20_000, 3);
    ages.finish_block(traffic(keys(OLDEST_S)));
    let share = |present: &Present| {
        ages.knots(present, &memory()).unwrap().last().unwrap().keys / keys(OLDEST_S)
    };
    assert!((0.5..0.55).contains(&share(&present())));
    assert!(share(&Present { evictions_per_second: 0.0, ..present() }) > 0.9);
}

#[test]
fn blocks_of_different_traffic_are_put_together() {
    let mut ages = Ages::default();
    // Twice the requests and twice the keys: the same ages.
    for (factor, seed) in [(1.0, 1), (2.0, 2), (1.0, 3), (2.0, 4)] {
        drawn(&mut ages, 5000, seed);
        ages.finish_block(Traffic {
            keys: factor * keys(OLDEST_S),
            touches_per_second: factor * PER_SECOND,
        });
    }
    let mut one = Ages::default();
    (1..5).for_each(|seed| drawn(&mut one, 5000, seed));
    one.finish_block(traffic(keys(OLDEST_S)));
    let pair = [&ages, &one].map(|ages| ages.knots(&present(), &memory()).unwrap());
    for (a, b) in pair[0].iter().zip(&pair[1]) {
        assert!((a.miss_ratio - b.miss_ratio).abs() < 1e-9, "{a:?} {b:?}");
    }
}

#[test]
fn what_expires_is_missed_at_every_size_and_half_of_that_comes_later() {
    let mut ages = Ages::default();
    let mut random = 1;
    for _ in 0..10_000 {
        let idle_s = (next_unit(&mut random) * 20.0) as u64;
        let left_ms = (next_unit(&mut random) * 50_000.0) as u64;
        let lifetime = Lifetime::Left(left_ms, Some(50_000));
        ages.observe(Drawn { idle_s, bytes: 0, lifetime });
    }
    // Every second a fiftieth of the keys expires.
    ages.finish_block(Traffic { keys: 10_000.0, touches_per_second: 1000.0 });
    let present = Present { hit_ratio: 0.7, evictions_per_second: 0.0, ..present() };
    let knots = ages.knots(&present, &Memory { keys: 10_000.0, ..memory() }).unwrap();
    let knot = knots.iter().find(|knot| knot.keys > 5000.0).unwrap();
    // At half the keys half of the 0.2 that expire have done so, beside 0.5 that come later.
    assert!((knot.miss_ratio - (0.3 + (0.6 - 0.3) * 0.75)).abs() < 0.04, "{knot:?}");
}

#[test]
fn too_little_says_nothing() {
    let mut ages = Ages::default();
    assert_eq!(ages.knots(&present(), &memory()), None);
    drawn(&mut ages, 400, 1);
    ages.finish_block(traffic(keys(OLDEST_S)));
    assert_eq!(ages.knots(&present(), &memory()), None, "few ages");
    let mut ages = Ages::default();
    for idle_s in 0..2000 {
        ages.observe(Drawn { idle_s: idle_s % 3, bytes: 1, lifetime: Lifetime::Forever });
    }
    ages.finish_block(traffic(1000.0));
    assert_eq!(ages.knots(&present(), &memory()), None, "too young for the clock");
    let before = ages.clone();
    drawn(&mut ages, 10, 1);
    for touches_per_second in [0.0, -1.0, f64::NAN] {
        ages.finish_block(Traffic { keys: 1.0, touches_per_second });
    }
    assert!((ages.observed() - before.observed()).abs() < 1e-9);
}

#[test]
fn after_decoding_it_is_the_same() {
    let mut ages = Ages::default();
    drawn(&mut ages, 2000, 3);
    ages.finish_block(traffic(keys(OLDEST_S)));
    drawn(&mut ages, 10, 3);
    let bytes = ages.encode();
    assert_eq!(Ages::decode(&bytes), Ok(ages));
    assert_eq!(Ages::decode(&bytes[..bytes.len() / 2]), Err(DecodeError::Damaged));
    assert_eq!(Ages::decode(&[9, 0]), Err(DecodeError::Format));
}

proptest! {
    #[test]
    fn knots_rise_in_size_and_fall_in_misses(
        seen in prop::collection::vec((0_u64..200, 0_u32..10_000), 500..2000),
        hit_ratio in 0.0_f64..1.0,
    ) {
        let mut ages = Ages::default();
        for (idle_s, bytes) in &seen {
            let lifetime = Lifetime::Forever;
            ages.observe(Drawn { idle_s: *idle_s, bytes: *bytes, lifetime });
        }
        ages.finish_block(traffic(keys(OLDEST_S)));
        let present = Present { hit_ratio, ..present() };
        let knots = ages.knots(&present, &memory()).unwrap_or_default();
        for pair in knots.windows(2) {
            prop_assert!(pair[0].keys < pair[1].keys && pair[0].data_bytes <= pair[1].data_bytes);
            prop_assert!(pair[0].miss_ratio >= pair[1].miss_ratio - 1e-9);
            prop_assert!(pair[1].miss_ratio >= 1.0 - hit_ratio - 1e-9);
        }
    }
}

#[test]
fn the_age_of_a_share_of_the_keys() {
    let mut ages = Ages::default();
    assert_eq!(ages.age_of_share(0.5), None);
    for idle_s in 0..10 {
        ages.observe(Drawn { idle_s, bytes: 1, lifetime: Lifetime::Forever });
    }
    assert_eq!(ages.age_of_share(0.5), Some(5.0));
    assert_eq!(ages.age_of_share(1.0), Some(10.0));
    assert_eq!(ages.age_of_share(2.0), None);
}
