//! `[[envoy]]`: an Envoy that is read, clients that are served by xDS, or both.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use flyball_proto::steering::{MAX_BACKENDS, MAX_GROUPS, MAX_SETTINGS};
use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};
use tonic::transport::Uri;

use super::place::http_place;
use crate::config::Span;

/// Longest name of a cluster or a listener: parameters are made of it.
const MAX_NAME: usize = 64;
/// Largest weight.
pub(crate) const MAX_WEIGHT: u32 = flyball_xds::snapshot::MAX_WEIGHT;
/// Clients' own limits of connections and requests of a cluster, where nothing is configured.
pub(crate) const DEFAULT_LIMIT: u32 = 1_024;
/// Parameters of each cluster besides those of its endpoints.
const CLUSTER_PARAMETERS: usize = 7;
/// Longest time that a setting may name.
const LONGEST: Duration = Duration::from_hours(1);

/// `[[envoy]]`: one group of clients that are balanced alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvoyConfig {
    /// Name of the balancer, unique on this node.
    pub name: String,
    /// `http://HOST:PORT` of an Envoy's admin interface; unset: nothing is measured.
    pub admin: Option<String>,
    /// `IP:PORT` on which Envoy and gRPC clients are served by xDS; unset: nobody is.
    pub xds_listen: Option<String>,
    /// Lets whoever reaches `xds_listen` be served although it is no loopback address: there is neither encryption nor a password.
    pub insecure: bool,
    /// Lets confirmed changes be put into force.
    pub steer: bool,
    /// What is served, as it is without any change.
    pub clusters: Vec<ClusterConfig>,
    /// Where requests come in.
    pub listeners: Vec<ListenerConfig>,
}

/// `[[envoy.clusters]]`: endpoints that answer the same requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its name in Envoy.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointConfig>,
    /// How requests are shared.
    pub policy: PolicyConfig,
    /// Endpoints speak HTTP/2 without encryption.
    pub http2: bool,
    /// Weights are put on localities, one for each endpoint: for gRPC clients, which ignore those of endpoints.
    pub locality_per_endpoint: bool,
    /// Longest time to connect to an endpoint.
    pub connect_timeout: Span,
    /// Connections of one client; unset: its own default, 1024.
    pub max_connections: Option<u32>,
    /// Requests of one client that wait for a connection; unset: 1024.
    pub max_pending: Option<u32>,
    /// Requests of one client under way; unset: 1024.
    pub max_requests: Option<u32>,
    /// Retries of one client under way; unset: 3.
    pub max_retries: Option<u32>,
    /// Answers of 5xx in a row after which a client ejects an endpoint; 0: never.
    pub consecutive_5xx: u32,
    /// Most of the endpoints that are ejected at once, in percent.
    pub max_ejection_percent: u32,
    /// How long the first ejection lasts.
    pub base_ejection: Span,
}

/// `[[envoy.clusters.endpoints]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// `IP:PORT`
    pub address: String,
    /// Share of the requests beside the others, 1 to 65535.
    pub weight: u32,
    /// 0 first; those of the next number get requests when these are not healthy enough.
    pub priority: u32,
}

/// How requests are shared. Envoy's random policy is not among them, because it ignores weights of endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyConfig {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The endpoint with the most weight for each request under way.
    LeastRequest,
}

/// `[[envoy.listeners]]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerConfig {
    /// Its name; for gRPC clients what follows `xds:///`.
    pub name: String,
    /// The cluster that answers.
    pub cluster: String,
    /// `IP:PORT` on which Envoys listen; unset: it is for gRPC clients.
    pub address: Option<String>,
    /// Longest time until an answer is complete; unset: the client's own default.
    pub timeout: Option<Span>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            endpoints: Vec::new(),
            policy: PolicyConfig::default(),
            http2: false,
            locality_per_endpoint: false,
            connect_timeout: Span(Duration::from_secs(1)),
            max_connections: None,
            max_pending: None,
            max_requests: None,
            max_retries: None,
            consecutive_5xx: 0,
            max_ejection_percent: 10,
            base_ejection: Span(Duration::from_secs(30)),
        }
    }
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self { address: String::new(), weight: 1, priority: 0 }
    }
}

