//! Pools: groups of one name over all load balancers of the fleet whose backends have addresses in common, with what all balancers together know of each backend.
//!
//! Pure: newest reports in, pools out. Properties, each tested below:
//! * the order of the inputs changes nothing;
//! * counts of a pool are the sums over its fresh members: a report older than two of its windows, or of a balancer that is not up, counts for nothing and its balancer is named as missing;
//! * latency is weighted by requests; shares of traffic sum to one when there is traffic;
//! * groups of one name without a common address are pools of their own, named `NAME@BALANCER` by the first balancer of each. All of them, also the first that was
//!   known: were it to keep the plain name, that name could come to mean other servers when a balancer comes or goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    BackendGroup, BackendServer, BackendState, BalancerReport, BalancerState, Latency, Target,
    UtilizationSource, WeightMeaning,
};

use super::{join, load};
use crate::suggest::view::target_id;

/// The shortest window that staleness is counted in, in milliseconds.
const LEAST_WINDOW_MS: u32 = 1_000;
/// Smallest utilisation that a capacity is computed from: below it `q/u` is noise (notes of law R).
const LEAST_UTILIZATION: f64 = 0.02;

/// A balancer as it is known.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its node.
    pub node: NodeName,
    /// Names its machine: addresses of the loopback are common only within one.
    pub machine: String,
    /// Its newest report.
    pub report: Arc<BalancerReport>,
    /// The newest report of a time when it was up, the same one while it is.
    pub whole: Option<Arc<BalancerReport>>,
    /// Age of the newest report by the collector's clock, milliseconds.
    pub age_ms: u64,
}

/// What a backend said of itself: a sample of `flyball.backend.utilization`.
#[derive(Debug, Clone, PartialEq)]
pub struct OrcaWord {
    /// Its `server.address`.
    pub host: String,
    /// Its `server.port`.
    pub port: u16,
    /// The machine of the agent that heard it.
    pub machine: String,
    /// 0 to 1; above: overloaded.
    pub utilization: f64,
    /// Age of the sample, milliseconds.
    pub age_ms: u64,
}

/// How busy a host is.
#[derive(Debug, Clone, PartialEq)]
pub struct HostLoad {
    /// Names the machine.
    pub machine: String,
    /// Addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Share of its processors in use, 0 to 1; `None`: its agent is silent.
    pub cpu: Option<f64>,
}

/// What pools are computed from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The balancers of the fleet.
    pub balancers: &'a [Known],
    /// What backends say of themselves.
    pub words: &'a [OrcaWord],
    /// The hosts of the fleet.
    pub hosts: &'a [HostLoad],
}

/// Groups that share backends.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Unique in the fleet; the id of the target of its changes is `pool:` and this.
    pub name: String,
    /// What its balancers call it.
    pub group: String,
    /// Its groups, by node and balancer.
    pub members: Vec<Member>,
    /// Its backends, by id.
    pub backends: Vec<Backend>,
    /// The longest window of a fresh member, milliseconds; 0: none is fresh.
    pub window_ms: u32,
    /// Requests of the window that were answered or have failed, of all fresh members.
    pub requests: u64,
    /// The same per second.
    pub requests_per_second: f64,
}

/// A group of one balancer.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its node.
    pub node: NodeName,
    /// Its balancer.
    pub target: Target,
    /// How the agent gets on with it.
    pub state: BalancerState,
    /// Age of its newest report, milliseconds.
    pub age_ms: u64,
    /// Window of the report that the group is of, milliseconds.
    pub window_ms: u32,
    /// Requests that it may have under way at all backends of the pool together, beyond which they fail; `None`: it has no such limit.
    pub limit: Option<u32>,
    /// How requests are shared, as the balancer names it.
    pub algorithm: String,
    /// What a change of weights does at run time.
    pub weights: WeightMeaning,
    /// The meaning in words.
    pub weights_note: String,
    /// Requests that wait for any backend.
    pub queue: u32,
    /// Of all its requests together, where the balancer measures it so.
    pub latency: Option<Latency>,
    /// Why it counts for nothing: it is not up or its report is old; `None`: it counts.
    pub missing: Option<String>,
}

