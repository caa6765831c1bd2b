//! Properties (a) to (c) of limits.

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

proptest! {
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
