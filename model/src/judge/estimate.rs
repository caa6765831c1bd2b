//! The effect of a change with its uncertainty, from the arms before and after it.
//!
//! `effect = mean after - mean before`, of the difference between the arms. Its standard error comes
//! from the long-run variance of both stretches (see `noise`): pooled, because the short one after
//! the change says little by itself, or that of the time after where it is larger, because a change
//! may make things unsteady. Four things widen the interval beyond that:
//! - the standard error of a prediction, which all windows share;
//! - a *drift* in the past, continued to the windows looked at in either direction, as far as it
//!   exceeds its own standard error ("honest" differences in differences, Rambachan and Roth 2023);
//! - what counting alone allows: limits of shares (Wilson) and of rates (Garwood), combined over
//!   arms and stretches by MOVER (Zou, Donner 2008). Right where no event was seen at all, which has
//!   no variance to estimate;
//! - Student's quantile for the few degrees of freedom of a long-run variance.

use super::contrast::{Point, Tally};
use super::distribution::{normal_above, poisson_limits, share_limits, student_above};
use super::noise::{Noise, freedom};
use super::trial::Kind;

/// A stretch of windows on one side of the change.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) windows: usize,
    pub(super) mean: f64,
    pub(super) noise: Noise,
    pub(super) doubt: f64,
    pub(super) observed: f64,
    tallies: [Tally; 2],
    /// Sum of the weights: requests or samples.
    weight: f64,
    /// Change to expect for each window of distance from its middle; 0 unless asked for.
    drift: f64,
    /// What each window adds to the sum of deviations from the mean.
    series: Vec<f64>,
}

/// What is measured on the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Their mean.
    Mean,
    /// The logarithm of their mean distance from their median.
    Spread,
}

/// The effect; positive is a larger value after the change.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    pub(super) effect: f64,
    /// Variances of the mean after and before.
    after: f64,
    before: f64,
    freedom: f64,
    doubt: f64,
    drift: f64,
    /// How far the past strayed above and below its mean over as many windows.
    extremes: (f64, f64),
    counting: Option<Counting>,
}

/// Events and exposure of treated and controls, after and before.
#[derive(Debug, Clone, Copy)]
struct Counting {
    kind: Kind,
    after: [Tally; 2],
    before: Option<[Tally; 2]>,
}

impl Stretch {
    /// `None` without points, or without any spread to take the logarithm of.
    pub(super) fn of(points: &[Point], measure: Measure) -> Option<Self> {
        let weight: f64 = points.iter().map(|p| p.weight).sum();
        if points.is_empty() || weight.is_nan() || weight <= 0.0 {
            return None;
        }
        let mean_weight = weight / points.len() as f64;
        let mean = |value: &dyn Fn(&Point) -> f64| {
            points.iter().map(|p| value(p) * p.weight).sum::<f64>() / weight
        };
        let (centre, series) = match measure {
            Measure::Mean => {
                let centre = mean(&Point::difference);
                let course = promised(points, centre, weight);
                let rest = |(p, promised): (&Point, f64)| {
                    (p.difference() - centre - promised) * p.weight / mean_weight
                };
                let series = points.iter().zip(course).map(rest).collect();
                (centre, flat_is_zero(series, points))
            }
            Measure::Spread => spread(points)?,
        };
        Some(Self {
            windows: points.len(),
            mean: centre,
            noise: Noise::of(&series),
            doubt: mean(&|p| p.doubt),
            observed: mean(&|p| p.observed),
            tallies: points.iter().fold([Tally::default(); 2], |sums, p| {
                [sums[0].plus(p.tallies[0]), sums[1].plus(p.tallies[1])]
            }),
            weight,
            drift: 0.0,
            series,
        })
    }

    /// Requests, events' exposure or samples behind it.
    pub(super) fn samples(&self) -> u64 {
        self.weight as u64
    }

