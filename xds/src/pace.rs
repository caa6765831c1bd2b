//! When a change of weights may be pushed. Pure: time is an argument.
//!
//! Envoy draws endpoints from a schedule (earliest deadline first) which it builds anew at each EDS
//! update. Updates that come faster than the schedule goes round starve light endpoints: measured
//! with 100 requests/s and a push every 20 ms, weights 100/50/10 became shares 49.5/50.5/0 percent
//! (cf. envoy issue 31378). One round takes `sum(w) / min(w)` requests per worker, so a cluster's
//! next push of weights alone waits for
//!
//! `max(min_interval, rounds * sum(w) / min(w) / (requests per second and worker))`, at most
//! `max_wait`
//!
//! after its last push, with the weights that are in force. A schedule that no request has used
//! starves nobody when it is built anew: then `min_interval` alone counts. Six rounds were
//! accurate, 0.6 were 20 % low, 0.12 gave nothing. Everything else (drains, health, endpoints that
//! come or go, policy, limits) passes at once: an endpoint that must get no request may not wait
//! for another's accuracy.

use std::collections::HashMap;
use std::time::Duration;

use crate::snapshot::{Cluster, Endpoint, Health, Snapshot};

/// The constants of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceSettings {
    /// Shortest time between two pushes of weights to a cluster.
    pub min_interval: Duration,
    /// How often the schedule shall have gone round in between.
    pub rounds: f64,
    /// Longest time that a change waits, however few requests there are.
    pub max_wait: Duration,
}

impl Default for PaceSettings {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(1),
            rounds: 5.0,
            max_wait: Duration::from_secs(10),
        }
    }
}

/// The traffic of a cluster at one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests per second of one client, all its workers together. Of several clients the least
    /// busy counts. 0: there was none since the last push, so nobody is starved by another one and
    /// the change waits for [`PaceSettings::min_interval`] alone. NaN and negative: nobody knows, it
    /// waits for [`PaceSettings::max_wait`].
    pub requests_per_second: f64,
    /// Worker threads of that client, each with its own schedule; 0 counts as 1.
    pub workers: u32,
}

/// What a change of a cluster touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing: there is nothing to push.
    None,
    /// Weights of endpoints alone: paced.
    Weights,
    /// Anything else: passes at once.
    Urgent,
}

impl Change {
    /// What leads from one state of a cluster to another. The order of endpoints counts for
    /// nothing.
    pub fn between(old: &Cluster, new: &Cluster) -> Self {
        let parts = |cluster: &Cluster| {
            let mut endpoints = cluster.endpoints.clone();
            endpoints.sort_unstable_by_key(|endpoint| (endpoint.address, endpoint.port));
            let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
            for endpoint in &mut endpoints {
                endpoint.weight = 1;
            }
            (Cluster { endpoints, ..cluster.clone() }, weights)
        };
        let ((old, old_weights), (new, new_weights)) = (parts(old), parts(new));
        match (old == new, old_weights == new_weights) {
            (true, true) => Self::None,
            (true, false) => Self::Weights,
            (false, _) => Self::Urgent,
        }
    }
}

/// What to push now, and when to ask again.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The wanted snapshot; `None` = nothing to push now. Clusters that must wait keep the weights
    /// in force; then the version is `VERSION/1` (`/2` and so on while it stays so), because what
    /// comes later under VERSION is another content.
    pub push: Option<Snapshot>,
    /// How long until the next waiting cluster is due; `None` = none waits.
    pub wait: Option<Duration>,
}

/// Remembers when each cluster was pushed.
#[derive(Clone, Debug, Default)]
pub struct Pacer {
    settings: PaceSettings,
    last: HashMap<String, Duration>,
}

impl Pacer {
    /// A pacer that remembers no push.
    pub fn new(settings: PaceSettings) -> Self {
        Self { settings, last: HashMap::new() }
    }

    /// What of `wanted` may be pushed at `now` (any monotonic clock, the same for all calls) over
    /// `in_force`, the snapshot pushed last. `traffic` gives the requests of a cluster by name.
    pub fn plan(
        &self,
        now: Duration,
        in_force: &Snapshot,
        wanted: &Snapshot,
        traffic: impl Fn(&str) -> Traffic,
    ) -> Plan {
        let old: HashMap<&str, &Cluster> =
            in_force.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster)).collect();
        let mut wait: Option<Duration> = None;
        let mut clusters = Vec::with_capacity(wanted.clusters.len());
        for new in &wanted.clusters {
            let in_force = old.get(new.name.as_str());
            let remaining = in_force
                .filter(|old| Change::between(old, new) == Change::Weights)
                .and_then(|old| self.remaining(now, old, traffic(&new.name)));
            match (remaining, in_force) {
                (Some(remaining), Some(old)) => {
                    wait = Some(wait.map_or(remaining, |least| least.min(remaining)));
                    clusters.push((*old).clone());
                }
                _ => clusters.push(new.clone()),
            }
        }
        let mut push = Snapshot { clusters, ..wanted.clone() };
        if wait.is_some() {
            push.version = partial(&wanted.version, &in_force.version);
        }
        Plan { push: changed(in_force, &push).then_some(push), wait }
    }

    /// Notes that `pushed` was published at `now` over `before`: clusters that differ start their
    /// time anew.
    pub fn pushed(&mut self, now: Duration, before: &Snapshot, pushed: &Snapshot) {
        self.last.retain(|name, _| pushed.clusters.iter().any(|cluster| cluster.name == *name));
        for cluster in &pushed.clusters {
            let old = before.clusters.iter().find(|old| old.name == cluster.name);
            if old.is_none_or(|old| Change::between(old, cluster) != Change::None) {
                self.last.insert(cluster.name.clone(), now);
            }
        }
    }

    /// Time that a change of this cluster's weights must still wait; `None` = it is due.
    fn remaining(&self, now: Duration, in_force: &Cluster, traffic: Traffic) -> Option<Duration> {
        let due = *self.last.get(&in_force.name)? + interval(&self.settings, in_force, traffic);
        due.checked_sub(now).filter(|remaining| !remaining.is_zero())
    }
}

/// Time between two pushes of weights: the formula at the top of this module.
pub fn interval(settings: &PaceSettings, in_force: &Cluster, traffic: Traffic) -> Duration {
    if traffic.requests_per_second == 0.0 {
        return settings.min_interval;
    }
    let rate = traffic.requests_per_second / f64::from(traffic.workers.max(1));
    let seconds = settings.rounds * round_length(&in_force.endpoints) / rate;
    let wanted = if rate > 0.0 && seconds >= 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        Duration::MAX
    };
    wanted.min(settings.max_wait).max(settings.min_interval)
}

/// Requests until the schedule has gone round once: `sum(w) / min(w)` of the endpoints that get
/// requests; 0 without any.
fn round_length(endpoints: &[Endpoint]) -> f64 {
    let ready = || endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready);
    let sum: f64 = ready().map(|endpoint| f64::from(endpoint.weight)).sum();
    ready().map(|endpoint| endpoint.weight.max(1)).min().map_or(0.0, |min| sum / f64::from(min))
}

/// The version of a push that is not all of `wanted`: `VERSION/1`, then `VERSION/2`.
fn partial(wanted: &str, in_force: &str) -> String {
    let before = in_force.strip_prefix(wanted).and_then(|rest| rest.strip_prefix('/'));
    let number = before.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    format!("{wanted}/{}", number.saturating_add(1))
}

/// Whether anything but the version differs.
fn changed(old: &Snapshot, new: &Snapshot) -> bool {
    old.listeners != new.listeners || old.clusters != new.clusters
}

#[cfg(test)]
mod tests;
