//! The judge of changes at load balancers: those that have new weights beside those that do not have them yet, in the same windows.
//!
//! Latency goes to the [judge of all changes](crate::judge): difference in differences of means per window, with intervals that know how windows resemble each other and hold
//! at every look. A margin counts in full for a pass, and less of it for harm. Failures are too rare for means per window and too grave to wait; they have a *sequential test of two proportions*: with `p` failed of `n` requests of the changed
//! balancers and of the others since the change,
//!
//! ```text
//! d      = p1 - p2 - o        o: what the difference was before, at most 0 taken as 0, and two standard errors of it
//! V      = f p (1-p) (1/n1 + 1/n2)     p of both together; f >= 1: how much more windows scatter than by chance alone
//! L      = sqrt(V / (V + t^2)) exp( t^2 d^2 / (2 V (V + t^2)) )          t = 0.01
//! harm   : d > 0, L >= 1/alpha, and 10 failures at least
//! ```
//!
//! `L` is the mixture likelihood ratio of Robbins (1970), for A/B tests in Johari, Pekelis, Walsh ("Always valid inference", 2015): it may be looked at after every
//! window, and the probability that it ever reaches `1/alpha` without a difference is at most `alpha`. `t` is the difference that is looked for. Failures come in bursts, hence
//! `f`. Without balancers to compare with, the time before stands for them.
//!
//! What needs no statistics, or little, is in [`stop`].
//!
//! Properties, each a test:
//! - (a) no difference, no harm: less than 1 in 100 of trials with nothing changed, latency, failures and stops together;
//! - (b) a latency that is a fifth higher is found in 95 of 100, twice the failures in 90 of 100;
//! - (c) same input, same verdict, whatever the order of balancers;
//! - (d) what is unknown stops nothing, and more failures never take a stop away;
//! - (e) p99 is compared within the same windows, whatever windows a side lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::judge::{Interval, Judgement, Margin, Trial, Verdict, judge};

/// Metric of failures.
pub const ERROR_RATIO: &str = "balancer.error_ratio";
/// Metric of latency.
pub const LATENCY: &str = "balancer.latency_ms";
/// Share of its margin that a metric is surely worse by when that is harm. To pass, a metric must surely not be worse by the margin: so what is to be shown in few windows may be noisy,
/// and what is surely worse is not waved through because it is less than that.
const HARM: f64 = 0.3;
/// Probability that the test of proportions ever sees harm where there is none.
const ALPHA: f64 = 0.002;
/// The difference that is looked for.
const SCALE: f64 = 0.01;
/// Failures of the changed balancers below which nothing is said.
const LEAST_FAILURES: u64 = 10;
/// Standard errors of the time before that count as its difference.
const DOUBT: f64 = 2.0;

/// Requests, and those of them that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// All.
    pub requests: u64,
    /// Failed; more than all counts as all.
    pub errors: u64,
}

/// Failures per window, each by time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Failures {
    /// Of the changed balancers, before the change.
    pub treated_before: Vec<Count>,
    /// And since.
    pub treated_after: Vec<Count>,
    /// Of those they are compared with, before the change; empty: there are none.
    pub control_before: Vec<Count>,
    /// And since.
    pub control_after: Vec<Count>,
}

/// What the test of proportions has found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Excess {
    /// Share that failed at the changed balancers.
    pub treated: f64,
    /// And what it would have been.
    pub expected: f64,
    /// Standard error of the difference.
    pub error: f64,
    /// The likelihood ratio.
    pub ratio: f64,
    /// Requests of the changed balancers.
    pub requests: u64,
}

/// The verdict: of latency and failures by windows, and of the test of proportions.
pub fn verdict(trial: &Trial, failures: &Failures, until_ms: i64) -> Verdict {
    let verdict = judge(trial, until_ms);
    if verdict.result == Judgement::Harm {
        return verdict;
    }
    let strict = judge(&strict(trial), until_ms);
    if strict.result == Judgement::Harm {
        return strict;
    }
    match failures.harm() {
        Some(excess) => Verdict {
            result: Judgement::Harm,
            metric: ERROR_RATIO.to_owned(),
            expected: Some(interval(excess.expected, excess.error)),
            observed: Some(interval(excess.treated, excess.error)),
            samples: excess.requests,
            reason: excess.to_string(),
            ..verdict
        },
        None => verdict,
    }
}

