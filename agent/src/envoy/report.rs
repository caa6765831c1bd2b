//! The report of one `[[envoy]]`: from what was measured, what is configured and what is served. Pure.

use flyball_proto::steering::{
    BackendGroup, BackendServer, BackendState, BalancerReport, BalancerState, MAX_REASON_BYTES,
    UtilizationSource, WeightMeaning, clip,
};
use flyball_xds::snapshot::{Cluster, Endpoint, Health, Policy};

use super::board::{Envoy, Known, KnownCluster, KnownHost, Served};
use super::config::{ClusterConfig, DEFAULT_LIMIT, EnvoyConfig};
use crate::orca::Utilizations;
use crate::redis::State;

/// Builds the report.
pub(super) fn report(
    envoy: &Envoy,
    known: &Known,
    served: Option<&Served>,
    utilizations: &Utilizations,
    now_ms: i64,
) -> BalancerReport {
    let config = envoy.config();
    let (state, reason) = state(known, served);
    let mut report = BalancerReport::new(envoy.target(), state, now_ms);
    report.reason = clip(&reason, MAX_REASON_BYTES);
    report.version.clone_from(&known.version);
    report.process.clone_from(&known.process);
    report.window_ms = known.window_ms;
    report.groups = groups(config, known, served);
    for backend in report.groups.iter_mut().flat_map(|group| &mut group.backends) {
        let share = utilizations.get(&backend.address);
        backend.utilization = share.map(|share| (share, UtilizationSource::Orca));
    }
    report.missing = missing(config, known, served);
    report
}

fn state(known: &Known, served: Option<&Served>) -> (BalancerState, String) {
    let state = match known.state {
        Some(State::Up) => BalancerState::Up,
        Some(State::Slow) => BalancerState::Slow,
        Some(State::Denied) => BalancerState::Denied,
        Some(_) => BalancerState::Unreachable,
        // Without an admin interface it is what its clients are.
        None => match served {
            Some(served) if !served.trouble.is_empty() => {
                return (BalancerState::Unreachable, served.trouble.clone());
            }
            Some(served) if !served.clients.is_empty() => BalancerState::Up,
            _ => return (BalancerState::Unreachable, "no client is connected".to_owned()),
        },
    };
    (state, known.reason.clone())
}

fn groups(config: &EnvoyConfig, known: &Known, served: Option<&Served>) -> Vec<BackendGroup> {
    let listen = config.listen().map(|address| address.to_string());
    // The cluster that Envoy itself finds the xDS server by is nobody's business.
    let is_own = |cluster: &&KnownCluster| {
        listen.is_some()
            && cluster.hosts.iter().all(|host| Some(&host.name) == listen.as_ref())
            && !cluster.hosts.is_empty()
    };
    let serves = |name: &str| {
        served.and_then(|served| served.snapshot.clusters.iter().find(|one| one.name == name))
    };
    let measured = known.clusters.iter().filter(|cluster| !is_own(cluster));
    let mut groups: Vec<BackendGroup> = measured
        .map(|cluster| group(cluster, config.cluster(&cluster.name), serves(&cluster.name)))
        .collect();
    // What is served and not measured is told as it is served.
    let all = served.map(|served| served.snapshot.clusters.as_slice()).unwrap_or_default();
    for cluster in all {
        if !groups.iter().any(|group| group.name == cluster.name) {
            groups.push(unmeasured(cluster, config.cluster(&cluster.name)));
        }
    }
    groups
}

fn group(
    known: &KnownCluster,
    config: Option<&ClusterConfig>,
    served: Option<&Cluster>,
) -> BackendGroup {
    let mut group = described(&known.name, served);
    group.limit = group.limit.or(known.max_requests);
    group.queue = known.hosts.iter().map(|host| host.pending as u32).sum();
    group.backends = known.hosts.iter().map(|host| backend(host, config, served)).collect();
    group.latency = known.latency;
    // The histogram is of the cluster: of an endpoint alone it is only where there is one.
    if let ([only], Some(latency)) = (group.backends.as_mut_slice(), known.latency) {
        only.latency_p50_ms = Some(latency.p50_ms);
        only.latency_p99_ms = Some(latency.p99_ms);
    }
    group
}

