//! Rollouts as the driver judges them: an hour before, a minute in which the change goes into force, and
//! up to an hour after, in windows of 10 s, with the driver's own settings.
//!
//! Synthetic caches miss a fifth of their requests. Noise is the deviation of a window as a share of the
//! misses, half of its variance common to all units. Harm is a share of the misses too, added
//! from the moment on at which the change begins: 20 % of them are 0.04 of the hit ratio, four times
//! the margin. What was measured goes through the collector's [`trial_of`] to the judge.

use flyball_collector::steer::driver::{Asked, HIT_RATIO, JudgeSettings, Measured, Span, trial_of};
use flyball_collector::store::CacheTick;
use flyball_model::judge::{Arm, Judgement, Look, Predicted, Role, Trial, conclude, history};
use flyball_model::rollout::{Limits, Prediction, TargetId};

use super::noise::{Random, Shape};
use super::record::{Server, servers};

/// Windows before the change that have a window before them.
const BEFORE: usize = 360;
/// Windows in which it goes into force.
pub(super) const GAP: usize = 7;
/// Windows after it.
const AFTER: usize = 360;
/// All.
pub(super) const ALL: usize = 1 + BEFORE + GAP + AFTER;
/// The one in which the change begins.
pub(super) const BEGAN: usize = 1 + BEFORE;
const WIDTH_MS: i64 = 10_000;
const START_MS: i64 = 1_700_000_000_000;
/// Share of requests that synthetic caches miss.
pub(super) const MISSES: f64 = 0.2;
const REQUESTS: u64 = 200_000;
/// Standard error of predictions, hit ratio.
const PREDICTION_ERROR: f64 = 0.002;
/// Windows over which a prediction averages a record.
const AVERAGED: usize = 30;

/// What stands for the old setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Design {
    /// Two units changed, two not.
    Controls,
    /// One unit, and a prediction that knows what all units share but for its error.
    Prediction,
    /// The same, but the prediction comes ten to thirty minutes after the change.
    Late,
    /// One unit and its own past.
    Past,
}

/// All of them.
pub(super) const DESIGNS: [Design; 4] =
    [Design::Controls, Design::Prediction, Design::Late, Design::Past];

/// How windows stray.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Noise {
    /// Made up, with this deviation.
    Made(Shape, f64),
    /// Pieces of what was recorded under a steady load, or under a bursty one.
    Recorded {
        /// Which.
        bursty: bool,
    },
}

/// One kind of rollout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setting {
    /// How windows stray.
    pub(super) noise: Noise,
    /// What it is compared with.
    pub(super) design: Design,
    /// Additional misses, as a share of them.
    pub(super) harm: f64,
}

/// What became of one rollout.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// Windows until it was judged harmful, however late and whatever was said before.
    pub(super) harm_ever: Option<u32>,
    /// The same before it was promoted.
    pub(super) harm: Option<u32>,
    /// Windows until it passed, the metric being a guard.
    pub(super) pass: Option<u32>,
    /// A gain was claimed, the metric being a target.
    pub(super) gain: bool,
    /// All intervals held the truth.
    pub(super) covered: bool,
}

impl Design {
    /// For tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Controls => "two units and two controls",
            Self::Prediction => "one unit and a prediction",
            Self::Late => "one unit, late prediction",
            Self::Past => "one unit and its past",
        }
    }

    const fn arms(self) -> &'static [Arm] {
        match self {
            Self::Controls => &[Arm::Treated, Arm::Treated, Arm::Control, Arm::Control],
            Self::Prediction | Self::Late | Self::Past => &[Arm::Treated],
        }
    }
}

impl Noise {
    /// For tables.
    pub(super) fn name(self) -> String {
        match self {
            Self::Made(shape, _) => shape.name(),
            Self::Recorded { bursty: false } => "recorded, steady".into(),
            Self::Recorded { bursty: true } => "recorded, bursty".into(),
        }
    }
}

