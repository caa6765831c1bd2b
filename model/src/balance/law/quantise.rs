//! From wanted weights to whole numbers, and whether those are worth a push.

use crate::balance::MAX_WEIGHT;

/// Whole weights from 1 to 256 in proportion to `wanted`, the largest 256. What is not a number above 0 gets 1; if nothing is, all get 256.
pub fn quantise(wanted: &[f64]) -> Vec<u16> {
    let sound = |weight: f64| if weight.is_finite() { weight.max(0.0) } else { 0.0 };
    let most = wanted.iter().copied().map(sound).fold(0.0, f64::max);
    if most <= 0.0 {
        return vec![MAX_WEIGHT; wanted.len()];
    }
    let scaled = |weight: f64| (sound(weight) / most * f64::from(MAX_WEIGHT)).round();
    wanted.iter().map(|&weight| (scaled(weight) as u16).clamp(1, MAX_WEIGHT)).collect()
}

/// Share of each weight in all of them; they add up to 1. Equal ones if all weights are 0.
pub fn shares(weights: impl IntoIterator<Item = u16>) -> Vec<f64> {
    let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        return weights.iter().map(|weight| weight / sum).collect();
    }
    vec![1.0 / weights.len().max(1) as f64; weights.len()]
}

/// Moves by less than this many units of 256 are rounding: half a unit, and a quarter so that what hovers between two whole numbers stays.
const ROUNDING: f64 = 0.75;

/// How far a weight moved beside the one in force, when that is worth a push. Both on the scale where the largest is 256, `wanted` before rounding.
pub(super) fn moved(wanted: f64, in_force: f64, ratio: f64) -> Option<f64> {
    let by = (wanted - in_force).abs();
    let differs = (wanted.round() - in_force.round()).abs() >= 1.0;
    (differs && by >= ROUNDING && by >= ratio * in_force).then(|| by / in_force.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_of_a_small_weight_counts_only_if_it_is_no_rounding() {
        // 8.6 rounds to 9, which is 12 % more than 8, but may just as well be 8.4 in the next window.
        assert_eq!(moved(8.6, 8.0, 0.03), None);
        assert!(moved(8.8, 8.0, 0.03).is_some());
        // From 9 the way back is as far.
        assert_eq!(moved(8.3, 9.0, 0.03), None);
        assert!(moved(8.2, 9.0, 0.03).is_some());
    }

    #[test]
    fn a_large_weight_must_move_three_percent() {
        assert_eq!(moved(205.9, 200.0, 0.03), None);
        assert!(moved(206.0, 200.0, 0.03).is_some());
        assert!(moved(194.0, 200.0, 0.03).is_some());
    }

    #[test]
    fn whole_weights_are_in_proportion_and_never_zero() {
        assert_eq!(quantise(&[2.0, 1.0, 0.001]), [256, 128, 1]);
        assert_eq!(quantise(&[f64::NAN, f64::INFINITY, -3.0, 1.0]), [1, 1, 1, 256]);
        assert_eq!(quantise(&[0.0, f64::NAN]), [256, 256]);
        assert_eq!(shares([3, 1]), [0.75, 0.25]);
        assert_eq!(shares([0, 0]), [0.5, 0.5]);
    }
}
