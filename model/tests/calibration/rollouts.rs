//! Rollouts of a cache's hit ratio: an hour before, an hour after, in windows of 10 s.
//!
//! The miss ratio is 0.2. Noise is a share of it, half of its variance common to all units. Harm is a
//! share of it too, added from the change on. The margin is 2 % of the misses, so 0.004 of the hit ratio.

use flyball_model::judge::{
    Arm, Expected, Judgement, Limits, Look, Margin, Metric, Predicted, Role, Trial, Unit, Value,
    Window, Worse, conclude, history,
};

use super::noise::{Random, Shape};

/// Windows on each side of the change.
pub(crate) const SIDE: usize = 360;
/// What is tolerated, as a share of the misses.
pub(crate) const MARGIN: f64 = 0.02;
const MISSES: f64 = 0.2;
const REQUESTS: u64 = 200_000;
const WIDTH_MS: u32 = 10_000;
const CHANGED_AT_MS: i64 = 1_700_000_000_000;
/// Of the prediction, as a share of the misses.
const PREDICTION_ERROR: f64 = 0.004;

/// What stands for the old setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Design {
    /// Two units changed, two not.
    Controls,
    /// One unit, and a prediction that knows what all units share but for its error.
    Prediction,
    /// One unit and its own past.
    Alone,
}

/// One kind of rollout.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Of the noise.
    pub(crate) shape: Shape,
    /// Deviation of one window, as a share of the misses.
    pub(crate) noise: f64,
    /// What it is compared with.
    pub(crate) design: Design,
    /// Additional misses from the change on, as a share.
    pub(crate) harm: f64,
    /// Recorded hit ratios by unit to take instead of noise.
    pub(crate) recorded: Option<Vec<Vec<f64>>>,
}

/// What many rollouts came to, in shares of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// Rolled back.
    pub(crate) harm: f64,
    /// Promoted, the metric being a guard.
    pub(crate) pass: f64,
    /// Promoted, the metric being a target: a gain is claimed where there is none.
    pub(crate) false_gain: f64,
    /// The intervals of all looks held the truth.
    pub(crate) covered_always: f64,
    /// That of the last look did.
    pub(crate) covered_last: f64,
    /// Median windows to the harm; 0 without any.
    pub(crate) windows_to_harm: u32,
    /// Median windows to the pass of a guard; 0 without any.
    pub(crate) windows_to_pass: u32,
}

impl Setting {
    /// With synthetic noise.
    pub(crate) fn new(shape: Shape, noise: f64, design: Design, harm: f64) -> Self {
        Self { shape, noise, design, harm, recorded: None }
    }

    /// The rollout of a seed, its metric being a target.
    pub(crate) fn trial(&self, seed: u64) -> Trial {
        let mut random = Random::new(seed);
        let units = match &self.recorded {
            Some(recorded) => self.recorded_units(recorded, &mut random),
            None => self.made_up(&mut random),
        };
        Trial {
            changed_at_ms: CHANGED_AT_MS,
            window_ms: WIDTH_MS,
            hold: None,
            limits: Limits::default(),
            metrics: vec![Metric {
                name: "redis.hit_ratio".into(),
                role: Role::Target,
                worse: Worse::Lower,
                margin: Margin::Absolute(MARGIN * MISSES),
                spread: None,
                units,
            }],
        }
    }

