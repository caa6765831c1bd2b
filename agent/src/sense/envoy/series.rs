//! The series of one `[[envoy]]`: from what is known to values.

use std::collections::HashMap;

use flyball_proto::steering::BackendState;

use super::metrics as m;
use crate::envoy::{Envoy, Known, KnownCluster, KnownHost, Served};
use crate::redis::State;
use crate::sense::counters::Counters;
use crate::sense::{Handle, Metric, Readings};

/// States that an admin interface can be in.
const STATES: [State; 4] = [State::Up, State::Unreachable, State::Slow, State::Denied];
/// Counters of each endpoint.
const COUNTERS: [&Metric; 4] = [
    &m::ENDPOINT_REQUESTS,
    &m::ENDPOINT_ERRORS,
    &m::ENDPOINT_CONNECT_FAILURES,
    &m::ENDPOINT_TIMEOUTS,
];

/// All series of one.
pub(super) struct Series {
    balancer: String,
    process: String,
    admin: Option<Admin>,
    info: Option<(String, Handle)>,
    clusters: HashMap<String, ClusterSeries>,
    endpoints: HashMap<(String, String), EndpointSeries>,
    xds: Option<Xds>,
}

struct Admin {
    up: Handle,
    states: [Handle; STATES.len()],
    response_time: Handle,
}

struct ClusterSeries {
    p50: Handle,
    p99: Handle,
    max_requests: Handle,
}

struct EndpointSeries {
    counters: Counters<{ COUNTERS.len() }>,
    in_flight: Handle,
    pending: Handle,
    weight: Handle,
    ready: Handle,
    info: Option<(String, BackendState, Handle)>,
}

struct Xds {
    clients: Handle,
    behind: Handle,
    rejections: Handle,
}

impl Series {
    /// The series that are there whatever becomes of Envoy.
    pub(super) fn new(envoy: &Envoy, readings: &mut Readings) -> Self {
        let balancer = envoy.name();
        let one =
            |metric, readings: &mut Readings| readings.define(metric, &[("balancer", balancer)]);
        let has_admin = envoy.config().admin.is_some();
        let xds = envoy.config().xds_listen.is_some().then(|| Xds {
            clients: one(&m::XDS_CLIENTS, readings),
            behind: one(&m::XDS_BEHIND, readings),
            rejections: one(&m::XDS_REJECTIONS, readings),
        });
        let admin = has_admin.then(|| Admin {
            up: one(&m::UP, readings),
            response_time: one(&m::RESPONSE_TIME, readings),
            states: STATES.map(|state| {
                let attributes = [("balancer", balancer), ("state", state.as_str())];
                readings.define(&m::STATE, &attributes)
            }),
        });
        Self {
            balancer: balancer.to_owned(),
            process: String::new(),
            admin,
            info: None,
            clusters: HashMap::new(),
            endpoints: HashMap::new(),
            xds,
        }
    }

    /// Sets what is known.
    pub(super) fn set(&mut self, known: &Known, served: Option<&Served>, r: &mut Readings) {
        if let (Some(xds), Some(served)) = (&self.xds, served) {
            let behind = served.clients.iter().filter(|client| !client.in_sync()).count();
            r.set(xds.clients, served.clients.len() as i64);
            r.set(xds.behind, behind as i64);
            r.set(xds.rejections, served.nacks as i64);
        }
        let (Some(admin), Some(state)) = (&self.admin, known.state) else { return };
        r.set(admin.up, i64::from(state == State::Up));
        for (handle, other) in admin.states.iter().zip(STATES) {
            r.set(*handle, i64::from(state == other));
        }
        let Some(response_s) = known.response_s else { return };
        r.set_value(admin.response_time, response_s);
        self.set_info(known, r);
        let is_restart = !self.process.is_empty() && self.process != known.process;
        self.process.clone_from(&known.process);
        self.retire(known, r);
        for cluster in &known.clusters {
            self.set_cluster(cluster, r);
            for host in &cluster.hosts {
                self.set_endpoint(&cluster.name, host, is_restart, r);
            }
        }
    }

    fn set_info(&mut self, known: &Known, r: &mut Readings) {
        if self.info.as_ref().is_none_or(|(version, _)| *version != known.version) {
            if let Some((_, old)) = self.info.take() {
                r.retire(old);
            }
            let attributes = [("balancer", &*self.balancer), ("version", &*known.version)];
            self.info = Some((known.version.clone(), r.define(&m::INFO, &attributes)));
        }
        if let Some((_, handle)) = self.info {
            r.set(handle, 1);
        }
    }

