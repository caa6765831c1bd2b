//! The size that a cache should have, from its hit ratio curve.
//!
//! The smallest size whose hit ratio is within [`HIT_RATIO_TOLERANCE`] of the largest that any
//! allowed size reaches. Past it, memory buys next to nothing. The point of steepest descent (the
//! "knee") is no substitute: curves with several working sets have several.
//!
//! Properties, each a test:
//! - (a) the recommended size reaches the largest hit ratio but for the tolerance, and when it is
//!   not the present size, no smaller point of the curve does;
//! - (b) it lies within the bounds;
//! - (c) asked again with the recommended size as the present one, it stays;
//! - (d) it grows for more than the tolerance only, and shrinks only when it saves at least
//!   [`SHRINK_AT_LEAST`] of the present size;
//! - (e) nothing known, nothing recommended; points that are not a number are passed over.

use super::Point;

/// One point in a hundred: a larger gain is worth memory.
pub const HIT_RATIO_TOLERANCE: f64 = 0.01;
/// Share of the present size that shrinking must save, because a shrunk cache loses entries.
pub const SHRINK_AT_LEAST: f64 = 0.2;

/// Smallest and largest size that a cache may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Smallest size.
    pub min_bytes: u64,
    /// Largest size; taken for `min_bytes` when it is below.
    pub max_bytes: u64,
}

/// A size for the cache, and what it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recommendation {
    /// Size that the cache should have; the present one when a change is not worth it.
    pub bytes: u64,
    /// Hit ratio with that size.
    pub hit_ratio: f64,
    /// Hit ratio with the present size.
    pub current_hit_ratio: f64,
    /// Hit ratio with the largest allowed size.
    pub largest_hit_ratio: f64,
}

/// The size to give a cache that has `current_bytes`; `None` when the curve is empty.
///
/// The curve is that of [`HitCurve::curve`](super::HitCurve::curve): by growing size.
pub fn recommend(curve: &[Point], current_bytes: u64, bounds: Bounds) -> Option<Recommendation> {
    let known = || curve.iter().filter(|point| !point.hit_ratio.is_nan());
    known().next()?;
    let max_bytes = bounds.max_bytes.max(bounds.min_bytes);
    let at = |bytes| {
        let below = known().take_while(|point| point.bytes <= bytes);
        below.map(|point| point.hit_ratio).fold(0.0, f64::max)
    };
    let largest_hit_ratio = at(max_bytes);
    let enough = |hit_ratio: f64| hit_ratio >= largest_hit_ratio - HIT_RATIO_TOLERANCE;
    let first = known().find(|point| point.bytes > bounds.min_bytes && enough(point.hit_ratio));
    let smallest = match first {
        Some(point) if !enough(at(bounds.min_bytes)) => point.bytes.min(max_bytes),
        _ => bounds.min_bytes,
    };
    let present = current_bytes.clamp(bounds.min_bytes, max_bytes);
    let saved = present.saturating_sub(smallest) as f64;
    let keeps = enough(at(present)) && saved < present as f64 * SHRINK_AT_LEAST;
    let bytes = if keeps { present } else { smallest };
    Some(Recommendation {
        bytes,
        hit_ratio: at(bytes),
        current_hit_ratio: at(current_bytes),
        largest_hit_ratio,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: Bounds = Bounds { min_bytes: 0, max_bytes: u64::MAX };

    /// Points from steps in size and in hit ratio.
    fn curve_of(steps: &[(u64, f64)]) -> Vec<Point> {
        let sum = steps.iter().map(|step| step.1).sum::<f64>().max(1.0);
        let mut last = Point { bytes: 0, hit_ratio: 0.0 };
        let grow = |(bytes, gain): &(u64, f64)| {
            last.bytes += bytes;
            last.hit_ratio += gain / sum;
            last
        };
        steps.iter().map(grow).collect()
    }

    fn curves() -> impl Strategy<Value = Vec<Point>> {
        prop::collection::vec((1_u64..1000, 0.0_f64..0.2), 1..30).prop_map(|s| curve_of(&s))
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        (0_u64..20_000, 0_u64..20_000)
            .prop_map(|(min_bytes, max_bytes)| Bounds { min_bytes, max_bytes })
    }

    fn at(curve: &[Point], bytes: u64) -> f64 {
        curve.iter().rfind(|point| point.bytes <= bytes).map_or(0.0, |point| point.hit_ratio)
    }

    proptest! {
        #[test]
        fn it_reaches_the_largest_but_for_the_tolerance_with_the_fewest_bytes(
            curve in curves(), current in 0_u64..20_000, bounds in bounds(),
        ) {
            let advice = recommend(&curve, current, bounds).unwrap();
            let max_bytes = bounds.max_bytes.max(bounds.min_bytes);
            prop_assert!((bounds.min_bytes..=max_bytes).contains(&advice.bytes));
            let least = at(&curve, max_bytes) - HIT_RATIO_TOLERANCE;
            prop_assert!(at(&curve, advice.bytes) >= least);
            if advice.bytes != current.clamp(bounds.min_bytes, max_bytes) {
                let smaller = curve.iter().map(|point| point.bytes).chain([bounds.min_bytes]);
                for bytes in smaller.filter(|b| (bounds.min_bytes..advice.bytes).contains(b)) {
                    prop_assert!(at(&curve, bytes) < least, "{bytes} would do");
                }
            }
        }

        #[test]
        fn asked_again_it_stays(curve in curves(), current in 0_u64..20_000, bounds in bounds()) {
            let first = recommend(&curve, current, bounds).unwrap();
            let again = recommend(&curve, first.bytes, bounds).unwrap();
            prop_assert_eq!(again.bytes, first.bytes);
            prop_assert!((again.current_hit_ratio - first.hit_ratio).abs() < 1e-12);
        }

        #[test]
        fn it_changes_only_for_a_reason(curve in curves(), current in 1_u64..20_000) {
            let advice = recommend(&curve, current, ANY).unwrap();
            if advice.bytes > current {
                let gain = advice.largest_hit_ratio - advice.current_hit_ratio;
                prop_assert!(gain > HIT_RATIO_TOLERANCE);
            } else if advice.bytes < current {
                let saved = (current - advice.bytes) as f64;
                prop_assert!(saved >= current as f64 * SHRINK_AT_LEAST);
            }
        }
    }

    #[test]
    fn the_end_of_a_flat_curve_is_not_bought() {
        let curve = curve_of(&[(100, 0.5), (100, 0.3), (100, 0.005), (10_000, 0.004)]);
        let advice = recommend(&curve, 50, ANY).unwrap();
        assert_eq!((advice.bytes, advice.current_hit_ratio), (200, 0.0));
        assert!((advice.largest_hit_ratio - 0.809).abs() < 1e-9);
        let capped = Bounds { max_bytes: 150, ..ANY };
        assert_eq!(recommend(&curve, 50, capped).unwrap().bytes, 100, "what 150 reach");
        assert_eq!(recommend(&curve, 249, ANY).unwrap().bytes, 249, "saves less than a fifth");
        assert_eq!(recommend(&curve, 250, ANY).unwrap().bytes, 200);
    }

    #[test]
    fn nothing_known_is_no_advice() {
        assert_eq!(recommend(&[], 5, ANY), None);
        let odd = Point { bytes: 1, hit_ratio: f64::NAN };
        assert_eq!(recommend(&[odd], 5, ANY), None);
        let curve = [odd, Point { bytes: 10, hit_ratio: 0.5 }];
        assert_eq!(recommend(&curve, 5, ANY).unwrap().bytes, 10);
    }
}