/// A server that requests go to.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Unique in its pool: its address, or its name where the address is not known.
    pub id: String,
    /// `ADDRESS:PORT`; empty: not known.
    pub address: String,
    /// In the groups that have it, in the order of the members.
    pub placements: Vec<Placement>,
    /// `Ready` where any fresh member gives it requests, else what the first fresh member says, else the first.
    pub state: BackendState,
    /// Requests of the window that were answered or have failed, of all fresh members.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Of them connections that could not be made.
    pub connect_errors: u64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Mean milliseconds, weighted by requests.
    pub latency_ms: Option<f64>,
    /// The largest p99 of a fresh member, milliseconds: no p99 over all can be had from those of parts, and it is no more than this.
    pub latency_p99_ms: Option<f64>,
    /// Requests under way, summed; `None` when no fresh member counts them.
    pub in_flight: Option<f64>,
    /// Requests that wait for it, summed.
    pub queue: u32,
    /// Sum of the limits; `None` when a fresh member has none.
    pub limit: Option<u32>,
    /// Share of its capacity that is in use, and where that is known from.
    pub utilization: Option<(f64, UtilizationSource)>,
    /// Share of the pool's requests; `None` without requests.
    pub share: Option<f64>,
    /// Share that the weights in force ask for, members weighted by their requests (alike without any); `None` without a fresh member.
    pub weight_share: Option<f64>,
    /// Share of the pool's capacity, of `q/u`; `None` unless both are known of each backend that is given requests.
    pub capacity_share: Option<f64>,
    /// Age of the newest report that has it, milliseconds.
    pub age_ms: u64,
}

/// A backend in one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// Place of the group in [`Pool::members`].
    pub member: usize,
    /// As the balancer says it.
    pub server: BackendServer,
}

/// The pools of the fleet, by name.
pub fn pools(inputs: &Inputs<'_>) -> Vec<Pool> {
    let mut groups: BTreeMap<&str, Vec<Group<'_>>> = BTreeMap::new();
    for known in inputs.balancers {
        let Some(whole) = &known.whole else { continue };
        for group in whole.groups.iter().filter(|group| !group.backends.is_empty()) {
            groups.entry(&group.name).or_default().push(Group::new(known, whole, group));
        }
    }
    let mut pools = Vec::new();
    for (name, mut groups) in groups {
        groups.sort_by_key(|group| (&group.known.node, &group.known.report.target));
        let places: Vec<_> = groups.iter().map(|group| group.places.clone()).collect();
        let parts = join::parts(&places);
        let is_one = parts.len() == 1;
        for part in parts {
            let own: Vec<&Group<'_>> = part.iter().map(|index| &groups[*index]).collect();
            let first = own[0].known.id();
            let pool_name = if is_one { name.to_owned() } else { format!("{name}@{first}") };
            pools.push(Pool::new(pool_name, name, &own, inputs));
        }
    }
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    pools
}

/// A group and what it is of.
struct Group<'a> {
    known: &'a Known,
    window_ms: u32,
    said: &'a BackendGroup,
    /// Of its backends, in their order.
    places: Vec<join::Place>,
}

impl Known {
    /// Id of its target.
    pub fn id(&self) -> String {
        let of = &self.report.target;
        target_id(self.node.as_str(), &of.kind, &of.name).0
    }

    /// Why its counts are not of the present; `None`: they are.
    fn missing(&self, window_ms: u32) -> Option<String> {
        let state = self.report.state;
        if state != BalancerState::Up {
            let (state, reason) = (state.as_str(), &self.report.reason);
            let told = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            return Some(format!("{state}{told}"));
        }
        let patience_ms = u64::from(window_ms.max(LEAST_WINDOW_MS)) * 2;
        let is_old = self.age_ms >= patience_ms;
        is_old.then(|| format!("silent for {:.1} s", self.age_ms as f64 / 1_000.0))
    }
}

impl<'a> Group<'a> {
    fn new(known: &'a Known, whole: &BalancerReport, group: &'a BackendGroup) -> Self {
        let place = |server: &BackendServer| join::Place::of(known, &server.name, &server.address);
        let places = group.backends.iter().map(place).collect();
        Self { known, window_ms: whole.window_ms, said: group, places }
    }

