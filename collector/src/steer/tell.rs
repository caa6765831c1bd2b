//! Tells readers of events when an agent has told how a cache or a load balancer is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flyball_proto::series::NodeName;
use flyball_proto::steering::{BackendState, BalancerReport, BalancerState, Target};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::watch::{Balancer, Cache, Steering};
use crate::live::{Change, Live};
use crate::suggest::view::target_id;

/// Shortest time between two looks: reports of many targets come together.
const PERIOD: Duration = Duration::from_secs(1);
/// Shortest time between two events of a load balancer that is as it was: agents report each second.
const CALM: Duration = Duration::from_secs(5);

/// Tells until `ending`.
pub async fn run(steering: Steering, live: Live, ending: CancellationToken) {
    let mut told = Instant::now();
    let caches = each(steering.caches().changes(), ending.clone(), || {
        let before = std::mem::replace(&mut told, Instant::now());
        for cache in steering.caches().all().iter().filter(|cache| cache.received >= before) {
            live.change(Change::Cache, cache_body(cache));
        }
    });
    let mut known = Told::default();
    let balancers = each(steering.balancers().changes(), ending, || {
        for balancer in known.news(&steering.balancers().all(), Instant::now()) {
            live.change(Change::Balancer, balancer_body(balancer));
        }
    });
    tokio::join!(caches, balancers);
}

/// Looks when something has changed, at most once in a period.
async fn each(
    mut changes: watch::Receiver<u64>,
    ending: CancellationToken,
    mut look: impl FnMut(),
) {
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = ending.cancelled() => return,
        }
        look();
        tokio::select! {
            () = sleep(PERIOD) => {}
            () = ending.cancelled() => return,
        }
    }
}

fn cache_body(cache: &Cache) -> Value {
    let of = &cache.report.target;
    json!({
        "id": target_id(cache.node.as_str(), &of.kind, &of.name),
        "node": cache.node.as_str(), "kind": of.kind, "name": of.name,
        "measured_at_ms": cache.report.measured_at_ms,
    })
}

fn balancer_body(balancer: &Balancer) -> Value {
    let of = &balancer.report.target;
    json!({
        "id": target_id(balancer.node.as_str(), &of.kind, &of.name),
        "node": balancer.node.as_str(), "kind": of.kind, "name": of.name,
        "measured_at_ms": balancer.report.measured_at_ms,
        "state": balancer.report.state.as_str(),
    })
}

/// What readers were told of load balancers.
#[derive(Debug, Default)]
struct Told(BTreeMap<(NodeName, Target), (Instant, Face)>);

/// What a person wants to see at once when it changes.
#[derive(Debug, PartialEq, Eq)]
struct Face {
    state: BalancerState,
    /// Weight and state of each backend, by group and name.
    backends: Vec<(String, String, u32, BackendState)>,
}

impl Face {
    fn of(report: &BalancerReport) -> Self {
        let backends = report.groups.iter().flat_map(|group| {
            group.backends.iter().map(|server| {
                (group.name.clone(), server.name.clone(), server.weight, server.state)
            })
        });
        Self { state: report.state, backends: backends.collect() }
    }
}

impl Told {
    /// Those of which readers are told now. Each is told of once a while, and at once when its state, a weight or a backend's state is another.
    fn news<'a>(&mut self, all: &'a [Balancer], now: Instant) -> Vec<&'a Balancer> {
        self.0.retain(|(node, target), _| {
            all.iter().any(|one| one.node == *node && one.report.target == *target)
        });
        let mut news = Vec::new();
        for one in all {
            let key = (one.node.clone(), one.report.target.clone());
            let face = Face::of(&one.report);
            let is_news = self.0.get(&key).is_none_or(|(at, known)| {
                *known != face || (one.received > *at && now.saturating_duration_since(*at) >= CALM)
            });
            if is_news {
                self.0.insert(key, (now, face));
                news.push(one);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::steering::{BackendGroup, BackendServer, WeightMeaning};

    use super::*;
    use crate::steer::watch::Balancers;

    fn report(weight: u32) -> BalancerReport {
        let target = Target::new("haproxy", "edge");
        let mut report = BalancerReport::new(target, BalancerState::Up, 1);
        report.groups.push(BackendGroup {
            name: "web".into(),
            limit: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: vec![BackendServer::new("a", "10.0.0.1:80", weight)],
        });
        report
    }

    #[test]
    fn readers_are_told_of_each_balancer_once_in_a_while_and_of_a_new_weight_at_once() {
        let (balancers, mut told) = (Balancers::new(4), Told::default());
        let node = NodeName::new("lb").unwrap();
        let mut news = |report: BalancerReport, after: Duration| {
            balancers.set(&node, report);
            told.news(&balancers.all(), Instant::now() + after).len()
        };
        assert_eq!(news(report(1), Duration::ZERO), 1);
        assert_eq!(news(report(1), Duration::ZERO), 0, "as it was");
        assert_eq!(news(report(2), Duration::ZERO), 1, "another weight");
        assert_eq!(news(report(2), CALM * 2), 1, "a while later");
    }
}
