//! The comparisons that a trial asks for.
//!
//! A metric has one comparison for its mean, or three for percentiles of latency, and one for the
//! spread where that is asked for: a change that leaves the mean alone and makes things unsteady is
//! seen by the latter only. They share the metric's probability of a false alarm.

use std::collections::BTreeMap;

use super::contrast::{Contrast, Course, Member, Reference};
use super::estimate::{Estimate, Measure, Stretch};
use super::reading::{Grid, Slots, latencies};
use super::trial::{
    Arm, Expected, Kind, LATENCY_SPREAD, Limits, Margin, Metric, Role, Trial, Unit, Worse,
};
use super::verdict::Facet;

/// One side of one metric.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) metric: String,
    pub(super) facet: Facet,
    pub(super) role: Role,
    pub(super) kind: Kind,
    pub(super) measure: Measure,
    /// Windows that make one slot.
    pub(super) together: u32,
    /// On the logarithms' scale where it is one of those.
    pub(super) margin: f64,
    /// Whether the margin is a share of the level.
    pub(super) relative: bool,
    /// -1 where lower is worse.
    pub(super) sign: f64,
    /// Share of the metric's false alarms.
    pub(super) share: f64,
    pub(super) limits: Limits,
    pub(super) contrast: Contrast,
    pub(super) before: Stretch,
    /// What no number of windows will heal.
    pub(super) obstacle: Option<String>,
    /// The same with the units' past in the place of predictions, if there are any.
    past: Option<Box<Self>>,
}

/// A comparison that cannot be made, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) metric: String,
    pub(super) facet: Facet,
    pub(super) why: String,
}

/// Units by arm, each with its reference; and those that cannot be used.
#[derive(Default)]
struct Arms {
    treated: Vec<Member>,
    controls: Vec<Member>,
    unfit: Vec<String>,
}

impl Comparison {
    /// All that a trial asks for, in the order of the metrics' names.
    pub(super) fn all(trial: &Trial) -> Vec<Result<Self, Gap>> {
        let mut metrics: Vec<&Metric> = trial.metrics.iter().collect();
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        let of = |metric: &Metric| {
            let kind = metric.kind().unwrap_or(Kind::Level);
            let facets = facets(metric, kind);
            let share = 1.0 / facets.len() as f64;
            facets.into_iter().map(move |facet| (kind, facet, share))
        };
        metrics
            .into_iter()
            .flat_map(|metric| of(metric).map(move |which| (metric, which)))
            .map(|(metric, (kind, facet, share))| {
                let gap = |why| Gap { metric: metric.name.clone(), facet, why };
                let of = |predicts| Self::new(metric, trial, (kind, facet, share), predicts);
                let mut comparison = of(true).map_err(gap)?;
                if comparison.contrast.has_predictions() {
                    comparison.past = of(false).ok().map(Box::new);
                }
                Ok(comparison)
            })
            .collect()
    }

    fn new(
        metric: &Metric,
        trial: &Trial,
        (kind, facet, share): (Kind, Facet, f64),
        predicts: bool,
    ) -> Result<Self, String> {
        let latency = kind == Kind::Latency;
        let measure = match facet {
            Facet::Spread if !latency => Measure::Spread,
            _ => Measure::Mean,
        };
        let (arms, together) = Arms::of(metric, trial, facet, predicts && !latency);
        let unfit = (!arms.unfit.is_empty()).then(|| arms.unfit.join("; "));
        let Some(contrast) = Contrast::new(arms.treated, arms.controls) else {
            return Err(unfit.unwrap_or_else(|| "nothing was measured".into()));
        };
        let before = Stretch::of(&contrast.before, measure)
            .ok_or("nothing that varies was seen before the change")?;
        let before = match measure {
            Measure::Mean => before.with_drift(&contrast.before),
            Measure::Spread => before,
        };
        let lower = metric.worse == Worse::Lower && facet != Facet::Spread;
        let mut comparison = Self {
            metric: metric.name.clone(),
            facet,
            role: metric.role,
            kind,
            measure,
            together,
            margin: margin(metric, facet, latency, contrast.level),
            relative: matches!(metric.margin, Margin::Relative(_)) && !latency,
            sign: if lower { -1.0 } else { 1.0 },
            // A broken promise is looked for with the other half.
            share: if contrast.has_promise() { share / 2.0 } else { share },
            limits: trial.limits,
            contrast,
            before,
            obstacle: None,
            past: None,
        };
        comparison.obstacle = unfit.or_else(|| comparison.past_obstacle());
        Ok(comparison)
    }

    /// What to compare with in these slots: predictions where there are enough, else the past. Never a
    /// part of each, which would differ by more than the change.
    pub(super) fn within(&self, from: i64, to: i64) -> &Self {
        let enough = 1.0 - self.limits.max_missing;
        match &self.past {
            Some(past) if !self.contrast.is_foretold(from, to, enough) => past,
            _ => self,
        }
    }

    /// Whether its numbers are logarithms.
    pub(super) fn is_logarithmic(&self) -> bool {
        self.kind == Kind::Latency || self.measure == Measure::Spread
    }

    /// Whether a gain is claimed for this side of the metric.
    pub(super) fn is_claimed(&self) -> bool {
        self.role == Role::Target && matches!(self.facet, Facet::Mean | Facet::P99)
    }

    /// Slots after the change without which nothing is said.
    pub(super) fn least_slots(&self) -> usize {
        self.limits.least_after().div_ceil(self.together as usize).max(8)
    }

