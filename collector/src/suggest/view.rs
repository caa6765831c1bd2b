//! What an advisor sees of one cache, and whether it can be relied on.
//!
//! Ages are taken from the time at which a report came here and from differences by the agent's own
//! clock: no clocks of two hosts are compared.

use std::collections::BTreeMap;

use flyball_model::reuse::Moments;
use flyball_model::rollout::{Target, TargetId};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{Bounds, CacheFacts, CacheReport, CacheState, Growth, HitCurve};
use serde_json::{Value, json};

use super::limit::Limit;
use super::settings::SuggestSettings;

/// Requests below which a hit ratio is not taken for one.
const LEAST_REQUESTS: f64 = 1_000.0;
/// Parameter of the limit of memory.
pub const MAXMEMORY: &str = "maxmemory";
/// Parameter of the eviction policy.
pub const MAXMEMORY_POLICY: &str = "maxmemory-policy";

/// One cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheView {
    /// Its node.
    pub node: NodeName,
    /// The newest report of its agent.
    pub report: CacheReport,
    /// When that came, by our clock, epoch milliseconds.
    pub received_at_ms: i64,
    /// What its agent may set.
    pub settable: BTreeMap<String, Bounds>,
    /// Why nothing may be set, where that is so.
    pub unsettable: String,
    /// How far one policy may move its limit; `None` of agents that do not say.
    pub largest_growth: Option<Growth>,
    /// What its traffic was lately.
    pub recent: Option<Recent>,
    /// How its process grew with the memory in use.
    pub memory: Option<MemoryPast>,
}

/// Memory in use and resident memory of a cache since its last start, or over a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryPast {
    /// The first sample, epoch milliseconds.
    pub from_ms: i64,
    /// The last one.
    pub to_ms: i64,
    /// Both together.
    pub moments: Moments,
}

/// Traffic of a cache over some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recent {
    /// Start, epoch milliseconds.
    pub from_ms: i64,
    /// End, epoch milliseconds.
    pub to_ms: i64,
    /// Requests that were answered.
    pub hits: f64,
    /// Requests that were not.
    pub misses: f64,
    /// Connected clients on average, if known.
    pub clients: Option<f64>,
}

impl Recent {
    /// How long.
    pub const fn window_ms(&self) -> i64 {
        self.to_ms - self.from_ms
    }

    /// Requests in all.
    pub const fn requests(&self) -> f64 {
        self.hits + self.misses
    }

    /// Requests per second.
    pub fn requests_per_second(&self) -> f64 {
        self.requests() * 1_000.0 / self.window_ms().max(1) as f64
    }

    /// Share of the requests that were answered.
    pub fn hit_ratio(&self) -> f64 {
        self.hits / self.requests()
    }
}

/// Id of a target: unique in the fleet, and the same on every collector.
pub fn target_id(node: &str, kind: &str, name: &str) -> TargetId {
    TargetId(format!("{kind}:{node}:{name}"))
}

impl CacheView {
    /// The cache as a target of changes.
    pub fn target(&self) -> Target {
        let (node, of) = (self.node.as_str(), &self.report.target);
        Target {
            id: target_id(node, &of.kind, &of.name),
            node: node.to_owned(),
            kind: of.kind.clone(),
            name: of.name.clone(),
        }
    }

