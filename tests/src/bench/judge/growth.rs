//! A single cache that is made larger, or switched to another eviction policy, as measured on a real
//! Redis: 5 s windows, the miss ratio falling from 0.163 while it fills.

use flyball_model::judge::{
    Arm, Expected, Hold, Limits, Margin, Metric, Predicted, Role, Trial, Unit, Value, Window, Worse,
};

use super::noise::{Random, Shape};

/// Windows before and after.
pub(super) const BEFORE: usize = 180;
pub(super) const AFTER: usize = 120;
const WIDTH_MS: u32 = 5_000;
const CHANGED_AT_MS: i64 = 1_700_000_000_000;
const REQUESTS: u64 = 200_000;
const MISSES: f64 = 0.163;

/// What happens after the change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Course {
    /// Misses fall as promised.
    Kept,
    /// They fall by four fifths of what was promised.
    Nearly,
    /// They fall by half of it.
    Half,
    /// The additional memory changes nothing.
    Nothing,
    /// A dip of 3 points that heals in two minutes, then a gain of 1.8 points.
    Dip,
    /// The dip, and no gain but a lasting loss of 2 points.
    Loss,
}

/// The promise: what the misses fall to, share of the way after so many windows.
fn promised(windows: usize) -> f64 {
    MISSES - 0.076 * (1.0 - (-(windows as f64 + 0.5) / 8.0).exp())
}

/// A growing cache, held to its trajectory. Until when it was measured comes with it.
pub(super) fn growth(course: Course, seed: u64) -> (Trial, i64) {
    let off = Random::new(seed ^ 0x5eed).normal() * 0.001;
    let share = match course {
        Course::Kept => 1.0,
        Course::Nearly => 0.8,
        Course::Half => 0.5,
        _ => 0.0,
    };
    let misses = |t: usize| MISSES - share * (MISSES - promised(t));
    let trajectory = (0..AFTER).map(|t| Predicted {
        start_ms: start_ms(BEFORE + t),
        value: 1.0 - promised(t) + off,
        standard_error: 0.001,
    });
    trial(seed, misses, Expected::Trajectory(trajectory.collect()), None)
}

/// A cache whose eviction policy is changed, with or without a hold of two minutes and a half.
pub(super) fn switch(course: Course, hold: bool, seed: u64) -> (Trial, i64) {
    let misses = |t: usize| {
        let dip = 0.03 * (1.0 - t as f64 / 24.0).max(0.0);
        match course {
            Course::Dip if t >= 24 => MISSES - 0.018,
            Course::Loss => MISSES + dip.max(0.02),
            _ => MISSES + dip,
        }
    };
    let hold = hold.then_some(Hold { windows: 30, widen: 5.0 });
    trial(seed, misses, Expected::AsBefore, hold)
}

fn trial(
    seed: u64,
    misses: impl Fn(usize) -> f64,
    expected: Expected,
    hold: Option<Hold>,
) -> (Trial, i64) {
    let mut random = Random::new(seed);
    let noise = Shape::Autoregressive(0.6).series(&mut random, BEFORE + AFTER);
    let windows = noise.iter().enumerate().map(|(t, x)| {
        let level = if t < BEFORE { MISSES } else { misses(t - BEFORE) };
        let share = 1.0 - level - 0.002 * x;
        let hits = (share * REQUESTS as f64) as u64;
        let value = Value::Ratio { requests: REQUESTS + t as u64 % 7, hits };
        Window { start_ms: start_ms(t), width_ms: WIDTH_MS, value }
    });
    let unit = Unit {
        name: "cache".into(),
        arm: Arm::Treated,
        windows: windows.collect(),
        counterfactual: Vec::new(),
        expected,
    };
    let metric = Metric {
        name: "hit_ratio".into(),
        role: Role::Target,
        worse: Worse::Lower,
        margin: Margin::Absolute(0.01),
        spread: None,
        units: vec![unit],
    };
    let held = hold.map_or(0, |hold| hold.windows);
    let limits = Limits { max_windows: AFTER as u32 - held, ..Limits::default() };
    let metrics = vec![metric];
    let trial = Trial { changed_at_ms: CHANGED_AT_MS, window_ms: WIDTH_MS, hold, limits, metrics };
    (trial, start_ms(BEFORE + AFTER + 1))
}

fn start_ms(window: usize) -> i64 {
    CHANGED_AT_MS + (window as i64 - BEFORE as i64) * i64::from(WIDTH_MS)
}
