//! Rows of `balancer_stats`: a report of a load balancer is one for each of its backends.

use clickhouse::Row;
use flyball_proto::series::NodeName;
use flyball_proto::steering::{BackendGroup, BackendServer, BalancerReport};
use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// A backend of a report. Counts are of the report's window; what is not known is `None`.
#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
pub struct BalancerRow {
    /// The balancer's node.
    pub node: String,
    /// `haproxy`, `envoy` or `nginx`.
    pub kind: String,
    /// The balancer's name on its node.
    pub balancer: String,
    /// The group's name.
    pub grp: String,
    /// The backend's name.
    pub backend: String,
    /// `ADDRESS:PORT`; empty: not known.
    pub address: String,
    /// When the agent measured, milliseconds since the Unix epoch.
    pub ts: i64,
    /// Time that counts were taken over.
    pub window_ms: u32,
    /// Whether it was given requests.
    pub state: String,
    /// What the balancer's configuration says.
    pub weight_configured: u32,
    /// In force.
    pub weight: u32,
    /// Requests that were answered or have failed.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Of them connections that could not be made.
    pub connect_errors: u64,
    /// Mean.
    pub latency_ms: Option<f64>,
    /// Median.
    pub latency_p50_ms: Option<f64>,
    /// 99th percentile.
    pub latency_p99_ms: Option<f64>,
    /// Requests under way on average.
    pub in_flight: Option<f64>,
    /// Requests that wait for it.
    pub queue: u32,
    /// Requests that it may be given at once; `None`: no limit.
    pub limit: Option<u32>,
    /// 0 to 1.
    pub utilization: Option<f64>,
    /// `orca`, `limit` or `host`; empty: not known.
    pub utilization_source: String,
    /// Of the group.
    pub algorithm: String,
}

impl BalancerRow {
    /// The rows of a report. None before its first window: nothing was counted then.
    pub fn of(node: &NodeName, report: &BalancerReport) -> Vec<Self> {
        if report.window_ms == 0 {
            return Vec::new();
        }
        let row = |group: &BackendGroup, server: &BackendServer| Self {
            node: node.as_str().to_owned(),
            kind: report.target.kind.clone(),
            balancer: report.target.name.clone(),
            grp: group.name.clone(),
            backend: server.name.clone(),
            address: server.address.clone(),
            ts: report.measured_at_ms,
            window_ms: report.window_ms,
            state: server.state.as_str().to_owned(),
            weight_configured: server.weight_configured,
            weight: server.weight,
            requests: server.requests,
            errors: server.errors,
            connect_errors: server.connect_errors,
            latency_ms: server.latency_ms,
            latency_p50_ms: server.latency_p50_ms,
            latency_p99_ms: server.latency_p99_ms,
            in_flight: server.in_flight,
            queue: server.queue,
            limit: server.limit,
            utilization: server.utilization.map(|(share, _)| share),
            utilization_source: server
                .utilization
                .map(|(_, source)| source.as_str().to_owned())
                .unwrap_or_default(),
            algorithm: group.algorithm.clone(),
        };
        let rows = |group| -> Vec<Self> {
            let group: &BackendGroup = group;
            group.backends.iter().map(|server| row(group, server)).collect()
        };
        report.groups.iter().flat_map(rows).collect()
    }

    /// Number of the day in UTC, counted from the Unix epoch: its partition.
    pub const fn day(&self) -> i64 {
        self.ts.div_euclid(DAY_MS)
    }
}
