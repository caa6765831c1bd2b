//! What an agent knows of a load balancer.

use super::check::{amounts, at_most, each, name, ratios, text};
use super::{
    Latency, MAX_BACKENDS, MAX_GROUPS, MAX_MISSING, MAX_NAME_BYTES, MAX_PARAMETER_BYTES,
    MAX_REASON_BYTES, Target,
};
use crate::series::Invalid;
use crate::v1;

/// What an agent knows of one load balancer. Each report replaces the one before; what was not measured is `None` or empty.
#[derive(Debug, Clone, PartialEq)]
pub struct BalancerReport {
    /// The balancer: kind `haproxy`, `envoy` or `nginx`.
    pub target: Target,
    /// By the agent's clock, milliseconds since the Unix epoch.
    pub measured_at_ms: i64,
    /// How the agent gets on with it.
    pub state: BalancerState,
    /// Why it is not up, in words. At most 1024 bytes.
    pub reason: String,
    /// Version as the balancer says it.
    pub version: String,
    /// Names the process: another one after a restart or a reload.
    pub process: String,
    /// Milliseconds that counts were taken over; 0: there are none yet.
    pub window_ms: u32,
    /// Groups of backends, each name once, 64 at most with 512 backends in all.
    pub groups: Vec<BackendGroup>,
    /// What is not in this report and why, for people, 16 at most of at most 1024 bytes each.
    pub missing: Vec<String>,
}

/// How the agent gets on with a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BalancerState {
    /// It answers.
    Up,
    /// No connection.
    Unreachable,
    /// It refuses the agent.
    Denied,
    /// It does not answer in time.
    Slow,
}

/// Backends that share their requests: a backend of HAProxy, a cluster of Envoy, an upstream of nginx.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendGroup {
    /// As the balancer names it.
    pub name: String,
    /// How requests are shared, as the balancer names it.
    pub algorithm: String,
    /// What a change of weights does at run time.
    pub weights: WeightMeaning,
    /// The meaning in words, for people.
    pub weights_note: String,
    /// Requests that wait for any backend.
    pub queue: u32,
    /// Requests that all its backends together may be given at once, beyond which they fail: `max_requests` of Envoy's cluster; `None`: there is no such limit.
    pub limit: Option<u32>,
    /// Of all its requests together, where the balancer measures it so.
    pub latency: Option<Latency>,
    /// Its servers, each name once.
    pub backends: Vec<BackendServer>,
}

/// What a change of weights does at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightMeaning {
    /// Requests are shared in proportion.
    Exact,
    /// They count only while backends are busy; idle ones rank equal (`leastconn`).
    WhenBusy,
    /// They are the chances of a draw, after which the less loaded of those drawn is taken.
    Draw,
    /// Only zero and more than zero make a difference (map-based algorithms).
    DrainOnly,
    /// They are ignored.
    None,
}

/// One server of a group. Counts are of the window of the report.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendServer {
    /// As the balancer names it.
    pub name: String,
    /// `ADDRESS:PORT` where requests go; empty: not known.
    pub address: String,
    /// Whether it is given requests.
    pub state: BackendState,
    /// What the balancer's own configuration says.
    pub weight_configured: u32,
    /// In force, read back.
    pub weight: u32,
    /// Requests that were answered or have failed.
    pub requests: u64,
    /// Of them those that failed: 5xx answers, connections that could not be made, timeouts.
    pub errors: u64,
    /// Connections that could not be made, of the errors.
    pub connect_errors: u64,
    /// Mean milliseconds from the request to its answer.
    pub latency_ms: Option<f64>,
    /// Half of the requests took no longer, in milliseconds.
    pub latency_p50_ms: Option<f64>,
    /// 99 of 100 requests took no longer, in milliseconds.
    pub latency_p99_ms: Option<f64>,
    /// Mean number of requests under way.
    pub in_flight: Option<f64>,
    /// Requests that wait for this backend.
    pub queue: u32,
    /// Requests that it may be given at once; `None`: no limit.
    pub limit: Option<u32>,
    /// Share of its capacity that is in use, 0 to 1, and where that is known from.
    pub utilization: Option<(f64, UtilizationSource)>,
}

