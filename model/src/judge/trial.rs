//! What the judge is given.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// One change under judgement: what was measured before and after it, and what counts as harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// When the change was in force. A window that contains it belongs to neither side.
    pub changed_at_ms: i64,
    /// Length of every window; one of another length is a missing one.
    pub window_ms: u32,
    /// How long the change needs to warm up, if it does.
    pub hold: Option<Hold>,
    /// How sure, how soon, how long.
    pub limits: Limits,
    /// What is compared.
    pub metrics: Vec<Metric>,
}

/// Time in which a change is known to look worse than it is: the first windows are judged against a
/// wider margin, and only for harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Windows after the change.
    pub windows: u32,
    /// Margins are multiplied by this; at least 1.
    pub widen: f64,
}

/// How sure, how soon, how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Windows before the change without which nothing can pass; at least 16.
    pub min_before: u32,
    /// Windows after the change, or after the hold, before the first look; at least 8.
    pub min_windows: u32,
    /// Windows after the change, or after the hold, up to the last look.
    pub max_windows: u32,
    /// Share of windows that may be missing on a side, 0 to 1; with more, nothing passes.
    pub max_missing: f64,
    /// Probability, over all looks, that a metric which is worse by just the margin counts as harmed.
    /// For each metric: it is not divided among them, so that more guards mean more safety.
    pub harm_alpha: f64,
    /// Probability, over all looks, that a metric which is worse by the margin passes.
    pub pass_alpha: f64,
    /// Probability, over all looks and targets, of a claimed gain where there is none.
    pub gain_alpha: f64,
    /// Probability of seeing what is there that [`power`](super::power()) asks for.
    pub power: f64,
}

/// One measured thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// For example `redis.hit_ratio`. No two of a trial are the same.
    pub name: String,
    /// What a pass asks of it.
    pub role: Role,
    /// Which way is harm.
    pub worse: Worse,
    /// How much worse is tolerated.
    pub margin: Margin,
    /// By which factor windows may lie further apart than before; above 1. For latency it is the
    /// distance from the 10th to the 90th percentile, and `None` is [`LATENCY_SPREAD`]; for others
    /// `None` does not look at it.
    pub spread: Option<f64>,
    /// Where it was measured.
    pub units: Vec<Unit>,
}

/// What a pass asks of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Not to be worse; and of all targets at least one must have become better.
    Target,
    /// Not to be worse.
    Guard,
}

/// Which way is harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worse {
    /// Latency, errors, miss ratio.
    Higher,
    /// Hit ratio.
    Lower,
}

/// How much worse is tolerated; 0 or more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Margin {
    /// In the metric's unit. Not for latency.
    Absolute(f64),
    /// Of the treated units' mean before the change: 0.05 is five percent.
    Relative(f64),
}

/// A host, a server, or a cohort of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// No two of a metric are the same; in several metrics the same name is the same unit.
    pub name: String,
    /// Whether it got the change.
    pub arm: Arm,
    /// In any order. Two that differ for the same time count as missing.
    pub windows: Vec<Window>,
    /// What an estimator says the old setting would have given, for the time after the change and,
    /// if it can, before it: then its error of that time is taken off. Stands for the controls of treated
    /// units when there are none, at looks where it is there for enough windows of all of them; at
    /// others their own past does. Not for latency.
    pub counterfactual: Vec<Predicted>,
    /// What the change should do to it.
    pub expected: Expected,
}

/// Whether a unit got the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// It did.
    Treated,
    /// It did not.
    Control,
}

/// What a change should do to a treated unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// No harm beyond the margin, compared with the old setting.
    AsBefore,
    /// The same, and a gain over the old setting that comes as new room fills. Not for latency.
    Gain(Promise),
}

/// A gain that grows with the share of new room that is in use. Half of it has to come: less, beyond
/// doubt, is a broken promise once the room is filled, and keeps a trial from passing until then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// When all of the room is filled, in the metric's unit; above 0, whichever way is worse.
    pub gain: f64,
    /// Of that gain.
    pub standard_error: f64,
    /// For windows after the change. A window that has none is as full as the one before it.
    pub filled: Vec<Filled>,
}

/// How much of the new room is in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Filled {
    /// The window's.
    pub start_ms: i64,
    /// 0 to 1.
    pub share: f64,
}

/// What was predicted for one window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The window's.
    pub start_ms: i64,
    /// In the metric's unit.
    pub value: f64,
    /// Of that value. Taken for one error that all windows share: it does not average out.
    pub standard_error: f64,
}

/// What one unit measured in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Where it begins.
    pub start_ms: i64,
    /// How long it is.
    pub width_ms: u32,
    /// What was measured.
    pub value: Value,
}

