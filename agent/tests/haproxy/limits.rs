//! Limits of a real HAProxy: lowered in steps, held to what is under way on average, and read back.

use std::sync::Arc;

use flyball_agent::haproxy::{Haproxy as Handle, HaproxyConfig, Watchers};
use flyball_agent::steer::SteerConfig;
use flyball_agent::steer::actuator::Actuator;
use flyball_agent::steer::haproxy::HaproxyActuator;
use flyball_agent::steer::outbox::Outbox;
use flyball_agent::steer::store::NodeRecord;
use flyball_model::rollout::{Bound, Change};
use flyball_proto::steering::PolicyResult;

use crate::collector::{Agent, Collector, eventually};
use crate::server::{Backend, Haproxy, get, group};
use crate::steering::{block, trial, under_load, wanted};

const LIMIT: &str = "maxconn:web/s0";

fn limited(backend: &Backend) -> Haproxy {
    Haproxy::start(&[group("web", "roundrobin", &[(backend, "maxconn 400")])])
}

/// The limit in force, as HAProxy says it.
fn in_force(haproxy: &Haproxy) -> u64 {
    let table = haproxy.ask("show stat");
    let names = table.lines().next().unwrap().trim_start_matches("# ").split(',');
    let place = names.into_iter().position(|name| name == "slim").unwrap();
    let line = table.lines().find(|line| line.starts_with("web,s0,")).unwrap();
    line.split(',').nth(place).unwrap().parse().unwrap_or(0)
}

/// The steps of a change as a collector plans them.
fn steps(from: u64, to: u64) -> Vec<String> {
    let bound = Bound::Number {
        min: 0,
        max: 1_000_000,
        largest_growth: 1e6,
        largest_shrink: 0.5,
        always: 1,
        zero_is: Some(to),
    };
    let (from, to) = (from.to_string(), to.to_string());
    Change { parameter: LIMIT.to_owned(), from, to, unit: String::new(), bound }.steps().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_goes_from_400_to_12_in_steps_and_no_request_fails() {
    let mut collector = Collector::start();
    let backend = Backend::start();
    let haproxy = limited(&backend);
    let mut agent = Agent::of(&collector, &haproxy.settings("admin", "steer = true"));
    agent.start();
    collector.want(wanted(1, &[(LIMIT, "12")]));
    let rejected = collector.outcome(1, PolicyResult::Rejected).await;
    assert!(rejected.reason.contains("200 is the least in this step"), "{}", rejected.reason);
    assert_eq!(in_force(&haproxy), 400);
    let steps = steps(400, 12);
    assert_eq!(steps, ["200", "100", "50", "25", "13", "12"]);
    let mut revision = 1;
    under_load(haproxy.ports[0], || {
        block(async {
            for step in &steps {
                revision += 1;
                collector.want(trial(revision, &[(LIMIT, step)], &[(LIMIT, "400")]));
                let applied = collector.outcome(revision, PolicyResult::Applied).await;
                assert_eq!(applied.in_force[LIMIT], *step);
                assert_eq!(in_force(&haproxy).to_string(), *step);
            }
            collector.want(wanted(revision + 1, &[(LIMIT, "12")]));
            collector.outcome(revision + 1, PolicyResult::Applied).await;
        });
    });
    assert_eq!(in_force(&haproxy), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_of_a_limit_goes_back_at_once_however_far_it_is() {
    let mut collector = Collector::start();
    let backend = Backend::start();
    let haproxy = limited(&backend);
    let mut agent = Agent::of(&collector, &haproxy.settings("admin", "steer = true"));
    agent.start();
    for (revision, step) in (1..).zip(steps(400, 100)) {
        collector.want(trial(revision, &[(LIMIT, &step)], &[(LIMIT, "400")]));
        collector.outcome(revision, PolicyResult::Applied).await;
    }
    assert_eq!(in_force(&haproxy), 100);
    drop(collector);
    eventually("the limit that was before", || in_force(&haproxy) == 400).await;
}

#[tokio::test]
async fn what_is_under_way_is_the_mean_of_a_window_and_not_of_the_moment() {
    const UNDER_WAY: &str = "under_way:web/s0";
    let backend = Backend::start();
    backend.answer(0);
    let haproxy = limited(&backend);
    let socket = haproxy.socket("admin").display().to_string();
    let config = HaproxyConfig { name: "edge".into(), socket, steer: true, ..Default::default() };
    let handle = Handle::new(config).unwrap();
    let mut actuator = HaproxyActuator::new(handle.clone(), &SteerConfig::default());
    let port = haproxy.ports[0];
    let clients: Vec<_> = (0..8).map(|_| std::thread::spawn(move || get(port))).collect();
    let mut told = || actuator.read().ok()?.parts.get(UNDER_WAY).cloned();
    eventually("all under way", || told().as_deref() == Some("8")).await;
    let outbox = Arc::new(Outbox::new(NodeRecord::default(), |_| {}));
    let _watchers = Watchers::start(std::slice::from_ref(&handle), &outbox).unwrap();
    eventually("their mean", || told().as_deref() == Some("8.000")).await;
    backend.answer(200);
    for client in clients {
        assert_eq!(client.join().unwrap(), Ok(200));
    }
    // Of the moment it is none now.
    let mean: f64 = told().unwrap().parse().unwrap();
    assert!(mean > 0.0, "{mean}");
    eventually("no more", || told().as_deref() == Some("0.000")).await;
}