/// Whether a backend is given requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendState {
    /// It is.
    Ready,
    /// It is given no new ones; those under way end.
    Drain,
    /// It was taken out by a person.
    Maint,
    /// A check says that it cannot serve.
    Down,
    /// The balancer's own outlier detection has ejected it.
    Ejected,
}

/// Where a utilisation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UtilizationSource {
    /// The backend's own word (ORCA).
    Orca,
    /// Requests under way over the limit.
    Limit,
    /// The CPU of its host, by that host's agent.
    Host,
}

impl BalancerReport {
    /// A report that says how the balancer is, and nothing else yet.
    pub fn new(target: Target, state: BalancerState, measured_at_ms: i64) -> Self {
        Self {
            target,
            measured_at_ms,
            state,
            reason: String::new(),
            version: String::new(),
            process: String::new(),
            window_ms: 0,
            groups: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// A backend and the group that it is in.
    pub fn backend(&self, group: &str, backend: &str) -> Option<(&BackendGroup, &BackendServer)> {
        let group = self.groups.iter().find(|one| one.name == group)?;
        Some((group, group.backends.iter().find(|one| one.name == backend)?))
    }
}

impl BackendServer {
    /// A backend that is given requests by this weight, and of which nothing was measured.
    pub fn new(name: impl Into<String>, address: impl Into<String>, weight: u32) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            state: BackendState::Ready,
            weight_configured: weight,
            weight,
            requests: 0,
            errors: 0,
            connect_errors: 0,
            latency_ms: None,
            latency_p50_ms: None,
            latency_p99_ms: None,
            in_flight: None,
            queue: 0,
            limit: None,
            utilization: None,
        }
    }
}

impl BalancerState {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::Slow => "slow",
        }
    }
}

impl WeightMeaning {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::WhenBusy => "when_busy",
            Self::Draw => "draw",
            Self::DrainOnly => "drain_only",
            Self::None => "none",
        }
    }

    /// True when another weight above zero shares requests another way.
    pub const fn is_tunable(self) -> bool {
        matches!(self, Self::Exact | Self::WhenBusy | Self::Draw)
    }
}

impl BackendState {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Down => "down",
            Self::Ejected => "ejected",
        }
    }
}

impl UtilizationSource {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orca => "orca",
            Self::Limit => "limit",
            Self::Host => "host",
        }
    }
}

impl TryFrom<v1::BalancerReport> for BalancerReport {
    type Error = Invalid;

    fn try_from(report: v1::BalancerReport) -> Result<Self, Invalid> {
        text("reason", &report.reason, MAX_REASON_BYTES)?;
        text("version", &report.version, MAX_NAME_BYTES)?;
        text("process", &report.process, MAX_NAME_BYTES)?;
        at_most("missing", &report.missing, MAX_MISSING)?;
        report.missing.iter().try_for_each(|line| text("missing", line, MAX_REASON_BYTES))?;
        at_most("groups", &report.groups, MAX_GROUPS)?;
        if report.groups.iter().map(|group| group.backends.len()).sum::<usize>() > MAX_BACKENDS {
            return Err(Invalid::new("groups", format!("more than {MAX_BACKENDS} backends")));
        }
        let groups: Vec<BackendGroup> = each("groups", report.groups)?;
        once("groups", groups.iter().map(|group| group.name.as_str()))?;
        Ok(Self {
            target: Target::try_from((report.kind, report.name))?,
            measured_at_ms: report.measured_at_ms,
            state: state(report.state)?,
            reason: report.reason,
            version: report.version,
            process: report.process,
            window_ms: report.window_ms,
            groups,
            missing: report.missing,
        })
    }
}

impl From<BalancerReport> for v1::BalancerReport {
    fn from(report: BalancerReport) -> Self {
        let state = match report.state {
            BalancerState::Up => v1::BalancerState::Up,
            BalancerState::Unreachable => v1::BalancerState::Unreachable,
            BalancerState::Denied => v1::BalancerState::Denied,
            BalancerState::Slow => v1::BalancerState::Slow,
        };
        Self {
            kind: report.target.kind,
            name: report.target.name,
            measured_at_ms: report.measured_at_ms,
            state: state.into(),
            reason: report.reason,
            version: report.version,
            process: report.process,
            window_ms: report.window_ms,
            groups: report.groups.into_iter().map(Into::into).collect(),
            missing: report.missing,
        }
    }
}

