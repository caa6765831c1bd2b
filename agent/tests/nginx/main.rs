//! Steering of a real nginx by the real agent: what its workers do is what was wanted, what it refuses is put back, and nobody's request fails for it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

#[path = "../steer/collector.rs"]
#[allow(dead_code, reason = "shared with the tests of Redis")]
mod collector;
#[path = "../caches/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of Redis")]
mod harness;
mod server;

use std::sync::atomic::{AtomicBool, Ordering};

use flyball_proto::steering::{
    AgentPolicy, AgentSteering, BackendState, BalancerState, Canary, PolicyResult, Target,
};

use collector::{Agent, Collector, LEASE, eventually, permanent, settings};
use server::{Backend, Nginx, get};

/// What is wanted of `edge`.
fn wanted(revision: u64, values: &[(&str, &str)]) -> AgentPolicy {
    let mut policy = permanent(revision, values);
    policy.targets[0].target = Target::new("nginx", "edge");
    policy
}

/// Two backends, an nginx before them and an agent that may steer it.
fn all(collector: &Collector, least_seconds: u32) -> ([Backend; 2], Nginx, Agent) {
    let backends = [Backend::start(), Backend::start()];
    let nginx = Nginx::start(&backends);
    let mut agent = Agent::of(collector, &nginx.settings(least_seconds));
    agent.start();
    (backends, nginx, agent)
}

