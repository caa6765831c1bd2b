//! Trajectories and holds.

use super::random::{Random, autoregressive};
use super::world::{CHANGED_AT_MS, WIDTH_MS, World, start_ms};
use crate::judge::{
    Arm, Expected, Hold, Judgement, Limits, Margin, Metric, Predicted, Role, Trial, Unit, Value,
    Window, Worse, judge,
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

fn held_to(course: impl Fn(i64) -> f64, standard_error: f64) -> Trial {
    let value =
        |slot| Predicted { start_ms: start_ms(slot), value: promised(slot), standard_error };
    trial(course, Expected::Trajectory((0..AFTER).map(value).collect()))
}

fn until(windows: u32) -> i64 {
    World::until(windows as usize)
}

#[test]
fn a_growing_cache_that_keeps_its_promise_passes_once_it_is_due() {
    let trial = held_to(promised, 0.001);
    let early = judge(&trial, until(12));
    assert_eq!(early.result, Judgement::Inconclusive);
    assert!(
        early.reason.contains("0.0166 of what was promised is still to come"),
        "{}",
        early.reason
    );
    let verdict = judge(&trial, until(28));
    assert_eq!(verdict.result, Judgement::Pass, "{}", verdict.reason);
    assert!(verdict.reason.contains("promised 0.1"), "{}", verdict.reason);
}

#[test]
fn one_that_changes_nothing_is_found_at_the_first_look() {
    let verdict = judge(&held_to(|_| 0.16, 0.001), until(12));
    assert_eq!(verdict.result, Judgement::Harm, "{}", verdict.reason);
    let half = judge(&held_to(|slot| f64::midpoint(0.16, promised(slot)), 0.001), until(90));
    assert_eq!(half.result, Judgement::Harm);
}

#[test]
fn a_promise_that_is_not_sure_of_itself_is_not_held_against_the_cache() {
    let verdict = judge(&held_to(|slot| f64::midpoint(0.16, promised(slot)), 0.02), until(90));
    assert_eq!(verdict.result, Judgement::Inconclusive);
}

#[test]
fn a_kept_promise_of_no_gain_is_no_pass_of_a_target() {
    let flat = |slot| Predicted { start_ms: start_ms(slot), value: 0.16, standard_error: 0.0005 };
    let mut trial = trial(|_| 0.16, Expected::Trajectory((0..AFTER).map(flat).collect()));
    assert_eq!(judge(&trial, until(90)).result, Judgement::Inconclusive);
    trial.metrics[0].role = Role::Guard;
    assert_eq!(judge(&trial, until(90)).result, Judgement::Pass);
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
