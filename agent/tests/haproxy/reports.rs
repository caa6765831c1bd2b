//! What is told of a real HAProxy is what happened to the requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flyball_agent::haproxy::{Haproxy as Handle, HaproxyConfig, Watchers};
use flyball_agent::sense::readings::Change;
use flyball_agent::sense::{Readings, servers};
use flyball_agent::steer::outbox::Outbox;
use flyball_agent::steer::store::NodeRecord;
use flyball_proto::steering::{
    AgentSteering, BackendState, BalancerReport, BalancerState, UtilizationSource, WeightMeaning,
};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use crate::server::{Backend, DEADLINE, Group, Haproxy, get, group};

/// Someone who hears all that is told.
struct Ear {
    reports: Receiver<BalancerReport>,
    handle: Handle,
    _watchers: Watchers,
    /// Requests, errors and errors of connections of each server so far.
    sums: BTreeMap<String, [u64; 3]>,
}

impl Ear {
    fn of(haproxy: &Haproxy, socket: &str) -> Self {
        let socket = haproxy.socket(socket).display().to_string();
        let config = HaproxyConfig { name: "edge".to_owned(), socket, ..HaproxyConfig::default() };
        let handle = Handle::new(config).unwrap();
        let outbox = Arc::new(Outbox::new(NodeRecord::default(), |_| {}));
        let watchers = Watchers::start(std::slice::from_ref(&handle), &outbox).unwrap();
        let (sender, reports) = channel(1_000);
        // The outbox keeps the newest report only, and the test may be busy for longer than a window.
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                while !sender.is_closed() {
                    match outbox.next() {
                        Some(AgentSteering::Balancer(report)) => drop(sender.send(*report).await),
                        Some(_) => {}
                        None => outbox.changed().await,
                    }
                }
            });
        });
        Self { reports, handle, _watchers: watchers, sums: BTreeMap::new() }
    }

    /// The next report.
    async fn next(&mut self) -> BalancerReport {
        let next = timeout(DEADLINE, self.reports.recv()).await;
        let report = next.expect("nothing is told").unwrap();
        for group in &report.groups {
            for one in &group.backends {
                let key = format!("{}/{}", group.name, one.name);
                let sum = self.sums.entry(key).or_default();
                sum[0] += one.requests;
                sum[1] += one.errors;
                sum[2] += one.connect_errors;
            }
        }
        report
    }

    /// The first report that is as it should be.
    async fn until(
        &mut self,
        what: &str,
        is_so: impl Fn(&BalancerReport) -> bool,
    ) -> BalancerReport {
        for _ in 0..30 {
            let report = self.next().await;
            if is_so(&report) {
                return report;
            }
        }
        panic!("{what} is not reported");
    }

    /// Waits until so much was counted of servers.
    async fn counted(&mut self, servers: &[(&str, [u64; 3])]) {
        for _ in 0..30 {
            self.next().await;
            if servers.iter().all(|(server, counts)| self.sums.get(*server) == Some(counts)) {
                return;
            }
        }
        panic!("{servers:?} is not reported, but {:?}", self.sums);
    }
}

fn send(port: u16, count: u64, status: u16) {
    for _ in 0..count {
        assert_eq!(get(port), Ok(status));
    }
}

