//! Quantiles of the normal, Student's and Poisson distributions, and limits of shares.
//!
//! Closed forms: Acklam's rational approximation of the normal quantile (relative error 1e-9), Hill's
//! expansion for Student (CACM algorithm 396), Wilson and Hilferty's cube root for the exact limits
//! of a Poisson mean (Garwood), Wilson's score limits for a share. Inverting the integrals by search
//! would be more code and slower, for digits that an estimated noise does not have.

use std::f64::consts::{FRAC_PI_2, PI};

/// Tails smaller than this are not told apart.
const LEAST_ALPHA: f64 = 1e-12;

/// The value that a standard normal exceeds with probability `alpha`; 0 above one half.
pub(super) fn normal_above(alpha: f64) -> f64 {
    let p = alpha.clamp(LEAST_ALPHA, 0.5);
    -normal_quantile(p)
}

/// For `p` up to one half.
fn normal_quantile(p: f64) -> f64 {
    if p < 0.024_25 {
        let q = (-2.0 * p.ln()).sqrt();
        let above = [
            -7.784_894_002_430_293e-3,
            -0.322_396_458_041_136_5,
            -2.400_758_277_161_838,
            -2.549_732_539_343_734,
            4.374_664_141_464_968,
            2.938_163_982_698_783,
        ];
        let below = [
            7.784_695_709_041_462e-3,
            0.322_467_129_070_039_8,
            2.445_134_137_142_996,
            3.754_408_661_907_416,
            1.0,
        ];
        return polynomial(&above, q) / polynomial(&below, q);
    }
    let q = p - 0.5;
    let r = q * q;
    let above = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    let below = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    q * polynomial(&above, r) / polynomial(&below, r)
}

/// Highest power first.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// The value that Student's t with so many degrees of freedom, at least 2, exceeds with probability
/// `alpha`.
pub(super) fn student_above(alpha: f64, freedom: f64) -> f64 {
    let both = 2.0 * alpha.clamp(LEAST_ALPHA, 0.5);
    let n = freedom.max(2.0);
    if n > 1e6 {
        return normal_above(alpha);
    }
    if n < 2.0 + 1e-9 {
        return (2.0 / (both * (2.0 - both)) - 2.0).max(0.0).sqrt();
    }
    hill(both, n).max(0.0).sqrt()
}

/// Square of the value that Student's t exceeds in size with probability `both`.
fn hill(both: f64, freedom: f64) -> f64 {
    let small = 1.0 / (freedom - 0.5);
    let large = 48.0 / (small * small);
    let correction = ((20_700.0 * small / large - 98.0) * small - 16.0) * small + 96.36;
    let scale =
        ((94.5 / (large + correction) - 3.0) / large + 1.0) * (small * FRAC_PI_2).sqrt() * freedom;
    let tail = (scale * both).powf(2.0 / freedom);
    if tail <= 0.05 + small {
        let inner =
            ((freedom + 6.0) / (freedom * tail) - 0.089 * scale - 0.822) * (freedom + 2.0) * 3.0;
        let first = (1.0 / inner + 0.5 / (freedom + 4.0)) * tail - 1.0;
        return freedom * (first * (freedom + 1.0) / (freedom + 2.0) + 1.0 / tail);
    }
    let x = -normal_above(both / 2.0);
    let y = x * x;
    let few = if freedom < 5.0 { 0.3 * (freedom - 4.5) * (x + 0.6) } else { 0.0 };
    let centre = (((0.05 * scale * x - 5.0) * x - 7.0) * x - 2.0) * x + large + correction + few;
    let root = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / centre - y - 3.0) / large + 1.0) * x;
    freedom * (small * root * root).exp_m1()
}

/// Limits of the mean of a Poisson count, each missed with probability `alpha`. With no events the
/// lower one is 0 and the upper one exact.
pub(super) fn poisson_limits(events: f64, alpha: f64) -> (f64, f64) {
    let z = normal_above(alpha);
    let cube = |x: f64, z: f64| x * (1.0 - 1.0 / (9.0 * x) + z / (3.0 * x.sqrt())).max(0.0).powi(3);
    if events < 0.5 {
        return (0.0, -alpha.clamp(LEAST_ALPHA, 0.5).ln());
    }
    (cube(events, -z), cube(events + 1.0, z))
}

/// Limits of a share, each missed with probability `alpha`; (0, 1) without trials.
pub(super) fn share_limits(events: f64, trials: f64, alpha: f64) -> (f64, f64) {
    if trials <= 0.0 {
        return (0.0, 1.0);
    }
    let z = normal_above(alpha);
    let share = events / trials;
    let z2 = z * z / trials;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = z * (share * (1.0 - share) / trials + z2 / (4.0 * trials)).sqrt() / (1.0 + z2);
    // Rounding must not push a limit past the share itself.
    ((middle - half).clamp(0.0, share), (middle + half).clamp(share, 1.0))
}

/// Half a turn over `n` steps.
pub(super) fn half_turn(n: usize) -> f64 {
    PI / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, relative: f64) {
        assert!((a - b).abs() <= relative * b.abs(), "{a} is not {b}");
    }

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        let table = [
            (0.5, 0.0),
            (0.25, 0.674_490),
            (0.05, 1.644_854),
            (0.01, 2.326_348),
            (1e-6, 4.753_424),
        ];
        for (alpha, z) in table {
            assert!((normal_above(alpha) - z).abs() < 1e-6, "{alpha}");
        }
    }

    #[test]
    fn student_quantiles_are_those_of_the_tables() {
        let table = [
            (0.025, 2.0, 4.302_653),
            (0.025, 3.0, 3.182_446),
            (0.025, 5.0, 2.570_582),
            (0.000_5, 4.0, 8.610_302),
            (0.000_5, 10.0, 4.586_894),
            (0.005, 30.0, 2.749_996),
            (0.05, 120.0, 1.657_651),
            (0.000_5, 1e9, 3.290_527),
        ];
        for (alpha, freedom, t) in table {
            close(student_above(alpha, freedom), t, 2e-4);
        }
    }

    #[test]
    fn poisson_limits_are_those_of_the_tables() {
        // Garwood's 95 % limits.
        close(poisson_limits(0.0, 0.025).1, 3.688_9, 1e-4);
        close(poisson_limits(1.0, 0.025).1, 5.571_6, 0.01);
        close(poisson_limits(10.0, 0.025).0, 4.795_4, 0.01);
        close(poisson_limits(10.0, 0.025).1, 18.390_4, 0.01);
        close(poisson_limits(1000.0, 0.025).1, 1_063.97, 1e-3);
    }

    #[test]
    fn shares_have_room_at_both_ends() {
        let (low, high) = share_limits(0.0, 100.0, 0.025);
        assert!(low.abs() < 1e-12 && (0.036..0.038).contains(&high), "{low} {high}");
        let (low, high) = share_limits(100.0, 100.0, 0.025);
        assert!((high - 1.0).abs() < 1e-12 && (0.962..0.964).contains(&low), "{low} {high}");
        assert_eq!(share_limits(0.0, 0.0, 0.025), (0.0, 1.0));
    }
}