impl EnvoyConfig {
    /// Pushes a problem for each key that is wrong; `at` is the place of the table, `envoy[0]`.
    pub fn validate(&self, at: &str, problems: &mut Problems) {
        let mut wrong = |key: &str, reason: &str| problems.push(format!("{at}.{key}"), reason);
        if let Some(admin) = &self.admin
            && let Err(reason) = http_place(admin, false)
        {
            wrong("admin", reason);
        }
        if self.admin.is_none() && self.xds_listen.is_none() {
            wrong("admin", "give this or xds_listen: nothing is read and nobody is served");
        }
        match &self.xds_listen {
            Some(listen) => match socket(listen) {
                None => wrong("xds_listen", "use IP:PORT, for example 127.0.0.1:18000"),
                Some(address) if !address.ip().is_loopback() && !self.insecure => wrong(
                    "xds_listen",
                    "is no loopback address, and there is neither encryption nor a password: accept it with insecure = true",
                ),
                Some(_) => {}
            },
            None if self.steer => wrong("steer", "needs xds_listen"),
            None if !self.clusters.is_empty() => wrong("clusters", "are served by xds_listen only"),
            None => {}
        }
        if self.steer && self.parameters() > MAX_SETTINGS {
            let most = format!(
                "make more than {MAX_SETTINGS} settings: two for each endpoint and {CLUSTER_PARAMETERS} for each cluster"
            );
            wrong("clusters", &most);
        }
        self.validate_served(at, problems);
    }

    fn validate_served(&self, at: &str, problems: &mut Problems) {
        if self.clusters.len() > MAX_GROUPS {
            problems.push(format!("{at}.clusters"), format!("more than {MAX_GROUPS}"));
        }
        if self.clusters.iter().map(|c| c.endpoints.len()).sum::<usize>() > MAX_BACKENDS {
            problems
                .push(format!("{at}.clusters"), format!("have more than {MAX_BACKENDS} endpoints"));
        }
        let (mut names, mut sockets) = (HashSet::new(), HashSet::new());
        for (index, cluster) in self.clusters.iter().enumerate() {
            let at = format!("{at}.clusters[{index}]");
            check_name(&at, &cluster.name, &mut names, problems);
            cluster.validate(&at, problems);
        }
        let clusters: HashSet<&str> = self.clusters.iter().map(|c| c.name.as_str()).collect();
        let mut names = HashSet::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let at = format!("{at}.listeners[{index}]");
            check_name(&at, &listener.name, &mut names, problems);
            if !clusters.contains(listener.cluster.as_str()) {
                problems.push(format!("{at}.cluster"), "is not one of the clusters");
            }
            if let Some(address) = &listener.address {
                match socket(address) {
                    None => problems.push(format!("{at}.address"), "use IP:PORT"),
                    Some(address) if !sockets.insert(address) => {
                        problems.push(format!("{at}.address"), "is that of another listener");
                    }
                    Some(_) => {}
                }
            }
            if let Some(timeout) = listener.timeout {
                check_span(&at, "timeout", timeout, problems);
            }
        }
    }

    /// Number of parameters that may be set.
    fn parameters(&self) -> usize {
        let of = |cluster: &ClusterConfig| CLUSTER_PARAMETERS + 2 * cluster.endpoints.len();
        self.clusters.iter().map(of).sum()
    }

    /// Where clients are served.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        socket(self.xds_listen.as_deref()?)
    }

    /// The URL of the admin interface.
    pub(crate) fn admin(&self) -> Option<Uri> {
        http_place(self.admin.as_deref()?, false).ok()
    }

    /// A cluster that is served.
    pub(crate) fn cluster(&self, name: &str) -> Option<&ClusterConfig> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }
}

impl ClusterConfig {
    fn validate(&self, at: &str, problems: &mut Problems) {
        if self.endpoints.is_empty() {
            problems.push(format!("{at}.endpoints"), "empty: every request would fail");
        }
        let mut seen = HashSet::new();
        let mut priorities = HashSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let at = format!("{at}.endpoints[{index}]");
            priorities.insert(endpoint.priority);
            match socket(&endpoint.address) {
                None => problems.push(format!("{at}.address"), "use IP:PORT; names are not served"),
                Some(address) if !seen.insert(address) => {
                    problems.push(format!("{at}.address"), "is that of another endpoint");
                }
                Some(_) => {}
            }
            if !(1..=MAX_WEIGHT).contains(&endpoint.weight) {
                problems.push(format!("{at}.weight"), format!("must be 1 to {MAX_WEIGHT}"));
            }
        }
        if (0..priorities.len() as u32).any(|priority| !priorities.contains(&priority)) {
            problems.push(format!("{at}.endpoints"), "have gaps in their priorities");
        }
        if self.locality_per_endpoint && self.policy != PolicyConfig::RoundRobin {
            problems.push(
                format!("{at}.locality_per_endpoint"),
                "goes with policy = \"round_robin\" only",
            );
        }
        if self.max_ejection_percent > 50 {
            problems.push(format!("{at}.max_ejection_percent"), "must be 0 to 50");
        }
        check_span(at, "connect_timeout", self.connect_timeout, problems);
        check_span(at, "base_ejection", self.base_ejection, problems);
        for (key, limit) in [
            ("max_connections", self.max_connections),
            ("max_pending", self.max_pending),
            ("max_requests", self.max_requests),
        ] {
            if limit == Some(0) {
                problems.push(format!("{at}.{key}"), "0 would let no request through");
            }
        }
    }
}

