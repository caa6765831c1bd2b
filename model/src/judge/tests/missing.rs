//! Properties d and f: what is missing, empty, constant, copied or no number.

use proptest::prelude::*;

use super::random::Random;
use super::world::{Shown, World, start_ms};
use crate::judge::{
    Arm, Histogram, Judgement, Margin, Predicted, Trial, Value, Window, history, judge,
};

/// One that passes when nothing is wrong with it.
fn good(shown: Shown) -> World {
    World { shown, noise: 0.005, margin: 0.2, ..World::default() }
}

fn result(trial: &Trial) -> Judgement {
    judge(trial, World::until(90)).result
}

fn each(trial: &mut Trial, arm: Arm, change: impl Fn(&mut Window)) {
    let units = trial.metrics.iter_mut().flat_map(|metric| &mut metric.units);
    for unit in units.filter(|unit| unit.arm == arm) {
        unit.windows.iter_mut().for_each(&change);
    }
}

#[test]
fn what_is_good_passes() {
    for shown in [Shown::Ratio, Shown::Level, Shown::Count, Shown::Latency] {
        assert_eq!(result(&good(shown).trial()), Judgement::Pass, "{shown:?}");
    }
}

#[test]
fn nothing_at_all_is_inconclusive_and_says_why() {
    let mut trial = good(Shown::Level).trial();
    trial.metrics[0].units.iter_mut().for_each(|unit| unit.windows.clear());
    let verdict = judge(&trial, World::until(90));
    assert_eq!(verdict.result, Judgement::Inconclusive);
    assert!(
        verdict.reason.contains("unit-0 has 0 windows before the change"),
        "{}",
        verdict.reason
    );
    assert!(verdict.last);
    trial.metrics[0].units.clear();
    assert!(judge(&trial, World::until(90)).reason.contains("no unit got the change"));
    trial.metrics.clear();
    assert!(judge(&trial, World::until(90)).reason.contains("nothing to compare"));
}

#[test]
fn constant_series_never_pass() {
    for shown in [Shown::Ratio, Shown::Level, Shown::Count] {
        for arm in [Arm::Treated, Arm::Control] {
            let mut trial = good(shown).trial();
            let constant = trial.metrics[0].units[0].windows[0].value.clone();
            each(&mut trial, arm, |window| window.value = constant.clone());
            let verdict = judge(&trial, World::until(90));
            assert_eq!(verdict.result, Judgement::Inconclusive, "{shown:?} {arm:?}");
            assert!(verdict.reason.contains("same number"), "{}", verdict.reason);
        }
    }
}

#[test]
fn a_source_that_gets_stuck_after_the_change_never_passes() {
    let mut trial = good(Shown::Ratio).trial();
    let windows = &mut trial.metrics[0].units[1].windows;
    let last = windows.iter().find(|w| w.start_ms == start_ms(0)).unwrap().value.clone();
    for window in windows.iter_mut().filter(|w| w.start_ms >= start_ms(0)) {
        window.value = last.clone();
    }
    assert_eq!(result(&trial), Judgement::Inconclusive);
}

#[test]
fn a_constant_that_jumps_is_still_harm() {
    let mut trial = good(Shown::Level).trial();
    each(&mut trial, Arm::Control, |w| w.value = Value::Level { mean: 100.0, count: 1 });
    each(&mut trial, Arm::Treated, |w| {
        let mean = if w.start_ms < start_ms(0) { 100.0 } else { 200.0 };
        w.value = Value::Level { mean, count: 1 };
    });
    assert_eq!(result(&trial), Judgement::Harm);
}

#[test]
fn copies_of_the_treated_unit_are_no_controls() {
    let mut trial = World { treated: 1, controls: 1, ..good(Shown::Level) }.trial();
    let units = &mut trial.metrics[0].units;
    units[1].windows = units[0].windows.clone();
    let verdict = judge(&trial, World::until(90));
    assert_eq!(verdict.result, Judgement::Inconclusive);
    assert!(verdict.reason.contains("the same to the last digit"), "{}", verdict.reason);
}

#[test]
fn no_errors_at_all_pass_once_enough_exposure_says_so_and_not_before() {
    let mut trial = World { treated: 1, controls: 1, ..good(Shown::Count) }.trial();
    trial.metrics[0].margin = Margin::Absolute(1e-4);
    let exposed = |trial: &mut Trial, exposure: f64| {
        for arm in [Arm::Treated, Arm::Control] {
            each(trial, arm, |w| w.value = Value::Count { events: 0, exposure });
        }
    };
    exposed(&mut trial, 10_000.0);
    assert_eq!(result(&trial), Judgement::Pass);
    exposed(&mut trial, 100.0);
    assert_eq!(result(&trial), Judgement::Inconclusive);
}

#[test]
fn all_hits_pass_when_requests_differ_and_are_many() {
    let mut trial = World { treated: 1, controls: 1, margin: 0.02, ..good(Shown::Ratio) }.trial();
    let hits = |trial: &mut Trial, many: u64| {
        for arm in [Arm::Treated, Arm::Control] {
            each(trial, arm, |w| {
                let requests = many + (w.start_ms / 10_000) as u64 % 3;
                w.value = Value::Ratio { requests, hits: requests };
            });
        }
    };
    hits(&mut trial, 10_000);
    assert_eq!(result(&trial), Judgement::Pass);
    hits(&mut trial, 1);
    assert_ne!(result(&trial), Judgement::Pass);
}

#[test]
fn a_relative_margin_of_nothing_never_passes() {
    let mut trial = good(Shown::Count).trial();
    for arm in [Arm::Treated, Arm::Control] {
        each(&mut trial, arm, |w| w.value = Value::Count { events: 0, exposure: 1e9 });
    }
    let verdict = judge(&trial, World::until(90));
    assert_eq!(verdict.result, Judgement::Inconclusive);
    assert!(verdict.reason.contains("relative margin"), "{}", verdict.reason);
}