impl TryFrom<v1::BackendGroup> for BackendGroup {
    type Error = Invalid;

    fn try_from(group: v1::BackendGroup) -> Result<Self, Invalid> {
        long_name("name", &group.name)?;
        text("algorithm", &group.algorithm, MAX_NAME_BYTES)?;
        text("weights_note", &group.weights_note, MAX_REASON_BYTES)?;
        let backends: Vec<BackendServer> = each("backends", group.backends)?;
        once("backends", backends.iter().map(|backend| backend.name.as_str()))?;
        let latency = group.latency.map(Latency::try_from).transpose();
        Ok(Self {
            name: group.name,
            limit: group.limit,
            algorithm: group.algorithm,
            weights: meaning(group.weights)?,
            weights_note: group.weights_note,
            queue: group.queue,
            latency: latency.map_err(|error| error.within("latency"))?,
            backends,
        })
    }
}

impl From<BackendGroup> for v1::BackendGroup {
    fn from(group: BackendGroup) -> Self {
        let weights = match group.weights {
            WeightMeaning::Exact => v1::WeightMeaning::Exact,
            WeightMeaning::WhenBusy => v1::WeightMeaning::WhenBusy,
            WeightMeaning::Draw => v1::WeightMeaning::Draw,
            WeightMeaning::DrainOnly => v1::WeightMeaning::DrainOnly,
            WeightMeaning::None => v1::WeightMeaning::None,
        };
        Self {
            name: group.name,
            limit: group.limit,
            algorithm: group.algorithm,
            weights: weights.into(),
            weights_note: group.weights_note,
            queue: group.queue,
            backends: group.backends.into_iter().map(Into::into).collect(),
            latency: group.latency.map(Into::into),
        }
    }
}

impl TryFrom<v1::BackendServer> for BackendServer {
    type Error = Invalid;

    fn try_from(backend: v1::BackendServer) -> Result<Self, Invalid> {
        long_name("name", &backend.name)?;
        text("address", &backend.address, MAX_PARAMETER_BYTES)?;
        amounts(&[
            ("latency_ms", backend.latency_ms),
            ("latency_p50_ms", backend.latency_p50_ms),
            ("latency_p99_ms", backend.latency_p99_ms),
            ("in_flight", backend.in_flight),
        ])?;
        for (field, count, of) in [
            ("errors", backend.errors, backend.requests),
            ("connect_errors", backend.connect_errors, backend.errors),
        ] {
            if count > of {
                return Err(Invalid::new(field, "more than what it is a part of"));
            }
        }
        Ok(Self {
            state: backend_state(backend.state)?,
            utilization: utilization(&backend)?,
            name: backend.name,
            address: backend.address,
            weight_configured: backend.weight_configured,
            weight: backend.weight,
            requests: backend.requests,
            errors: backend.errors,
            connect_errors: backend.connect_errors,
            latency_ms: backend.latency_ms,
            latency_p50_ms: backend.latency_p50_ms,
            latency_p99_ms: backend.latency_p99_ms,
            in_flight: backend.in_flight,
            queue: backend.queue,
            limit: backend.limit,
        })
    }
}