/// The same trial as far as harm goes.
fn strict(trial: &Trial) -> Trial {
    let mut strict = trial.clone();
    for metric in &mut strict.metrics {
        metric.margin = match metric.margin {
            Margin::Absolute(margin) => Margin::Absolute(margin * HARM),
            Margin::Relative(margin) => Margin::Relative(margin * HARM),
        };
    }
    strict
}

fn interval(value: f64, error: f64) -> Interval {
    let low = (value - 1.96 * error).max(0.0);
    Interval { value, low, high: (value + 1.96 * error).min(1.0).max(value) }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (treated, expected) = (self.treated * 100.0, self.expected * 100.0);
        write!(
            f,
            "harm: {treated:.2} % of {} requests fail at the changed balancers where {expected:.2} % would; odds of {:.0} to 1 against chance",
            self.requests, self.ratio
        )
    }
}

impl Count {
    fn sum(all: &[Self]) -> Self {
        all.iter().fold(Self::default(), |sum, one| Self {
            requests: sum.requests.saturating_add(one.requests),
            errors: sum.errors.saturating_add(one.errors.min(one.requests)),
        })
    }

    fn share(self) -> f64 {
        self.errors.min(self.requests) as f64 / self.requests.max(1) as f64
    }
}

impl Failures {
    /// More failures than chance explains, at any end of a window since the change.
    pub fn harm(&self) -> Option<Excess> {
        let scatter =
            [&self.treated_before, &self.treated_after, &self.control_before, &self.control_after]
                .into_iter()
                .map(|counts| dispersion(counts))
                .fold(1.0, f64::max);
        (1..=self.treated_after.len())
            .filter_map(|windows| self.at(windows, scatter))
            .find(|excess| excess.ratio >= 1.0 / ALPHA)
    }

    fn at(&self, windows: usize, scatter: f64) -> Option<Excess> {
        let until = |counts: &[Count]| Count::sum(&counts[..windows.min(counts.len())]);
        let treated = until(&self.treated_after);
        let before = Count::sum(&self.treated_before);
        let (control, offset) = if self.control_after.is_empty() {
            // The past with its doubt stands for the others.
            (before, DOUBT * error(before, before, scatter).min(1.0) / 2.0_f64.sqrt())
        } else {
            let control = Count::sum(&self.control_before);
            let was = (before.share() - control.share()).max(0.0);
            let is_known = before.requests > 0 && control.requests > 0;
            let doubt = if is_known { DOUBT * error(before, control, scatter) } else { 0.0 };
            (until(&self.control_after), was + doubt)
        };
        if treated.requests == 0 || control.requests == 0 || treated.errors < LEAST_FAILURES {
            return None;
        }
        let expected = (control.share() + offset).min(1.0);
        let difference = treated.share() - expected;
        let error = error(treated, control, scatter);
        let (v, t2) = (error * error, SCALE * SCALE);
        let exponent = t2 * difference * difference / (2.0 * v * (v + t2));
        let ratio = (v / (v + t2)).sqrt() * exponent.min(700.0).exp();
        (difference > 0.0).then_some(Excess {
            treated: treated.share(),
            expected,
            error,
            ratio,
            requests: treated.requests,
        })
    }
}

/// Standard error of a difference of two shares that are the same.
fn error(one: Count, other: Count, scatter: f64) -> f64 {
    let both = Count::sum(&[one, other]);
    // As if one more had failed and one not, so that nothing is certain.
    let share = (both.errors as f64 + 1.0) / (both.requests as f64 + 2.0);
    let (n1, n2) = (one.requests.max(1) as f64, other.requests.max(1) as f64);
    (scatter * share * (1.0 - share) * (1.0 / n1 + 1.0 / n2)).sqrt()
}

