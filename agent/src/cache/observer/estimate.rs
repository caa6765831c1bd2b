//! From what was watched to what is reported: curves, and what the settings before a trial would do now.
//!
//! A prediction for the settings of before needs no second server where only the size was changed: a smaller size is told by the ages of the keys that are there, a larger one by
//! the clocks of those that were evicted. But keys have to have had the time to become that old under the new settings, or the marks that the old ones left are taken for those of
//! the traffic. Of another policy ages tell nothing. Where anything is missing there is no prediction.

use flyball_model::reuse::{Answer, Curve, Method, Misses, Present, Priors};
use flyball_proto::steering::{
    CachePrediction, HitCurve, HitCurvePoint, MAX_POINTS, MissAttribution, Settings,
};

use super::look::Regime;
use crate::cache::now_ms;
use crate::cache::watch::Watch;

/// What predictions of hit ratios are about.
const HIT_RATIO: &str = "redis.hit_ratio";
/// Misses that reasons must be known of.
const LEAST_MISSES: u64 = 50;

/// The curve of a watch, as it is reported.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn curve(watch: &Watch) -> Result<HitCurve, String> {
    let present = watch.present().ok_or("nothing was watched for long enough yet")?;
    let curve = watch.curve(&Priors::default()).map_err(|refused| refused.to_string())?;
    if curve.below == Method::None && curve.above == Method::None {
        return Err(why_none(watch, &present));
    }
    let mut points: Vec<HitCurvePoint> = Vec::with_capacity(curve.points.len());
    for point in &curve.points {
        let (low, high) = (point.low.min(point.hit_ratio), point.high.max(point.hit_ratio));
        let ratio = |value: f64| value.clamp(0.0, 1.0);
        if points.last().is_none_or(|last| last.bytes < point.bytes) && points.len() < MAX_POINTS {
            let (low, hit_ratio, high) = (ratio(low), ratio(point.hit_ratio), ratio(high));
            points.push(HitCurvePoint { bytes: point.bytes, hit_ratio, low, high });
        }
    }
    if points.len() < 2 || !points.iter().all(|point| point.hit_ratio.is_finite()) {
        return Err("what was measured reaches no other size".to_owned());
    }
    Ok(HitCurve {
        measured_at_ms: now_ms() as i64,
        reach_bytes: curve.reach_high_bytes(),
        points,
        method: method(watch, &curve),
    })
}

fn why_none(watch: &Watch, present: &Present) -> String {
    let policy = present.policy.map_or("its policy", |policy| policy.as_str());
    match watch.ages.observed() {
        ages if ages < 1.0 => {
            format!("{policy} keeps no ages of keys, and no evictions were heard")
        }
        ages => format!("{ages:.0} keys were drawn, and their ages do not tell yet"),
    }
}

fn method(watch: &Watch, curve: &Curve) -> String {
    let of = |method: Method| match method {
        Method::IdleAges => format!("ages of {:.0} keys", watch.ages.observed()),
        Method::GhostTail => "clocks of evicted keys".to_owned(),
        Method::NotFull => "nothing is evicted".to_owned(),
        Method::None => "not known".to_owned(),
    };
    format!("smaller: {}; larger: {}", of(curve.below), of(curve.above))
}

/// Why requests miss, as it is reported.
pub(super) fn misses(watch: &Watch) -> Option<MissAttribution> {
    let Misses { capacity, expired, invalidated, cold, misses } = watch.misses()?;
    let shares = [capacity, expired, invalidated, cold];
    let is_sound = misses >= LEAST_MISSES && shares.iter().all(|share| share.is_finite());
    let [capacity, expired, invalidated, cold] = shares.map(|share| share.clamp(0.0, 1.0));
    is_sound.then_some(MissAttribution { capacity, expired, invalidated, cold, sampled: misses })
}

/// How the settings of before differ from those in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Only the size: it was smaller.
    Grown,
    /// Only the size: it was larger.
    Shrunk,
    /// Something that no watch tells about.
    Other(&'static str),
}

impl Change {
    /// From the settings before a trial to those in force.
    pub(super) fn of(before: &Regime, now: &Regime) -> Self {
        if before.policy != now.policy || before.samples != now.samples {
            return Self::Other(
                "what another policy would do now is told by emulation only, which does not run",
            );
        }
        match (before.maxmemory, now.maxmemory) {
            (0, _) | (_, 0) => Self::Other("without a limit there is no size to compare"),
            (before, now) if before < now => Self::Grown,
            (before, now) if before > now => Self::Shrunk,
            _ => Self::Other("what was changed decides no size"),
        }
    }
}

/// What the settings of before would hit of the requests of now.
///
/// # Errors
/// Why that is not known, in words.
pub(super) fn now(
    watch: &Watch,
    before: &Settings,
    maxmemory: u64,
) -> Result<CachePrediction, String> {
    let present = watch.present().ok_or("nothing was watched since the change yet")?;
    let curve = watch.curve(&Priors::default()).map_err(|refused| refused.to_string())?;
    let Answer::Estimate(point) = curve.at(maxmemory) else {
        return Err(format!(
            "{maxmemory} bytes are out of reach of what was measured since the change"
        ));
    };
    let is_below = maxmemory < curve.present_bytes;
    let side = if is_below { curve.below } else { curve.above };
    let is_measured = matches!(
        (is_below, side),
        (true, Method::IdleAges) | (false, Method::GhostTail | Method::NotFull)
    );
    if !is_measured || !point.hit_ratio.is_finite() {
        return Err("too little was measured since the change".to_owned());
    }
    let (low, high) = (point.low.min(point.hit_ratio), point.high.max(point.hit_ratio));
    Ok(CachePrediction {
        metric: HIT_RATIO.to_owned(),
        value: point.hit_ratio,
        low: low.clamp(0.0, 1.0),
        high: high.clamp(0.0, 1.0),
        settings: before.clone(),
        samples: present.requests as u64,
        method: method(watch, &curve),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regime(maxmemory: u64, policy: &str) -> Regime {
        Regime { maxmemory, policy: policy.to_owned(), samples: "5".to_owned() }
    }

    #[test]
    fn only_a_change_of_size_can_be_compared_with() {
        let of = |before: (u64, &str), now: (u64, &str)| {
            Change::of(&regime(before.0, before.1), &regime(now.0, now.1))
        };
        let (lru, lfu) = ("allkeys-lru", "allkeys-lfu");
        assert_eq!(of((1, lru), (2, lru)), Change::Grown);
        assert_eq!(of((2, lru), (1, lru)), Change::Shrunk);
        for (before, now) in
            [((1, lru), (1, lfu)), ((1, lru), (2, lfu)), ((0, lru), (1, lru)), ((1, lru), (1, lru))]
        {
            assert!(matches!(of(before, now), Change::Other(_)), "{before:?} {now:?}");
        }
    }
}