    /// What was measured, of a cache that can be relied on.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn facts(&self, now_ms: i64, settings: &SuggestSettings) -> Result<&CacheFacts, String> {
        let age_ms = now_ms.saturating_sub(self.received_at_ms);
        if age_ms > settings.max_report_age_ms as i64 {
            return Err(format!("nothing was heard of it for {} s", age_ms / 1_000));
        }
        let state = match self.report.state {
            CacheState::Up => None,
            CacheState::Unreachable => Some("it cannot be reached"),
            CacheState::Loading => Some("it is loading its data"),
            CacheState::Denied => Some("it refuses the agent"),
            CacheState::Slow => Some("it does not answer in time"),
        };
        if let Some(state) = state {
            let reason = &self.report.reason;
            let more = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            return Err(format!("{state}{more}"));
        }
        if self.report.role == "replica" {
            return Err("it is a replica, which holds what its primary holds".to_owned());
        }
        self.report.facts.as_ref().ok_or_else(|| "nothing was measured yet".to_owned())
    }

    /// The traffic of late, if there was enough.
    ///
    /// # Errors
    /// Why there was not.
    pub fn recent(&self) -> Result<&Recent, String> {
        let recent = self.recent.as_ref().ok_or("its requests are not known yet")?;
        let requests = recent.requests();
        if requests >= LEAST_REQUESTS && requests.is_finite() && recent.hits >= 0.0 {
            return Ok(recent);
        }
        let seconds = recent.window_ms() / 1_000;
        Err(format!("{requests:.0} requests in {seconds} s are too few to tell"))
    }

    /// The curve, if it is new enough.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn curve(&self, now_ms: i64, settings: &SuggestSettings) -> Result<&HitCurve, String> {
        let curve = self.report.curve.as_ref().ok_or("its hit ratio curve was not measured yet")?;
        let of_agent = self.report.measured_at_ms.saturating_sub(curve.measured_at_ms).max(0);
        let age_ms = of_agent.saturating_add(now_ms.saturating_sub(self.received_at_ms).max(0));
        if age_ms > settings.max_curve_age_ms as i64 {
            let minutes = age_ms / 60_000;
            return Err(format!("its hit ratio curve is {minutes} minutes old"));
        }
        if curve.points.len() < 2 {
            return Err("its hit ratio curve has less than two points".to_owned());
        }
        Ok(curve)
    }

    /// What a parameter may be set to.
    ///
    /// # Errors
    /// Why it may not be set.
    pub fn settable(&self, parameter: &str) -> Result<&Bounds, String> {
        self.settable.get(parameter).ok_or_else(|| {
            let why = if self.unsettable.is_empty() { "" } else { ": " };
            format!("its agent may not set {parameter}{why}{}", self.unsettable)
        })
    }

    /// What bounds its limit of memory.
    ///
    /// # Errors
    /// Why it may not be set.
    pub fn limit(&self) -> Result<Limit, String> {
        let Bounds::Number(least, most) = *self.settable(MAXMEMORY)? else {
            return Err("its agent takes no number for maxmemory".to_owned());
        };
        Ok(Limit { least, most, growth: self.largest_growth })
    }

    /// The value of a parameter that is in force.
    ///
    /// # Errors
    /// When it is not known.
    pub fn setting(&self, parameter: &str) -> Result<&str, String> {
        let value = self.report.settings.get(parameter).map(String::as_str);
        value.ok_or_else(|| format!("which {parameter} is in force is not known"))
    }

    /// Numbers that a decision was computed from, as they are written down with it.
    pub fn inputs(&self) -> Value {
        let report = &self.report;
        let facts = report.facts.as_ref().map(|facts| {
            json!({
                "used_bytes": facts.used_bytes, "max_bytes": facts.max_bytes,
                "rss_bytes": facts.rss_bytes, "keys": facts.keys,
                "keys_with_ttl": facts.keys_with_ttl,
                "evictions_per_second": facts.evictions_per_second,
                "expirations_per_second": facts.expirations_per_second,
                "fragmentation": facts.fragmentation,
                "host_memory_bytes": facts.host_memory_bytes,
                "host_available_bytes": facts.host_available_bytes,
                "replicas": facts.replicas,
            })
        });
        let recent = self.recent.map(|recent| {
            json!({
                "from_ms": recent.from_ms, "to_ms": recent.to_ms,
                "hits": recent.hits, "misses": recent.misses, "clients": recent.clients,
            })
        });
        let memory = self.memory.map(|memory| {
            let seen = memory.moments;
            json!({
                "from_ms": memory.from_ms, "to_ms": memory.to_ms, "count": seen.count,
                "used_mean": seen.used_mean, "resident_mean": seen.resident_mean,
                "used_variance": seen.used_variance,
                "resident_variance": seen.resident_variance, "covariance": seen.covariance,
            })
        });
        let misses = report.misses.map(|misses| {
            json!({
                "capacity": misses.capacity, "expired": misses.expired,
                "invalidated": misses.invalidated, "cold": misses.cold, "sampled": misses.sampled,
            })
        });
        json!({
            "measured_at_ms": report.measured_at_ms, "received_at_ms": self.received_at_ms,
            "version": report.version, "settings": report.settings,
            "facts": facts, "recent": recent, "memory": memory, "misses": misses,
        })
    }
}

/// A curve as the API and the journal show it.
pub fn curve_json(curve: &HitCurve) -> Value {
    let point = |point: &flyball_proto::steering::HitCurvePoint| {
        json!({
            "bytes": point.bytes, "hit_ratio": point.hit_ratio,
            "low": point.low, "high": point.high,
        })
    };
    json!({
        "measured_at_ms": curve.measured_at_ms, "reach_bytes": curve.reach_bytes,
        "points": curve.points.iter().map(point).collect::<Vec<_>>(),
    })
}