/// How much more windows scatter than by chance: Pearson's statistic over its degrees of freedom.
fn dispersion(counts: &[Count]) -> f64 {
    let sum = Count::sum(counts);
    let share = sum.share();
    let used: Vec<&Count> = counts.iter().filter(|count| count.requests > 0).collect();
    if used.len() < 8 || share <= 0.0 || share >= 1.0 {
        return 1.0;
    }
    let chi: f64 = used
        .iter()
        .map(|count| {
            let n = count.requests as f64;
            let off = count.errors.min(count.requests) as f64 - n * share;
            off * off / (n * share * (1.0 - share))
        })
        .sum();
    (chi / (used.len() as f64 - 1.0)).max(1.0)
}

/// What one side had in a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Where the window begins, epoch milliseconds: both sides are compared in the same windows.
    #[serde(default)]
    pub start_ms: i64,
    /// Requests and failures.
    pub count: Count,
    /// The largest p99 of a backend, milliseconds.
    pub p99_ms: Option<f64>,
    /// Backends at which requests waited.
    pub queued: BTreeSet<String>,
}

/// What is known of the balancers that have the change, and of those that have not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// For how long a changed balancer could not be reached, milliseconds; 0: it can be.
    pub gone_ms: i64,
    /// A parameter that is not as it was set: its name, what is wanted and what is in force, at the end of two windows.
    pub mismatch: Option<(String, String, String)>,
    /// Windows of the changed balancers before the change, by time.
    pub treated_before: Vec<Span>,
    /// And since.
    pub treated_after: Vec<Span>,
    /// Windows of the others at the same times; empty: there are none.
    pub control_before: Vec<Span>,
    /// And since.
    pub control_after: Vec<Span>,
    /// Backends that the change gives more requests.
    pub more: BTreeSet<String>,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StopLimits {
    /// For how long a balancer may be unreachable, milliseconds.
    pub gone_ms: i64,
    /// Requests of each side without which failures and p99 stop nothing.
    pub least_requests: u64,
    /// Failures without which they stop nothing.
    pub least_errors: u64,
    /// So many times the failures of the others stop.
    pub errors_factor: f64,
    /// So many times the p99 of the others stop.
    pub p99_factor: f64,
    /// In so many windows in a row, for p99 and queues.
    pub windows: usize,
}

impl Default for StopLimits {
    fn default() -> Self {
        Self {
            gone_ms: 15_000,
            least_requests: 500,
            least_errors: 10,
            errors_factor: 2.0,
            p99_factor: 1.5,
            windows: 2,
        }
    }
}

/// What ends a change at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// A balancer cannot be reached.
    Gone {
        /// For how long.
        ms: i64,
    },
    /// A parameter is not as it was set.
    Mismatch {
        /// Its name.
        parameter: String,
        /// What was set.
        wanted: String,
        /// What is in force.
        found: String,
    },
    /// Far more requests fail.
    Failures {
        /// At the changed balancers.
        treated: Count,
        /// At the others, or before.
        expected: f64,
    },
    /// Requests wait for a backend that gets more of them.
    Queue {
        /// Which.
        backend: String,
    },
    /// Far slower than others.
    Slow {
        /// p99 of the changed balancers, milliseconds.
        p99_ms: f64,
        /// What it would have been.
        expected_ms: f64,
    },
}

/// Deviates beyond which a difference of shares is no chance, one in a thousand; of p99 it takes more, since its tail is no normal one.
const SURE: f64 = 3.09;
const SURE_SLOW: f64 = 5.0;
/// Windows of the past without which a p99 stops nothing.
const LEAST_PAST: usize = 16;
/// A backend at which requests waited in more than this share of windows before has a queue of its own.
const USUAL_QUEUE: f64 = 0.05;

/// The gravest reason to stop, if there is one: in the order of [`Stop`].
pub fn stop(facts: &Facts, limits: &StopLimits) -> Option<Stop> {
    if facts.gone_ms >= limits.gone_ms.max(1) {
        return Some(Stop::Gone { ms: facts.gone_ms });
    }
    if let Some((parameter, wanted, found)) = facts.mismatch.clone() {
        return Some(Stop::Mismatch { parameter, wanted, found });
    }
    failures(facts, limits).or_else(|| queue(facts, limits)).or_else(|| slow(facts, limits))
}

