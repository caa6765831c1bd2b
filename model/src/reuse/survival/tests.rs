//! The properties of the survival estimate.

use proptest::prelude::*;

use super::*;
use crate::mix::next_unit;

const ONE: Worth = Worth { gain: 1.0, doubt: 0.0 };

fn unit() -> impl Strategy<Value = (u64, u64, End, u32)> {
    let end = prop_oneof![Just(End::Event(ONE)), Just(End::Lost), Just(End::Censored)];
    (0_u64..50_000, 0_u64..100_000, end, 0_u32..5000)
        .prop_map(|(entry, length, end, bytes)| (entry, entry + length, end, bytes))
}

fn tail(units: &[(u64, u64, End, u32)]) -> Tail {
    let mut tail = Tail::default();
    for (entry, exit, end, bytes) in units {
        tail.add(*entry, *exit, *end, *bytes);
    }
    tail
}

fn assert_close(a: &[Step], b: &[Step]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        let of = |s: &Step| [s.alive, s.gained, s.waited_ms, s.byte_ms, s.hazard, s.variance];
        for (a, b) in of(a).into_iter().zip(of(b)) {
            assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{a} {b}");
        }
    }
}

proptest! {
    #[test]
    fn shares_lie_between_nothing_and_all(units in prop::collection::vec(unit(), 0..400)) {
        let steps = tail(&units).survival(100.0);
        for step in &steps {
            prop_assert!((0.0..=1.0).contains(&step.alive));
            prop_assert!(step.gained >= 0.0 && step.gained + step.alive <= 1.0 + 1e-9);
            prop_assert!(step.variance.is_finite() && step.byte_ms.is_finite());
        }
        for pair in steps.windows(2) {
            prop_assert!(pair[1].alive <= pair[0].alive && pair[1].gained >= pair[0].gained);
            prop_assert!(pair[1].waited_ms >= pair[0].waited_ms);
        }
    }

    #[test]
    fn the_sum_of_two_samples_is_that_of_their_units(
        units in prop::collection::vec(unit(), 0..200), cut in 0_usize..200,
    ) {
        let (one, other) = units.split_at(cut.min(units.len()));
        let mut sum = tail(one);
        sum.merge(&tail(other));
        assert_close(&sum.survival(100.0), &tail(&units).survival(100.0));
    }

    #[test]
    fn a_watch_in_two_parts_is_one_watch(units in prop::collection::vec(unit(), 0..200)) {
        let halves: Vec<_> = units
            .iter()
            .flat_map(|&(entry, exit, end, bytes)| {
                let middle = u64::midpoint(entry, exit);
                [(entry, middle, End::Censored, bytes), (middle, exit, end, bytes)]
            })
            .collect();
        assert_close(&tail(&halves).survival(100.0), &tail(&units).survival(100.0));
    }
}

/// Events at ages of an exponential law, units lost by another one.
fn drawn(units: usize, event_ms: f64, lost_ms: f64, watch: impl Fn(f64) -> (f64, f64)) -> Tail {
    let mut random = 7;
    let mut tail = Tail::default();
    for _ in 0..units {
        let mut draw = |mean: f64| -mean * (1.0 - next_unit(&mut random)).ln();
        let (event, lost) = (draw(event_ms), draw(lost_ms));
        let (entry, exit) = watch(next_unit(&mut random));
        let end = event.min(lost);
        if end < entry {
            continue;
        }
        let how = if end > exit {
            End::Censored
        } else if event < lost {
            End::Event(ONE)
        } else {
            End::Lost
        };
        tail.add(entry as u64, end.min(exit) as u64, how, 0);
    }
    tail
}

fn at(steps: &[Step], age_ms: f64) -> Step {
    *steps.iter().find(|step| step.age_ms >= age_ms).unwrap()
}

#[test]
fn with_all_units_watched_it_is_the_share_of_events() {
    let tail = drawn(20_000, 3000.0, 1e12, |_| (0.0, 1e9));
    for step in tail.survival(1.0).iter().filter(|step| step.age_ms > 100.0) {
        let exact = 1.0 - (-step.age_ms / 3000.0).exp();
        // A bin is an eighth of its age wide, and hazards are taken as constant in it.
        assert!((step.gained - exact).abs() < 0.012, "{} {exact}", step.gained);
    }
}