fn unmeasured(cluster: &Cluster, config: Option<&ClusterConfig>) -> BackendGroup {
    let mut group = described(&cluster.name, Some(cluster));
    let backend = |endpoint: &Endpoint| {
        let name = endpoint.name();
        let mut backend = BackendServer::new(name.clone(), name, endpoint.weight);
        backend.weight_configured = configured(config, &backend.name, endpoint.weight);
        backend.state = health(endpoint.health);
        backend
    };
    group.backends = cluster.endpoints.iter().map(backend).collect();
    group
}

/// A group without its backends: what weights do under its policy.
fn described(name: &str, served: Option<&Cluster>) -> BackendGroup {
    let (algorithm, weights, note) = match served.map(|cluster| (cluster.policy, cluster)) {
        Some((Policy::RoundRobin, cluster)) if cluster.locality_per_endpoint => (
            "round_robin",
            WeightMeaning::Exact,
            "each endpoint is a locality of its own and has its weight there, which gRPC draws by",
        ),
        Some((Policy::RoundRobin, _)) => (
            "round_robin",
            WeightMeaning::Exact,
            "Envoy shares in proportion; gRPC ignores weights of endpoints (locality_per_endpoint = true helps)",
        ),
        Some((Policy::LeastRequest { .. }, _)) => (
            "least_request",
            WeightMeaning::Exact,
            "in proportion to the weight over the requests under way and one",
        ),
        None => ("", WeightMeaning::Exact, "not served by this agent: its policy is not known"),
    };
    BackendGroup {
        name: name.to_owned(),
        // What clients take where they are told none: the same as the value of `max_requests:` then.
        limit: served.map(|one| one.circuit_breaker.max_requests.unwrap_or(DEFAULT_LIMIT)),
        algorithm: algorithm.to_owned(),
        weights,
        weights_note: note.to_owned(),
        queue: 0,
        latency: None,
        backends: Vec::new(),
    }
}

fn backend(
    host: &KnownHost,
    config: Option<&ClusterConfig>,
    served: Option<&Cluster>,
) -> BackendServer {
    // Weights of localities are not among those that Envoy lists.
    let locality = served.filter(|cluster| cluster.locality_per_endpoint);
    let locality = locality.and_then(|c| c.endpoints.iter().find(|e| e.name() == host.name));
    let weight = locality.map_or(host.weight, |endpoint| endpoint.weight);
    let mut backend = BackendServer::new(host.name.clone(), host.name.clone(), weight);
    backend.weight_configured = configured(config, &host.name, weight);
    backend.state = host.state;
    backend.queue = host.pending as u32;
    backend.in_flight = host.window.in_flight;
    backend.latency_ms = host.window.latency_ms;
    if let Some(counts) = host.window.counts {
        backend.requests = counts.success + counts.errors;
        backend.errors = counts.errors;
        backend.connect_errors = counts.connect_failures.min(counts.errors);
    }
    backend
}

fn configured(config: Option<&ClusterConfig>, name: &str, otherwise: u32) -> u32 {
    let endpoint = config.and_then(|config| config.endpoints.iter().find(|e| e.name() == name));
    endpoint.map_or(otherwise, |endpoint| endpoint.weight)
}

const fn health(health: Health) -> BackendState {
    match health {
        Health::Ready => BackendState::Ready,
        Health::Drain => BackendState::Drain,
        Health::Down => BackendState::Down,
    }
}

fn missing(config: &EnvoyConfig, known: &Known, served: Option<&Served>) -> Vec<String> {
    let mut missing = Vec::new();
    if config.admin.is_none() {
        missing.push("requests, errors and latencies: no admin interface is configured".to_owned());
    }
    if known.left_out.1 > 0 {
        let (clusters, endpoints) = known.left_out;
        missing.push(format!(
            "{endpoints} endpoints, with {clusters} whole clusters: there are too many"
        ));
    }
    for client in served.into_iter().flat_map(|served| &served.clients) {
        if let Some((kind, nack)) = client.refuses() {
            let words = format!("client {:?} refuses {kind:?}: {}", client.node_id, nack.message);
            missing.push(clip(&words, MAX_REASON_BYTES));
        }
    }
    missing.truncate(flyball_proto::steering::MAX_MISSING);
    missing
}
