//! The caches of the fleet, as their agents told last.

use flyball_proto::steering::{
    CacheReport, CacheState, HitCurve, HitCurvePoint, KeyFinding, KeyFindingKind, MissAttribution,
    PolicyEstimate,
};
use flyball_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::live::now_ms;
use crate::steer::watch::Cache;
use crate::suggest::view::{MAXMEMORY_POLICY, target_id};

/// A cache of the fleet. What is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheBody {
    /// Unique in the fleet.
    #[schema(example = "redis:web-1:sessions")]
    pub id: String,
    /// Its node.
    pub node: String,
    /// `redis` or `memcached`.
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
    /// Version as the server says it.
    pub version: String,
    /// `up`, `unreachable`, `loading`, `denied` or `slow`: how its agent gets on with it.
    #[schema(example = "up")]
    pub state: &'static str,
    /// Why it is not up; null when it is.
    pub reason: Option<String>,
    /// `primary` or `replica`.
    pub role: Option<String>,
    /// When its agent measured, by the agent's clock, milliseconds since the Unix epoch.
    pub measured_at_ms: i64,
    /// Share of the requests that it answered, over its agent's last tick.
    pub hit_ratio: Option<f64>,
    /// Requests per second over that tick.
    pub requests_per_second: Option<f64>,
    /// Memory in use.
    pub used_bytes: Option<u64>,
    /// Its limit; 0: none.
    pub max_bytes: Option<u64>,
    /// Which keys it gives up for room.
    pub eviction_policy: Option<String>,
    /// Keys given up per second.
    pub evictions_per_second: Option<f64>,
    /// Keys expired per second.
    pub expirations_per_second: Option<f64>,
    /// Keys.
    pub keys: Option<u64>,
    /// Why requests miss, as shares of the misses.
    pub misses: Option<MissesBody>,
    /// How the hit ratio depends on the size.
    pub curve: Option<CurveBody>,
    /// What other eviction policies would do; empty until they were measured.
    pub policies: Vec<PolicyBody>,
    /// Keys that stand out.
    pub key_findings: Vec<KeyBody>,
    /// What is not known of it and why, for people: `policies: monitor = never`.
    pub missing: Vec<String>,
}

/// Shares of the misses by why the key was not there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct MissesBody {
    /// It had been evicted.
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

/// Hit ratio by size.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CurveBody {
    /// By the agent's clock, milliseconds since the Unix epoch.
    pub measured_at_ms: i64,
    /// Largest size that was measured; beyond it nothing is known.
    pub reach_bytes: u64,
    /// By growing size.
    pub points: Vec<PointBody>,
    /// How it was measured.
    pub method: String,
}

/// One point of a curve, with the interval that holds the truth in nine cases of ten.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct PointBody {
    /// The size.
    pub bytes: u64,
    /// 0 to 1.
    pub hit_ratio: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What an eviction policy would do at the present size.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PolicyBody {
    /// As the server names it.
    pub policy: String,
    /// 0 to 1.
    pub hit_ratio: f64,
    /// Lower end of the interval of nine cases in ten.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Hit ratio less that of the present policy on the same requests.
    pub paired_delta: f64,
    /// Lower end of its interval.
    pub delta_low: f64,
    /// Upper end.
    pub delta_high: f64,
}

/// A key that stands out. Its name does not leave its host.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct KeyBody {
    /// `hot` or `big`.
    pub kind: &'static str,
    /// Hash of its name with the agent's own salt.
    pub key_hash: String,
    /// Type as the server names it.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Memory that it takes.
    pub bytes: u64,
    /// Share of all requests.
    pub share_of_requests: f64,
}

