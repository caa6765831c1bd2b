//! Property l: units that a metric hardly measures, beside others of their arm.

use super::world::{Shown, World, start_ms};
use crate::judge::{Arm, Judgement, Margin, Power, Trial, Verdict, Window, judge, power};

const LATENCY: &str = "latency";
const ERRORS: &str = "errors";

/// Two metrics of the same units, `unit-0` and so on, those with the change first; it passes.
fn good(treated: usize, controls: usize) -> Trial {
    let world = World { treated, controls, noise: 0.005, margin: 0.2, ..World::default() };
    let mut trial = world.trial();
    trial.metrics = vec![
        World { shown: Shown::Level, ..world }.metric(LATENCY),
        World { shown: Shown::Ratio, seed: 2, ..world }.metric(ERRORS),
    ];
    trial
}

fn keep(trial: &mut Trial, metric: &str, unit: usize, kept: impl Fn(i64) -> bool) {
    let metric = trial.metrics.iter_mut().find(|of| of.name == metric).unwrap();
    let slot = |window: &Window| (window.start_ms - start_ms(0)) / (start_ms(1) - start_ms(0));
    metric.units[unit].windows.retain(|window| kept(slot(window)));
}

fn never(_: i64) -> bool {
    false
}

/// Of three windows two are missing.
fn rarely(slot: i64) -> bool {
    slot.rem_euclid(3) == 0
}

fn said(trial: &Trial) -> Verdict {
    judge(trial, World::until(90))
}

fn left_out(verdict: &Verdict, metric: &str) -> Vec<(String, Arm)> {
    let effects = verdict.effects.iter().filter(|effect| effect.metric == metric);
    let all = effects.flat_map(|effect| &effect.left_out);
    all.map(|out| (out.unit.clone(), out.arm)).collect()
}

#[test]
fn a_unit_that_one_metric_does_not_measure_is_left_out_of_it_and_named() {
    let mut trial = good(3, 2);
    assert_eq!(said(&trial).result, Judgement::Pass);
    keep(&mut trial, LATENCY, 1, never);
    let verdict = said(&trial);
    assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
    assert_eq!(left_out(&verdict, LATENCY), [("unit-1".to_owned(), Arm::Treated)]);
    assert_eq!(left_out(&verdict, ERRORS), []);
    let words =
        "hardly measured for latency: unit-1 (measured in 0 of 120 windows before the change, left";
    assert!(verdict.reason.contains(words), "{}", verdict.reason);
    let Power { possible, reason, .. } = power(&trial);
    assert!(possible, "{reason}");
}

#[test]
fn so_is_one_of_the_last_wave_with_nobody_left_to_compare_with() {
    let mut trial = good(3, 0);
    keep(&mut trial, LATENCY, 1, never);
    let verdict = said(&trial);
    assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
    assert_eq!(left_out(&verdict, LATENCY), [("unit-1".to_owned(), Arm::Treated)]);
}

#[test]
fn a_control_that_is_not_measured_is_named_too() {
    let mut trial = good(2, 3);
    keep(&mut trial, LATENCY, 3, never);
    let verdict = said(&trial);
    assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
    assert_eq!(left_out(&verdict, LATENCY), [("unit-3".to_owned(), Arm::Control)]);
}

#[test]
fn with_no_control_left_nothing_is_left_out() {
    let mut trial = good(2, 1);
    keep(&mut trial, LATENCY, 0, never);
    assert_eq!(said(&trial).result, Judgement::Pass);
    keep(&mut trial, LATENCY, 2, never);
    let verdict = said(&trial);
    assert_eq!(verdict.result, Judgement::Inconclusive);
    for words in ["no control has 60 windows", "unit-0 has 0 windows before the change, 60 needed"]
    {
        assert!(verdict.reason.contains(words), "{}", verdict.reason);
    }
    assert_eq!(left_out(&verdict, LATENCY), []);
}

#[test]
fn a_metric_that_measures_nobody_with_the_change_does_not_pass_and_says_what_would_help() {
    for controls in [0, 2] {
        let mut trial = good(5, controls);
        (0..5).for_each(|unit| keep(&mut trial, LATENCY, unit, never));
        let verdict = said(&trial);
        assert_eq!(verdict.result, Judgement::Inconclusive);
        assert_eq!(verdict.metric, LATENCY);
        for words in [
            "unit-0 has 0 windows before the change, 60 needed",
            "and 2 more",
            "a wave with one that is measured, or a trial that does not ask for this metric",
        ] {
            assert!(verdict.reason.contains(words), "{}", verdict.reason);
        }
        // A trial that does not ask for it.
        trial.metrics.retain(|metric| metric.name != LATENCY);
        assert_eq!(said(&trial).result, Judgement::Pass);
    }
}