    /// With the drift of these points, as far as it is no chance: what is left of the difference of
    /// its halves when their error is taken off, square from square. The error is that of what
    /// remains without the trend, which would hide itself otherwise.
    pub(super) fn with_drift(self, points: &[Point]) -> Self {
        let values: Vec<f64> = points.iter().map(Point::difference).collect();
        let n = values.len() as f64;
        let (first, second) = values.split_at(values.len() / 2);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let halves = mean(second) - mean(first);
        let error = 4.0 * Noise::of(&without_trend(&values)).variance / n;
        let drift = (halves.powi(2) - error).max(0.0).sqrt() / (n / 2.0);
        Self { drift: if drift.is_finite() { drift } else { 0.0 }, ..self }
    }

    /// How far means of so many windows in a row lay above and below the mean at most. 0 when it has
    /// not three of them beside each other.
    fn extremes(&self, windows: usize) -> (f64, f64) {
        if windows == 0 || 3 * windows > self.series.len() {
            return (0.0, 0.0);
        }
        let mut sum: f64 = self.series[..windows].iter().sum();
        let mut seen = (sum.max(0.0), (-sum).max(0.0));
        for (next, first) in self.series[windows..].iter().zip(&self.series) {
            sum += next - first;
            seen = (seen.0.max(sum), seen.1.max(-sum));
        }
        (seen.0 / windows as f64, seen.1 / windows as f64)
    }

    /// What a stretch of another length of the same noise would be.
    pub(super) fn resized(&self, windows: usize) -> Self {
        let share = windows as f64 / self.windows as f64;
        let freedom = freedom(windows, self.noise.persistence);
        Self {
            windows,
            noise: Noise { freedom, ..self.noise },
            tallies: self.tallies.map(|tally| Tally {
                events: tally.events * share,
                exposure: tally.exposure * share,
            }),
            ..self.clone()
        }
    }
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self { events: self.events + other.events, exposure: self.exposure + other.exposure }
    }
}

/// The part of the differences that follows the promised course, around its mean: a cache that falls
/// short of it by a share does so steadily, and that is no noise.
fn promised(points: &[Point], centre: f64, weight: f64) -> Vec<f64> {
    let mean = points.iter().map(|p| p.promised * p.weight).sum::<f64>() / weight;
    let (mut both, mut square) = (0.0, 0.0);
    for p in points {
        let course = p.promised - mean;
        both += p.weight * course * (p.difference() - centre);
        square += p.weight * course * course;
    }
    let share = if square > 0.0 { both / square } else { 0.0 };
    points.iter().map(|p| share * (p.promised - mean)).collect()
}

/// Less mean and slope.
fn without_trend(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / n;
    let lean: f64 = values.iter().enumerate().map(|(t, y)| (t as f64 - middle) * (y - mean)).sum();
    let slope = lean / (n * (n * n - 1.0) / 12.0);
    let rest = |(t, y): (usize, &f64)| y - mean - slope * (t as f64 - middle);
    values.iter().enumerate().map(rest).collect()
}

/// What is left by rounding of a series that is constant is no noise.
fn flat_is_zero(series: Vec<f64>, points: &[Point]) -> Vec<f64> {
    let size = points
        .iter()
        .map(|p| p.treated.abs() + p.control.unwrap_or(0.0).abs() + p.observed.abs())
        .fold(0.0, f64::max);
    let largest = series.iter().map(|x| x.abs()).fold(0.0, f64::max);
    if largest <= 1e-12 * size { vec![0.0; series.len()] } else { series }
}

/// Logarithm of the treated arm's mean distance from its median over that of the control arm, and
/// what each point adds to it.
fn spread(points: &[Point]) -> Option<(f64, Vec<f64>)> {
    let treated = distances(&points.iter().map(|p| p.treated).collect::<Vec<_>>())?;
    let controls: Option<Vec<f64>> = points.iter().map(|p| p.control).collect();
    let Some(controls) = controls else {
        return Some((treated.0.ln(), treated.1));
    };
    let control = distances(&controls)?;
    let series = treated.1.iter().zip(&control.1).map(|(t, c)| t - c).collect();
    Some(((treated.0 / control.0).ln(), series))
}

