//! Answers of Envoy's admin interface: `/clusters?format=json`, `/stats?format=json` and `/server_info`.
//!
//! Numbers are texts there, and those that are 0 are left out. Of a host, `rq_total` counts requests that got a connection, `rq_success` and `rq_error` how they ended;
//! `rq_error` holds 5xx, timeouts and connections that failed (measured with 1.40: 89 refused connections are 89 of `cx_connect_fail` and of `rq_error`), never 4xx.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use flyball_proto::steering::BackendState;
use serde::Deserialize;

/// A cluster as Envoy has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Cluster {
    /// Its name.
    pub(crate) name: String,
    /// What its statistics are called by.
    pub(crate) stats_name: String,
    /// Limit of requests under way at default priority.
    pub(crate) max_requests: Option<u32>,
    /// Its endpoints that have an IP address.
    pub(crate) hosts: Vec<Host>,
}

/// An endpoint as Envoy has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Host {
    /// `IP:PORT`
    pub(crate) name: String,
    /// Whether it gets requests.
    pub(crate) state: BackendState,
    /// In force.
    pub(crate) weight: u32,
    /// Region, zone and sub-zone with slashes; empty: none.
    pub(crate) locality: String,
    /// Counters.
    pub(crate) counts: Counts,
    /// Requests under way.
    pub(crate) active: u64,
    /// Requests that wait for a connection.
    pub(crate) pending: u64,
    /// Connections to it.
    pub(crate) connections: u64,
}

/// Counters of an endpoint since Envoy has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests that were answered, also by 4xx.
    pub(crate) success: u64,
    /// Those that failed: 5xx, timeouts, connections.
    pub(crate) errors: u64,
    /// Connections that could not be made.
    pub(crate) connect_failures: u64,
    /// Requests that were not answered in time.
    pub(crate) timeouts: u64,
}

/// Which process it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// Such as `1.40.0`.
    pub(crate) version: String,
    /// Seconds since it was started.
    pub(crate) uptime_s: u64,
    /// Worker threads.
    pub(crate) workers: u32,
}

/// Bins of a histogram since the start: lower bound and width in milliseconds, count.
pub(crate) type Bins = Vec<(f64, f64, u64)>;

