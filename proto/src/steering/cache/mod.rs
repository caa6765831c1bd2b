//! What an agent knows of a cache.

mod counters;
mod estimates;
mod findings;

pub use counters::CacheCounters;
pub use estimates::{CachePrediction, HitCurve, HitCurvePoint, MissAttribution, PolicyEstimate};
pub use findings::{KeyFinding, KeyFindingKind, TtlEffect, TtlFindings, TtlGroup};

use super::check::{amounts, at_most, each, text};
use super::policy::{settings, to_settings};
use super::{MAX_FINDINGS, MAX_MISSING, MAX_NAME_BYTES, MAX_REASON_BYTES, Settings, Target};
use crate::series::Invalid;
use crate::v1;

/// What an agent knows of one cache. Each report replaces the one before; what was not measured is `None` or empty.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheReport {
    /// The cache.
    pub target: Target,
    /// By the agent's clock, milliseconds since the Unix epoch.
    pub measured_at_ms: i64,
    /// How the agent gets on with it.
    pub state: CacheState,
    /// Why it is not up, in words. At most 1024 bytes.
    pub reason: String,
    /// Version as the server says it.
    pub version: String,
    /// `primary`, `replica`, or empty.
    pub role: String,
    /// What is in force of what can be steered.
    pub settings: Settings,
    /// Measurements.
    pub facts: Option<CacheFacts>,
    /// How the hit ratio depends on the size.
    pub curve: Option<HitCurve>,
    /// What other eviction policies would do, 64 at most.
    pub policies: Vec<PolicyEstimate>,
    /// Why requests miss.
    pub misses: Option<MissAttribution>,
    /// Keys that stand out, 64 at most.
    pub keys: Vec<KeyFinding>,
    /// How keys expire.
    pub ttl: Option<TtlFindings>,
    /// What the setting before would do under the traffic of now.
    pub now: Option<CachePrediction>,
    /// What is not in this report and why, for people, 16 at most of at most 1024 bytes each.
    pub missing: Vec<String>,
    /// What the server has counted since it was started.
    pub counters: Option<CacheCounters>,
}

/// How the agent gets on with a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheState {
    /// It answers.
    Up,
    /// No connection.
    Unreachable,
    /// It is loading its data.
    Loading,
    /// It refuses the agent.
    Denied,
    /// It does not answer in time.
    Slow,
}

/// Measurements over the last tick, own probes of the agent subtracted. Rates are `None` until two ticks are known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CacheFacts {
    /// Memory in use as the server counts it against its limit.
    pub used_bytes: u64,
    /// The limit; 0: none.
    pub max_bytes: u64,
    /// Resident memory of the server's process.
    pub rss_bytes: Option<u64>,
    /// Keys.
    pub keys: u64,
    /// Keys that expire.
    pub keys_with_ttl: u64,
    /// Lookups that found their key.
    pub hits_per_second: Option<f64>,
    /// Lookups that did not.
    pub misses_per_second: Option<f64>,
    /// Keys given up for room.
    pub evictions_per_second: Option<f64>,
    /// Keys whose time was over.
    pub expirations_per_second: Option<f64>,
    /// Resident memory over memory in use.
    pub fragmentation: Option<f64>,
    /// Memory that the host has, or the control group allows.
    pub host_memory_bytes: Option<u64>,
    /// What of it could be used without swapping.
    pub host_available_bytes: Option<u64>,
    /// Connected replicas.
    pub replicas: u32,
}

impl CacheReport {
    /// A report that says how the cache is, and nothing else yet.
    pub fn new(target: Target, state: CacheState, measured_at_ms: i64) -> Self {
        Self {
            target,
            measured_at_ms,
            state,
            reason: String::new(),
            version: String::new(),
            role: String::new(),
            settings: Settings::new(),
            facts: None,
            curve: None,
            policies: Vec::new(),
            misses: None,
            keys: Vec::new(),
            ttl: None,
            now: None,
            missing: Vec::new(),
            counters: None,
        }
    }
}

impl CacheState {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Loading => "loading",
            Self::Denied => "denied",
            Self::Slow => "slow",
        }
    }
}

impl CacheFacts {
    /// Hits over lookups; `None` when there were none or it is not known.
    pub fn hit_ratio(&self) -> Option<f64> {
        let (hits, misses) = (self.hits_per_second?, self.misses_per_second?);
        (hits + misses > 0.0).then(|| hits / (hits + misses))
    }
}

/// Converts a part that may be missing; the error says which it was.
fn part<W, T: TryFrom<W, Error = Invalid>>(
    field: &str,
    part: Option<W>,
) -> Result<Option<T>, Invalid> {
    part.map(T::try_from).transpose().map_err(|error| error.within(field))
}

impl TryFrom<v1::CacheReport> for CacheReport {
    type Error = Invalid;