#[tokio::test]
async fn requests_and_errors_are_those_that_were() {
    let (a, b) = (Backend::start(), Backend::start());
    // Nobody listens there, and nobody else gets it.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = reserved.local_addr().unwrap();
    let haproxy = Haproxy::start(&[
        group("web", "roundrobin", &[(&a, "weight 100"), (&b, "weight 50")]),
        Group("dead", format!("  server s0 {gone}\n")),
        Group("mute", {
            let Group(_, lines) = group("mute", "roundrobin", &[(&Backend::start(), "")]);
            format!("  timeout server 50ms\n{lines}")
        }),
    ]);
    let mut ear = Ear::of(&haproxy, "admin");
    let first = ear.next().await;
    assert_eq!((first.state, first.window_ms), (BalancerState::Up, 0));
    assert!(first.version.starts_with("2.") || first.version.starts_with("3."), "{first:?}");
    send(haproxy.ports[0], 60, 200);
    ear.counted(&[("web/s0", [40, 0, 0]), ("web/s1", [20, 0, 0])]).await;
    a.answer(500);
    b.answer(404);
    for _ in 0..30 {
        assert!([Ok(500), Ok(404)].contains(&get(haproxy.ports[0])));
    }
    // 4xx are the client's doing.
    ear.counted(&[("web/s0", [60, 20, 0]), ("web/s1", [30, 0, 0])]).await;
    send(haproxy.ports[1], 3, 503);
    ear.counted(&[("dead/s0", [3, 3, 3])]).await;
    let report = ear.next().await;
    let (_, server) = report.backend("web", "s0").unwrap();
    assert_eq!((server.weight, server.weight_configured), (100, 100));
    assert_eq!(server.state, BackendState::Ready);
    assert!(report.window_ms > 0);
    // Counters begin anew, and nothing is counted twice.
    haproxy.reload();
    b.answer(200);
    a.answer(200);
    send(haproxy.ports[0], 3, 200);
    ear.counted(&[("web/s0", [62, 20, 0])]).await;
    assert_ne!(ear.next().await.process, first.process);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_error() {
    let mute = Backend::start();
    mute.answer(0);
    let Group(_, lines) = group("mute", "roundrobin", &[(&mute, "")]);
    let haproxy = Haproxy::start(&[Group("mute", format!("  timeout server 50ms\n{lines}"))]);
    let mut ear = Ear::of(&haproxy, "admin");
    ear.next().await;
    send(haproxy.ports[0], 2, 504);
    ear.counted(&[("mute/s0", [2, 2, 0])]).await;
    mute.answer(200);
}

#[tokio::test]
async fn requests_under_way_and_those_that_wait_are_seen() {
    let slow = Backend::start();
    slow.answer(0);
    let haproxy = Haproxy::start(&[group("web", "leastconn", &[(&slow, "maxconn 2")])]);
    let mut ear = Ear::of(&haproxy, "admin");
    let port = haproxy.ports[0];
    let clients: Vec<_> = (0..5).map(|_| std::thread::spawn(move || get(port))).collect();
    let report = ear
        .until("a full server", |report| {
            // Who waits has no server yet.
            report.backend("web", "s0").is_some_and(|(group, one)| {
                one.in_flight.is_some_and(|mean| (mean - 2.0).abs() < 1e-6) && group.queue == 3
            })
        })
        .await;
    let (group, server) = report.backend("web", "s0").unwrap();
    assert_eq!((group.algorithm.as_str(), group.weights), ("leastconn", WeightMeaning::WhenBusy));
    assert_eq!(server.limit, Some(2));
    let (utilization, source) = server.utilization.unwrap();
    assert!((utilization - 1.0).abs() < 1e-6 && source == UtilizationSource::Limit);
    slow.answer(200);
    for client in clients {
        assert_eq!(client.join().unwrap(), Ok(200));
    }
    ear.until("an idle server", |report| {
        report.backend("web", "s0").is_some_and(|(_, one)| one.in_flight == Some(0.0))
    })
    .await;
}

#[tokio::test]
async fn each_algorithm_is_known_by_what_its_weights_mean() {
    use WeightMeaning::{DrainOnly, Draw, Exact, None, WhenBusy};
    let backend = Backend::start();
    let all = [
        ("roundrobin", Exact),
        ("leastconn", WhenBusy),
        ("random", Draw),
        ("random(3)", Draw),
        ("first", None),
        ("static-rr", DrainOnly),
        ("source", DrainOnly),
        ("uri", DrainOnly),
        ("url_param x", DrainOnly),
        ("hdr(host)", DrainOnly),
        ("rdp-cookie", DrainOnly),
        ("hash src", DrainOnly),
    ];
    let names: Vec<_> = (0..all.len()).map(|index| format!("g{index}")).collect();
    let groups: Vec<_> = all
        .iter()
        .zip(&names)
        .map(|((balance, _), name)| group(name, balance, &[(&backend, "weight 10")]))
        .collect();
    let haproxy = Haproxy::start(&groups);
    let mut ear = Ear::of(&haproxy, "admin");
    let report = ear.next().await;
    let told: Vec<_> = report.groups.iter().map(|group| group.weights).collect();
    assert_eq!(told, all.map(|(_, meaning)| meaning));
    // What HAProxy does with a weight agrees.
    for (name, (balance, meaning)) in names.iter().zip(all) {
        let answer = haproxy.ask(&format!("set server {name}/s0 weight 5"));
        let is_refused = answer.contains("static LB algorithm");
        assert_eq!(is_refused, meaning == DrainOnly, "{balance}: {answer}");
    }
}

#[tokio::test]
async fn whatever_is_the_matter_with_the_socket_is_a_state() {
    let backend = Backend::start();
    let mut haproxy = Haproxy::start(&[group("web", "roundrobin", &[(&backend, "")])]);
    let mut ear = Ear::of(&haproxy, "admin");
    ear.until("it", |report| report.state == BalancerState::Up).await;
    haproxy.freeze(true);
    let slow = ear.until("slow", |report| report.state == BalancerState::Slow).await;
    assert_eq!(slow.reason, "no answer in time");
    haproxy.freeze(false);
    ear.until("it again", |report| report.state == BalancerState::Up).await;
    haproxy.stop();
    // One that ends while it is read is unreachable too, for another reason.
    let is_gone = |report: &BalancerReport| {
        report.state == BalancerState::Unreachable && report.reason.contains("admin")
    };
    let gone = ear.until("gone", is_gone).await;
    assert!(gone.groups.is_empty(), "{gone:?}");
    haproxy.run();
    ear.until("it once more", |report| report.state == BalancerState::Up).await;
    // Reading needs no right to change anything; but a user is not told how requests are shared.
    let report = Ear::of(&haproxy, "operator").next().await;
    assert_eq!((report.state, report.missing.len()), (BalancerState::Up, 0), "{report:?}");
    assert_eq!(report.groups[0].weights, WeightMeaning::Exact);
    let address = report.groups[0].backends[0].address.clone();
    let report = Ear::of(&haproxy, "user").next().await;
    assert!(report.missing[0].contains("level operator"), "{report:?}");
    assert_eq!(report.groups[0].weights, WeightMeaning::None);
    assert_eq!(report.groups[0].backends[0].address, address);
}

#[tokio::test]
async fn series_say_the_same() {
    let backend = Backend::start();
    let haproxy = Haproxy::start(&[group("web", "random", &[(&backend, "weight 10")])]);
    let mut ear = Ear::of(&haproxy, "admin");
    send(haproxy.ports[0], 7, 200);
    ear.next().await;
    let handles = [ear.handle.clone()];
    let mut samplers = servers(&[], &[], &handles, Duration::from_secs(1));
    assert_eq!(samplers.len(), 1);
    let mut readings = Readings::default();
    let mut defined = BTreeMap::new();
    let mut values = BTreeMap::new();
    for _ in 0..30 {
        readings.clear();
        samplers[0].sample(&mut readings).unwrap();
        for change in readings.changes() {
            if let Change::Defined(handle, series) = change {
                defined.insert(*handle, series.clone());
            }
        }
        for value in readings.values() {
            let series = &defined[&value.handle];
            let of = |key: &str| {
                let found = series.attributes.iter().find(|(name, _)| name == key);
                found.map_or("", |(_, value)| value.as_str())
            };
            let name = [of("proxy_name"), of("service_name"), of("status_code")].join(" ");
            values.insert((series.metric.clone(), name), value.raw);
        }
        if values.get(&("haproxy.requests.total".to_owned(), "web s0 2xx".to_owned())) == Some(&7) {
            break;
        }
        ear.next().await;
    }
    let value = |metric: &str, of: &str| values.get(&(metric.to_owned(), of.to_owned())).copied();
    assert_eq!(value("haproxy.requests.total", "web s0 2xx"), Some(7));
    assert_eq!(value("haproxy.server_selected.total", "web s0 "), Some(7));
    assert_eq!(value("haproxy.connections.total", "in-web FRONTEND "), Some(7));
    assert_eq!(value("flyball.haproxy.weight", "web s0 "), Some(10));
    assert_eq!(value("flyball.haproxy.serving", "web s0 "), Some(1));
    assert_eq!(value("flyball.haproxy.up", "  "), Some(1));
    let backend = ("service_name".to_owned(), "BACKEND".to_owned());
    let mut of_backend = defined.values().filter(|series| series.attributes.contains(&backend));
    let algo = of_backend.find(|series| series.metric == "haproxy.sessions.count").unwrap();
    assert!(algo.attributes.contains(&("haproxy.algo".to_owned(), "random".to_owned())));
}