#[test]
fn units_that_come_late_and_go_early_change_nothing() {
    let tail =
        drawn(60_000, 3000.0, 1e12, |u| ((5000.0 * u - 1000.0).max(0.0), 1500.0 + 9000.0 * u));
    let steps = tail.survival(1.0);
    for age_ms in [1000.0, 3000.0, 6000.0] {
        let step = at(&steps, age_ms);
        let exact = 1.0 - (-step.age_ms / 3000.0).exp();
        let sd = steps.iter().take_while(|s| s.age_ms <= step.age_ms).map(|s| s.variance);
        let sd = step.alive * sd.sum::<f64>().sqrt();
        assert!((step.gained - exact).abs() < 3.0 * sd + 0.002, "{} {exact} {sd}", step.gained);
    }
}

#[test]
fn what_is_lost_has_no_event_any_more() {
    let tail = drawn(20_000, 3000.0, 1000.0, |_| (0.0, 1e9));
    let last = *tail.survival(1.0).last().unwrap();
    assert!((last.gained - 0.25).abs() < 0.01, "{last:?}");
    assert!((last.waited_ms - 750.0).abs() < 15.0, "{last:?}");
}

#[test]
fn the_variance_is_greenwoods() {
    let units = 2000.0_f64;
    let tail = drawn(units as usize, 3000.0, 1e12, |_| (0.0, 1e9));
    let steps = tail.survival(1.0);
    let step = at(&steps, 3000.0);
    let sum: f64 = steps.iter().take_while(|s| s.age_ms <= step.age_ms).map(|s| s.variance).sum();
    // Without censoring Greenwood's variance of the survival is that of a share.
    let share = step.alive * (1.0 - step.alive) / units;
    assert!((step.alive.powi(2) * sum / share - 1.0).abs() < 0.1, "{sum} {share}");
}

#[test]
fn bytes_are_those_of_units_that_still_wait() {
    let mut tail = Tail::default();
    for i in 0..4000 {
        // Small ones end at 1 s, large ones wait.
        let is_small = i % 2 == 0;
        let (exit_ms, end) =
            if is_small { (1000, End::Event(ONE)) } else { (100_000, End::Censored) };
        tail.add(0, exit_ms, end, if is_small { 100 } else { 900 });
    }
    let steps = tail.survival(1.0);
    let early = at(&steps, 800.0);
    assert!((early.byte_ms / early.waited_ms - 500.0).abs() < 20.0, "{early:?}");
    let (from, to) = (at(&steps, 10_000.0), at(&steps, 50_000.0));
    let mean = (to.byte_ms - from.byte_ms) / (to.waited_ms - from.waited_ms);
    assert!((mean - 900.0).abs() < 10.0, "{mean}");
}

#[test]
fn a_second_miss_counts_twice_and_a_doubted_one_less() {
    let mut tail = Tail::default();
    let ages = (0..100).map(|i| 500 + 40 * i);
    for age_ms in ages.clone() {
        tail.add(0, age_ms, End::Event(Worth { gain: 0.75, doubt: 0.1 }), 0);
        tail.add(0, 5000, End::Censored, 0);
    }
    let last = |tail: &Tail| *tail.survival(1.0).last().unwrap();
    assert!((last(&tail).gained - 0.375).abs() < 0.02, "{:?}", last(&tail));
    assert!((last(&tail).doubt - 0.05).abs() < 0.005);
    ages.for_each(|age_ms| tail.add_gain(age_ms));
    assert!((last(&tail).gained - 0.875).abs() < 0.04, "{:?}", last(&tail));
}

#[test]
fn nothing_is_estimated_where_few_are_watched() {
    assert_eq!(Tail::default().survival(1.0), []);
    let mut tail = Tail::default();
    (0..19).for_each(|_| tail.add(0, 100, End::Event(ONE), 0));
    assert_eq!(tail.survival(1.0), []);
    (0..2).for_each(|_| tail.add(0, 1000, End::Censored, 0));
    let reach = tail.survival(1.0).last().unwrap().age_ms;
    assert!((80.0..=110.0).contains(&reach), "{reach}");
    tail.add(u64::MAX - 1, u64::MAX, End::Lost, u32::MAX);
    assert!(tail.is_sound());
}