/// How many of so many requests each backend gets.
fn shares(nginx: &Nginx, backends: &[Backend; 2], requests: u64) -> [u64; 2] {
    let before = [backends[0].requests(), backends[1].requests()];
    (0..requests).for_each(|_| get(nginx.port).unwrap());
    [backends[0].requests() - before[0], backends[1].requests() - before[1]]
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_drains_come_into_force_and_no_request_fails() {
    let mut collector = Collector::start();
    let (backends, nginx, _agent) = all(&collector, 1);
    let [a, b] = [0, 1].map(|at| backends[at].name());
    assert_eq!(shares(&nginx, &backends, 40), [20, 20]);
    let stop = AtomicBool::new(false);
    let steering = async {
        let weights = [(format!("weight:web/{a}"), "30"), (format!("weight:web/{b}"), "10")];
        let weights = weights.each_ref().map(|(name, value)| (name.as_str(), *value));
        collector.want(wanted(1, &weights));
        let applied = collector.outcome(1, PolicyResult::Applied).await;
        assert_eq!(applied.in_force[weights[0].0], "30");
        let drained = (format!("state:web/{b}"), "drain");
        collector.want(wanted(2, &[weights[0], weights[1], (&drained.0, drained.1)]));
        collector.outcome(2, PolicyResult::Applied).await;
        collector.want(wanted(3, &[weights[0], weights[1], (&drained.0, "ready")]));
        collector.outcome(3, PolicyResult::Applied).await;
        stop.store(true, Ordering::Relaxed);
    };
    let port = nginx.port;
    let failed = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut failed, mut sent) = (Vec::new(), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                failed.extend(get(port).err());
                sent += 1;
            }
            (failed, sent)
        });
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(steering));
        load.join().unwrap()
    });
    assert!(failed.0.is_empty(), "{} of {} failed: {:?}", failed.0.len(), failed.1, failed.0[0]);
    assert_eq!(shares(&nginx, &backends, 40), [30, 10]);
    let report = loop {
        let told = collector.next().await;
        let AgentSteering::Balancer(report) = told else { continue };
        if report.backend("web", &a).is_some_and(|(_, backend)| backend.weight == 30) {
            break report;
        }
    };
    assert_eq!(report.state, BalancerState::Up);
    let (_, backend) = report.backend("web", &b).unwrap();
    assert_eq!((backend.weight, backend.state), (10, BackendState::Ready));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_whose_lease_ends_is_put_back() {
    let mut collector = Collector::start();
    let (backends, nginx, _agent) = all(&collector, 1);
    let state = format!("state:web/{}", backends[1].name());
    let mut policy = wanted(1, &[(&state, "drain")]);
    let before = settings(&[(&state, "ready")]);
    policy.targets[0].canary = Some(Canary { lease: LEASE, revert_to: before });
    collector.want(policy);
    collector.outcome(1, PolicyResult::Applied).await;
    assert_eq!(shares(&nginx, &backends, 10), [10, 0]);
    let address = collector.end().await;
    eventually("what was before", || !nginx.file().contains("down")).await;
    let mut collector = Collector::at(address);
    collector.outcome(1, PolicyResult::Reverted).await;
    assert_eq!(shares(&nginx, &backends, 10), [5, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_refuses_is_as_it_was() {
    let mut collector = Collector::start();
    let (backends, nginx, _agent) = all(&collector, 1);
    let [a, b] = [0, 1].map(|at| backends[at].name());
    let before = nginx.file();
    // Its own test fails from now on.
    nginx.break_configuration();
    collector.want(wanted(1, &[(&format!("weight:web/{a}"), "50")]));
    let rejected = collector.outcome(1, PolicyResult::Rejected).await;
    assert!(rejected.reason.contains("nonsense"), "{}", rejected.reason);
    assert_eq!(nginx.file(), before);
    for (revision, parameter, value, words) in [
        (2, format!("weight:web/{a}"), "2", "% of the requests"),
        (3, "weight:web/10.9.9.9:1".to_owned(), "9", "10.9.9.9:1"),
        (4, format!("weight:web/{a}"), "0", "not from 1 to 256"),
        (5, "weight:api/x".to_owned(), "9", "api/x"),
    ] {
        collector.want(wanted(revision, &[(&parameter, value)]));
        let rejected = collector.outcome(revision, PolicyResult::Rejected).await;
        assert!(rejected.reason.contains(words), "{}", rejected.reason);
    }
    let both = [format!("state:web/{a}"), format!("state:web/{b}")];
    collector.want(wanted(6, &[(&both[0], "drain"), (&both[1], "drain")]));
    let rejected = collector.outcome(6, PolicyResult::Rejected).await;
    assert!(rejected.reason.contains("fewer than half"), "{}", rejected.reason);
    assert_eq!(nginx.file(), before);
    assert_eq!(shares(&nginx, &backends, 10), [5, 5]);
}

/// Weights of three to one that the first backend is to have.
fn three_to_one(backends: &[Backend; 2]) -> AgentPolicy {
    let [a, b] = [0, 1].map(|at| format!("weight:web/{}", backends[at].name()));
    wanted(1, &[(&a, "30"), (&b, "10")])
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_reload_it_loads_what_is_in_the_file() {
    let mut collector = Collector::start();
    let backends = [Backend::start(), Backend::start()];
    let nginx = Nginx::start(&backends);
    nginx.script(Some("kill -9 $PPID"));
    let mut agent = Agent::of(&collector, &nginx.settings_by_script());
    agent.start();
    collector.want(three_to_one(&backends));
    collector.outcome(1, PolicyResult::Applying).await;
    eventually("its end", || agent.has_ended()).await;
    assert!(nginx.file().contains("weight=30"), "{}", nginx.file());
    assert_eq!(shares(&nginx, &backends, 40), [20, 20], "not loaded");
    nginx.script(None);
    agent.kill();
    agent.start();
    collector.outcome(1, PolicyResult::Applied).await;
    assert_eq!(shares(&nginx, &backends, 40), [30, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_takes_too_long_is_undone_in_the_workers_too() {
    let mut collector = Collector::start();
    let backends = [Backend::start(), Backend::start()];
    let nginx = Nginx::start(&backends);
    nginx.script(None);
    let mut agent = Agent::of(&collector, &nginx.settings_by_script());
    agent.start();
    let before = (nginx.file(), nginx.workers());
    nginx.hold_on();
    collector.want(three_to_one(&backends));
    eventually("what is wanted", || nginx.file().contains("weight=30")).await;
    eventually("what was before", || nginx.file() == before.0).await;
    nginx.go_on();
    eventually("other workers", || nginx.workers().iter().all(|one| !before.1.contains(one))).await;
    let rejected = collector.outcome(1, PolicyResult::Rejected).await;
    assert!(rejected.reason.contains("its workers have not changed"), "{}", rejected.reason);
    assert_eq!((nginx.file(), shares(&nginx, &backends, 40)), (before.0, [20, 20]));
}
