//! What an agent expects of other settings. Every interval holds the truth in nine cases of ten.

use crate::series::Invalid;
use crate::steering::check::{at_most, deltas, each, finite, interval, name, ratios, text};
use crate::steering::policy::{settings, to_settings};
use crate::steering::{MAX_POINTS, MAX_REASON_BYTES, Settings};
use crate::v1;

/// Hit ratio by size.
#[derive(Debug, Clone, PartialEq)]
pub struct HitCurve {
    /// By the agent's clock, milliseconds since the Unix epoch.
    pub measured_at_ms: i64,
    /// Largest size that was measured; beyond it nothing is known.
    pub reach_bytes: u64,
    /// Strictly ascending by size, 256 at most.
    pub points: Vec<HitCurvePoint>,
    /// How it was measured, for people. At most 1024 bytes.
    pub method: String,
}

/// One point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HitCurvePoint {
    /// The size.
    pub bytes: u64,
    /// 0 to 1.
    pub hit_ratio: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What an eviction policy would do at the present size.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyEstimate {
    /// As the server names it.
    pub policy: String,
    /// 0 to 1.
    pub hit_ratio: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Hit ratio less that of the present policy on the same requests, -1 to 1.
    pub paired_delta: f64,
    /// Lower end of its interval.
    pub delta_low: f64,
    /// Upper end.
    pub delta_high: f64,
}

/// Why requests miss: shares of all misses, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MissAttribution {
    /// The key had been evicted.
    pub capacity: f64,
    /// It had expired.
    pub expired: f64,
    /// It had been deleted.
    pub invalidated: f64,
    /// It was not seen before.
    pub cold: f64,
    /// Misses that this was taken from.
    pub sampled: u64,
}

/// An expectation.
#[derive(Debug, Clone, PartialEq)]
pub struct CachePrediction {
    /// What it is about, for example `redis.hit_ratio`.
    pub metric: String,
    /// The value.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The settings that it is about.
    pub settings: Settings,
    /// Requests or keys that it was taken from.
    pub samples: u64,
    /// How it was made, for people. At most 1024 bytes.
    pub method: String,
}

impl TryFrom<v1::HitCurve> for HitCurve {
    type Error = Invalid;

    fn try_from(curve: v1::HitCurve) -> Result<Self, Invalid> {
        at_most("points", &curve.points, MAX_POINTS)?;
        text("method", &curve.method, MAX_REASON_BYTES)?;
        let points: Vec<HitCurvePoint> = each("points", curve.points)?;
        if !points.windows(2).all(|pair| pair[0].bytes < pair[1].bytes) {
            return Err(Invalid::new("points", "not ascending by size"));
        }
        Ok(Self {
            measured_at_ms: curve.measured_at_ms,
            reach_bytes: curve.reach_bytes,
            points,
            method: curve.method,
        })
    }
}

impl From<HitCurve> for v1::HitCurve {
    fn from(curve: HitCurve) -> Self {
        Self {
            measured_at_ms: curve.measured_at_ms,
            reach_bytes: curve.reach_bytes,
            points: curve.points.into_iter().map(Into::into).collect(),
            method: curve.method,
        }
    }
}

impl TryFrom<v1::HitCurvePoint> for HitCurvePoint {
    type Error = Invalid;

    fn try_from(point: v1::HitCurvePoint) -> Result<Self, Invalid> {
        let v1::HitCurvePoint { bytes, hit_ratio, low, high } = point;
        ratios(&[("hit_ratio", hit_ratio), ("low", low), ("high", high)])?;
        interval("hit_ratio", low, hit_ratio, high)?;
        Ok(Self { bytes, hit_ratio, low, high })
    }
}

impl From<HitCurvePoint> for v1::HitCurvePoint {
    fn from(point: HitCurvePoint) -> Self {
        let HitCurvePoint { bytes, hit_ratio, low, high } = point;
        Self { bytes, hit_ratio, low, high }
    }
}

impl TryFrom<v1::PolicyEstimate> for PolicyEstimate {
    type Error = Invalid;

    fn try_from(estimate: v1::PolicyEstimate) -> Result<Self, Invalid> {
        let v1::PolicyEstimate {
            policy,
            hit_ratio,
            low,
            high,
            paired_delta,
            delta_low,
            delta_high,
        } = estimate;
        name("policy", &policy)?;
        ratios(&[("hit_ratio", hit_ratio), ("low", low), ("high", high)])?;
        interval("hit_ratio", low, hit_ratio, high)?;
        deltas(&[
            ("paired_delta", paired_delta),
            ("delta_low", delta_low),
            ("delta_high", delta_high),
        ])?;
        interval("paired_delta", delta_low, paired_delta, delta_high)?;
        Ok(Self { policy, hit_ratio, low, high, paired_delta, delta_low, delta_high })
    }
}

impl From<PolicyEstimate> for v1::PolicyEstimate {
    fn from(estimate: PolicyEstimate) -> Self {
        let PolicyEstimate { policy, hit_ratio, low, high, paired_delta, delta_low, delta_high } =
            estimate;
        Self { policy, hit_ratio, low, high, paired_delta, delta_low, delta_high }
    }
}

impl TryFrom<v1::MissAttribution> for MissAttribution {
    type Error = Invalid;

    fn try_from(misses: v1::MissAttribution) -> Result<Self, Invalid> {
        let v1::MissAttribution { capacity, expired, invalidated, cold, sampled } = misses;
        ratios(&[
            ("capacity", capacity),
            ("expired", expired),
            ("invalidated", invalidated),
            ("cold", cold),
        ])?;
        Ok(Self { capacity, expired, invalidated, cold, sampled })
    }
}

impl From<MissAttribution> for v1::MissAttribution {
    fn from(misses: MissAttribution) -> Self {
        let MissAttribution { capacity, expired, invalidated, cold, sampled } = misses;
        Self { capacity, expired, invalidated, cold, sampled }
    }
}

impl TryFrom<v1::CachePrediction> for CachePrediction {
    type Error = Invalid;

    fn try_from(prediction: v1::CachePrediction) -> Result<Self, Invalid> {
        let v1::CachePrediction { metric, value, low, high, settings: list, samples, method } =
            prediction;
        name("metric", &metric)?;
        text("method", &method, MAX_REASON_BYTES)?;
        finite(&[("value", value), ("low", low), ("high", high)])?;
        interval("value", low, value, high)?;
        let settings = settings("settings", list)?;
        Ok(Self { metric, value, low, high, settings, samples, method })
    }
}

impl From<CachePrediction> for v1::CachePrediction {
    fn from(prediction: CachePrediction) -> Self {
        let CachePrediction { metric, value, low, high, settings, samples, method } = prediction;
        let settings = to_settings(settings);
        Self { metric, value, low, high, settings, samples, method }
    }
}
