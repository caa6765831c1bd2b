//! Properties (a) to (e) of limits.

use proptest::prelude::*;

use super::*;

fn flows(under_way: &[f64]) -> Vec<Flow> {
    let flow = |(at, under_way): (usize, &f64)| Flow {
        balancer: format!("lb{at}"),
        under_way: *under_way,
    };
    under_way.iter().enumerate().map(flow).collect()
}

fn parts(limit: &Limit) -> Vec<u32> {
    limit.parts.iter().map(|(_, part)| *part).collect()
}

#[test]
fn a_limit_is_little_s_law_with_room() {
    let settings = Settings::default();
    // 100/s of 0.16 s are 16: 20.8 + 4.
    assert_eq!(limit(&settings, 100.0, 160.0), Some(25));
    assert_eq!(limit(&settings, 1.0, 1.0), Some(8));
    assert_eq!(limit(&settings, 1e9, 1e9), Some(10_000));
    for (rate, base) in [(0.0, 10.0), (10.0, 0.0), (f64::NAN, 1.0), (1.0, f64::NAN), (-1.0, -1.0)] {
        assert_eq!(limit(&settings, rate, base), None);
    }
}

#[test]
fn a_split_is_in_proportion_with_two_for_each() {
    let settings = Settings::default();
    assert_eq!(parts(&split(&settings, 20, &flows(&[3.0, 1.0]))), [15, 5]);
    assert_eq!(parts(&split(&settings, 10, &flows(&[50.0, 0.0, 0.0]))), [6, 2, 2]);
    assert_eq!(parts(&split(&settings, 9, &flows(&[0.0, 0.0]))), [5, 4]);
    let tight = split(&settings, 10, &flows(&[1.0; 8]));
    assert!(tight.exceeds);
    assert_eq!(parts(&tight), [2; 8]);
    assert_eq!(split(&settings, 10, &[]).parts, []);
}

#[test]
fn what_is_under_way_has_a_quarter_of_room_above_it() {
    for (under_way, least) in [(0.0, 0), (4.0, 5), (1.6, 2), (1.7, 3), (f64::NAN, 0), (-3.0, 0)] {
        assert_eq!(least_above(under_way), least, "{under_way}");
    }
}

/// Chance that a Poisson number of this mean is above a limit.
fn above(mean: f64, limit: u32) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for k in 1..=limit {
        term *= mean / f64::from(k);
        sum += term;
    }
    1.0 - sum
}

#[test]
fn by_chance_hardly_a_request_fails_for_the_limit_of_a_cluster() {
    let settings = Settings::default();
    assert_eq!(cluster(&settings, 16.0, 0), Some(44), "32 and 12");
    assert_eq!(cluster(&settings, 0.1, 0), Some(8));
    assert_eq!(cluster(&settings, 0.1, 40), Some(40), "no less than its parts");
    for base in (1..6_000).map(|step| f64::from(step) / 10.0) {
        let limit = cluster(&settings, base, 0).unwrap();
        assert!(above(base, limit) < 2e-4, "{base}: {limit}");
        assert!(f64::from(limit) >= 1.3 * 1.5 * base, "{base}: {limit}");
    }
    // What waits needs less room than what fails.
    let waits = |rate: f64| limit(&settings, rate, 100.0).unwrap();
    assert!((1..1_000).all(|rate| {
        let base = f64::from(rate) / 10.0;
        cluster(&settings, base, 0).unwrap() >= waits(f64::from(rate))
    }));
    for base in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(cluster(&settings, base, 9), None);
    }
}

proptest! {
    #[test]
    fn the_least_of_steps_lead_down_to_nothing(from in 1_u64..2_000_000) {
        let mut now = from;
        for _ in 0..40 {
            let next = least_step(now);
            prop_assert!(next < now && (next * 2 >= now || next + 1 == now), "{now} to {next}");
            now = next;
            if now == 0 {
                return Ok(());
            }
        }
        prop_assert!(false, "{from} ends at {now}");
    }

    #[test]
    fn nothing_is_lost_and_nobody_starves(
        total in 0..5_000_u32,
        under_way in prop::collection::vec(prop_oneof![8 => 0.0..100.0_f64, 1 => Just(f64::NAN), 1 => Just(f64::MAX)], 1..70),
    ) {
        let settings = Settings::default();
        let split = split(&settings, total, &flows(&under_way));
        let parts = parts(&split);
        let least = 2 * under_way.len() as u32;
        prop_assert_eq!(parts.iter().sum::<u32>(), total.max(least));
        prop_assert_eq!(split.exceeds, total < least);
        prop_assert!(parts.iter().all(|part| *part >= 2));
        for (a, x) in parts.iter().zip(&under_way) {
            for (b, y) in parts.iter().zip(&under_way) {
                let sound = |x: f64| if x.is_nan() { 0.0 } else { x.min(1e12) };
                let (x, y) = (sound(*x), sound(*y));
                prop_assert!(x <= y || a >= b, "{parts:?} {under_way:?}");
            }
        }
    }

    #[test]
    fn any_input_gives_a_limit_within_bounds(rate in any::<f64>(), base in any::<f64>()) {
        if let Some(limit) = limit(&Settings::default(), rate, base) {
            prop_assert!((8..=10_000).contains(&limit));
        }
    }
}