impl Setting {
    /// The rollout of a seed as the driver has it, the metric being a target.
    pub(super) fn trial(&self, seed: u64) -> Trial {
        let mut random = Random::new(seed);
        let measured = match self.noise {
            Noise::Made(shape, deviation) => self.made_up(shape, deviation, &mut random),
            Noise::Recorded { bursty } => self.recorded(bursty, &mut random),
        };
        let prediction = promise(1.0 - MISSES, 1.0 - MISSES + 0.02, 0.01);
        let asked = Asked {
            span: SPAN,
            prediction: &prediction,
            members: &[],
            validate_max_ms: Limits::default().validate_max_ms,
        };
        trial_of(&asked, &measured, &JudgeSettings::default())
    }

    /// What becomes of it.
    pub(super) fn outcome(&self, seed: u64) -> Outcome {
        let target = self.trial(seed);
        let looks = history(&target, until_ms());
        let mut guard = target.clone();
        guard.metrics[0].role = Role::Guard;
        let truth = match self.noise {
            Noise::Made(..) => Some(MISSES * self.harm),
            Noise::Recorded { .. } => None,
        };
        let covers = |look: &Look| {
            let effect = look.effects.first().map(|effect| effect.harm);
            effect.zip(truth).is_none_or(|(seen, truth)| (seen.low..=seen.high).contains(&truth))
        };
        let (harm_ever, harm, pass) = fate(&guard, &looks);
        Outcome {
            harm_ever,
            harm,
            pass,
            gain: conclude(&target, &looks).result == Judgement::Pass,
            covered: looks.iter().all(covers),
        }
    }

    fn made_up(&self, shape: Shape, deviation: f64, random: &mut Random) -> Vec<Measured> {
        let scale = deviation * 0.5_f64.sqrt();
        let tide = shape.tide(random, ALL);
        let common = shape.series(random, ALL);
        let common: Vec<f64> = common.iter().zip(&tide).map(|(x, tide)| scale * x + tide).collect();
        let arms = self.design.arms().iter().enumerate();
        arms.map(|(i, &arm)| {
            let own = shape.series(random, ALL);
            let level = 1.0 + 0.05 * i as f64;
            let counts = (0..ALL).map(|t| {
                let harm = if is_harmed(arm, t) { self.harm } else { 0.0 };
                let share = 1.0 - MISSES * (level + harm + common[t] + scale * own[t]);
                counted(share, REQUESTS + t as u64 % 7, random)
            });
            let counts: Vec<(u64, u64)> = counts.collect();
            let known = |t: usize| 1.0 - MISSES * (level + common[t]);
            Measured { predicted: self.predictions(random, known), ..measured(i, arm, &counts) }
        })
        .collect()
    }

    fn recorded(&self, bursty: bool, random: &mut Random) -> Vec<Measured> {
        let fitting = |server: &&Server| server.name.starts_with("bursty") == bursty;
        let servers: Vec<&Server> = servers().iter().filter(fitting).collect();
        let arms = self.design.arms().iter().enumerate();
        arms.map(|(i, &arm)| {
            let server = servers[(random.unit() * servers.len() as f64) as usize % servers.len()];
            let old = server.resampled(random, ALL);
            let known = |t: usize| {
                let seen = &old[(t + 1).saturating_sub(AVERAGED)..=t];
                let sums = seen.iter().fold((0, 0), |sum, w| (sum.0 + w.0, sum.1 + w.1));
                sums.1 as f64 / sums.0 as f64
            };
            let predicted = self.predictions(random, known);
            let harmed = old.iter().enumerate().map(|(t, &(requests, hits))| {
                if !is_harmed(arm, t) {
                    return (requests, hits);
                }
                // Not the same number in each window.
                let more = (requests - hits) as f64 * self.harm + random.unit();
                (requests, hits.saturating_sub(more as u64))
            });
            let counts: Vec<(u64, u64)> = harmed.collect();
            Measured { predicted, ..measured(i, arm, &counts) }
        })
        .collect()
    }

