//! Promises and holds.

use super::random::{Random, autoregressive};
use super::world::{CHANGED_AT_MS, WIDTH_MS, World, start_ms};
use crate::judge::{
    Arm, Expected, Filled, Hold, Judgement, Limits, Margin, Metric, Promise, Role, Trial, Unit,
    Value, Window, Worse, judge,
};

const BEFORE: i64 = 120;
const AFTER: i64 = 90;

/// A miss ratio of 0.16 that is to become 0.09 while the cache fills.
fn promised(slot: i64) -> f64 {
    0.16 - 0.07 * (1.0 - (-(slot as f64 + 0.5) / 8.0).exp())
}

fn trial(course: impl Fn(i64) -> f64, expected: Expected) -> Trial {
    let noise = autoregressive(&mut Random::new(5), (BEFORE + AFTER) as usize, 0.5);
    let windows = (-BEFORE..AFTER).zip(noise).map(|(slot, noise)| {
        let level = if slot < 0 { 0.16 } else { course(slot) } + 0.002 * noise;
        let requests = 100_000 + slot.unsigned_abs() % 5;
        let value = Value::Ratio { requests, hits: (level * requests as f64) as u64 };
        Window { start_ms: start_ms(slot), width_ms: WIDTH_MS, value }
    });
    let unit = Unit {
        name: "cache".into(),
        arm: Arm::Treated,
        windows: windows.collect(),
        counterfactual: Vec::new(),
        expected,
    };
    Trial {
        changed_at_ms: CHANGED_AT_MS,
        window_ms: WIDTH_MS,
        hold: None,
        limits: Limits { max_windows: AFTER as u32, ..Limits::default() },
        metrics: vec![Metric {
            name: "miss_ratio".into(),
            role: Role::Target,
            worse: Worse::Higher,
            margin: Margin::Absolute(0.01),
            spread: None,
            units: vec![unit],
        }],
    }
}

/// Promised 0.07, and filled after so many windows.
fn grown(course: impl Fn(i64) -> f64, standard_error: f64, fills: i64) -> Trial {
    let filled = (0..AFTER).map(|slot| Filled {
        start_ms: start_ms(slot),
        share: (slot as f64 / fills as f64).min(1.0),
    });
    let promise = Promise { gain: 0.07, standard_error, filled: filled.collect() };
    trial(course, Expected::Gain(promise))
}

fn until(windows: u32) -> i64 {
    World::until(windows as usize)
}

#[test]
fn a_growing_cache_that_keeps_its_promise_passes() {
    let verdict = judge(&grown(promised, 0.001, 30), until(12));
    assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
}

#[test]
fn one_that_gains_nothing_has_broken_its_promise_once_it_is_filled_and_not_before() {
    let trial = grown(|_| 0.16, 0.001, 30);
    for windows in 0..37 {
        let early = judge(&trial, until(windows));
        assert_eq!(early.result, Judgement::Inconclusive, "{windows}: {}", early.reason);
    }
    let verdict = judge(&trial, until(49));
    assert_eq!(verdict.result, Judgement::Harm, "{}", verdict.reason);
    let words = "miss_ratio does not keep what was promised: the new room is filled, and 0.06";
    assert!(verdict.reason.starts_with(words), "{}", verdict.reason);
    assert!(verdict.reason.contains("promised 0.0"), "{}", verdict.reason);
}

#[test]
fn one_that_never_fills_is_not_held_to_its_promise() {
    let verdict = judge(&grown(|_| 0.16, 0.001, 200), until(90));
    assert_eq!(verdict.result, Judgement::Inconclusive, "{}", verdict.reason);
}

#[test]
fn a_gain_that_is_too_small_by_far_does_not_pass_while_it_fills() {
    let little = |slot: i64| 0.16 - 0.03 * (0.16 - promised(slot));
    let mut trial = grown(little, 0.001, 100);
    let verdict = judge(&trial, until(90));
    assert_eq!(verdict.result, Judgement::Inconclusive, "{}", verdict.reason);
    assert!(verdict.reason.contains("it is not filled yet"), "{}", verdict.reason);
    trial.metrics[0].units[0].expected = Expected::AsBefore;
    assert_eq!(judge(&trial, until(90)).result, Judgement::Pass);
}

#[test]
fn harm_is_harm_though_a_gain_was_promised() {
    let verdict = judge(&grown(|_| 0.2, 0.001, 200), until(12));
    assert_eq!(verdict.result, Judgement::Harm, "{}", verdict.reason);
    assert!(!verdict.reason.contains("promised"), "{}", verdict.reason);
}

#[test]
fn a_promise_that_is_not_sure_of_itself_is_not_held_against_the_cache() {
    let verdict = judge(&grown(|_| 0.16, 0.05, 30), until(90));
    assert_eq!(verdict.result, Judgement::Inconclusive, "{}", verdict.reason);
}

#[test]
fn a_source_that_is_stuck_breaks_no_promise() {
    let mut trial = grown(|_| 0.16, 0.001, 30);
    let windows = &mut trial.metrics[0].units[0].windows;
    let last = windows.iter().find(|w| w.start_ms == start_ms(0)).unwrap().value.clone();
    for window in windows.iter_mut().filter(|w| w.start_ms >= start_ms(0)) {
        window.value = last.clone();
    }
    assert_eq!(judge(&trial, until(90)).result, Judgement::Inconclusive);
}

#[test]
fn what_is_no_gain_cannot_be_promised() {
    for gain in [0.0, -0.1, f64::NAN] {
        let promise = Promise { gain, standard_error: 0.001, filled: Vec::new() };
        let verdict = judge(&trial(promised, Expected::Gain(promise)), until(90));
        assert!(verdict.reason.contains("promised gain"), "{}", verdict.reason);
    }
}

#[test]
fn a_dip_within_the_hold_is_forgiven_and_one_beyond_the_wide_margin_is_not() {
    let dip = |depth: f64| move |slot: i64| if slot < 24 { 0.16 + depth } else { 0.14 };
    let mut trial = trial(dip(0.03), Expected::AsBefore);
    assert_eq!(judge(&trial, until(90)).result, Judgement::Harm);
    trial.hold = Some(Hold { windows: 30, widen: 5.0 });
    trial.limits.max_windows = 60;
    let during = judge(&trial, until(28));
    assert_eq!(during.result, Judgement::Inconclusive);
    assert!(during.reason.contains("while it warms up"), "{}", during.reason);
    let before = judge(&trial, until(5));
    assert!(before.reason.ends_with("12 windows of 10 s and 30 to warm up"), "{}", before.reason);
    assert_eq!(judge(&trial, until(90)).result, Judgement::Pass);
    let mut deep = self::trial(dip(0.2), Expected::AsBefore);
    deep.hold = trial.hold;
    let verdict = judge(&deep, until(12));
    assert_eq!(verdict.result, Judgement::Harm);
    assert!(verdict.reason.contains("even while it warms up"), "{}", verdict.reason);
    // What the hold forgave must not stay.
    let mut lasting = self::trial(|_| 0.19, Expected::AsBefore);
    lasting.hold = trial.hold;
    assert_eq!(judge(&lasting, until(90)).result, Judgement::Harm);
}