    /// Ends the series of what is gone.
    fn retire(&mut self, known: &Known, r: &mut Readings) {
        let host = |cluster: &str, name: &str| {
            let cluster = known.clusters.iter().find(|one| one.name == cluster);
            cluster.is_some_and(|cluster| cluster.hosts.iter().any(|host| host.name == name))
        };
        let gone = self.endpoints.extract_if(|(cluster, name), _| !host(cluster, name));
        for (_, endpoint) in gone {
            endpoint.counters.retire(r);
            let info = endpoint.info.map(|(.., handle)| handle);
            let all = [endpoint.in_flight, endpoint.pending, endpoint.weight, endpoint.ready];
            all.into_iter().chain(info).for_each(|handle| r.retire(handle));
        }
        let is_there = |name: &str| known.clusters.iter().any(|cluster| cluster.name == name);
        for (_, cluster) in self.clusters.extract_if(|name, _| !is_there(name)) {
            for handle in [cluster.p50, cluster.p99, cluster.max_requests] {
                r.retire(handle);
            }
        }
    }

    fn set_cluster(&mut self, cluster: &KnownCluster, r: &mut Readings) {
        if !self.clusters.contains_key(&cluster.name) {
            let attributes = [("balancer", &*self.balancer), ("cluster", &*cluster.name)];
            let series = ClusterSeries {
                p50: r.define(&m::CLUSTER_P50, &attributes),
                p99: r.define(&m::CLUSTER_P99, &attributes),
                max_requests: r.define(&m::CLUSTER_MAX_REQUESTS, &attributes),
            };
            self.clusters.insert(cluster.name.clone(), series);
        }
        let series = &self.clusters[&cluster.name];
        if let Some(latency) = cluster.latency {
            r.set_value(series.p50, latency.p50_ms / 1_000.0);
            r.set_value(series.p99, latency.p99_ms / 1_000.0);
        }
        if let Some(limit) = cluster.max_requests {
            r.set(series.max_requests, i64::from(limit));
        }
    }

    fn set_endpoint(&mut self, cluster: &str, host: &KnownHost, restart: bool, r: &mut Readings) {
        let attributes =
            [("balancer", &*self.balancer), ("cluster", cluster), ("endpoint", &*host.name)];
        let key = (cluster.to_owned(), host.name.clone());
        let series = self.endpoints.entry(key).or_insert_with(|| EndpointSeries {
            counters: Counters::new(COUNTERS.map(|metric| r.define(metric, &attributes)), false),
            in_flight: r.define(&m::ENDPOINT_IN_FLIGHT, &attributes),
            pending: r.define(&m::ENDPOINT_PENDING, &attributes),
            weight: r.define(&m::ENDPOINT_WEIGHT, &attributes),
            ready: r.define(&m::ENDPOINT_READY, &attributes),
            info: None,
        });
        if restart {
            series.counters.restart();
        }
        let counts = host.counts;
        let now = [
            counts.success + counts.errors,
            counts.errors,
            counts.connect_failures,
            counts.timeouts,
        ];
        series.counters.set(now.map(|count| Some(count as i64)), r);
        if let Some(in_flight) = host.window.in_flight {
            r.set_value(series.in_flight, in_flight);
        }
        r.set(series.pending, host.pending as i64);
        r.set(series.weight, i64::from(host.weight));
        r.set(series.ready, i64::from(host.state == BackendState::Ready));
        let is_same = |(locality, state, _): &(String, BackendState, Handle)| {
            *locality == host.locality && *state == host.state
        };
        if !series.info.as_ref().is_some_and(is_same) {
            if let Some((.., old)) = series.info.take() {
                r.retire(old);
            }
            let [balancer, cluster, endpoint] = attributes;
            let more = [("locality", &*host.locality), ("state", host.state.as_str())];
            let all = [balancer, cluster, endpoint, more[0], more[1]];
            let handle = r.define(&m::ENDPOINT_INFO, &all);
            series.info = Some((host.locality.clone(), host.state, handle));
        }
        if let Some((.., handle)) = series.info {
            r.set(handle, 1);
        }
    }
}