fn failures(facts: &Facts, limits: &StopLimits) -> Option<Stop> {
    let sum = |spans: &[Span]| Count::sum(&spans.iter().map(|s| s.count).collect::<Vec<_>>());
    let (treated, before) = (sum(&facts.treated_after), sum(&facts.treated_before));
    let control = sum(&facts.control_after);
    let other = if control.requests > 0 { control } else { before };
    if treated.requests < limits.least_requests || other.requests < limits.least_requests {
        return None;
    }
    // What failed there before the change is no doing of it.
    let expected = other.share().max(before.share());
    let least = treated.requests as f64 * expected * limits.errors_factor;
    let sure = (treated.share() - expected) > SURE * error(treated, other, 1.0);
    let is_burst = treated.errors >= limits.least_errors && treated.errors as f64 > least && sure;
    is_burst.then_some(Stop::Failures { treated, expected })
}

fn queue(facts: &Facts, limits: &StopLimits) -> Option<Stop> {
    let last = last(&facts.treated_after, limits.windows)?;
    let usual = |id: &str| {
        let with = facts.treated_before.iter().filter(|span| span.queued.contains(id)).count();
        with as f64 > USUAL_QUEUE * facts.treated_before.len() as f64
    };
    let waits = |id: &&String| last.iter().all(|span| span.queued.contains(*id));
    let mut waiting = facts.more.iter().filter(waits).filter(|id| !usual(id));
    waiting.next().map(|backend| Stop::Queue { backend: backend.clone() })
}

fn slow(facts: &Facts, limits: &StopLimits) -> Option<Stop> {
    let enough = |span: &Span| span.count.requests >= limits.least_requests;
    let ratio = |(one, other): (&Span, &Span)| {
        let both =
            one.p99_ms.filter(|ms| *ms > 0.0)?.ln() - other.p99_ms.filter(|ms| *ms > 0.0)?.ln();
        (enough(one) && enough(other) && both.is_finite()).then_some(both)
    };
    // Of windows that one side lacks nothing is known. The newest is the first.
    let pairs = |treated: &[Span], control: &[Span]| -> Vec<Option<f64>> {
        let control: BTreeMap<i64, &Span> = control.iter().map(|one| (one.start_ms, one)).collect();
        let pair = |one: &Span| ratio((one, *control.get(&one.start_ms)?));
        treated.iter().rev().map(pair).collect()
    };
    let before: Vec<f64> =
        pairs(&facts.treated_before, &facts.control_before).into_iter().flatten().collect();
    if before.len() < LEAST_PAST {
        return None;
    }
    let n = before.len() as f64;
    let mean = before.iter().sum::<f64>() / n;
    let sd = (before.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let limit = mean + limits.p99_factor.ln().max(SURE_SLOW * sd);
    let after = pairs(&facts.treated_after, &facts.control_after);
    let newest = after.get(..limits.windows.max(1))?;
    let is_slow = newest.iter().all(|ratio| ratio.is_some_and(|ratio| ratio > limit));
    let last = facts.treated_after.last()?;
    let control = facts.control_after.iter().rfind(|one| one.start_ms == last.start_ms)?;
    let (p99_ms, expected_ms) = (last.p99_ms?, control.p99_ms? * mean.exp());
    is_slow.then_some(Stop::Slow { p99_ms, expected_ms })
}

fn last(spans: &[Span], count: usize) -> Option<&[Span]> {
    spans.get(spans.len().checked_sub(count.max(1))?..)
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { ms } => write!(f, "it could not be reached for {} s", ms / 1_000),
            Self::Mismatch { parameter, wanted, found } => {
                write!(f, "{parameter} is {found} where {wanted} was set")
            }
            Self::Failures { treated, expected } => write!(
                f,
                "{} of {} requests fail, {:.2} %, where {:.2} % would",
                treated.errors,
                treated.requests,
                treated.share() * 100.0,
                expected * 100.0
            ),
            Self::Queue { backend } => {
                write!(f, "requests wait for {backend}, which gets more of them")
            }
            Self::Slow { p99_ms, expected_ms } => {
                write!(f, "its p99 is {p99_ms:.0} ms where {expected_ms:.0} ms would be")
            }
        }
    }
}

#[cfg(test)]
mod tests;
