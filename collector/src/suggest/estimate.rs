//! Differences of hit ratios with their intervals.
//!
//! An agent's intervals hold the errors of sampling and time. What its method itself is off by is
//! added here, as an independent error: at first by a constant from the feasibility experiment, and
//! from then on by the track record, which widens ([`flyball_model::record::widening`]). Every
//! interval is of nine cases in ten.

use flyball_proto::steering::HitCurve;

/// Confidence of all intervals.
pub const CONFIDENCE: f64 = 0.9;
/// Half-width of that confidence in standard deviations of a normal error.
const HALF_WIDTH_SD: f64 = 1.645;

/// A value and the interval that holds the truth in nine cases of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct Estimate {
    /// Most likely.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What a method is off by besides its own interval, as a standard deviation: the least of these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelError {
    /// As measured where one request in six missed.
    most: f64,
    /// As a share of the misses: where few miss, there is little to be wrong about.
    of_misses: f64,
    /// As a share of the difference: along a flat curve there is little either. Never below
    /// [`LEAST_SD`].
    of_delta: f64,
}

/// No method is better than this.
const LEAST_SD: f64 = 0.0005;

impl ModelError {
    /// Sizes of a cache that evicts by recency.
    pub const SIZE: Self = Self { most: 0.005, of_misses: 0.03, of_delta: 0.1 };
    /// Policies that count accesses: their minute clock is what an emulation knows least of, and even
    /// the sign of a difference can be wrong.
    pub const FREQUENCY: Self = Self { most: 0.015, of_misses: 0.09, of_delta: f64::INFINITY };

    fn half_width(self, miss_ratio: f64, delta: f64) -> f64 {
        let of_misses = self.of_misses * miss_ratio.clamp(0.0, 1.0);
        let of_delta = (self.of_delta * delta.abs().max(f64::MIN_POSITIVE)).max(LEAST_SD);
        HALF_WIDTH_SD * self.most.min(of_misses).min(of_delta)
    }
}

impl Estimate {
    /// An exactly known value.
    pub const fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// This less another one. Their errors are taken as independent, which for two points of one
    /// curve errs on the wide side.
    pub fn less(self, other: Self) -> Self {
        let value = self.value - other.value;
        let below = (self.value - self.low).hypot(other.high - other.value);
        let above = (self.high - self.value).hypot(other.value - other.low);
        Self { value, low: value - below, high: value + above }
    }

    /// A difference with a further independent error.
    pub fn with(self, error: ModelError, miss_ratio: f64) -> Self {
        let half = error.half_width(miss_ratio, self.value);
        Self {
            value: self.value,
            low: self.value - (self.value - self.low).hypot(half),
            high: self.value + (self.high - self.value).hypot(half),
        }
    }

    /// With an interval that is so many times as wide.
    pub fn widened(self, by: f64) -> Self {
        let by = by.max(1.0);
        Self {
            value: self.value,
            low: self.value - (self.value - self.low) * by,
            high: self.value + (self.high - self.value) * by,
        }
    }

    /// With the other sign.
    pub fn negated(self) -> Self {
        Self { value: -self.value, low: -self.high, high: -self.low }
    }

    /// Moved by an exact amount.
    pub fn plus(self, amount: f64) -> Self {
        Self { value: self.value + amount, low: self.low + amount, high: self.high + amount }
    }

    /// What is outside of what is possible is cut off.
    pub fn within(self, least: f64, most: f64) -> Self {
        let cut = |value: f64| value.clamp(least, most.max(least));
        Self { value: cut(self.value), low: cut(self.low), high: cut(self.high) }
    }
}