    fn member(&self) -> Member {
        let (known, group) = (self.known, self.said);
        Member {
            node: known.node.clone(),
            target: known.report.target.clone(),
            state: known.report.state,
            age_ms: known.age_ms,
            window_ms: self.window_ms,
            limit: group.limit,
            algorithm: group.algorithm.clone(),
            weights: group.weights,
            weights_note: group.weights_note.clone(),
            queue: group.queue,
            latency: group.latency,
            missing: known.missing(self.window_ms),
        }
    }
}

impl Member {
    /// Id of its balancer.
    pub fn id(&self) -> String {
        target_id(self.node.as_str(), &self.target.kind, &self.target.name).0
    }

    /// True when its counts are of the present.
    pub const fn is_fresh(&self) -> bool {
        self.missing.is_none()
    }

    fn per_second(&self, requests: u64) -> f64 {
        if self.window_ms == 0 {
            return 0.0;
        }
        requests as f64 * 1_000.0 / f64::from(self.window_ms)
    }
}

impl Pool {
    /// The id of the target of its changes.
    pub fn id(&self) -> String {
        format!("pool:{}", self.name)
    }

    /// A backend by its id.
    pub fn backend(&self, id: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.id == id)
    }

    /// Where requests for each backend go, by the machines of nodes.
    pub(super) fn places(&self, machine: impl Fn(&str) -> String) -> Vec<join::Place> {
        let place = |backend: &Backend| {
            let first = &backend.placements[0];
            let member = &self.members[first.member];
            let (machine, server) = (machine(member.node.as_str()), &first.server);
            join::Place::at(&machine, || member.id(), &server.name, &server.address)
        };
        self.backends.iter().map(place).collect()
    }

    /// Members that count for nothing.
    pub fn missing(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.is_fresh())
    }

    fn new(name: String, group: &str, groups: &[&Group<'_>], inputs: &Inputs<'_>) -> Self {
        let members: Vec<Member> = groups.iter().map(|group| group.member()).collect();
        let mut placements: BTreeMap<&join::Place, Vec<Placement>> = BTreeMap::new();
        for (member, group) in groups.iter().enumerate() {
            for (place, server) in group.places.iter().zip(&group.said.backends) {
                let placement = Placement { member, server: server.clone() };
                placements.entry(place).or_default().push(placement);
            }
        }
        let ids = ids(placements.keys().copied());
        let backends = placements
            .into_iter()
            .zip(ids)
            .map(|((place, placements), id)| Backend::new(id, place, placements, &members, inputs));
        let mut backends: Vec<Backend> = backends.collect();
        backends.sort_by(|a, b| a.id.cmp(&b.id));
        let window_ms = members.iter().filter(|member| member.is_fresh());
        let mut pool = Self {
            name,
            group: group.to_owned(),
            window_ms: window_ms.map(|member| member.window_ms).max().unwrap_or(0),
            requests: backends.iter().map(|backend| backend.requests).sum(),
            requests_per_second: backends.iter().map(|backend| backend.requests_per_second).sum(),
            members,
            backends,
        };
        pool.share_out();
        pool
    }

    /// Fills in what depends on all backends.
    fn share_out(&mut self) {
        let wanted = self.weight_shares();
        let capacities = self.capacities();
        let capacity: Option<f64> = capacities.as_ref().map(|all| all.iter().sum());
        let requests = self.requests_per_second;
        for (index, backend) in self.backends.iter_mut().enumerate() {
            backend.share = (requests > 0.0).then(|| backend.requests_per_second / requests);
            backend.weight_share = wanted.as_ref().map(|shares| shares[index]);
            backend.capacity_share =
                capacities.as_ref().zip(capacity).map(|(all, sum)| all[index] / sum);
        }
    }

    /// What the weights in force ask for, by backend.
    fn weight_shares(&self) -> Option<Vec<f64>> {
        let mut weights = vec![vec![0.0; self.backends.len()]; self.members.len()];
        let mut requests = vec![0.0; self.members.len()];
        for (index, backend) in self.backends.iter().enumerate() {
            for placement in &backend.placements {
                let server = &placement.server;
                if server.state == BackendState::Ready {
                    weights[placement.member][index] += f64::from(server.weight);
                }
                requests[placement.member] +=
                    self.members[placement.member].per_second(server.requests);
            }
        }
        let is_idle = self.requests_per_second <= 0.0;
        let (mut shares, mut total) = (vec![0.0; self.backends.len()], 0.0);
        for (member, own) in weights.iter().enumerate() {
            let sum: f64 = own.iter().sum();
            if !self.members[member].is_fresh() || sum <= 0.0 {
                continue;
            }
            let traffic = if is_idle { 1.0 } else { requests[member] };
            total += traffic;
            for (share, weight) in shares.iter_mut().zip(own) {
                *share += traffic * weight / sum;
            }
        }
        (total > 0.0).then(|| shares.iter().map(|share| share / total).collect())
    }

    /// Requests per second that each backend could serve, of those that are given any; 0 for the others.
    fn capacities(&self) -> Option<Vec<f64>> {
        let capacity = |backend: &Backend| {
            if backend.state != BackendState::Ready {
                return Some(0.0);
            }
            let (used, _) = backend.utilization?;
            let per_second = backend.requests_per_second;
            (per_second > 0.0).then(|| per_second / used.max(LEAST_UTILIZATION))
        };
        let all: Option<Vec<f64>> = self.backends.iter().map(capacity).collect();
        all.filter(|all| all.iter().sum::<f64>() > 0.0)
    }
}

