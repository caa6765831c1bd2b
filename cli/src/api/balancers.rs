//! Load balancers and pools as the API answers them, as far as they are shown.

use serde::Deserialize;

/// `/api/performance/balancers`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct BalancersAnswer {
    /// By node and name.
    pub balancers: Vec<Balancer>,
    /// By name.
    pub pools: Vec<Pool>,
}

/// A load balancer of the fleet; `None` is unknown, which is not zero.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Balancer {
    /// Its node.
    pub node: String,
    /// `haproxy`, `envoy` or `nginx`.
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
    /// `up`, `unreachable`, `denied` or `slow`.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// What its requests go to.
    pub groups: Vec<Group>,
}

/// Backends that share their requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    /// As the balancer names it.
    pub name: String,
    /// How requests are shared.
    pub algorithm: String,
    /// What a change of weights does.
    pub weights: String,
    /// Requests that wait for any backend.
    pub queue: f64,
    /// Its servers.
    pub backends: Vec<Backend>,
}

/// A server of a group.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Backend {
    /// Whether it is given requests.
    pub state: String,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Failed requests as a share of all.
    pub error_ratio: Option<f64>,
    /// Mean latency.
    pub latency_ms: Option<f64>,
}

/// `/api/performance/balancers/pools/{name}`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct PoolAnswer {
    /// As it is now.
    pub pool: Pool,
}

/// What all balancers together know of backends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Pool {
    /// Its name.
    pub name: String,
    /// Longest window that counts.
    pub window_ms: f64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Failed requests as a share of all.
    pub error_ratio: Option<f64>,
    /// Its groups.
    pub members: Vec<Member>,
    /// Its backends.
    pub backends: Vec<PoolBackend>,
}

/// A group of one balancer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Member {
    /// Id of the balancer.
    pub id: String,
    /// Its node.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Why it counts for nothing.
    pub missing: Option<String>,
    /// How requests are shared.
    pub algorithm: String,
    /// What a change of weights does.
    pub weights: String,
    /// The same in words.
    pub weights_note: String,
}

/// A server that requests go to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PoolBackend {
    /// Unique in its pool.
    pub id: String,
    /// Whether it is given requests.
    pub state: String,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Failed requests as a share of all.
    pub error_ratio: Option<f64>,
    /// Mean latency.
    pub latency_ms: Option<f64>,
    /// Requests under way.
    pub in_flight: Option<f64>,
    /// Share of its capacity that is in use.
    pub utilization: Option<f64>,
    /// Where that is known from.
    pub utilization_source: Option<String>,
    /// Share of the pool's requests.
    pub share: Option<f64>,
    /// Share that the weights in force ask for.
    pub weight_share: Option<f64>,
    /// Share of the pool's capacity.
    pub capacity_share: Option<f64>,
    /// In each group that has it.
    pub placements: Vec<Placement>,
}

/// A backend in one group.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Placement {
    /// Id of the balancer.
    pub balancer: String,
    /// Whether it is given requests.
    pub state: String,
    /// What the balancer's own configuration says.
    pub weight_configured: f64,
    /// In force.
    pub weight: f64,
    /// What Flyball wants.
    pub weight_wanted: Option<f64>,
}