    fn try_from(report: v1::CacheReport) -> Result<Self, Invalid> {
        text("reason", &report.reason, MAX_REASON_BYTES)?;
        text("version", &report.version, MAX_NAME_BYTES)?;
        if !["primary", "replica", ""].contains(&report.role.as_str()) {
            return Err(Invalid::new("role", "neither primary nor replica"));
        }
        at_most("policies", &report.policies, MAX_FINDINGS)?;
        at_most("keys", &report.keys, MAX_FINDINGS)?;
        at_most("missing", &report.missing, MAX_MISSING)?;
        report.missing.iter().try_for_each(|line| text("missing", line, MAX_REASON_BYTES))?;
        Ok(Self {
            target: Target::try_from((report.kind, report.name))?,
            measured_at_ms: report.measured_at_ms,
            state: state(report.state)?,
            reason: report.reason,
            version: report.version,
            role: report.role,
            settings: settings("settings", report.settings)?,
            facts: part("facts", report.facts)?,
            curve: part("curve", report.curve)?,
            policies: each("policies", report.policies)?,
            misses: part("misses", report.misses)?,
            keys: each("keys", report.keys)?,
            ttl: part("ttl", report.ttl)?,
            now: part("now", report.now)?,
            missing: report.missing,
            counters: part("counters", report.counters)?,
        })
    }
}

impl From<CacheReport> for v1::CacheReport {
    fn from(report: CacheReport) -> Self {
        let state = match report.state {
            CacheState::Up => v1::CacheState::Up,
            CacheState::Unreachable => v1::CacheState::Unreachable,
            CacheState::Loading => v1::CacheState::Loading,
            CacheState::Denied => v1::CacheState::Denied,
            CacheState::Slow => v1::CacheState::Slow,
        };
        Self {
            kind: report.target.kind,
            name: report.target.name,
            measured_at_ms: report.measured_at_ms,
            state: state.into(),
            reason: report.reason,
            version: report.version,
            role: report.role,
            settings: to_settings(report.settings),
            facts: report.facts.map(Into::into),
            curve: report.curve.map(Into::into),
            policies: report.policies.into_iter().map(Into::into).collect(),
            misses: report.misses.map(Into::into),
            keys: report.keys.into_iter().map(Into::into).collect(),
            ttl: report.ttl.map(Into::into),
            now: report.now.map(Into::into),
            missing: report.missing,
            counters: report.counters.map(Into::into),
        }
    }
}

fn state(code: i32) -> Result<CacheState, Invalid> {
    match v1::CacheState::try_from(code) {
        Ok(v1::CacheState::Up) => Ok(CacheState::Up),
        Ok(v1::CacheState::Unreachable) => Ok(CacheState::Unreachable),
        Ok(v1::CacheState::Loading) => Ok(CacheState::Loading),
        Ok(v1::CacheState::Denied) => Ok(CacheState::Denied),
        Ok(v1::CacheState::Slow) => Ok(CacheState::Slow),
        Ok(v1::CacheState::Unspecified) | Err(_) => Err(Invalid::new("state", "unknown")),
    }
}

impl TryFrom<v1::CacheFacts> for CacheFacts {
    type Error = Invalid;

    fn try_from(facts: v1::CacheFacts) -> Result<Self, Invalid> {
        amounts(&[
            ("hits_per_second", facts.hits_per_second),
            ("misses_per_second", facts.misses_per_second),
            ("evictions_per_second", facts.evictions_per_second),
            ("expirations_per_second", facts.expirations_per_second),
            ("fragmentation", facts.fragmentation),
        ])?;
        Ok(Self {
            used_bytes: facts.used_bytes,
            max_bytes: facts.max_bytes,
            rss_bytes: facts.rss_bytes,
            keys: facts.keys,
            keys_with_ttl: facts.keys_with_ttl,
            hits_per_second: facts.hits_per_second,
            misses_per_second: facts.misses_per_second,
            evictions_per_second: facts.evictions_per_second,
            expirations_per_second: facts.expirations_per_second,
            fragmentation: facts.fragmentation,
            host_memory_bytes: facts.host_memory_bytes,
            host_available_bytes: facts.host_available_bytes,
            replicas: facts.replicas,
        })
    }
}

impl From<CacheFacts> for v1::CacheFacts {
    fn from(facts: CacheFacts) -> Self {
        Self {
            used_bytes: facts.used_bytes,
            max_bytes: facts.max_bytes,
            rss_bytes: facts.rss_bytes,
            keys: facts.keys,
            keys_with_ttl: facts.keys_with_ttl,
            hits_per_second: facts.hits_per_second,
            misses_per_second: facts.misses_per_second,
            evictions_per_second: facts.evictions_per_second,
            expirations_per_second: facts.expirations_per_second,
            fragmentation: facts.fragmentation,
            host_memory_bytes: facts.host_memory_bytes,
            host_available_bytes: facts.host_available_bytes,
            replicas: facts.replicas,
        }
    }
}