    fn arms(&self) -> &'static [Arm] {
        match self.design {
            Design::Controls => &[Arm::Treated, Arm::Treated, Arm::Control, Arm::Control],
            Design::Prediction | Design::Alone => &[Arm::Treated],
        }
    }

    fn made_up(&self, random: &mut Random) -> Vec<Unit> {
        let scale = self.noise * 0.5_f64.sqrt();
        let tide = self.shape.tide(random, 2 * SIDE);
        let common: Vec<f64> = self
            .shape
            .series(random, 2 * SIDE)
            .iter()
            .zip(&tide)
            .map(|(x, tide)| scale * x + tide)
            .collect();
        let off = PREDICTION_ERROR * random.normal();
        let predicted = (SIDE..2 * SIDE).map(|t| Predicted {
            start_ms: start_ms(t),
            value: 1.0 - MISSES * (1.0 + common[t] + off),
            standard_error: MISSES * PREDICTION_ERROR,
        });
        let predicted: Vec<Predicted> = predicted.collect();
        let arms = self.arms().iter().enumerate();
        arms.map(|(i, &arm)| {
            let own = self.shape.series(random, 2 * SIDE);
            let level = 1.0 + 0.05 * i as f64;
            let misses = (0..2 * SIDE).map(|t| MISSES * (level + common[t] + scale * own[t]));
            let mut unit = self.unit(i, arm, &misses.collect::<Vec<_>>(), random);
            if self.design == Design::Prediction {
                unit.counterfactual.clone_from(&predicted);
            }
            unit
        })
        .collect()
    }

    /// A piece of the record from a random place on, round to its beginning.
    fn recorded_units(&self, recorded: &[Vec<f64>], random: &mut Random) -> Vec<Unit> {
        let length = recorded.iter().map(Vec::len).min().unwrap_or(0);
        let first = (random.unit() * recorded.len() as f64) as usize;
        let from = (random.unit() * length as f64) as usize;
        let arms = self.arms().iter().enumerate();
        arms.map(|(i, &arm)| {
            let series = &recorded[(first + i) % recorded.len()];
            let misses = (0..2 * SIDE).map(|t| 1.0 - series[(from + t) % length]);
            self.unit(i, arm, &misses.collect::<Vec<_>>(), random)
        })
        .collect()
    }

    fn unit(&self, index: usize, arm: Arm, misses: &[f64], random: &mut Random) -> Unit {
        let windows = misses.iter().enumerate().map(|(t, misses)| {
            let harm = if arm == Arm::Treated && t >= SIDE { MISSES * self.harm } else { 0.0 };
            let share = (1.0 - misses - harm).clamp(0.001, 0.999);
            let deviation = (share * (1.0 - share) / REQUESTS as f64).sqrt();
            let share = (share + deviation * random.normal()).clamp(0.0, 1.0);
            let hits = (share * REQUESTS as f64).round() as u64;
            Window {
                start_ms: start_ms(t),
                width_ms: WIDTH_MS,
                value: Value::Ratio { requests: REQUESTS + t as u64 % 7, hits },
            }
        });
        Unit {
            name: format!("cache-{index}"),
            arm,
            windows: windows.collect(),
            counterfactual: Vec::new(),
            expected: Expected::AsBefore,
        }
    }
}

fn start_ms(window: usize) -> i64 {
    CHANGED_AT_MS + (window as i64 - SIDE as i64) * i64::from(WIDTH_MS)
}

struct Outcome {
    harm: Option<u32>,
    pass: Option<u32>,
    false_gain: bool,
    covered: Vec<bool>,
}

/// So many rollouts, on as many threads.
pub(crate) fn run(setting: &Setting, runs: u64, threads: u64) -> Summary {
    let outcomes = super::per_seed(runs, threads, &|seed| outcome(setting, seed));
    summarize(&outcomes)
}

fn summarize(outcomes: &[Outcome]) -> Summary {
    let share = |holds: &dyn Fn(&Outcome) -> bool| {
        outcomes.iter().filter(|outcome| holds(outcome)).count() as f64 / outcomes.len() as f64
    };
    let median = |value: &dyn Fn(&Outcome) -> Option<u32>| {
        let mut values: Vec<u32> = outcomes.iter().filter_map(value).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Summary {
        harm: share(&|o| o.harm.is_some()),
        pass: share(&|o| o.pass.is_some()),
        false_gain: share(&|o| o.false_gain),
        covered_always: share(&|o| o.covered.iter().all(|covered| *covered)),
        covered_last: share(&|o| o.covered.last() == Some(&true)),
        windows_to_harm: median(&|o| o.harm),
        windows_to_pass: median(&|o| o.pass),
    }
}

fn outcome(setting: &Setting, seed: u64) -> Outcome {
    let target = setting.trial(seed);
    let until = CHANGED_AT_MS + (SIDE as i64 + 1) * i64::from(WIDTH_MS);
    let looks = history(&target, until);
    let truth = MISSES * setting.harm;
    let covered = |look: &Look| {
        let harm = look.effects.first()?.harm;
        Some((harm.low..=harm.high).contains(&truth))
    };
    let covered = looks.iter().map(|look| covered(look).unwrap_or(false)).collect();
    let mut guard = target.clone();
    guard.metrics[0].role = Role::Guard;
    let as_target = conclude(&target, &looks);
    let as_guard = conclude(&guard, &looks);
    let when = |result| (as_guard.result == result).then_some(as_guard.windows);
    Outcome {
        harm: when(Judgement::Harm),
        pass: when(Judgement::Pass),
        false_gain: as_target.result == Judgement::Pass,
        covered,
    }
}