/// How backends are called: by their place, and by whose it is too where several places are shown alike.
fn ids<'a>(places: impl Iterator<Item = &'a join::Place> + Clone) -> Vec<String> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for place in places.clone() {
        if !seen.insert(place.text()) {
            twice.insert(place.text());
        }
    }
    let id = |place: &join::Place| {
        let text = place.text();
        if twice.contains(text) { format!("{text}@{}", place.whose()) } else { text.to_owned() }
    };
    places.map(id).collect()
}

impl Backend {
    /// Failed requests as a share of all; `None` without requests.
    pub fn error_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }

    fn new(
        id: String,
        place: &join::Place,
        placements: Vec<Placement>,
        members: &[Member],
        inputs: &Inputs<'_>,
    ) -> Self {
        let is_fresh = |placement: &&Placement| members[placement.member].is_fresh();
        let rate =
            |placement: &Placement| members[placement.member].per_second(placement.server.requests);
        let fresh: Vec<(&Placement, f64)> =
            placements.iter().filter(is_fresh).map(|one| (one, rate(one))).collect();
        let servers = || fresh.iter().map(|(placement, _)| &placement.server);
        let states = servers().map(|server| server.state);
        let state = states.reduce(|a, b| if b == BackendState::Ready { b } else { a });
        let ages = placements.iter().map(|placement| members[placement.member].age_ms);
        let limits: Option<Vec<u32>> = servers().map(|server| server.limit).collect();
        let limits = limits.filter(|limits| !limits.is_empty());
        let counted: Vec<f64> = servers().filter_map(|server| server.in_flight).collect();
        let is_known = !matches!(place, join::Place::Unknown(..));
        Self {
            id,
            address: if is_known { place.text().to_owned() } else { String::new() },
            state: state.unwrap_or(placements[0].server.state),
            requests: servers().map(|server| server.requests).sum(),
            errors: servers().map(|server| server.errors).sum(),
            connect_errors: servers().map(|server| server.connect_errors).sum(),
            requests_per_second: fresh.iter().map(|(_, per_second)| per_second).sum(),
            latency_ms: mean_latency(servers()),
            latency_p99_ms: servers().filter_map(|server| server.latency_p99_ms).reduce(f64::max),
            in_flight: (!counted.is_empty()).then(|| counted.iter().sum()),
            queue: servers().map(|server| server.queue).fold(0, u32::saturating_add),
            limit: limits.map(|limits| limits.into_iter().fold(0, u32::saturating_add)),
            utilization: load::utilization(inputs, place, &fresh),
            share: None,
            weight_share: None,
            capacity_share: None,
            age_ms: ages.min().unwrap_or(0),
            placements,
        }
    }
}

/// Weighted by requests.
fn mean_latency<'a>(servers: impl Iterator<Item = &'a BackendServer>) -> Option<f64> {
    let (mut sum, mut requests) = (0.0, 0.0);
    for server in servers {
        if let Some(latency_ms) = server.latency_ms {
            sum += latency_ms * server.requests as f64;
            requests += server.requests as f64;
        }
    }
    (requests > 0.0).then(|| sum / requests)
}

#[cfg(test)]
mod tests;