impl From<BackendServer> for v1::BackendServer {
    fn from(backend: BackendServer) -> Self {
        let state = match backend.state {
            BackendState::Ready => v1::BackendState::Ready,
            BackendState::Drain => v1::BackendState::Drain,
            BackendState::Maint => v1::BackendState::Maint,
            BackendState::Down => v1::BackendState::Down,
            BackendState::Ejected => v1::BackendState::Ejected,
        };
        let source = match backend.utilization.map(|(_, source)| source) {
            None => v1::UtilizationSource::Unspecified,
            Some(UtilizationSource::Orca) => v1::UtilizationSource::Orca,
            Some(UtilizationSource::Limit) => v1::UtilizationSource::Limit,
            Some(UtilizationSource::Host) => v1::UtilizationSource::Host,
        };
        Self {
            name: backend.name,
            address: backend.address,
            state: state.into(),
            weight_configured: backend.weight_configured,
            weight: backend.weight,
            requests: backend.requests,
            errors: backend.errors,
            latency_ms: backend.latency_ms,
            latency_p50_ms: backend.latency_p50_ms,
            latency_p99_ms: backend.latency_p99_ms,
            in_flight: backend.in_flight,
            queue: backend.queue,
            limit: backend.limit,
            utilization: backend.utilization.map(|(share, _)| share),
            utilization_source: source.into(),
            connect_errors: backend.connect_errors,
        }
    }
}

/// A name of a group or a backend: parameters are made of them.
fn long_name(field: &str, long: &str) -> Result<(), Invalid> {
    if long.is_empty() { name(field, long) } else { text(field, long, MAX_PARAMETER_BYTES) }
}

fn once<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Invalid> {
    let mut seen = std::collections::HashSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(Invalid::new(format!("{field}[{index}].name"), "given twice"));
        }
    }
    Ok(())
}

fn utilization(backend: &v1::BackendServer) -> Result<Option<(f64, UtilizationSource)>, Invalid> {
    let source = match v1::UtilizationSource::try_from(backend.utilization_source) {
        Ok(v1::UtilizationSource::Orca) => Some(UtilizationSource::Orca),
        Ok(v1::UtilizationSource::Limit) => Some(UtilizationSource::Limit),
        Ok(v1::UtilizationSource::Host) => Some(UtilizationSource::Host),
        Ok(v1::UtilizationSource::Unspecified) => None,
        Err(_) => return Err(Invalid::new("utilization_source", "unknown")),
    };
    match (backend.utilization, source) {
        (None, None) => Ok(None),
        (Some(share), Some(source)) => {
            ratios(&[("utilization", share)])?;
            Ok(Some((share, source)))
        }
        _ => Err(Invalid::new("utilization_source", "given only together with a utilization")),
    }
}

fn state(code: i32) -> Result<BalancerState, Invalid> {
    match v1::BalancerState::try_from(code) {
        Ok(v1::BalancerState::Up) => Ok(BalancerState::Up),
        Ok(v1::BalancerState::Unreachable) => Ok(BalancerState::Unreachable),
        Ok(v1::BalancerState::Denied) => Ok(BalancerState::Denied),
        Ok(v1::BalancerState::Slow) => Ok(BalancerState::Slow),
        Ok(v1::BalancerState::Unspecified) | Err(_) => Err(Invalid::new("state", "unknown")),
    }
}

fn meaning(code: i32) -> Result<WeightMeaning, Invalid> {
    match v1::WeightMeaning::try_from(code) {
        Ok(v1::WeightMeaning::Exact) => Ok(WeightMeaning::Exact),
        Ok(v1::WeightMeaning::WhenBusy) => Ok(WeightMeaning::WhenBusy),
        Ok(v1::WeightMeaning::Draw) => Ok(WeightMeaning::Draw),
        Ok(v1::WeightMeaning::DrainOnly) => Ok(WeightMeaning::DrainOnly),
        Ok(v1::WeightMeaning::None) => Ok(WeightMeaning::None),
        Ok(v1::WeightMeaning::Unspecified) | Err(_) => Err(Invalid::new("weights", "unknown")),
    }
}

fn backend_state(code: i32) -> Result<BackendState, Invalid> {
    match v1::BackendState::try_from(code) {
        Ok(v1::BackendState::Ready) => Ok(BackendState::Ready),
        Ok(v1::BackendState::Drain) => Ok(BackendState::Drain),
        Ok(v1::BackendState::Maint) => Ok(BackendState::Maint),
        Ok(v1::BackendState::Down) => Ok(BackendState::Down),
        Ok(v1::BackendState::Ejected) => Ok(BackendState::Ejected),
        Ok(v1::BackendState::Unspecified) | Err(_) => Err(Invalid::new("state", "unknown")),
    }
}
