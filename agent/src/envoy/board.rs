//! What those who work on one `[[envoy]]` tell each other: the watch what it measured, the actuator what is served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use flyball_proto::steering::{BackendState, Latency, Target};
use flyball_xds::pace::Traffic;
use flyball_xds::snapshot::Cluster;
use flyball_xds::{ClientStatus, Snapshot};
use parking_lot::Mutex;

use super::config::EnvoyConfig;
use super::window::Window;
use super::{Counts, KIND};
use crate::redis::State;

/// One `[[envoy]]`. Clones are the same.
#[derive(Debug, Clone)]
pub struct Envoy(Arc<Board>);

#[derive(Debug)]
struct Board {
    config: EnvoyConfig,
    known: Mutex<Option<Arc<Known>>>,
    /// When each cluster was seen with requests last, or first seen at all.
    asked: Mutex<HashMap<String, Instant>>,
    served: Mutex<Option<Arc<Served>>>,
}

/// What one reading of the admin interface found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// When it was made.
    pub(crate) at: Option<Instant>,
    /// How it gets on with Envoy.
    pub(crate) state: Option<State>,
    /// Why it is not up.
    pub(crate) reason: String,
    /// Version of Envoy.
    pub(crate) version: String,
    /// Names the process.
    pub(crate) process: String,
    /// Worker threads.
    pub(crate) workers: u32,
    /// Time that one look at the clusters took, in seconds.
    pub(crate) response_s: Option<f64>,
    /// Milliseconds since the reading before; 0: there was none.
    pub(crate) window_ms: u32,
    /// The clusters.
    pub(crate) clusters: Vec<KnownCluster>,
    /// Clusters and endpoints that are not in [`Self::clusters`] because there are too many.
    pub(crate) left_out: (usize, usize),
}

/// A cluster in one reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownCluster {
    /// Its name.
    pub(crate) name: String,
    /// Limit of requests under way.
    pub(crate) max_requests: Option<u32>,
    /// Latency of its requests, of about the last five seconds.
    pub(crate) latency: Option<Latency>,
    /// Its endpoints.
    pub(crate) hosts: Vec<KnownHost>,
}

/// An endpoint in one reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownHost {
    /// `IP:PORT`
    pub(crate) name: String,
    /// Whether it gets requests.
    pub(crate) state: BackendState,
    /// In force.
    pub(crate) weight: u32,
    /// Its locality; empty: none.
    pub(crate) locality: String,
    /// Counters since Envoy has it.
    pub(crate) counts: Counts,
    /// Requests that wait for a connection.
    pub(crate) pending: u64,
    /// Connections to it.
    pub(crate) connections: u64,
    /// What was added.
    pub(crate) window: Window,
}

/// What is under way in a cluster, over all of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Requests, the mean of a second.
    pub(crate) requests: u64,
    /// Requests that wait for a connection.
    pub(crate) pending: u64,
    /// Connections.
    pub(crate) connections: u64,
}

/// What is served by xDS, and who takes it.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// The state that clients are told.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Those that are connected.
    pub(crate) clients: Vec<ClientStatus>,
    /// Responses that clients rejected since the agent started.
    pub(crate) nacks: u64,
    /// Why nobody can connect; empty: they can.
    pub(crate) trouble: String,
}

impl Envoy {
    /// One that is configured so.
    pub fn new(config: EnvoyConfig) -> Self {
        let (known, asked, served) = Default::default();
        Self(Arc::new(Board { config, known, asked, served }))
    }

    /// Its configuration.
    pub fn config(&self) -> &EnvoyConfig {
        &self.0.config
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// How it is called as a target.
    pub fn target(&self) -> Target {
        Target::new(KIND, self.name())
    }

    /// What was measured last.
    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.0.known.lock().clone()
    }

    pub(crate) fn set_known(&self, known: Known) -> Arc<Known> {
        self.note_asked(&known);
        let known = Arc::new(known);
        *self.0.known.lock() = Some(Arc::clone(&known));
        known
    }

    /// Takes note of clusters that are asked something, or may be: of a first reading there is no telling.
    fn note_asked(&self, known: &Known) {
        let Some(at) = known.at else { return };
        let is_quiet = |host: &KnownHost| {
            let counts = host.window.counts;
            counts.is_some_and(|counts| counts.success + counts.errors == 0)
                && host.window.in_flight.is_none_or(|mean| mean <= 0.0)
                && host.pending == 0
        };
        let mut asked = self.0.asked.lock();
        asked.retain(|name, _| known.clusters.iter().any(|cluster| cluster.name == *name));
        for cluster in &known.clusters {
            if !cluster.hosts.iter().all(is_quiet) {
                asked.insert(cluster.name.clone(), at);
            }
        }
    }