#[test]
fn a_unit_that_no_metric_measures_does_not_pass() {
    let mut trial = good(3, 2);
    keep(&mut trial, LATENCY, 1, never);
    keep(&mut trial, ERRORS, 1, never);
    let verdict = said(&trial);
    assert_eq!(verdict.result, Judgement::Inconclusive, "{}", verdict.reason);
    for words in ["unit-1 has 0 windows", "no other metric measures it well", "a change without it"]
    {
        assert!(verdict.reason.contains(words), "{}", verdict.reason);
    }
    // The other metric must measure it well.
    let mut rare = good(3, 2);
    rare.limits.min_before = 30;
    keep(&mut rare, LATENCY, 1, rarely);
    assert_eq!(said(&rare).result, Judgement::Pass);
    keep(&mut rare, ERRORS, 1, rarely);
    assert_eq!(said(&rare).result, Judgement::Inconclusive);
    let mut alone = good(3, 2);
    keep(&mut alone, LATENCY, 1, never);
    alone.metrics.truncate(1);
    assert_eq!(said(&alone).result, Judgement::Inconclusive);
}

#[test]
fn one_that_was_measured_and_falls_silent_is_not_left_out() {
    for metric in [LATENCY, ERRORS] {
        let mut trial = good(3, 2);
        keep(&mut trial, metric, 1, |slot| slot < 0);
        let verdict = said(&trial);
        assert_eq!(verdict.result, Judgement::Inconclusive, "{}", verdict.reason);
        assert!(verdict.reason.contains("unit-1 misses"), "{}", verdict.reason);
        assert_eq!(left_out(&verdict, metric), []);
    }
    // Left out of one, it is missed in the other.
    let mut trial = good(3, 2);
    keep(&mut trial, LATENCY, 1, never);
    keep(&mut trial, ERRORS, 1, |slot| slot < 0);
    assert_eq!(said(&trial).result, Judgement::Inconclusive);
}

#[test]
fn one_that_was_measured_rarely_and_falls_silent_does_not_pass_either() {
    // In 40 of 120 windows, which is too few for a past, and in 60.
    for every in [3, 2] {
        let seen = |slot: i64| slot.rem_euclid(every) == 0;
        let mut trial = good(3, 2);
        keep(&mut trial, LATENCY, 1, seen);
        let verdict = said(&trial);
        assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
        keep(&mut trial, LATENCY, 1, |slot| slot < 0);
        let verdict = said(&trial);
        assert_eq!(verdict.result, Judgement::Inconclusive, "{}", verdict.reason);
        assert!(
            verdict.reason.contains("unit-1 has fallen silent: measured in"),
            "{}",
            verdict.reason
        );
    }
    // Of five windows in an hour and a half nothing follows.
    let mut trial = good(3, 2);
    keep(&mut trial, LATENCY, 1, |slot| slot < 0 && slot.rem_euclid(24) == 0);
    assert_eq!(judge(&trial, World::until(12)).result, Judgement::Pass);
}

#[test]
fn one_that_is_measured_rarely_counts_where_it_is() {
    let mut trial = good(2, 2);
    trial.limits.min_before = 30;
    keep(&mut trial, LATENCY, 1, rarely);
    let verdict = said(&trial);
    assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
    assert_eq!(left_out(&verdict, LATENCY), [("unit-1".to_owned(), Arm::Treated)]);
    assert!(verdict.reason.contains("counted where it is measured"), "{}", verdict.reason);
    // Its harm is seen, though the others have none.
    let unit = &mut trial.metrics[0].units[1];
    for window in unit.windows.iter_mut().filter(|window| window.start_ms >= start_ms(0)) {
        let crate::judge::Value::Level { mean, count } = &mut window.value else { panic!() };
        (*mean, *count) = (*mean * 10.0, 1_000);
    }
    trial.metrics[0].margin = Margin::Relative(0.1);
    assert_ne!(said(&trial).result, Judgement::Pass);
}

#[test]
fn many_that_are_measured_rarely_do_not_keep_the_others_from_being_seen() {
    for (from, to) in [(1, 8), (9, 16)] {
        let mut trial = good(8, 8);
        trial.limits.min_before = 16;
        (from..to).for_each(|unit| keep(&mut trial, LATENCY, unit, |slot| slot.rem_euclid(6) == 0));
        let verdict = said(&trial);
        assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
        assert_eq!(left_out(&verdict, LATENCY).len(), 7);
        assert!(verdict.reason.contains("and 4 more"), "{}", verdict.reason);
    }
}

#[test]
fn the_only_unit_with_the_change_is_missed_when_it_is_measured_rarely() {
    let mut trial = good(1, 2);
    trial.limits.min_before = 30;
    keep(&mut trial, LATENCY, 0, rarely);
    let verdict = said(&trial);
    assert_eq!(verdict.result, Judgement::Inconclusive, "{}", verdict.reason);
    assert!(verdict.reason.contains("before the change"), "{}", verdict.reason);
}

#[test]
fn harm_to_the_others_is_seen_though_one_is_left_out() {
    let mut trial = good(3, 2);
    keep(&mut trial, LATENCY, 1, never);
    let all = trial.metrics[0].units.iter_mut().filter(|unit| unit.arm == Arm::Treated);
    for window in all.flat_map(|unit| &mut unit.windows).filter(|w| w.start_ms >= start_ms(0)) {
        let crate::judge::Value::Level { mean, .. } = &mut window.value else { panic!() };
        *mean *= 1.5;
    }
    assert_eq!(said(&trial).result, Judgement::Harm);
}
