//! What pools are computed from, out of memory: the newest reports, what backends say of themselves, how busy hosts are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use flyball_proto::steering::BalancerReport;

use flyball_proto::series::NodeName;

use super::pool::{HostLoad, Inputs, Known, OrcaWord, Pool, pools};
use super::watch::Loads;
use crate::live::{FleetStatus, Live, NodeStatus, now_ms};
use crate::steer::watch::{Reported, Steering};

/// What a backend says of itself, by `server.address` and `server.port`.
pub const ORCA_METRIC: &str = "flyball.backend.utilization";
/// A word that is older is not asked for.
const OLDEST_WORD_MS: i64 = 10_000;

/// What pools are computed from.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    balancers: Vec<Known>,
    words: Vec<OrcaWord>,
    hosts: Vec<HostLoad>,
}

impl Gathered {
    /// Of now.
    pub fn of(steering: &Steering, live: &Live) -> Self {
        let (now, now_ms) = (Instant::now(), now_ms());
        let fleet = live.status(&[]);
        let known = |one: &Reported<BalancerReport>| Known {
            node: one.node.clone(),
            machine: machine(&fleet, one.node.as_str()),
            report: Arc::clone(&one.report),
            whole: one.whole.clone(),
            age_ms: now.saturating_duration_since(one.received).as_millis() as u64,
        };
        Self {
            balancers: steering.balancers().all().iter().map(known).collect(),
            words: words(live, &fleet, now_ms),
            hosts: fleet.nodes.iter().map(|node| load(node)).collect(),
        }
    }

    /// As the pools take it.
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { balancers: &self.balancers, words: &self.words, hosts: &self.hosts }
    }
}

/// What is known of backends and hosts besides what balancers say, from the newest samples.
#[derive(Debug, Clone)]
pub struct LiveLoads(pub Live);

impl Loads for LiveLoads {
    fn words(&self) -> Vec<OrcaWord> {
        words(&self.0, &self.0.status(&[]), now_ms())
    }

    fn hosts(&self) -> Vec<HostLoad> {
        self.0.status(&[]).nodes.iter().map(|node| load(node)).collect()
    }

    fn machine(&self, node: &NodeName) -> String {
        machine(&self.0.status(std::slice::from_ref(node)), node.as_str())
    }
}

fn words(live: &Live, fleet: &FleetStatus, now_ms: i64) -> Vec<OrcaWord> {
    let words = live.last(&[], now_ms - OLDEST_WORD_MS, |series| series.metric == ORCA_METRIC);
    let word = |last: crate::live::LastValue| {
        Some(OrcaWord {
            host: last.series.attribute("server.address")?.to_owned(),
            port: last.series.attribute("server.port")?.parse().ok()?,
            machine: machine(fleet, last.node.as_str()),
            utilization: last.value,
            age_ms: u64::try_from(now_ms - last.ts_ms).unwrap_or(0),
        })
    };
    words.into_iter().filter_map(word).collect()
}

/// The pools of now.
pub fn pools_now(steering: &Steering, live: &Live) -> Vec<Pool> {
    pools(&Gathered::of(steering, live).inputs())
}

/// How busy a host is.
pub(super) fn load(node: &NodeStatus) -> HostLoad {
    let addresses = node.host.as_ref().map(|host| host.addresses.as_slice()).unwrap_or_default();
    let addresses = addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    HostLoad {
        machine: machine_of(node),
        addresses: addresses.map(|ip| ip.to_canonical()).collect(),
        cpu: node.cpu_utilization.filter(|_| node.up),
    }
}

/// Names the machine of a node.
pub(super) fn machine(fleet: &FleetStatus, name: &str) -> String {
    let node = fleet.nodes.iter().find(|node| node.node == name);
    node.map_or_else(|| name.to_owned(), |node| machine_of(node))
}

/// The host's id, the node's name where it has none.
fn machine_of(node: &NodeStatus) -> String {
    let id = node.host.as_ref().and_then(|host| host.id.clone());
    id.unwrap_or_else(|| node.node.clone())
}
