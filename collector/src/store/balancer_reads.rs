//! Reads of `balancer_stats`: windows of a group for charts and for the judge, and the last weights.
//!
//! Rows hold counts of their report's window, so sums over time are sums of rows. A row that was sent twice counts once (`final` is set for all reads).

use clickhouse::Row;
use serde::Deserialize;

use super::error::StoreError;
use super::{Store, within};

/// Most rows that one read gives: 64 backends at 8 balancers over half an hour in windows of ten seconds.
const MOST_ROWS: u64 = 100_000;

/// What a backend did at one balancer within a window.
#[derive(Debug, Clone, PartialEq, Row, Deserialize)]
pub struct BalancerWindow {
    /// The balancer's node.
    pub node: String,
    /// `haproxy`, `envoy` or `nginx`.
    pub kind: String,
    /// The balancer's name.
    pub balancer: String,
    /// The backend's name there.
    pub backend: String,
    /// Its address; empty: not known.
    pub address: String,
    /// Start of the window, epoch milliseconds.
    pub window_ms: i64,
    /// Reports within it.
    pub reports: u64,
    /// Milliseconds that the reports cover.
    pub covered_ms: u64,
    /// Requests that were answered or have failed.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Of them connections that could not be made.
    pub connect_errors: u64,
    /// Sum of the latencies of `latency_requests` requests, milliseconds: sums of windows and balancers can be added.
    pub latency_sum_ms: f64,
    /// Requests whose latency is known.
    pub latency_requests: u64,
    /// The largest p99 of a report, milliseconds.
    pub latency_p99_ms: Option<f64>,
    /// Requests under way, mean of the reports.
    pub in_flight: Option<f64>,
    /// The longest queue.
    pub queue: u32,
    /// Requests that it may be given at once, by the last report; `None`: no limit.
    pub limit: Option<u32>,
    /// Mean utilisation as the balancer's agent knows it.
    pub utilization: Option<f64>,
    /// Where the last one was known from: `orca`, `limit` or `host`; empty: it was not known.
    pub utilization_source: String,
    /// The last weight in force.
    pub weight: u32,
    /// The last state.
    pub state: String,
}

/// The weight in force of a backend at one balancer, of its newest row.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct LastWeight {
    /// The balancer's node.
    pub node: String,
    /// `haproxy`, `envoy` or `nginx`.
    pub kind: String,
    /// The balancer's name.
    pub balancer: String,
    /// The backend's name there.
    pub backend: String,
    /// Its address; empty: not known.
    pub address: String,
    /// When, epoch milliseconds.
    pub ts_ms: i64,
    /// As the balancer's configuration says.
    pub weight_configured: u32,
    /// In force.
    pub weight: u32,
    /// Whether it was given requests.
    pub state: String,
}

impl Store {
    /// Windows of `width_ms` of all backends of a group at all balancers, by time, balancer and backend. Balancers that are not of the pool meant are for the
    /// caller to leave out.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn balancer_windows(
        &self,
        group: &str,
        (from_ms, to_ms): (i64, i64),
        width_ms: u32,
    ) -> Result<Vec<BalancerWindow>, StoreError> {
        let sql = "SELECT node, kind, balancer, backend, argMax(s.address, ts) AS address, \
            intDiv(toUnixTimestamp64Milli(ts), ?) * ? AS window_ms, count() AS reports, \
            sum(s.window_ms) AS covered_ms, sum(s.requests) AS requests, sum(s.errors) AS errors, \
            sum(s.connect_errors) AS connect_errors, \
            ifNull(sum(s.latency_ms * s.requests), 0) AS latency_sum_ms, \
            sumIf(s.requests, isNotNull(s.latency_ms)) AS latency_requests, \
            max(s.latency_p99_ms) AS latency_p99_ms, avg(s.in_flight) AS in_flight, \
            max(s.queue) AS queue, argMax(tuple(s.`limit`), ts).1 AS `limit`, \
            avg(s.utilization) AS utilization, \
            argMaxIf(s.utilization_source, ts, isNotNull(s.utilization)) AS utilization_source, \
            argMax(s.weight, ts) AS weight, argMax(s.state, ts) AS state FROM balancer_stats AS s \
            WHERE grp = ? AND ts >= fromUnixTimestamp64Milli(?) \
            AND ts < fromUnixTimestamp64Milli(?) \
            GROUP BY node, kind, balancer, backend, window_ms \
            ORDER BY window_ms, node, kind, balancer, backend LIMIT ?";
        let (timeout, width) = (self.settings.timeout(), i64::from(width_ms.max(1)));
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(width).bind(width).bind(group);
            let query = query.bind(from_ms).bind(to_ms).bind(MOST_ROWS);
            within(timeout, async { query.fetch_all().await }).await
        };
        self.servers.ask(ask).await
    }

    /// The last weights of all backends of a group since a time, by balancer and backend.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn last_weights(
        &self,
        group: &str,
        from_ms: i64,
    ) -> Result<Vec<LastWeight>, StoreError> {
        let sql = "SELECT node, kind, balancer, backend, address, \
            toUnixTimestamp64Milli(ts) AS ts_ms, weight_configured, weight, state \
            FROM balancer_stats WHERE grp = ? AND ts >= fromUnixTimestamp64Milli(?) \
            ORDER BY node, kind, balancer, backend, ts DESC \
            LIMIT 1 BY node, kind, balancer, backend LIMIT ?";
        let timeout = self.settings.timeout();
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(group).bind(from_ms).bind(MOST_ROWS);
            within(timeout, async { query.fetch_all().await }).await
        };
        self.servers.ask(ask).await
    }
}
