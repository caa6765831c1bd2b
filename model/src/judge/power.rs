//! Before the start: whether a trial can see its margin in the time that it has.
//!
//! From the noise of the past alone, as the judge itself would measure it. A margin that noise
//! hides is no protection: such a trial would end inconclusive, or pass only by luck. Then the
//! operator is told what would do: more time, a longer past, more controls or a wider margin.

use serde::{Deserialize, Serialize};

use super::comparison::Comparison;
use super::estimate::Estimate;
use super::look::looks;
use super::trial::Trial;
use super::verdict::Facet;
use super::words::number;

/// Times the allowed windows that are tried before saying that no time is enough.
const FAR: u32 = 64;

/// What a trial can see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// Whether it should start.
    pub possible: bool,
    /// In words; which metric is in the way if one is.
    pub reason: String,
    /// For each metric and facet that has a past.
    pub metrics: Vec<MetricPower>,
}

/// What can be seen of one metric; relative for quantiles and spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPower {
    /// Its name.
    pub metric: String,
    /// Which side of it.
    pub facet: Facet,
    /// Long-run standard deviation of one window, in the metric's unit or of logarithms.
    pub noise: f64,
    /// Correlation of a window with the next.
    pub persistence: f64,
    /// What may be lost.
    pub margin: f64,
    /// Smallest harm that is found by the last look with the probability asked for.
    pub smallest_harm: f64,
    /// Smallest gain that is proven by then.
    pub smallest_gain: f64,
    /// Windows after which a harmless change passes with the probability asked for, more than
    /// allowed maybe; `None` when no time is enough.
    pub windows_needed: Option<u32>,
    /// The same in hours, the hold included.
    pub hours_needed: Option<f64>,
    /// Why it cannot pass at all.
    pub obstacle: Option<String>,
}

/// What the trial can see. Windows after the change, if there are any, are not looked at.
pub fn power(trial: &Trial) -> Power {
    if let Some(problem) = trial.problem() {
        return Power { possible: false, reason: problem, metrics: Vec::new() };
    }
    let mut metrics = Vec::new();
    let mut refusal = None;
    for comparison in Comparison::all(trial) {
        match comparison {
            Ok(comparison) => {
                let seen = of(trial, &comparison);
                refusal = refusal.or_else(|| refuse(trial, &seen));
                metrics.push(seen);
            }
            Err(gap) => {
                let why = format!("{} ({}): {}", gap.metric, gap.facet.name(), gap.why);
                refusal = refusal.or(Some(why));
            }
        }
    }
    let possible = refusal.is_none();
    let longest = metrics.iter().filter_map(|seen| seen.hours_needed).fold(0.0, f64::max);
    let fine = || format!("the margins can be seen in {} h", number(longest));
    Power { possible, reason: refusal.unwrap_or_else(fine), metrics }
}

fn of(trial: &Trial, comparison: &Comparison) -> MetricPower {
    let limits = &trial.limits;
    let looks = looks(limits);
    let share = if trial.hold.is_some_and(|hold| hold.windows > 0) { 0.5 } else { 1.0 };
    let spend = share / looks.len() as f64;
    let gap = trial.hold.map_or(0, |hold| hold.windows);
    let at = |windows| comparison.foresee(windows, gap);
    let upper = |estimate: &Estimate| {
        comparison.halves(estimate, limits.pass_alpha * spend).1 + estimate.reserve(limits.power)
    };
    let last = limits.max_windows;
    let least = comparison.least_slots() as u32 * comparison.together;
    let enough = |windows: &u32| *windows >= least && upper(&at(*windows)) < comparison.margin;
    let beyond = (1..=FAR).map(|times| last.saturating_mul(times));
    let windows_needed = looks.iter().copied().chain(beyond).find(enough);
    let end = at(last);
    let reserve = end.reserve(limits.power);
    let found = comparison.halves(&end, limits.harm_alpha * spend * comparison.share).0 + reserve;
    let proven = comparison.halves(&end, limits.gain_alpha * spend).1 + reserve;
    let scale = |x: f64| if comparison.is_logarithmic() { x.exp_m1() } else { x };
    let hours = |windows: u32| {
        f64::from(windows.saturating_add(gap)) * f64::from(trial.window_ms) / 3_600_000.0
    };
    MetricPower {
        metric: comparison.metric.clone(),
        facet: comparison.facet,
        noise: comparison.before.noise.variance.sqrt(),
        persistence: comparison.before.noise.persistence,
        margin: scale(comparison.margin),
        smallest_harm: scale(comparison.margin + found),
        smallest_gain: scale(proven),
        windows_needed,
        hours_needed: windows_needed.map(hours),
        obstacle: comparison.obstacle.clone(),
    }
}

fn refuse(trial: &Trial, seen: &MetricPower) -> Option<String> {
    let name = format!("{} ({})", seen.metric, seen.facet.name());
    if let Some(obstacle) = &seen.obstacle {
        return Some(format!("{name}: {obstacle}"));
    }
    let allowed = f64::from(trial.limits.max_windows) * f64::from(trial.window_ms) / 3_600_000.0;
    let margin = number(seen.margin);
    match (seen.windows_needed, seen.hours_needed) {
        (Some(windows), _) if windows <= trial.limits.max_windows => None,
        (Some(_), Some(hours)) => Some(format!(
            "{name}: seeing a margin of {margin} in its noise takes {} h, {} h are allowed",
            number(hours),
            number(allowed),
        )),
        _ => Some(format!(
            "{name}: a margin of {margin} cannot be seen in its noise however long it takes; the smallest \
             harm found in {} h is {}: it takes a longer past, controls or a wider margin",
            number(allowed),
            number(seen.smallest_harm),
        )),
    }
}