impl EndpointConfig {
    /// Where it is.
    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        socket(&self.address)
    }

    /// Its name in parameters and reports: `IP:PORT` in the one way that it is written.
    pub(crate) fn name(&self) -> String {
        self.socket().map_or_else(|| self.address.clone(), |socket| socket.to_string())
    }
}

/// An address with a port that is not 0.
fn socket(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    (address.port() > 0).then(|| SocketAddr::new(canonical(address.ip()), address.port()))
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn check_name<'a>(at: &str, name: &'a str, seen: &mut HashSet<&'a str>, problems: &mut Problems) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        problems.push(format!("{at}.name"), "must be 1 to 64 letters, digits and ._-:");
    } else if !seen.insert(name) {
        problems.push(format!("{at}.name"), "is the name of another one");
    }
}

fn check_span(at: &str, key: &str, span: Span, problems: &mut Problems) {
    if span.0 < Duration::from_millis(1) || span.0 > LONGEST {
        problems.push(format!("{at}.{key}"), "must be 1ms to 1h");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let config: EnvoyConfig = toml(text);
        let mut problems = Problems::default();
        config.validate("envoy[0]", &mut problems);
        problems.as_slice().iter().map(|problem| problem.key.replace("envoy[0].", "")).collect()
    }

    fn toml(text: &str) -> EnvoyConfig {
        use figment::providers::Format as _;
        figment::Figment::from(figment::providers::Toml::string(text)).extract().unwrap()
    }

    const RIGHT: &str = "
        name = 'edge'
        admin = 'http://127.0.0.1:9901'
        xds_listen = '127.0.0.1:18000'
        steer = true
        [[clusters]]
        name = 'web'
        endpoints = [{ address = '10.0.0.1:80' }, { address = '[::1]:80', weight = 7, priority = 1 }]
        [[listeners]]
        name = 'in'
        cluster = 'web'
        address = '0.0.0.0:80'";

    #[test]
    fn a_right_one_has_no_problems_and_its_endpoints_one_name_each() {
        assert_eq!(keys(RIGHT), [""; 0]);
        let names: Vec<_> =
            toml(RIGHT).clusters[0].endpoints.iter().map(EndpointConfig::name).collect();
        assert_eq!(names, ["10.0.0.1:80", "[::1]:80"]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = "
            admin = 'https://h:1'
            xds_listen = '10.0.0.1:18000'
            [[clusters]]
            name = 'a/b'
            locality_per_endpoint = true
            policy = 'least_request'
            max_ejection_percent = 51
            max_requests = 0
            connect_timeout = '0s'
            endpoints = [{ address = 'h:80', weight = 0 }, { address = '10.0.0.1:80', priority = 2 },
                { address = '10.0.0.1:80' }]
            [[clusters]]
            name = 'b'
            [[clusters]]
            name = 'b'
            endpoints = [{ address = '10.0.0.1:0' }]
            [[listeners]]
            name = ''
            cluster = 'c'
            address = '1.2.3.4'";
        let all = [
            "admin",
            "xds_listen",
            "clusters[0].name",
            "clusters[0].endpoints[0].address",
            "clusters[0].endpoints[0].weight",
            "clusters[0].endpoints[2].address",
            "clusters[0].endpoints",
            "clusters[0].locality_per_endpoint",
            "clusters[0].max_ejection_percent",
            "clusters[0].connect_timeout",
            "clusters[0].max_requests",
            "clusters[1].endpoints",
            "clusters[2].name",
            "clusters[2].endpoints[0].address",
            "listeners[0].name",
            "listeners[0].cluster",
            "listeners[0].address",
        ];
        assert_eq!(keys(wrong), all);
        assert_eq!(keys(&RIGHT.replace("xds_listen", "#")), ["steer"]);
        assert_eq!(keys(&RIGHT.replace("xds_listen", "#").replace("steer", "#")), ["clusters"]);
        assert_eq!(keys("name = 'a'"), ["admin"]);
        let open = RIGHT.replace("'127.0.0.1:18000'", "'0.0.0.0:18000'\ninsecure = true");
        assert_eq!(keys(&open), [""; 0]);
    }
}
