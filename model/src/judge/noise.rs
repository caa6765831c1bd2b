//! How far the mean of a stretch of windows strays by chance, when neighbours resemble each other.
//!
//! The variance of a mean of `n` windows is `long-run variance / n`. The usual formula for
//! independent samples is wrong by a factor of `(1 + r) / (1 - r)` when each window resembles the one
//! before with correlation `r`: 19 at 0.9, which real hit ratios reach. Two estimates, the larger of
//! which counts:
//! - *equal weights on cosines* (Lazarus, Lewis, Stock, Watson, "HAR inference", 2018): the mean of
//!   the squares of the series' first `B` cosine coefficients. It assumes no shape of the noise, and
//!   Student's t with `B` degrees of freedom is right for it in small samples, which it is not for
//!   Bartlett's kernel;
//! - *first-order autoregression*, `variance (1 + r) / (1 - r)`, with `r` and the variance corrected
//!   for the bias of small samples (Kendall; a mean that was taken from the series itself). It sees
//!   long memory in fewer windows, and never counts `r` below 0.
//!
//! `B` is the literature's `0.41 n^(2/3)`, or less where `r` says that the spectrum is steep.

use super::distribution::half_turn;

/// Correlations above this are taken for it: the series is a drift rather than noise.
const MOST_PERSISTENT: f64 = 0.97;
/// Steepness that is allowed over the cosines used, as `B pi / n` times `sqrt(r) / (1 - r)`.
const STEEPNESS: f64 = 1.0;
const LEAST_COSINES: f64 = 6.0;

/// What is known of a series' noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Noise {
    /// Long-run variance of one window.
    pub(super) variance: f64,
    /// Degrees of freedom of that estimate.
    pub(super) freedom: f64,
    /// Correlation of a window with the next, 0 to [`MOST_PERSISTENT`].
    pub(super) persistence: f64,
}

impl Noise {
    /// Of a series whose mean was taken off.
    pub(super) fn of(series: &[f64]) -> Self {
        let n = series.len() as f64;
        let power = series.iter().map(|x| x * x).sum::<f64>() / n.max(1.0);
        if power.is_nan() || power <= 0.0 {
            return Self { variance: 0.0, freedom: freedom(series.len(), 0.0), persistence: 0.0 };
        }
        let persistence = persistence(series, power);
        let freedom = freedom(series.len(), persistence);
        let variance = cosines(series, freedom as usize).max(autoregressive(power, persistence, n));
        Self { variance, freedom, persistence }
    }
}

/// Cosines for so many windows.
pub(super) fn freedom(windows: usize, persistence: f64) -> f64 {
    let n = windows as f64;
    let smooth = 0.41 * n.powf(2.0 / 3.0);
    let steep = STEEPNESS * (1.0 - persistence) / (half_turn(windows) * persistence.sqrt());
    smooth.min(steep).floor().max(LEAST_COSINES).min((n / 2.0).floor()).max(2.0)
}

fn persistence(series: &[f64], power: f64) -> f64 {
    let n = series.len() as f64;
    let neighbours = series.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
    let raw = neighbours / (power * n);
    (raw + (1.0 + 3.0 * raw) / n).clamp(0.0, MOST_PERSISTENT)
}

fn autoregressive(power: f64, persistence: f64, n: f64) -> f64 {
    let memory = (1.0 + persistence) / (1.0 - persistence);
    // Taking the mean off took this share of the variance with it.
    let lost = (memory / n).min(0.5);
    power * memory / (1.0 - lost)
}

/// Mean square of the first `count` cosine coefficients.
fn cosines(series: &[f64], count: usize) -> f64 {
    let step = half_turn(series.len());
    let mut sums = vec![0.0; count];
    for (t, x) in series.iter().enumerate() {
        // cos(j a) for growing j, by Chebyshev's recurrence.
        let first = (step * (t as f64 + 0.5)).cos();
        let (mut before, mut now) = (1.0, first);
        for sum in &mut sums {
            *sum += x * now;
            (before, now) = (now, 2.0 * first * now - before);
        }
    }
    let scale = 2.0 / series.len() as f64;
    scale * sums.iter().map(|sum| sum * sum).sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::random::{Random, autoregressive as walk};

    /// Average estimate over the true value, for noise of unit variance.
    fn ratio(windows: usize, r: f64) -> f64 {
        let truth = (1.0 + r) / (1.0 - r);
        let total: f64 = (0..200)
            .map(|seed| {
                let series = walk(&mut Random::new(seed), windows, r);
                let mean = series.iter().sum::<f64>() / windows as f64;
                let centred: Vec<f64> = series.iter().map(|x| x - mean).collect();
                Noise::of(&centred).variance
            })
            .sum();
        total / 200.0 / truth
    }

    #[test]
    fn the_long_run_variance_is_met_whatever_the_memory() {
        for r in [0.0, 0.3, 0.6, 0.9] {
            let ratio = ratio(360, r);
            assert!((0.9..1.8).contains(&ratio), "correlation {r}: {ratio} of the true value");
        }
    }

    #[test]
    fn nothing_and_a_constant_have_no_noise() {
        for series in [&[][..], &[0.0; 40]] {
            let noise = Noise::of(series);
            assert!(noise.variance.abs() < f64::EPSILON && noise.freedom >= 2.0);
        }
    }
}
