//! Curves that only rise or only fall: regression onto them and interpolation within them.

/// The closest falling sequence by weighted squares (pool adjacent violators: Ayer et al. 1955; of a
/// density it is Grenander's estimate). Weights are above 0.
pub(super) fn falling(values: &mut [f64], weights: &[f64]) {
    // Mean, weight and length of each run of equal values.
    let mut runs: Vec<(f64, f64, usize)> = Vec::with_capacity(values.len());
    for (value, weight) in values.iter().zip(weights) {
        let mut run = (*value, *weight, 1);
        while let Some(before) = runs.pop() {
            if before.0 > run.0 {
                runs.push(before);
                break;
            }
            let weight = before.1 + run.1;
            let mean = (before.0 * before.1 + run.0 * run.1) / weight;
            run = (mean, weight, before.2 + run.2);
        }
        runs.push(run);
    }
    let mut rest = values;
    for (value, _, length) in runs {
        let (run, after) = rest.split_at_mut(length);
        run.fill(value);
        rest = after;
    }
}

/// Interpolates between points by cubics that turn nowhere between two points that do not (Fritsch
/// and Carlson 1980). Outside it is the nearest point. `xs` grow.
pub(super) fn interpolate(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let (Some(first), Some(last)) = (ys.first(), ys.last()) else { return f64::NAN };
    let after = xs.partition_point(|other| *other <= x);
    if after == 0 {
        return *first;
    }
    if after == xs.len() {
        return *last;
    }
    let i = after - 1;
    let secant = |i: usize| (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]);
    let slope = |i: usize| -> f64 {
        if i == 0 {
            return secant(0);
        }
        if i == xs.len() - 1 {
            return secant(i - 1);
        }
        let (before, after) = (secant(i - 1), secant(i));
        if before * after <= 0.0 {
            return 0.0;
        }
        let (left, right) = (xs[i] - xs[i - 1], xs[i + 1] - xs[i]);
        let (a, b) = (2.0 * right + left, right + 2.0 * left);
        (a + b) / (a / before + b / after)
    };
    let (width, steep) = (xs[i + 1] - xs[i], secant(i));
    let most = 3.0 * steep.abs();
    let (start, end) = (slope(i).clamp(-most, most), slope(i + 1).clamp(-most, most));
    let t = (x - xs[i]) / width;
    let bend = (start + end - 2.0 * steep) * t * (1.0 - t);
    let tilt = (start - steep) * t * (1.0 - t);
    ys[i] + steep * (x - xs[i]) + width * (tilt - bend * t)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_regression_falls_and_keeps_the_sum(
            pairs in prop::collection::vec((0.0_f64..10.0, 0.1_f64..5.0), 1..50)
        ) {
            let (values, weights): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let mut fitted = values.clone();
            falling(&mut fitted, &weights);
            prop_assert!(fitted.windows(2).all(|pair| pair[0] >= pair[1]));
            let sum = |values: &[f64]| values.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>();
            prop_assert!((sum(&values) - sum(&fitted)).abs() < 1e-6);
            let mut again = fitted.clone();
            falling(&mut again, &weights);
            prop_assert!(again.iter().zip(&fitted).all(|(a, b)| (a - b).abs() < 1e-9));
        }

        #[test]
        fn the_interpolation_meets_its_points_and_never_turns(
            steps in prop::collection::vec((0.01_f64..5.0, 0.0_f64..3.0), 2..20)
        ) {
            let (mut x, mut y) = (0.0, 0.0);
            let (mut xs, mut ys) = (Vec::new(), Vec::new());
            for (right, up) in steps {
                (x, y) = (x + right, y + up);
                xs.push(x);
                ys.push(y);
            }
            for (x, y) in xs.iter().zip(&ys) {
                prop_assert!((interpolate(&xs, &ys, *x) - y).abs() < 1e-9);
            }
            let at = |i: i32| xs[0] + (x - xs[0]) * f64::from(i) / 500.0;
            let all: Vec<_> = (0..=500).map(|i| interpolate(&xs, &ys, at(i))).collect();
            prop_assert!(all.windows(2).all(|pair| pair[1] >= pair[0] - 1e-9));
        }
    }

    #[test]
    fn a_smooth_curve_is_met_closely_and_the_outside_is_the_nearest_point() {
        let xs: Vec<_> = (1..=8).map(f64::from).collect();
        let ys: Vec<_> = xs.iter().map(|x| x.sqrt()).collect();
        for x in [2.5, 3.3, 6.9] {
            assert!((interpolate(&xs, &ys, x) - f64::sqrt(x)).abs() < 0.01, "{x}");
        }
        assert!((interpolate(&xs, &ys, 0.0) - 1.0).abs() < 1e-12);
        assert!((interpolate(&xs, &ys, 99.0) - 8.0_f64.sqrt()).abs() < 1e-12);
        assert!(interpolate(&[], &[], 1.0).is_nan());
    }
}
