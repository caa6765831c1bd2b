//! What a data plane shall do, in our own words: clusters with weighted endpoints, and listeners
//! that route to them.
//!
//! A [`Snapshot`] is complete: what it does not name does not exist. It is checked as a whole
//! before anything is sent ([`Snapshot::check`]), because clients differ in what they refuse: Envoy
//! rejects a whole CDS response for one bad cluster, accepts a sum of weights above 2^32 which gRPC
//! refuses, and puts the resource's whole text into the message.

mod check;

pub use check::SnapshotError;

use std::net::IpAddr;
use std::time::Duration;

/// The largest weight of an endpoint.
pub const MAX_WEIGHT: u32 = 65_535;
/// The longest name of a cluster, listener or version, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The whole wanted state of a group of clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Names this state in responses, acknowledgements and the clients' own statistics. Versions
    /// are compared for equality alone; a version must not be used again for another content.
    pub version: String,
    /// Names are unique.
    pub clusters: Vec<Cluster>,
    /// Names are unique; every cluster a route names is in [`Self::clusters`].
    pub listeners: Vec<Listener>,
}

/// A group of endpoints which answer the same requests. Becomes a CDS and an EDS resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// 1 to [`MAX_NAME_BYTES`] bytes, no control characters.
    pub name: String,
    /// May be empty: every request then fails at once, which is not the same as an unknown cluster.
    pub endpoints: Vec<Endpoint>,
    /// How a client picks the endpoint of a request.
    pub policy: Policy,
    /// Limits per client and cluster.
    pub circuit_breaker: CircuitBreaker,
    /// What a client ejects by itself; `None` = nothing.
    pub outlier_detection: Option<OutlierDetection>,
    /// Longest time for a connection to an endpoint, more than 0.
    pub connect_timeout: Duration,
    /// One locality per endpoint, with the endpoint's weight on the locality. For gRPC clients,
    /// whose `round_robin` ignores the weights of endpoints but honours those of localities. Only
    /// with [`Policy::RoundRobin`].
    pub locality_per_endpoint: bool,
    /// Endpoints speak HTTP/2 without upgrade (h2c). Envoy alone reads it; gRPC always speaks
    /// HTTP/2.
    pub http2: bool,
    /// The share of endpoints in percent below which, when no more than that are healthy, Envoy
    /// ignores health and drains and spreads over all endpoints. 0 = never, so that a drained
    /// endpoint gets no request whatever the rest does.
    pub panic_percent: u32,
}

impl Cluster {
    /// A cluster with these endpoints under round robin, clients' own circuit breaker limits, no
    /// outlier detection, 1 s to connect, weights on endpoints, HTTP/1.1, no panic.
    pub fn new(name: impl Into<String>, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: name.into(),
            endpoints,
            policy: Policy::RoundRobin,
            circuit_breaker: CircuitBreaker::default(),
            outlier_detection: None,
            connect_timeout: Duration::from_secs(1),
            locality_per_endpoint: false,
            http2: false,
            panic_percent: 0,
        }
    }
}

/// One address which answers requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// EDS carries addresses, never host names.
    pub address: IpAddr,
    /// TCP port, not 0.
    pub port: u16,
    /// Share of the requests relative to the other endpoints of its priority, 1 to [`MAX_WEIGHT`].
    /// For no traffic at all use [`Health::Drain`]: a weight of 0 is refused by clients.
    pub weight: u32,
    /// 0 first; higher numbers get requests when the lower ones are not healthy enough. No gaps
    /// within a cluster.
    pub priority: u32,
    /// Whether it gets requests.
    pub health: Health,
}

impl Endpoint {
    /// A ready endpoint of priority 0.
    pub fn new(address: impl Into<IpAddr>, port: u16, weight: u32) -> Self {
        Self { address: address.into(), port, weight, priority: 0, health: Health::Ready }
    }

    /// The name that a policy calls it by: `ADDRESS:PORT`, with brackets for IPv6.
    pub fn name(&self) -> String {
        std::net::SocketAddr::new(self.address, self.port).to_string()
    }
}

/// Whether an endpoint gets requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Gets its share.
    #[default]
    Ready,
    /// Gets no new request; requests under way end in peace. EDS `DRAINING`.
    Drain,
    /// Known to be down. EDS `UNHEALTHY`.
    Down,
}

/// How a client picks the endpoint of a request. Only policies that honour weights: Envoy's random
/// policy, seen with weights 100/50/10, gives thirds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The least busy of `choices` endpoints. By weight: `weight / (active + 1)`. Clients which do
    /// not know it (gRPC for C++, Python) fall back to round robin.
    LeastRequest {
        /// 2 to 16.
        choices: u32,
    },
}

/// Limits of each client towards a cluster. `None` leaves the client's own default (1,024 each; 3
/// retries).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Connections, Envoy only.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection, Envoy only.
    pub max_pending: Option<u32>,
    /// Requests under way; the only limit that gRPC knows (gRFC A32).
    pub max_requests: Option<u32>,
    /// Retries under way, Envoy only.
    pub max_retries: Option<u32>,
}

/// What a client ejects by itself, for its own traffic alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Answers of 5xx in a row after which an endpoint is ejected; 0 = off. Envoy only: gRPC (gRFC
    /// A50) ejects by success rate and failure percentage.
    pub consecutive_5xx: u32,
    /// How often ejections are decided and undone, more than 0.
    pub interval: Duration,
    /// The n-th ejection lasts n times this, more than 0.
    pub base_ejection: Duration,
    /// At most this share of the endpoints, 0 to 100. Envoy ejects one endpoint whatever it says,
    /// unless 0.
    pub max_ejection_percent: u32,
}

/// Where requests come in, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// 1 to [`MAX_NAME_BYTES`] bytes, no control characters. For gRPC the name after `xds:///`. Its
    /// route table has the same name.
    pub name: String,
    /// Whose listener it is.
    pub bind: Bind,
    /// The first whose prefix fits gets the request. At least one.
    pub routes: Vec<Route>,
}

/// Whose listener it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Of gRPC clients: an `api_listener`, given to those who ask for it by name.
    Api,
    /// Of Envoy: a socket, given to those who ask for all listeners, or by name.
    Socket {
        /// Address to listen on.
        address: IpAddr,
        /// TCP port, not 0.
        port: u16,
    },
}

/// The requests whose path begins with a prefix, and the cluster that answers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Begins with `/`; `/` alone fits every path.
    pub prefix: String,
    /// Name of a cluster of the same snapshot.
    pub cluster: String,
    /// Longest time until the whole answer is there; `None` = the client's default (Envoy 15 s,
    /// gRPC none). More than 0.
    pub timeout: Option<Duration>,
}

impl Route {
    /// All requests to this cluster.
    pub fn all(cluster: impl Into<String>) -> Self {
        Self { prefix: "/".into(), cluster: cluster.into(), timeout: None }
    }
}
