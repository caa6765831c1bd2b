//! Spreads of estimates, from the same estimate on other data.

use crate::mix::next_unit;

/// Standard deviation by leaving one block out at a time (Quenouille 1956, Tukey 1958). Blocks that
/// follow each other in time may differ by more than chance, and then so do these. 0 for fewer than
/// two.
pub(super) fn jackknife_sd(left_out: &[f64]) -> f64 {
    let count = left_out.len() as f64;
    if left_out.len() < 2 {
        return 0.0;
    }
    let mean = left_out.iter().sum::<f64>() / count;
    let square: f64 = left_out.iter().map(|value| (value - mean).powi(2)).sum();
    (square * (count - 1.0) / count).sqrt()
}

/// Standard deviation of equally likely values. 0 for fewer than two.
pub(super) fn sd(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
}

/// A number of events where so many are expected (Poisson). Exact for few, a normal one for many.
pub(super) fn draw(expected: f64, random: &mut u64) -> f64 {
    if expected > 50.0 {
        return (expected + expected.sqrt() * draw_normal(random)).round().max(0.0);
    }
    let (least, mut product, mut count) = ((-expected).exp(), 1.0, -1.0);
    while product > least {
        product *= next_unit(random);
        count += 1.0;
    }
    f64::max(count, 0.0)
}

/// A number of the standard normal law (Box and Muller).
fn draw_normal(random: &mut u64) -> f64 {
    let (radius, angle) = (1.0 - next_unit(random), next_unit(random));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_and_the_variance_of_their_law() {
        let mut random = 1;
        for expected in [0.0, 0.3, 4.0, 49.0, 51.0, 900.0] {
            let drawn: Vec<_> = (0..20_000).map(|_| draw(expected, &mut random)).collect();
            let mean = drawn.iter().sum::<f64>() / 20_000.0;
            let close = 4.0 * (expected / 20_000.0).sqrt() + 1e-9;
            assert!((mean - expected).abs() <= close, "{expected}: {mean}");
            assert!((sd(&drawn).powi(2) - expected).abs() <= 0.05 * expected, "{expected}");
        }
    }

    #[test]
    fn the_jackknife_of_a_mean_is_its_standard_error() {
        let values = [1.0, 4.0, 2.0, 8.0, 5.0];
        let left_out: Vec<_> = (0..5).map(|out| (20.0 - values[out]) / 4.0).collect();
        let expected = sd(&values) / 5.0_f64.sqrt();
        assert!((jackknife_sd(&left_out) - expected).abs() < 1e-12);
        assert!(jackknife_sd(&[]).abs() < 1e-12 && jackknife_sd(&[3.0]).abs() < 1e-12);
        assert!(sd(&[]).abs() < 1e-12 && sd(&[3.0]).abs() < 1e-12);
    }
}