    /// With no effect, a stretch of so many windows after the change, as noisy as the past, and
    /// `gap` of them in between.
    pub(super) fn foresee(&self, windows: u32, gap: u32) -> Estimate {
        let slots = (windows / self.together).max(1) as usize;
        let mut after = self.before.resized(slots);
        after.doubt = self.contrast.foreseen_doubt();
        let gap = gap.div_ceil(self.together) as usize;
        self.estimate(&after, gap).without_effect()
    }

    /// The effect that a stretch after the change shows, `gap` windows after it.
    pub(super) fn estimate(&self, after: &Stretch, gap: usize) -> Estimate {
        let counted = matches!(self.kind, Kind::Ratio | Kind::Count);
        let kind = (counted && self.measure == Measure::Mean).then_some(self.kind);
        let anchored = self.measure == Measure::Spread || self.contrast.anchored;
        Estimate::new(&self.before, after, anchored, gap, kind)
    }

    /// What was seen, on the scale of the comparison.
    pub(super) fn observed(&self, after: &Stretch) -> f64 {
        match self.measure {
            Measure::Mean => after.observed,
            Measure::Spread => after.mean,
        }
    }

    /// How much worse it may surely be below and above, each missed with probability `alpha`.
    pub(super) fn halves(&self, estimate: &Estimate, alpha: f64) -> (f64, f64) {
        let (below, above) = estimate.halves(alpha);
        if self.sign < 0.0 { (above, below) } else { (below, above) }
    }
}

fn facets(metric: &Metric, kind: Kind) -> Vec<Facet> {
    if kind == Kind::Latency {
        return vec![Facet::P50, Facet::P90, Facet::P99, Facet::Spread];
    }
    let spread = metric.spread.map(|_| Facet::Spread);
    std::iter::once(Facet::Mean).chain(spread).collect()
}

fn margin(metric: &Metric, facet: Facet, latency: bool, level: f64) -> f64 {
    match metric.margin {
        _ if facet == Facet::Spread => metric.spread.unwrap_or(LATENCY_SPREAD).ln(),
        Margin::Absolute(margin) => margin,
        Margin::Relative(share) if latency => share.ln_1p(),
        Margin::Relative(share) => share * level.abs(),
    }
}

impl Arms {
    /// With the windows that make one slot.
    fn of(metric: &Metric, trial: &Trial, facet: Facet, predicts: bool) -> (Self, u32) {
        let latency = metric.kind() == Some(Kind::Latency);
        let grid = Grid { changed_at_ms: trial.changed_at_ms, window_ms: trial.window_ms };
        let mut units: Vec<&Unit> = metric.units.iter().collect();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        let (slots, together) = if latency {
            let histograms: Vec<BTreeMap<_, _>> =
                units.iter().map(|unit| grid.histograms(unit)).collect();
            latencies(&histograms, facet)
        } else {
            (units.iter().map(|unit| grid.readings(unit)).collect(), 1)
        };
        let least = trial.limits.least_before().div_ceil(together as usize).max(16);
        let mut arms = Self::default();
        let mut fit = Vec::new();
        for (unit, slots) in units.into_iter().zip(slots) {
            let windows = slots.range(..0).count();
            if windows >= least {
                fit.push((unit, slots));
            } else if unit.arm == Arm::Treated {
                let name = &unit.name;
                let why = format!("{name} has {windows} windows before the change, {least} needed");
                arms.unfit.push(why);
            }
        }
        let has = |arm| fit.iter().any(|(unit, _)| unit.arm == arm);
        if metric.units.iter().any(|unit| unit.arm == Arm::Control) && !has(Arm::Control) {
            arms.unfit.push(format!("no control has {least} windows before the change"));
        }
        let predicts = predicts && !has(Arm::Control);
        let promises = facet == Facet::Mean && !latency;
        for (unit, slots) in fit {
            let arm = match unit.arm {
                Arm::Treated => &mut arms.treated,
                Arm::Control => &mut arms.controls,
            };
            let mut member = member(unit, slots, grid, predicts.then_some(least));
            member.promise = course(unit, grid, metric.worse).filter(|_| promises);
            arm.push(member);
        }
        (arms, together)
    }
}

/// `predicts` is how many windows before the change its prediction must cover to be corrected by
/// them; `None` when predictions do not count.
fn member(unit: &Unit, slots: Slots, grid: Grid, predicts: Option<usize>) -> Member {
    let past = slots.range(..0).map(|(_, reading)| reading);
    let weight: f64 = past.clone().map(|reading| reading.weight).sum();
    let past = past.map(|reading| reading.value * reading.weight).sum::<f64>() / weight;
    let old = match predicts {
        Some(least) if unit.arm == Arm::Treated && !unit.counterfactual.is_empty() => {
            Reference::predicted(grid.course(&unit.counterfactual), &slots, past, least)
        }
        _ => Reference::Past(past),
    };
    Member { name: unit.name.clone(), slots, old, promise: None }
}

/// What was promised to a treated unit.
fn course(unit: &Unit, grid: Grid, worse: Worse) -> Option<Course> {
    let Expected::Gain(promise) = &unit.expected else { return None };
    let gain = if worse == Worse::Lower { promise.gain } else { -promise.gain };
    let filled = grid.shares(&promise.filled);
    let course = Course { gain, error: promise.standard_error, filled };
    (unit.arm == Arm::Treated).then_some(course)
}