/// Mean distance from the median, and each distance over it, less one.
fn distances(values: &[f64]) -> Option<(f64, Vec<f64>)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    let far: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    let mean = far.iter().sum::<f64>() / far.len() as f64;
    let size = values.iter().map(|value| value.abs()).fold(0.0, f64::max);
    (mean > 1e-12 * size).then(|| (mean, far.iter().map(|far| far / mean - 1.0).collect()))
}

impl Estimate {
    /// `anchored` says whether the mean before is subtracted, `gap` how many windows lie between.
    pub(super) fn new(
        before: &Stretch,
        after: &Stretch,
        anchored: bool,
        gap: usize,
        kind: Option<Kind>,
    ) -> Self {
        let (n, m) = (before.windows as f64, after.windows as f64);
        let parts = [n * before.noise.variance, m * after.noise.variance];
        let pooled = (parts[0] + parts[1]) / (n + m);
        let spent =
            parts[0].powi(2) / before.noise.freedom + parts[1].powi(2) / after.noise.freedom;
        let freedom = if spent > 0.0 {
            (parts[0] + parts[1]).powi(2) / spent
        } else {
            before.noise.freedom + after.noise.freedom
        };
        let distance = f64::midpoint(n, m) + gap as f64;
        let past = if anchored { pooled.max(before.noise.variance) / n } else { 0.0 };
        Self {
            effect: after.mean - if anchored { before.mean } else { 0.0 },
            after: pooled.max(after.noise.variance) / m,
            before: past,
            freedom,
            doubt: after.doubt,
            drift: if anchored { before.drift * distance } else { 0.0 },
            extremes: before.extremes(after.windows),
            counting: kind.map(|kind| Counting {
                kind,
                after: after.tallies,
                before: anchored.then_some(before.tallies),
            }),
        }
    }

    /// As uncertain, of nothing.
    pub(super) fn without_effect(self) -> Self {
        Self { effect: 0.0, ..self }
    }

    /// How far the effect may lie below and above the estimate, each missed with probability `alpha`.
    pub(super) fn halves(&self, alpha: f64) -> (f64, f64) {
        let t = student_above(alpha, self.freedom);
        let half = t * (self.after + self.before + self.doubt.powi(2)).sqrt() + self.drift;
        let (below, above) = self.counting.map_or((0.0, 0.0), |c| c.halves(alpha));
        (half.max(below).max(self.extremes.0), half.max(above).max(self.extremes.1))
    }

    /// What chance alone adds to both halves of [`Self::halves`] to be met with probability `power`.
    pub(super) fn reserve(&self, power: f64) -> f64 {
        normal_above(1.0 - power) * (self.after + self.before).sqrt()
    }

    /// How far what was seen may lie from what it would be without noise.
    pub(super) fn observed_half(&self, alpha: f64) -> f64 {
        student_above(alpha, self.freedom) * self.after.sqrt()
    }

    /// The same for what it is compared with.
    pub(super) fn expected_half(&self, alpha: f64) -> f64 {
        let t = student_above(alpha, self.freedom);
        t * (self.before + self.doubt.powi(2)).sqrt() + self.drift
    }
}

impl Counting {
    fn halves(&self, alpha: f64) -> (f64, f64) {
        let [treated, control] = self.after;
        let mut signed = vec![(treated, true), (control, false)];
        if let Some([treated, control]) = self.before {
            signed.extend([(treated, false), (control, true)]);
        }
        let mut squares = (0.0, 0.0);
        for (tally, adds) in signed {
            let (below, above) = self.room(tally, alpha);
            let (below, above) = if adds { (below, above) } else { (above, below) };
            squares = (squares.0 + below * below, squares.1 + above * above);
        }
        (squares.0.sqrt(), squares.1.sqrt())
    }

    /// From the limits to the rate itself.
    fn room(&self, tally: Tally, alpha: f64) -> (f64, f64) {
        let Tally { events, exposure } = tally;
        if exposure <= 0.0 {
            return (0.0, 0.0);
        }
        let rate = events / exposure;
        let (low, high) = match self.kind {
            Kind::Count => {
                let (low, high) = poisson_limits(events, alpha);
                (low / exposure, high / exposure)
            }
            _ => share_limits(events, exposure, alpha),
        };
        (rate - low, high - rate)
    }
}