/// An answer is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not understood: {1}")]
pub(crate) struct Strange(&'static str, String);

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Clusters {
    cluster_statuses: Vec<ClusterStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClusterStatus {
    name: String,
    observability_name: String,
    circuit_breakers: Breakers,
    host_statuses: Vec<HostStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Breakers {
    thresholds: Vec<Threshold>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Threshold {
    priority: String,
    max_requests: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HostStatus {
    address: Address,
    stats: Vec<Stat>,
    health_status: Health,
    weight: u32,
    locality: Locality,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Address {
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SocketAddress {
    address: String,
    port_value: u16,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Stat {
    name: String,
    value: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Health {
    eds_health_status: String,
    failed_active_health_check: bool,
    failed_outlier_check: bool,
    failed_active_degraded_check: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Locality {
    region: String,
    zone: String,
    sub_zone: String,
}

impl Cluster {
    /// Reads `/clusters?format=json`.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn read_all(text: &[u8]) -> Result<Vec<Self>, Strange> {
        let all: Clusters = json("/clusters", text)?;
        Ok(all.cluster_statuses.into_iter().map(Into::into).collect())
    }
}

impl From<ClusterStatus> for Cluster {
    fn from(status: ClusterStatus) -> Self {
        let stats_name = if status.observability_name.is_empty() {
            status.name.clone()
        } else {
            status.observability_name
        };
        // Default priority is not named.
        let default = status.circuit_breakers.thresholds.iter().find(|t| t.priority.is_empty());
        Self {
            name: status.name,
            stats_name: stats_name.replace(':', "_"),
            max_requests: default.and_then(|threshold| threshold.max_requests),
            hosts: status.host_statuses.into_iter().filter_map(Host::of).collect(),
        }
    }
}

impl Host {
    /// None for one without an IP address: a pipe.
    fn of(status: HostStatus) -> Option<Self> {
        let socket = status.address.socket_address?;
        let address: IpAddr = socket.address.parse().ok()?;
        let mut host = Self {
            name: SocketAddr::new(address, socket.port_value).to_string(),
            state: status.health_status.state(),
            weight: status.weight,
            locality: status.locality.to_string(),
            counts: Counts::default(),
            active: 0,
            pending: 0,
            connections: 0,
        };
        for stat in status.stats {
            let value = stat.value.and_then(|value| value.parse().ok()).unwrap_or(0);
            match stat.name.as_str() {
                "rq_success" => host.counts.success = value,
                "rq_error" => host.counts.errors = value,
                "cx_connect_fail" => host.counts.connect_failures = value,
                "rq_timeout" => host.counts.timeouts = value,
                "rq_active" => host.active = value,
                "rq_pending_active" => host.pending = value,
                "cx_active" => host.connections = value,
                _ => {}
            }
        }
        Some(host)
    }
}

impl Counts {
    /// What was added since `before`; none when a counter went back, because it began anew.
    pub(crate) fn since(self, before: Self) -> Option<Self> {
        Some(Self {
            success: self.success.checked_sub(before.success)?,
            errors: self.errors.checked_sub(before.errors)?,
            connect_failures: self.connect_failures.checked_sub(before.connect_failures)?,
            timeouts: self.timeouts.checked_sub(before.timeouts)?,
        })
    }
}

impl Health {
    fn state(&self) -> BackendState {
        match self.eds_health_status.as_str() {
            "DRAINING" => BackendState::Drain,
            "UNHEALTHY" | "TIMEOUT" => BackendState::Down,
            _ if self.failed_active_health_check => BackendState::Down,
            _ if self.failed_outlier_check => BackendState::Ejected,
            _ => BackendState::Ready,
        }
    }
}

impl std::fmt::Display for Locality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [&self.region, &self.zone, &self.sub_zone];
        let parts: Vec<&str> = parts.into_iter().map(String::as_str).collect();
        f.write_str(parts.join("/").trim_end_matches('/'))
    }
}

impl ServerInfo {
    /// Reads `/server_info`.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Strange> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Info {
            version: String,
            uptime_current_epoch: String,
            command_line_options: Options,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Options {
            concurrency: u32,
        }
        let info: Info = json("/server_info", text)?;
        let uptime = info.uptime_current_epoch.strip_suffix('s').and_then(|text| text.parse().ok());
        // hash/version/...
        let version = info.version.split('/').nth(1).unwrap_or(&info.version).to_owned();
        Ok(Self {
            version,
            uptime_s: uptime.unwrap_or(0),
            workers: info.command_line_options.concurrency.max(1),
        })
    }
}

/// Reads the histograms of `/stats?format=json&histogram_buckets=detailed`, by name.
///
/// # Errors
/// When it is something else.
pub(crate) fn histograms(text: &[u8]) -> Result<HashMap<String, Bins>, Strange> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Stats {
        stats: Vec<One>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct One {
        histograms: Option<Histograms>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Histograms {
        details: Vec<Detail>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Detail {
        name: String,
        totals: Vec<Bin>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Bin {
        lower_bound: f64,
        width: f64,
        count: u64,
    }
    let stats: Stats = json("/stats", text)?;
    let details = stats.stats.into_iter().filter_map(|one| one.histograms).flat_map(|h| h.details);
    let bins = |detail: Detail| {
        let bins = detail.totals.into_iter().map(|bin| (bin.lower_bound, bin.width, bin.count));
        (detail.name, bins.collect())
    };
    Ok(details.map(bins).collect())
}

fn json<'a, T: Deserialize<'a>>(what: &'static str, text: &'a [u8]) -> Result<T, Strange> {
    serde_json::from_slice(text).map_err(|error| Strange(what, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Envoy 1.40 says it, shortened.
    const CLUSTERS: &str = r#"{"cluster_statuses":[{"name":"web:1","circuit_breakers":{"thresholds":[
        {"max_connections":1024,"max_requests":7},{"priority":"HIGH","max_requests":9}]},"observability_name":"web:1",
        "host_statuses":[{"address":{"socket_address":{"address":"127.0.0.1","port_value":19912}},"stats":[
        {"name":"cx_connect_fail","value":"3"},{"name":"cx_active","value":"5","type":"GAUGE"},{"name":"rq_error","value":"2"},{"name":"rq_success","value":"6"},
        {"name":"rq_timeout","value":"1"},{"name":"rq_active","type":"GAUGE"},{"name":"rq_pending_active","value":"4","type":"GAUGE"}],
        "health_status":{"eds_health_status":"HEALTHY"},"weight":10,"locality":{"region":"r","sub_zone":"s"}},
        {"address":{"socket_address":{"address":"::1","port_value":1}},"health_status":{"eds_health_status":"DRAINING","failed_outlier_check":true},"weight":1},
        {"address":{"socket_address":{"address":"::1","port_value":2}},"health_status":{"failed_outlier_check":true},"weight":1},
        {"address":{"pipe":{"path":"/x"}},"weight":1}]}]}"#;

    #[test]
    fn clusters_are_read_as_envoy_says_them() {
        let all = Cluster::read_all(CLUSTERS.as_bytes()).unwrap();
        let web = &all[0];
        assert_eq!((web.name.as_str(), web.stats_name.as_str()), ("web:1", "web_1"));
        assert_eq!((web.max_requests, web.hosts.len()), (Some(7), 3));
        let host = &web.hosts[0];
        assert_eq!((host.name.as_str(), host.weight), ("127.0.0.1:19912", 10));
        assert_eq!((host.locality.as_str(), host.active, host.pending), ("r//s", 0, 4));
        assert_eq!(host.connections, 5);
        let counts = Counts { success: 6, errors: 2, connect_failures: 3, timeouts: 1 };
        assert_eq!((host.counts, host.state), (counts, BackendState::Ready));
        assert_eq!(web.hosts[1].name, "[::1]:1");
        assert_eq!(web.hosts[1].state, BackendState::Drain);
        assert_eq!(web.hosts[2].state, BackendState::Ejected);
        assert!(Cluster::read_all(b"<html>").is_err());
        assert_eq!(Cluster::read_all(b"{}").unwrap(), []);
    }

    #[test]
    fn a_counter_that_went_back_is_no_difference() {
        let (less, more) = (
            Counts { success: 1, ..Counts::default() },
            Counts { success: 3, ..Counts::default() },
        );
        assert_eq!(more.since(less).map(|counts| counts.success), Some(2));
        assert_eq!(less.since(more), None);
    }

    #[test]
    fn server_info_names_the_process() {
        let text = br#"{"version":"9e55/1.40.0/Clean/RELEASE/BoringSSL","uptime_current_epoch":"17s","command_line_options":{"concurrency":2}}"#;
        let info = ServerInfo::read(text).unwrap();
        assert_eq!(info, ServerInfo { version: "1.40.0".to_owned(), uptime_s: 17, workers: 2 });
    }

    #[test]
    fn histograms_are_found_by_name() {
        let text = br#"{"stats":[{"name":"a","value":1},{"histograms":{"supported_percentiles":[0],"details":[
            {"name":"cluster.web.upstream_rq_time","totals":[{"lower_bound":0,"width":0,"count":57},{"lower_bound":40,"width":1,"count":4}],"intervals":[]}]}}]}"#;
        let all = histograms(text).unwrap();
        assert_eq!(all["cluster.web.upstream_rq_time"], [(0.0, 0.0, 57), (40.0, 1.0, 4)]);
    }
}
