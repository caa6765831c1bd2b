//! What is wanted of a real HAProxy.

use std::sync::atomic::{AtomicBool, Ordering};

use flyball_agent::haproxy::{Haproxy as Handle, HaproxyConfig};
use flyball_agent::steer::SteerConfig;
use flyball_agent::steer::actuator::{Actuator, Purpose};
use flyball_agent::steer::haproxy::HaproxyActuator;
use flyball_proto::steering::{AgentPolicy, Canary, PolicyResult, Settings, Target};

use crate::collector::{Agent, Collector, LEASE, eventually, permanent, settings};
use crate::server::{Backend, Haproxy, get, group};

/// What is wanted of `edge`.
pub(crate) fn wanted(revision: u64, values: &[(&str, &str)]) -> AgentPolicy {
    let mut policy = permanent(revision, values);
    policy.targets[0].target = Target::new("haproxy", "edge");
    policy
}

/// The same on trial.
pub(crate) fn trial(
    revision: u64,
    values: &[(&str, &str)],
    before: &[(&str, &str)],
) -> AgentPolicy {
    let mut policy = wanted(revision, values);
    policy.targets[0].canary = Some(Canary { lease: LEASE, revert_to: settings(before) });
    policy
}

/// Two backends, a HAProxy before them and an agent that may steer it.
fn all(collector: &Collector, socket: &str) -> ([Backend; 2], Haproxy, Agent) {
    let backends = [Backend::start(), Backend::start()];
    let haproxy = Haproxy::start(&groups(&backends));
    let mut agent = Agent::of(collector, &haproxy.settings(socket, "steer = true"));
    agent.start();
    (backends, haproxy, agent)
}

fn groups([a, b]: &[Backend; 2]) -> [crate::server::Group<'static>; 2] {
    let servers = [(a, "weight 100"), (b, "weight 100")];
    [group("web", "roundrobin", &servers), group("map", "source", &servers)]
}

/// How many of so many requests each backend gets.
fn shares(haproxy: &Haproxy, backends: &[Backend; 2], requests: u64) -> [u64; 2] {
    let before = [backends[0].requests(), backends[1].requests()];
    (0..requests).for_each(|_| assert_eq!(get(haproxy.ports[0]), Ok(200)));
    [backends[0].requests() - before[0], backends[1].requests() - before[1]]
}

/// Does something under requests without end, none of which may fail.
pub(crate) fn under_load(port: u16, work: impl FnOnce()) -> u64 {
    let stop = AtomicBool::new(false);
    let (failed, sent) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut failed, mut sent) = (Vec::new(), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                match get(port) {
                    Ok(200) => {}
                    other => failed.push(other),
                }
                sent += 1;
            }
            (failed, sent)
        });
        // Whatever becomes of the work, the load ends.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let load = load.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        load
    });
    assert!(failed.is_empty(), "{} of {sent} failed: {:?}", failed.len(), failed[0]);
    sent
}

pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_comes_into_force_and_no_request_fails() {
    let mut collector = Collector::start();
    let (backends, haproxy, _agent) = all(&collector, "admin");
    assert_eq!(shares(&haproxy, &backends, 20), [10, 10]);
    under_load(haproxy.ports[0], || {
        block(async {
            collector.want(wanted(
                1,
                &[("weight:web/s0", "180"), ("weight:web/s1", "60"), ("maxconn:web/s0", "50")],
            ));
            let applied = collector.outcome(1, PolicyResult::Applied).await;
            assert_eq!(applied.in_force["weight:web/s0"], "180");
            assert_eq!(applied.in_force["maxconn:web/s0"], "50");
        });
    });
    assert_eq!(shares(&haproxy, &backends, 40), [30, 10]);
    collector.want(wanted(2, &[("weight:web/s0", "180"), ("state:web/s1", "drain")]));
    collector.outcome(2, PolicyResult::Applied).await;
    assert_eq!(shares(&haproxy, &backends, 20), [20, 0], "no new request");
    collector.want(wanted(3, &[("weight:web/s0", "180"), ("state:web/s1", "ready")]));
    collector.outcome(3, PolicyResult::Applied).await;
    assert_eq!(shares(&haproxy, &backends, 40), [30, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_and_a_restart_take_nothing_away() {
    let mut collector = Collector::start();
    let (backends, mut haproxy, _agent) = all(&collector, "admin");
    collector.want(wanted(1, &[("weight:web/s0", "150"), ("weight:web/s1", "50")]));
    collector.outcome(1, PolicyResult::Applied).await;
    under_load(haproxy.ports[0], || {
        block(async {
            haproxy.reload();
            eventually("its weights", || haproxy.weight("web/s0") == 150).await;
            let applied = collector.outcome(1, PolicyResult::Applied).await;
            assert!(applied.reason.contains("again"), "{}", applied.reason);
        });
    });
    assert_eq!(shares(&haproxy, &backends, 40), [30, 10]);
    haproxy.stop();
    haproxy.run();
    eventually("its weights", || haproxy.weight("web/s0") == 150).await;
    eventually("its other weight", || haproxy.weight("web/s1") == 50).await;
    // A server that is no longer configured is let go of.
    let [web, _] = groups(&backends);
    let one =
        crate::server::Group("web", web.1.lines().take(2).collect::<Vec<_>>().join("\n") + "\n");
    haproxy.configure(&[one, group("map", "source", &[(&backends[0], ""), (&backends[1], "")])]);
    haproxy.reload();
    eventually("the weight that is left", || haproxy.weight("web/s0") == 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_sets_is_told_and_left() {
    let mut collector = Collector::start();
    let (_backends, haproxy, mut agent) = all(&collector, "admin");
    collector.want(wanted(1, &[("weight:web/s0", "150")]));
    collector.outcome(1, PolicyResult::Applied).await;
    haproxy.ask("set server web/s0 weight 77");
    let drifted = collector.outcome(1, PolicyResult::Drifted).await;
    assert_eq!(drifted.in_force["weight:web/s0"], "77");
    assert_eq!(drifted.expected["weight:web/s0"], "150");
    agent.kill();
    agent.start();
    collector.outcome(1, PolicyResult::Drifted).await;
    assert_eq!(haproxy.weight("web/s0"), 77);
    haproxy.ask("set server web/s0 weight 150");
    collector.outcome(1, PolicyResult::Applied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_is_not_renewed_goes_back_also_when_the_agent_was_killed() {
    let mut collector = Collector::start();
    let (_backends, haproxy, mut agent) = all(&collector, "admin");
    let before = [("weight:web/s0", "100"), ("state:web/s1", "ready")];
    collector.want(trial(1, &[("weight:web/s0", "140"), ("state:web/s1", "drain")], &before));
    collector.outcome(1, PolicyResult::Applied).await;
    let state = || {
        haproxy.ask("show stat").lines().any(|l| l.starts_with("web,s1,") && l.contains(",DRAIN,"))
    };
    assert!(state());
    agent.kill();
    drop(collector);
    assert!(state() && haproxy.weight("web/s0") == 140, "nobody has put it back");
    agent.start();
    eventually("what was before", || !state() && haproxy.weight("web/s0") == 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_setting_and_telling_it_goes_on() {
    let mut collector = Collector::start();
    let (_backends, haproxy, mut agent) = all(&collector, "admin");
    for revision in 1..=8_u64 {
        let weight = (100 + revision).to_string();
        collector.want(wanted(revision, &[("weight:web/s0", &weight)]));
        // Set, and maybe not told.
        eventually("its weight", || haproxy.weight("web/s0").to_string() == weight).await;
        agent.kill();
        agent.start();
        let applied = collector.outcome(revision, PolicyResult::Applied).await;
        assert_eq!(applied.in_force["weight:web/s0"], weight);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_is_refused_by_name() {
    let mut collector = Collector::start();
    let (backends, haproxy, _agent) = all(&collector, "admin");
    for (revision, values, words) in [
        (1, &[("weight:web/s9", "7")][..], "weight:web/s9"),
        (2, &[("weight:nope/s0", "7")], "weight:nope/s0"),
        (3, &[("weight:map/s0", "7")], "under source"),
        (4, &[("weight:web/s0", "257")], "not from 0 to 256"),
        (5, &[("state:web/s0", "gone")], "not one of"),
        (6, &[("weight:web/s0", "0"), ("weight:web/s1", "0")], "no server left"),
        (7, &[("state:web/s0", "drain"), ("state:web/s1", "maint")], "no server left"),
        (8, &[("addr:web/s0", "1")], "may not be set"),
        (9, &[("weight:web/s0;shutdown sessions", "1")], "shutdown sessions"),
    ] {
        collector.want(wanted(revision, values));
        let rejected = collector.outcome(revision, PolicyResult::Rejected).await;
        assert!(rejected.reason.contains(words), "{revision}: {}", rejected.reason);
    }
    assert_eq!(shares(&haproxy, &backends, 10), [5, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_the_right_to_set_refuses_in_its_own_words() {
    let mut collector = Collector::start();
    let (_backends, haproxy, _agent) = all(&collector, "operator");
    for (revision, parameter, value) in
        [(1, "weight:web/s0", "120"), (2, "state:web/s0", "drain"), (3, "maxconn:web/s0", "9")]
    {
        collector.want(wanted(revision, &[(parameter, value)]));
        let rejected = collector.outcome(revision, PolicyResult::Rejected).await;
        assert!(rejected.reason.contains("level admin"), "{}", rejected.reason);
    }
    assert_eq!(haproxy.weight("web/s0"), 100);
}

#[test]
fn a_thousand_changes_of_weights_fail_no_request() {
    let backends = [Backend::start(), Backend::start()];
    let haproxy = Haproxy::start(&groups(&backends));
    let socket = haproxy.socket("admin").display().to_string();
    let config = HaproxyConfig { socket, steer: true, ..HaproxyConfig::default() };
    let handle = Handle::new(config).unwrap();
    let mut actuator = HaproxyActuator::new(handle, &SteerConfig::default());
    let law = actuator.law();
    let sent = under_load(haproxy.ports[0], || {
        for change in 0..1_000_u32 {
            let weight = |other: u32| (64 + (change * 37 + other) % 192).to_string();
            let goal = settings(&[("weight:web/s0", &weight(0)), ("weight:web/s1", &weight(90))]);
            let reading = actuator.read().unwrap();
            let steps = law.plan(&goal, &Settings::new(), &reading, Purpose::Change).unwrap();
            actuator.apply(&steps).unwrap();
            let now = actuator.read().unwrap().in_force;
            assert!(goal.iter().all(|(parameter, value)| now[parameter] == *value), "{goal:?}");
        }
    });
    assert!(sent > 0);
}
