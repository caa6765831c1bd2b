//! What is measured of a real Envoy: the report, and the series.

use std::sync::Arc;

use flyball_agent::envoy::{Balanced, BalancerParts, Balancers, Envoy, EnvoyConfig};
use flyball_agent::sense::readings::Change;
use flyball_agent::sense::{Readings, balancers};
use flyball_agent::steer::outbox::Outbox;
use flyball_proto::steering::{BackendState, BalancerReport, BalancerState, WeightMeaning};

use crate::collector::{Collector, eventually};
use crate::lab::{Backend, CONFIGURED, Lab, Mood};

#[tokio::test(flavor = "multi_thread")]
async fn each_second_a_report_says_what_happened() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    *lab.backends[1].mood.lock() = Mood::NotFound;
    *lab.backends[2].mood.lock() = Mood::Failing;
    let mut agent = lab.start(&collector).await;
    let names: Vec<String> = lab.backends.iter().map(Backend::name).collect();
    let mut seen = [(0, 0); 3];
    let mut report = None;
    // A report that was not sent in time is replaced by the next one, with its window.
    while seen.iter().any(|(requests, _)| *requests < 100) {
        lab.drive(100);
        let next = collector.balancer("a window", |report| report.window_ms > 0).await;
        for (name, seen) in names.iter().zip(&mut seen) {
            let backend = next.backend("web", name).unwrap().1;
            *seen = (seen.0 + backend.requests, seen.1 + backend.errors);
        }
        report = Some(next);
    }
    // Those that waited for Envoy to serve are among them.
    let [fine, not_found, failing] = seen;
    assert!(fine.0 >= 100 && fine.1 == 0, "{seen:?}");
    assert!(not_found.0 >= 100 && not_found.1 == 0, "4xx is no error: {seen:?}");
    assert_eq!(failing, (failing.0, failing.0), "{seen:?}");
    let report = report.unwrap();
    assert_eq!((report.state, report.version.as_str()), (BalancerState::Up, "1.40.0"));
    assert_eq!(report.groups.len(), 1, "the agent itself is no group");
    let (group, backend) = report.backend("web", &names[0]).unwrap();
    assert_eq!((&*group.algorithm, group.weights), ("round_robin", WeightMeaning::Exact));
    assert_eq!((backend.state, u64::from(backend.weight)), (BackendState::Ready, CONFIGURED));
    assert!(backend.in_flight.is_some());
    assert_eq!(group.limit, Some(1_024), "Envoy's own");
    let process = report.process;
    lab.kill_envoy();
    let is_away = |report: &BalancerReport| report.state == BalancerState::Unreachable;
    let away = collector.balancer("that it is away", is_away).await;
    assert!(!away.reason.is_empty());
    assert_eq!(away.groups.len(), 1, "what is served is told all the same");
    lab.start_envoy();
    let is_new =
        |report: &BalancerReport| report.state == BalancerState::Up && report.window_ms > 0;
    let back = collector.balancer("that it is back", is_new).await;
    let (_, backend) = back.backend("web", &names[2]).unwrap();
    assert_eq!(backend.requests, 0, "a restart is no traffic");
    assert_ne!(back.process, process);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fail_are_errors_of_their_own() {
    let (mut lab, mut collector) = (Lab::new(2), Collector::start());
    // Nobody listens there.
    lab.backends[1].port = 1;
    let _agent = lab.start(&collector).await;
    let name = lab.backends[1].name();
    let has_failed = |report: &BalancerReport| {
        lab.drive(20);
        let backend = report.backend("web", &name).map(|(_, backend)| backend.clone());
        backend.is_some_and(|b| {
            b.connect_errors > 0 && b.errors >= b.connect_errors && b.requests >= b.errors
        })
    };
    collector.balancer("failed connections", has_failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_have_what_envoy_counts() {
    let (mut lab, collector) = (Lab::new(1), Collector::start());
    let _agent = lab.start(&collector).await;
    let config = EnvoyConfig {
        name: "seen".to_owned(),
        admin: Some(format!("http://127.0.0.1:{}", lab.admin)),
        ..EnvoyConfig::default()
    };
    let balanced = Balanced { envoys: vec![Envoy::new(config)], ..Balanced::default() };
    let mut sampler = balancers(&balanced).pop().unwrap();
    let _thread = Balancers::start(BalancerParts {
        envoys: balanced.envoys.clone(),
        orca: Vec::new(),
        utilizations: balanced.utilizations.clone(),
        tasks: Vec::new(),
        outbox: Arc::new(Outbox::new(<_>::default(), |_| {})),
        cpu: balanced.cpu.clone(),
    })
    .unwrap();
    let (mut readings, mut names) = (Readings::default(), std::collections::HashMap::new());
    let mut value = move |metric: &str| {
        readings.clear();
        sampler.sample(&mut readings).unwrap();
        for change in readings.changes() {
            match change {
                Change::Defined(handle, series) => {
                    series.check().unwrap();
                    let known = sampler.metrics().iter().find(|known| known.name == series.metric);
                    let mut keys: Vec<&str> = known.unwrap().attributes.to_vec();
                    keys.sort_unstable();
                    let own: Vec<&str> = series.attributes.iter().map(|(key, _)| &**key).collect();
                    assert_eq!(own, keys, "{}", series.metric);
                    let is_other =
                        series.attributes.iter().any(|(_, v)| v == "flyball" || v == "down");
                    let name = if is_other { String::new() } else { series.metric.clone() };
                    names.insert(*handle, name);
                }
                Change::Retired(handle) => drop(names.remove(handle)),
            }
        }
        let found = readings.values().iter().find(|reading| names[&reading.handle] == metric);
        found.map(|reading| reading.raw)
    };
    eventually("up", || value("flyball.envoy.up") == Some(1)).await;
    let before = value("flyball.envoy.endpoint.requests").unwrap();
    lab.drive(50);
    eventually("requests", || value("flyball.envoy.endpoint.requests") == Some(before + 50)).await;
    assert_eq!(value("flyball.envoy.endpoint.errors"), Some(0));
    assert_eq!(value("flyball.envoy.endpoint.weight"), Some(CONFIGURED as i64));
    assert_eq!(value("flyball.envoy.endpoint.ready"), Some(1));
    assert_eq!(value("flyball.envoy.cluster.max_requests"), Some(1_024));
    // Envoy adds to its histograms every five seconds.
    eventually("a latency", || {
        lab.drive(5);
        value("flyball.envoy.cluster.latency.p99").is_some()
    })
    .await;
    lab.kill_envoy();
    eventually("down", || value("flyball.envoy.up") == Some(0)).await;
    assert_eq!(value("flyball.envoy.endpoint.requests"), None, "unknown, which is not zero");
}
