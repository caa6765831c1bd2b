//! The comparisons that a trial asks for.
//!
//! A metric has one comparison for its mean, or three for percentiles of latency, and one for the
//! spread where that is asked for: a change that leaves the mean alone and makes things unsteady is
//! seen by the latter only. They share the metric's probability of a false alarm.

use super::arms::{Arms, Partial};
use super::contrast::Contrast;
use super::estimate::{Estimate, Measure, Stretch};
use super::trial::{Kind, LATENCY_SPREAD, Limits, Margin, Metric, Role, Trial, Worse};
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
    /// Units that are hardly measured.
    pub(super) partial: Vec<Partial>,
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
        let arms = Arms::of(metric, trial, facet, predicts && !latency);
        let unfit = arms.obstacle();
        let Arms { treated, controls, together, partial, .. } = arms;
        let Some(contrast) = Contrast::new(treated, controls) else {
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
            partial,
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