/// A measurement. What is not a number, has nothing behind it or contradicts itself is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A share.
    Ratio {
        /// All.
        requests: u64,
        /// Those that count, at most all.
        hits: u64,
    },
    /// A mean, or a gauge.
    Level {
        /// In the metric's unit.
        mean: f64,
        /// What it is the mean of.
        count: u64,
    },
    /// Events, such as errors.
    Count {
        /// How many.
        events: u64,
        /// Among how many requests, or in how many seconds.
        exposure: f64,
    },
    /// Latencies of requests.
    Latency(Histogram),
}

/// The variants of [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ratio,
    Level,
    Count,
    Latency,
}

/// Factor by which the latencies' spread may grow where the metric names none.
pub const LATENCY_SPREAD: f64 = 1.5;

impl Default for Limits {
    /// With windows of 10 s: looks from 2 min to 1 h, an hour before the change is best, 10 min needed.
    fn default() -> Self {
        Self {
            min_before: 60,
            min_windows: 12,
            max_windows: 360,
            max_missing: 0.2,
            harm_alpha: 0.005,
            pass_alpha: 0.05,
            gain_alpha: 0.05,
            power: 0.9,
        }
    }
}

impl Limits {
    /// Windows before the change that are needed.
    pub(super) fn least_before(&self) -> usize {
        self.min_before.max(16) as usize
    }

    /// Windows after the change that are needed.
    pub(super) fn least_after(&self) -> usize {
        self.min_windows.max(8) as usize
    }
}

impl Trial {
    /// What makes judging impossible, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let limits = &self.limits;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let alpha = |x: f64| x > 0.0 && x < 0.5;
        let alphas = [limits.harm_alpha, limits.pass_alpha, limits.gain_alpha, 1.0 - limits.power];
        if self.window_ms == 0 {
            return Some("windows have no length".into());
        }
        if !share(limits.max_missing) || !alphas.into_iter().all(alpha) {
            return Some("a limit is out of its range".into());
        }
        if self.hold.is_some_and(|hold| !(hold.widen >= 1.0 && hold.widen.is_finite())) {
            return Some("the hold narrows the margin".into());
        }
        if self.metrics.is_empty() {
            return Some("there is nothing to compare".into());
        }
        let names: Vec<&str> = self.metrics.iter().map(|metric| metric.name.as_str()).collect();
        if has_twice(names) {
            return Some("two metrics have the same name".into());
        }
        self.metrics
            .iter()
            .find_map(|metric| metric.problem().map(|what| format!("{}: {what}", metric.name)))
    }
}

impl Metric {
    fn problem(&self) -> Option<&'static str> {
        let (Margin::Absolute(margin) | Margin::Relative(margin)) = self.margin;
        if !(margin >= 0.0 && margin.is_finite()) {
            return Some("the margin is not a number of 0 or more");
        }
        if self.spread.is_some_and(|factor| !(factor > 1.0 && factor.is_finite())) {
            return Some("the spread's factor is not above 1");
        }
        if !self.units.iter().any(|unit| unit.arm == Arm::Treated) {
            return Some("no unit got the change");
        }
        let promises = self.units.iter().filter_map(|unit| match &unit.expected {
            Expected::Gain(promise) => Some(promise),
            Expected::AsBefore => None,
        });
        if promises.into_iter().any(|promise| !promise.is_one()) {
            return Some("a promised gain is not a number above 0");
        }
        if has_twice(self.units.iter().map(|unit| unit.name.as_str()).collect()) {
            return Some("two units have the same name");
        }
        let kind = self.kind();
        if self.values().any(|value| Some(value.kind()) != kind) {
            return Some("it has values of different kinds");
        }
        if kind == Some(Kind::Latency) && matches!(self.margin, Margin::Absolute(_)) {
            return Some("latency has relative margins only");
        }
        None
    }

    /// Of all its values; `None` when it has none.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.values().next().map(Value::kind)
    }

    fn values(&self) -> impl Iterator<Item = &Value> {
        self.units.iter().flat_map(|unit| &unit.windows).map(|window| &window.value)
    }
}

impl Promise {
    fn is_one(&self) -> bool {
        let known = self.standard_error >= 0.0 && self.standard_error.is_finite();
        self.gain > 0.0 && self.gain.is_finite() && known
    }
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Ratio { .. } => Kind::Ratio,
            Self::Level { .. } => Kind::Level,
            Self::Count { .. } => Kind::Count,
            Self::Latency(_) => Kind::Latency,
        }
    }
}

fn has_twice(mut names: Vec<&str>) -> bool {
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}