    /// True when a reading that is younger than `since` shows a cluster as it is served, and no request for it since then.
    pub(crate) fn is_idle(&self, served: &Cluster, since: Instant) -> bool {
        let Some(known) = self.known().filter(|known| known.at.is_some_and(|at| at > since)) else {
            return false;
        };
        let Some(cluster) = known.clusters.iter().find(|one| one.name == served.name) else {
            return false;
        };
        let has = |endpoint: &flyball_xds::snapshot::Endpoint| {
            let name = endpoint.name();
            let host = cluster.hosts.iter().find(|host| host.name == name);
            // Weights of localities are not among those that Envoy lists.
            host.is_some_and(|host| served.locality_per_endpoint || host.weight == endpoint.weight)
        };
        let asked = self.0.asked.lock().get(&served.name).copied();
        served.endpoints.iter().all(has) && asked.is_none_or(|asked| asked <= since)
    }

    /// What is under way in a cluster; none where nobody measures it.
    pub(crate) fn under_way(&self, cluster: &str) -> Option<UnderWay> {
        let known = self.known()?;
        let cluster = known.clusters.iter().find(|one| one.name == cluster)?;
        let mean: f64 = cluster.hosts.iter().filter_map(|host| host.window.in_flight).sum();
        Some(UnderWay {
            requests: mean.ceil() as u64,
            pending: cluster.hosts.iter().map(|host| host.pending).sum(),
            connections: cluster.hosts.iter().map(|host| host.connections).sum(),
        })
    }

    /// What is served.
    pub(crate) fn served(&self) -> Option<Arc<Served>> {
        self.0.served.lock().clone()
    }

    /// Sets what is served.
    pub(crate) fn set_served(&self, served: Served) {
        *self.0.served.lock() = Some(Arc::new(served));
    }

    /// Requests of a cluster, as far as they are measured: what the pace of pushes needs. No request in a window is none that is known of: see [`Self::is_idle`].
    pub(crate) fn traffic(&self, cluster: &str) -> Traffic {
        let unknown = Traffic { requests_per_second: f64::NAN, workers: 1 };
        let Some(known) = self.known().filter(|known| known.window_ms > 0) else { return unknown };
        let Some(cluster) = known.clusters.iter().find(|one| one.name == cluster) else {
            return unknown;
        };
        let counts = cluster.hosts.iter().filter_map(|host| host.window.counts);
        let requests: u64 = counts.map(|counts| counts.success + counts.errors).sum();
        let requests_per_second = requests as f64 * 1_000.0 / f64::from(known.window_ms);
        let requests_per_second = if requests == 0 { f64::NAN } else { requests_per_second };
        Traffic { requests_per_second, workers: known.workers }
    }

    /// Endpoints of a cluster that serve nobody although nobody wants that: down or ejected.
    pub(crate) fn lost(&self, cluster: &str) -> Vec<String> {
        let Some(known) = self.known() else { return Vec::new() };
        let cluster = known.clusters.iter().find(|one| one.name == cluster);
        let hosts = cluster.map(|cluster| cluster.hosts.as_slice()).unwrap_or_default();
        let is_lost =
            |host: &&KnownHost| matches!(host.state, BackendState::Down | BackendState::Ejected);
        hosts.iter().filter(is_lost).map(|host| host.name.clone()).collect()
    }
}

#[cfg(test)]
impl KnownHost {
    /// One that is ready, of weight 1, and was asked nothing in its window.
    pub(crate) fn idle(name: &str) -> Self {
        let window = Window { counts: Some(Counts::default()), ..Window::default() };
        Self {
            name: name.to_owned(),
            state: BackendState::Ready,
            weight: 1,
            locality: String::new(),
            counts: Counts::default(),
            pending: 0,
            connections: 0,
            window,
        }
    }
}

#[cfg(test)]
impl KnownCluster {
    /// One with these endpoints and no limit.
    pub(crate) fn new(name: &str, hosts: Vec<KnownHost>) -> Self {
        Self { name: name.to_owned(), max_requests: None, latency: None, hosts }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use flyball_xds::snapshot::Endpoint;

    use super::*;

    #[test]
    fn a_cluster_is_idle_when_a_younger_reading_shows_what_is_served_and_no_request() {
        let envoy = Envoy::new(EnvoyConfig::default());
        let served = Cluster::new("web", vec![Endpoint::new(Ipv4Addr::LOCALHOST, 1, 7)]);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let read = |seconds, weight, requests| {
            let mut host = KnownHost { weight, ..KnownHost::idle("127.0.0.1:1") };
            host.window.counts = Some(Counts { success: requests, ..Counts::default() });
            let clusters = vec![KnownCluster::new("web", vec![host])];
            envoy.set_known(Known {
                at: Some(at(seconds)),
                window_ms: 1_000,
                clusters,
                ..Known::default()
            });
        };
        assert!(!envoy.is_idle(&served, at(1)), "nobody has looked");
        read(1, 7, 0);
        assert!(!envoy.is_idle(&served, at(1)), "not since then");
        read(2, 7, 0);
        assert!(envoy.is_idle(&served, at(1)));
        assert!(envoy.traffic("web").requests_per_second.is_nan(), "of one window it is not known");
        read(3, 6, 0);
        assert!(!envoy.is_idle(&served, at(1)), "that is not what is served");
        read(4, 7, 3);
        assert!((envoy.traffic("web").requests_per_second - 3.0).abs() < 1e-9);
        read(5, 7, 0);
        assert!(!envoy.is_idle(&served, at(1)), "it was asked something since");
        assert!(envoy.is_idle(&served, at(4)));
    }
}
