//! What those who work on one `[[envoy]]` tell each other: the watch what it measured, the actuator what is served.

use std::sync::Arc;
use std::time::Instant;

use flyball_proto::steering::{BackendState, Target};
use flyball_xds::pace::Traffic;
use flyball_xds::{ClientStatus, Snapshot};
use parking_lot::Mutex;

use super::config::EnvoyConfig;
use super::window::{Quantiles, Window};
use super::{Counts, KIND};
use crate::redis::State;

/// One `[[envoy]]`. Clones are the same.
#[derive(Debug, Clone)]
pub struct Envoy(Arc<Board>);

#[derive(Debug)]
struct Board {
    config: EnvoyConfig,
    known: Mutex<Option<Arc<Known>>>,
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
    pub(crate) latency: Option<Quantiles>,
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
    /// What was added.
    pub(crate) window: Window,
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
        Self(Arc::new(Board { config, known: Mutex::default(), served: Mutex::default() }))
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

    pub(super) fn set_known(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        *self.0.known.lock() = Some(Arc::clone(&known));
        known
    }

    /// What is served.
    pub(crate) fn served(&self) -> Option<Arc<Served>> {
        self.0.served.lock().clone()
    }

    /// Sets what is served.
    pub(crate) fn set_served(&self, served: Served) {
        *self.0.served.lock() = Some(Arc::new(served));
    }

    /// Requests of a cluster, as far as they are measured: what the pace of pushes needs.
    pub(crate) fn traffic(&self, cluster: &str) -> Traffic {
        let unknown = Traffic { requests_per_second: 0.0, workers: 1 };
        let Some(known) = self.known().filter(|known| known.window_ms > 0) else { return unknown };
        let Some(cluster) = known.clusters.iter().find(|one| one.name == cluster) else {
            return unknown;
        };
        let counts = cluster.hosts.iter().filter_map(|host| host.window.counts);
        let requests: u64 = counts.map(|counts| counts.success + counts.errors).sum();
        let requests_per_second = requests as f64 * 1_000.0 / f64::from(known.window_ms);
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