/// The hit ratio at a size, on the straight line between two points of the curve.
///
/// # Errors
/// When the size is not within what was measured.
pub fn at(curve: &HitCurve, bytes: u64) -> Result<Estimate, String> {
    let points = &curve.points;
    let after = points.partition_point(|point| point.bytes < bytes);
    let outside = || {
        let (first, last) = (points.first(), points.last());
        let ends = first.zip(last).map_or((0, 0), |(first, last)| (first.bytes, last.bytes));
        let reach = ends.1.min(curve.reach_bytes);
        format!("{bytes} bytes are out of reach of its curve, which is of {} to {reach}", ends.0)
    };
    if bytes > curve.reach_bytes {
        return Err(outside());
    }
    let right = points.get(after).ok_or_else(outside)?;
    let of = |value: f64, low: f64, high: f64| Estimate { value, low, high };
    if right.bytes == bytes {
        return Ok(of(right.hit_ratio, right.low, right.high));
    }
    let left = after.checked_sub(1).map(|before| &points[before]).ok_or_else(outside)?;
    let way = (bytes - left.bytes) as f64 / (right.bytes - left.bytes) as f64;
    let between = |a: f64, b: f64| a + (b - a) * way;
    Ok(of(
        between(left.hit_ratio, right.hit_ratio),
        between(left.low, right.low),
        between(left.high, right.high),
    ))
}

#[cfg(test)]
mod tests {
    use flyball_proto::steering::HitCurvePoint;
    use proptest::prelude::*;

    use super::*;

    fn curve(points: &[(u64, f64, f64)]) -> HitCurve {
        let point = |&(bytes, hit_ratio, half): &(u64, f64, f64)| HitCurvePoint {
            bytes,
            hit_ratio,
            low: hit_ratio - half,
            high: hit_ratio + half,
        };
        HitCurve {
            measured_at_ms: 0,
            reach_bytes: points.last().map_or(0, |point| point.0),
            points: points.iter().map(point).collect(),
            method: String::new(),
        }
    }

    #[test]
    fn between_two_points_it_is_on_the_line_and_outside_it_is_refused() {
        let curve = curve(&[(100, 0.5, 0.01), (200, 0.7, 0.03)]);
        assert_eq!(at(&curve, 100).unwrap(), Estimate { value: 0.5, low: 0.49, high: 0.51 });
        let middle = at(&curve, 150).unwrap();
        assert!((middle.value - 0.6).abs() < 1e-9 && (middle.high - 0.62).abs() < 1e-9);
        for bytes in [0, 99, 201] {
            let reason = at(&curve, bytes).unwrap_err();
            assert!(reason.contains("100 to 200"), "{reason}");
        }
        let short = HitCurve { reach_bytes: 120, ..curve };
        assert!(at(&short, 150).unwrap_err().contains("100 to 120"));
        assert!(at(&HitCurve { points: Vec::new(), ..short }, 1).is_err());
    }

    proptest! {
        #[test]
        fn an_interval_only_grows_and_holds_its_value(
            value in 0.0..1.0_f64, below in 0.0..0.2_f64, above in 0.0..0.2_f64,
            other in 0.0..1.0_f64, half in 0.0..0.2_f64, by in 0.0..5.0_f64, misses in -1.0..2.0_f64,
        ) {
            let one = Estimate { value, low: value - below, high: value + above };
            let two = Estimate { value: other, low: other - half, high: other + half };
            let less = one.less(two);
            prop_assert!(less.value - less.low >= below.max(half) - 1e-12);
            let with = less.with(ModelError::FREQUENCY, misses);
            let wide = with.widened(by);
            for (inner, outer) in [(less, with), (with, wide)] {
                prop_assert!(outer.low <= inner.low + 1e-12 && inner.high <= outer.high + 1e-12);
                prop_assert!(outer.low <= outer.value && outer.value <= outer.high);
            }
            let cut = wide.plus(other).within(0.0, 1.0);
            prop_assert!(0.0 <= cut.low && cut.low <= cut.value && cut.value <= cut.high && cut.high <= 1.0);
        }
    }

    #[test]
    fn where_there_is_little_to_be_wrong_about_a_method_is_off_by_little() {
        let of = |delta, misses, error| Estimate::exact(delta).with(error, misses).high - delta;
        let half = |sd: f64| 1.645 * sd;
        assert!((of(0.1, 0.5, ModelError::SIZE) - half(0.005)).abs() < 1e-9);
        assert!((of(0.1, 0.01, ModelError::SIZE) - half(0.0003)).abs() < 1e-9);
        assert!((of(0.01, 0.5, ModelError::SIZE) - half(0.001)).abs() < 1e-9);
        assert!((of(0.0, 0.5, ModelError::SIZE) - half(0.0005)).abs() < 1e-9);
        assert!((of(0.0, 0.5, ModelError::FREQUENCY) - half(0.015)).abs() < 1e-9);
    }
}