#[test]
fn limits_that_make_no_sense_are_named() {
    let of = |change: &dyn Fn(&mut Trial)| {
        let mut trial = good(Shown::Level).trial();
        change(&mut trial);
        let verdict = judge(&trial, World::until(90));
        assert_eq!(verdict.result, Judgement::Inconclusive);
        assert!(history(&trial, World::until(90)).is_empty());
        verdict.reason
    };
    assert!(of(&|t| t.metrics[0].margin = Margin::Absolute(f64::NAN)).contains("margin"));
    assert!(of(&|t| t.metrics[0].margin = Margin::Relative(-0.1)).contains("margin"));
    assert!(of(&|t| t.metrics[0].spread = Some(1.0)).contains("spread"));
    assert!(of(&|t| t.limits.harm_alpha = 0.0).contains("range"));
    assert!(of(&|t| t.limits.max_missing = f64::NAN).contains("range"));
    assert!(of(&|t| t.window_ms = 0).contains("length"));
    assert!(of(&|t| t.metrics[0].units[1].name = "unit-0".into()).contains("same name"));
    let histogram = Value::Latency(Histogram::new());
    assert!(of(&|t| t.metrics[0].units[0].windows[0].value = histogram.clone()).contains("kinds"));
}

/// What may be wrong with a window.
fn spoil(window: &mut Window, how: u8, twin: &mut Vec<Window>) {
    match how % 6 {
        0 => window.value = Value::Level { mean: f64::NAN, count: 10 },
        1 => window.value = Value::Level { mean: f64::INFINITY, count: 10 },
        2 => window.value = Value::Level { mean: 100.0, count: 0 },
        3 => window.width_ms += 1,
        4 => {
            let value = Value::Level { mean: 1e9, count: 10 };
            twin.push(Window { value, ..window.clone() });
        }
        _ => window.start_ms = i64::MAX,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// (d), (f): spoiled windows are missing ones, and with more than a fifth of them nothing passes.
    #[test]
    fn spoiled_windows_count_as_missing(how: u8, share in 0.0..1.0_f64, seed: u64) {
        let mut spoiled = good(Shown::Level).trial();
        let mut removed = spoiled.clone();
        let mut random = Random::new(seed);
        let mut missing = 0;
        let unit = &mut spoiled.metrics[0].units[0];
        let mut twins = Vec::new();
        for window in &mut unit.windows {
            if window.start_ms >= start_ms(0) && random.unit() < share {
                let start = window.start_ms;
                removed.metrics[0].units[0].windows.retain(|w| w.start_ms != start);
                spoil(window, how, &mut twins);
                missing += 1;
            }
        }
        unit.windows.extend(twins);
        let verdict = judge(&spoiled, World::until(90));
        prop_assert_eq!(&verdict, &judge(&removed, World::until(90)));
        // At the last look at the latest; earlier ones may have had more luck.
        let looks = history(&spoiled, World::until(90));
        let last = looks.last().unwrap();
        if missing > 18 {
            prop_assert!(last.effects.iter().all(|e| e.result != Judgement::Pass));
        }
    }

    /// (d)
    #[test]
    fn too_few_windows_never_pass(windows in 0_usize..12, needed in 12_u32..60, before in 0_usize..60) {
        let mut trial = good(Shown::Level).trial();
        prop_assert_ne!(judge(&trial, World::until(windows)).result, Judgement::Pass);
        trial.limits.min_windows = needed;
        let few = judge(&trial, World::until(needed as usize - 1));
        prop_assert_ne!(few.result, Judgement::Pass);
        let mut short = World { before, ..good(Shown::Level) }.trial();
        prop_assert_ne!(result(&short), Judgement::Pass);
        short.limits.min_before = 0;
        if before < 16 {
            prop_assert_ne!(result(&short), Judgement::Pass);
        }
    }

    /// (f): predictions that are no numbers are none.
    #[test]
    fn predictions_that_are_no_numbers_are_missing(which in 0_u8..3) {
        let mut trial = World { treated: 1, controls: 0, ..good(Shown::Level) }.trial();
        let bad = match which {
            0 => (f64::NAN, 0.1),
            1 => (100.0, f64::NAN),
            _ => (100.0, -1.0),
        };
        let of = |(value, standard_error): (f64, f64)| {
            (0..90).map(|slot| Predicted { start_ms: start_ms(slot), value, standard_error }).collect()
        };
        let none = judge(&trial, World::until(90));
        trial.metrics[0].units[0].counterfactual = of(bad);
        prop_assert_eq!(judge(&trial, World::until(90)), none);
        trial.metrics[0].units[0].counterfactual = of((100.0, 0.1));
        prop_assert_eq!(result(&trial), Judgement::Pass);
    }

    /// (j): predictions of less than four fifths of the windows change nothing.
    #[test]
    fn few_predictions_are_as_good_as_none(seed: u64, effect in prop_oneof![Just(0.0), 0.0..0.2]) {
        let world = World { treated: 1, controls: 0, effect, seed, ..good(Shown::Level) };
        let none = judge(&world.trial(), World::until(90));
        let mut few = world.trial();
        // Of each look's windows less than four fifths, and far from the truth.
        few.metrics[0].units[0].counterfactual = (0..90)
            .filter(|slot| slot % 4 != 0)
            .map(|slot| Predicted { start_ms: start_ms(slot), value: 50.0, standard_error: 0.1 })
            .collect();
        prop_assert_eq!(judge(&few, World::until(90)), none);
    }
}