    /// What an agent says in nine of ten windows.
    fn predictions(&self, random: &mut Random, known: impl Fn(usize) -> f64) -> Vec<Predicted> {
        let from = match self.design {
            Design::Controls | Design::Past => return Vec::new(),
            Design::Prediction => BEGAN + GAP,
            Design::Late => BEGAN + GAP + 60 + (120.0 * random.unit()) as usize,
        };
        let off = PREDICTION_ERROR * random.normal();
        let said = (from..ALL).filter(|_| random.unit() < 0.9).map(|t| Predicted {
            start_ms: start_ms(t),
            value: known(t) + off,
            standard_error: PREDICTION_ERROR,
        });
        said.collect()
    }
}

fn is_harmed(arm: Arm, window: usize) -> bool {
    arm == Arm::Treated && window >= BEGAN
}

/// What an advisor promises.
pub(super) fn promise(before: f64, after: f64, half: f64) -> Prediction {
    Prediction {
        metric: HIT_RATIO.to_owned(),
        before,
        after,
        low: after - half,
        high: after + half,
        unit: "ratio".to_owned(),
        confidence: 0.9,
    }
}

/// When the change came.
pub(super) const SPAN: Span = Span {
    began_ms: START_MS + BEGAN as i64 * WIDTH_MS + 3_000,
    judged_ms: START_MS + (BEGAN + GAP - 1) as i64 * WIDTH_MS + 3_000,
};

/// When the longest time is up.
pub(super) fn until_ms() -> i64 {
    SPAN.judged_ms + Limits::default().validate_max_ms
}

fn start_ms(window: usize) -> i64 {
    START_MS + window as i64 * WIDTH_MS
}

/// Requests and hits of a window with this share of hits.
pub(super) fn counted(share: f64, requests: u64, random: &mut Random) -> (u64, u64) {
    let share = share.clamp(0.001, 0.999);
    let deviation = (share * (1.0 - share) / requests as f64).sqrt();
    let share = (share + deviation * random.normal()).clamp(0.0, 1.0);
    (requests, (share * requests as f64).round() as u64)
}

/// Counters of a server that has run for long.
pub(super) fn measured(index: usize, arm: Arm, windows: &[(u64, u64)]) -> Measured {
    let (mut hits, mut misses) = (1_000_000, 1_000_000);
    let tick = |(t, &(requests, hit)): (usize, &(u64, u64))| {
        hits += hit;
        misses += requests - hit;
        CacheTick {
            node: format!("node-{index}"),
            cache: "main".to_owned(),
            window_ms: start_ms(t),
            started_ms: 1,
            hits,
            misses,
            resident_bytes: 64 << 20,
            used_bytes: 64 << 20,
            keys: 200_000,
            evictions: misses,
        }
    };
    let ticks = windows.iter().enumerate().map(tick).collect();
    let target = TargetId(format!("node-{index}/redis/main"));
    Measured { target, arm, ticks, predicted: Vec::new(), lfu_decay_minutes: None }
}

/// Windows to the harm whatever was said before, to the harm before the promotion, and to the pass.
///
/// A pass counts from the least time of a validation on, and only while it stands.
fn fate(trial: &Trial, looks: &[Look]) -> (Option<u32>, Option<u32>, Option<u32>) {
    let least = (Limits::default().validate_min_ms / WIDTH_MS) as u32;
    let held = trial.hold.map_or(0, |hold| hold.windows);
    let at = |look: &Look| look.windows + if look.held { 0 } else { held };
    let said = |result| {
        (1..=looks.len()).map(|n| &looks[..n]).find_map(|seen| {
            let is_so = conclude(trial, seen).result == result;
            seen.last().filter(|_| is_so).map(at)
        })
    };
    let (harm, pass) = (said(Judgement::Harm), said(Judgement::Pass));
    let promoted = pass.map(|pass| pass.max(least));
    let in_time = harm.filter(|harm| promoted.is_none_or(|promoted| *harm <= promoted));
    (harm, in_time, pass.filter(|_| in_time.is_none()))
}
