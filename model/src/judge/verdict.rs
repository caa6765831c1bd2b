//! What the judge says.

use serde::{Deserialize, Serialize};

use super::trial::Arm;

/// The judge's word on a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub result: Judgement,
    /// The metric that decided, or the one that stands in the way of a decision.
    pub metric: String,
    /// What the old setting would have given, or what was promised, over the windows looked at.
    /// `None` while there is nothing to say.
    pub expected: Option<Interval>,
    /// What was seen in them.
    pub observed: Option<Interval>,
    /// Requests, events or samples behind `observed`.
    pub samples: u64,
    /// Windows after the change that were looked at.
    pub windows: u32,
    /// The time is up: an inconclusive verdict will stay so, and whoever asked decides.
    pub last: bool,
    /// In plain words with the numbers.
    pub reason: String,
    /// All that was compared, by metric and facet.
    pub effects: Vec<Effect>,
}

/// The judge's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Not worse by the margin, beyond doubt; and better where a gain was promised.
    Pass,
    /// Worse by more than the margin, beyond doubt.
    Harm,
    /// Not decided.
    Inconclusive,
}

/// A value with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Most likely.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The metric's name.
    pub metric: String,
    /// Which side of it.
    pub facet: Facet,
    /// By this comparison alone. `Pass` says not worse by the margin; a gain is in `gained`.
    pub result: Judgement,
    /// How much worse, in the metric's unit, relative for quantiles and spread: 0.1 is ten percent
    /// more. Negative is better. At the pass level on both sides, valid at every look.
    pub harm: Interval,
    /// What `harm` surely exceeds, at the harm level.
    pub harm_at_least: f64,
    /// How much worse it may be, in the same unit.
    pub margin: f64,
    /// Whether a gain is proven, where one was promised.
    pub gained: Option<bool>,
    /// What it was compared with.
    pub expected: Interval,
    /// What was seen.
    pub observed: Interval,
    /// Requests, events or samples after the change.
    pub samples: u64,
    /// Windows after the change.
    pub windows: u32,
    /// Why this comparison cannot pass, whatever its numbers.
    pub obstacle: Option<String>,
    /// Units that it hardly measures, and so does without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A unit that was measured too rarely before the change, where others of its arm were not. It is left
/// out of the comparison, or counts only where it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub unit: String,
    /// Whether it got the change.
    pub arm: Arm,
    /// In words.
    pub why: String,
}

/// The side of a metric that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Facet {
    /// The mean, ratio or rate.
    Mean,
    /// How far windows lie apart, or for latency requests.
    Spread,
    /// The median latency.
    P50,
    /// The latency that one request of ten exceeds.
    P90,
    /// The latency that one request of a hundred exceeds.
    P99,
    /// The gain that was promised: harm is what is missing of it, the margin half of it.
    Promise,
}

impl Interval {
    /// With each number replaced.
    pub(super) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { value: f(self.value), low: f(self.low), high: f(self.high) }
    }
}

impl Judgement {
    /// As in the interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Harm => "harm",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl Facet {
    /// As in reasons.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Spread => "spread",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Promise => "promise",
        }
    }
}