/// A cache as its agent told last.
pub(in crate::api) fn body(cache: &Cache) -> CacheBody {
    let report = cache.report.as_ref();
    let facts = report.facts.as_ref();
    let (node, of) = (cache.node.as_str(), &report.target);
    let rates = facts.and_then(|facts| facts.hits_per_second.zip(facts.misses_per_second));
    let requests = rates.map(|(hits, misses)| hits + misses);
    let ratio = rates.zip(requests).filter(|(_, all)| *all > 0.0);
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    CacheBody {
        id: target_id(node, &of.kind, &of.name).0,
        node: node.to_owned(),
        kind: of.kind.clone(),
        name: of.name.clone(),
        version: report.version.clone(),
        state: state(report),
        reason: text(&report.reason),
        role: text(&report.role),
        measured_at_ms: report.measured_at_ms,
        hit_ratio: ratio.map(|((hits, _), all)| hits / all),
        requests_per_second: requests,
        used_bytes: facts.map(|facts| facts.used_bytes),
        max_bytes: facts.map(|facts| facts.max_bytes),
        eviction_policy: report.settings.get(MAXMEMORY_POLICY).cloned(),
        evictions_per_second: facts.and_then(|facts| facts.evictions_per_second),
        expirations_per_second: facts.and_then(|facts| facts.expirations_per_second),
        keys: facts.map(|facts| facts.keys),
        misses: report.misses.map(Into::into),
        curve: report.curve.as_ref().map(Into::into),
        policies: report.policies.iter().map(Into::into).collect(),
        key_findings: report.keys.iter().map(Into::into).collect(),
        missing: report.missing.clone(),
    }
}

/// A cache as its agent told last, as a message.
pub(in crate::api) fn message(cache: &Cache) -> v1::FleetCache {
    let of = &cache.report.target;
    let age_ms = i64::try_from(cache.received.elapsed().as_millis()).unwrap_or(i64::MAX);
    v1::FleetCache {
        id: target_id(cache.node.as_str(), &of.kind, &of.name).0,
        node: cache.node.as_str().to_owned(),
        received_at_ms: now_ms().saturating_sub(age_ms),
        report: Some(cache.report.as_ref().clone().into()),
    }
}

fn state(report: &CacheReport) -> &'static str {
    match report.state {
        CacheState::Up => "up",
        CacheState::Unreachable => "unreachable",
        CacheState::Loading => "loading",
        CacheState::Denied => "denied",
        CacheState::Slow => "slow",
    }
}

impl From<MissAttribution> for MissesBody {
    fn from(misses: MissAttribution) -> Self {
        let MissAttribution { capacity, expired, invalidated, cold, sampled } = misses;
        Self { capacity, expired, invalidated, cold, sampled }
    }
}

impl From<&HitCurve> for CurveBody {
    fn from(curve: &HitCurve) -> Self {
        let point = |point: &HitCurvePoint| PointBody {
            bytes: point.bytes,
            hit_ratio: point.hit_ratio,
            low: point.low,
            high: point.high,
        };
        Self {
            measured_at_ms: curve.measured_at_ms,
            reach_bytes: curve.reach_bytes,
            points: curve.points.iter().map(point).collect(),
            method: curve.method.clone(),
        }
    }
}

impl From<&PolicyEstimate> for PolicyBody {
    fn from(estimate: &PolicyEstimate) -> Self {
        Self {
            policy: estimate.policy.clone(),
            hit_ratio: estimate.hit_ratio,
            low: estimate.low,
            high: estimate.high,
            paired_delta: estimate.paired_delta,
            delta_low: estimate.delta_low,
            delta_high: estimate.delta_high,
        }
    }
}

impl From<&KeyFinding> for KeyBody {
    fn from(finding: &KeyFinding) -> Self {
        let kind = match finding.kind {
            KeyFindingKind::Hot => "hot",
            KeyFindingKind::Big => "big",
        };
        Self {
            kind,
            key_hash: finding.key_hash.clone(),
            data_type: finding.data_type.clone(),
            bytes: finding.bytes,
            share_of_requests: finding.share_of_requests,
        }
    }
}
