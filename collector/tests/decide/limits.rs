//! Limits of a pool of HAProxys and an Envoy, the whole way: from the past in the store to a suggestion, a person's word, and the values that agents are offered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flyball_collector::config::Config;
use flyball_collector::store::{BalancerRow, Store};
use flyball_model::balance::limits::{least_above, least_step};
use flyball_model::rollout::BalancerLimits;
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, BackendGroup, BackendServer, BalancerReport, BalancerState, Bounds,
    Capability, PolicyOutcome, PolicyResult, Revision, Settings, SteeringHello, Target,
    TargetPolicy, UtilizationSource, WeightMeaning,
};
use flyball_proto::v1;
use flyball_proto::v1::steering_client::SteeringClient;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{ClickHouse, Collector, now_ms, until};
use crate::world::{confirmed, ended, post, quick};

/// Time between two reports.
const REPORT: Duration = Duration::from_millis(100);
/// Requests a second of each balancer at each of two backends.
const TRAFFIC: f64 = 50.0;
/// Milliseconds of a request when nothing queues.
const QUIET_MS: f64 = 20.0;
/// Of the past, milliseconds: in the first part of it requests queued.
const PAST_MS: i64 = 120_000;
const RUSH_MS: i64 = 20_000;

/// A balancer with limits, and what it was offered.
struct Balancer {
    node: &'static str,
    kind: &'static str,
    limits: Mutex<Settings>,
    offered: Mutex<Vec<u64>>,
    reports: Mutex<u64>,
}

impl Balancer {
    fn new((node, kind, limits): (&'static str, &'static str, &[(&str, u64)])) -> Arc<Self> {
        let limits = limits.iter().map(|(name, limit)| ((*name).to_owned(), limit.to_string()));
        let limits = Mutex::new(limits.collect());
        Arc::new(Self { node, kind, limits, offered: Mutex::default(), reports: Mutex::default() })
    }

    fn is_envoy(&self) -> bool {
        self.kind == "envoy"
    }

    fn limit(&self, parameter: &str) -> Option<u32> {
        self.limits.lock().get(parameter)?.parse().ok()
    }

    /// What it reports of so much time, calm or while requests queue at the first backend.
    fn report(&self, at_ms: i64, window: Duration, is_rush: bool) -> BalancerReport {
        let number = {
            let mut reports = self.reports.lock();
            *reports += 1;
            *reports + self.node.bytes().map(u64::from).sum::<u64>() * 1_000
        };
        // Chance of some percent, other at each balancer.
        let noise = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
        let server = |(at, name): (usize, &str)| {
            let queues = is_rush && at == 0;
            let rate = if queues { 90.0 } else { TRAFFIC };
            let latency_ms = QUIET_MS * if queues { 5.0 } else { 0.95 + noise / 10.0 };
            let address = format!("10.0.0.{}:80", at + 1);
            let name = if self.is_envoy() { &address } else { name };
            BackendServer {
                // A number that is always the same is no measurement.
                requests: (rate * window.as_secs_f64()).round() as u64 + u64::from(noise > 0.5),
                latency_ms: Some(latency_ms),
                in_flight: Some(rate * latency_ms / 1_000.0),
                limit: self.limit(&format!("maxconn:web/{name}")),
                utilization: Some((0.4, UtilizationSource::Orca)),
                ..BackendServer::new(name, address.clone(), 100)
            }
        };
        let group = BackendGroup {
            name: "web".into(),
            limit: self.limit("max_requests:web"),
            latency: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            backends: ["a", "b"].into_iter().enumerate().map(server).collect(),
        };
        let of = Target::new(self.kind, "edge");
        let mut report = BalancerReport::new(of, BalancerState::Up, at_ms);
        report.window_ms = window.as_millis() as u32;
        report.groups = vec![group];
        report
    }

    /// Does as an agent does: no step of more than half, and a quarter of room above what is under way.
    fn obey(&self, policy: &AgentPolicy, sequence: &mut u64) -> Vec<PolicyOutcome> {
        let outcome = |wanted: &TargetPolicy| {
            let mut limits = self.limits.lock();
            let servers = if self.is_envoy() { 2.0 } else { 1.0 };
            let under_way = servers * TRAFFIC * QUIET_MS * 1.1 / 1_000.0;
            let under_way = if self.is_envoy() { under_way.ceil() } else { under_way };
            let is_refused = wanted.settings.iter().any(|(parameter, value)| {
                let (from, to): (u64, u64) =
                    (limits[parameter].parse().unwrap(), value.parse().unwrap());
                to < from && (to < least_step(from) || to < least_above(under_way))
            });
            if !is_refused {
                let mut offered = self.offered.lock();
                for value in wanted.settings.values().map(|value| value.parse().unwrap()) {
                    if offered.last() != Some(&value) {
                        offered.push(value);
                    }
                }
                limits.extend(wanted.settings.clone());
            }
            *sequence += 1;
            PolicyOutcome {
                revision: policy.revision,
                target: wanted.target.clone(),
                result: if is_refused { PolicyResult::Rejected } else { PolicyResult::Applied },
                reason: if is_refused { "too far, or too near".into() } else { String::new() },
                in_force: limits.clone(),
                expected: Settings::new(),
                rollout_id: wanted.rollout_id.clone(),
                sequence: *sequence,
            }
        };
        policy.targets.iter().map(outcome).collect()
    }

    /// Rows of the past, of a second each.
    async fn remember(&self, store: &Store, until_ms: i64) {
        let seconds = (until_ms - PAST_MS..until_ms).step_by(1_000);
        let report = |at_ms: i64| {
            let is_rush = at_ms < until_ms - PAST_MS + RUSH_MS;
            self.report(at_ms, Duration::from_secs(1), is_rush)
        };
        let node = NodeName::new(self.node).unwrap();
        let rows: Vec<BalancerRow> =
            seconds.flat_map(|at_ms| BalancerRow::of(&node, &report(at_ms))).collect();
        for day in rows.chunk_by(|a, b| a.day() == b.day()) {
            let token = format!("{} {}", self.node, day[0].ts);
            store.insert_balancer_stats(day, &token).await.unwrap();
        }
    }

    fn hello(&self) -> SteeringHello {
        let (limit, bounds) = match self.kind {
            "envoy" => ("max_requests:*", Bounds::Number(1, 1_000_000)),
            _ => ("maxconn:*", Bounds::Number(0, 1_000_000)),
        };
        SteeringHello {
            node: NodeName::new(self.node).unwrap(),
            agent_version: "0.1.0".into(),
            epoch: [7; 16],
            revision: Revision(0),
            journal: String::new(),
            capabilities: vec![Capability {
                target: Target::new(self.kind, "edge"),
                parameters: [(limit.to_owned(), bounds)].into(),
                may_persist: false,
                reason: String::new(),
                largest_growth: None,
            }],
        }
    }
}

/// The agent of a balancer, on a stream until it is ended.
async fn agent(grpc: SocketAddr, balancer: &Arc<Balancer>) -> JoinHandle<()> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{grpc}")).unwrap();
    let mut client = SteeringClient::new(endpoint.connect().await.unwrap());
    let (send, stream) = mpsc::channel::<v1::AgentSteering>(16);
    send.send(AgentSteering::Hello(balancer.hello()).into()).await.unwrap();
    let mut policies = client.watch(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let balancer = Arc::clone(balancer);
    tokio::spawn(async move {
        let mut reports = interval(REPORT);
        let (mut sequence, mut done) = (0, Revision(0));
        loop {
            tokio::select! {
                _ = reports.tick() => {
                    let report = balancer.report(now_ms(), REPORT, false);
                    let report = AgentSteering::Balancer(Box::new(report));
                    if send.send(report.into()).await.is_err() { return }
                }
                policy = policies.message() => {
                    let Ok(Some(policy)) = policy else { return };
                    let policy = AgentPolicy::try_from(policy).unwrap();
                    if policy.revision == done { continue }
                    done = policy.revision;
                    for outcome in balancer.obey(&policy, &mut sequence) {
                        let outcome = AgentSteering::Outcome(outcome).into();
                        if send.send(outcome).await.is_err() { return }
                    }
                }
            }
        }
    })
}

fn windows_of_a_second(config: &mut Config) {
    quick(config);
    config.balance.window_ms = 1_000;
    // Some hundred requests show neither a tenth of latency nor half a per cent of errors.
    config.judge.latency_margin = 0.3;
    config.judge.error_margin = 0.05;
    // Of the past only what is calm: the rush says nothing of what would be now.
    config.judge.max_before = 40;
    config.rollout.balancer = BalancerLimits {
        hold_ms: 200,
        validate_min_ms: 500,
        validate_max_ms: 60_000,
        ..BalancerLimits::default()
    };
}

/// The suggestion of limits for so many balancers, once all of them are known.
async fn suggested(collector: &Collector, balancers: usize) -> Value {
    let look = |dry: bool| json!({"scope": "load_balancer", "dry_run": dry});
    let last = std::cell::RefCell::new(Value::Null);
    let what = std::fmt::from_fn(|f| write!(f, "limits: {:#}", last.borrow()));
    until(what, async || {
        let tried = post(collector, "/api/performance/optimize", &look(true)).await;
        last.replace(tried.body.clone());
        let found = limits(&tried.body)?;
        (found["members"].as_array()?.len() == balancers).then_some(())
    })
    .await;
    let found = post(collector, "/api/performance/optimize", &look(false)).await.ok();
    limits(&found).unwrap_or_else(|| panic!("{found:#}")).clone()
}

fn limits(found: &Value) -> Option<&Value> {
    let all = found["suggestions"].as_array()?;
    all.iter().find(|one| one["kind"] == "balancer.limits")
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_go_the_whole_way_in_steps_that_agents_take() {
    let clickhouse = ClickHouse::start().await;
    let servers = [("maxconn:web/a", 100), ("maxconn:web/b", 100)];
    let balancers = [
        ("lb-1", "haproxy", &servers[..]),
        ("lb-2", "haproxy", &servers),
        ("lb-3", "envoy", &[("max_requests:web", 200)]),
    ]
    .map(Balancer::new);
    for balancer in &balancers {
        balancer.remember(&clickhouse.open.store, now_ms() / 1_000 * 1_000).await;
    }
    let collector = Collector::start_with(&clickhouse, windows_of_a_second).await;
    let mut agents = Vec::new();
    for balancer in &balancers {
        agents.push(agent(collector.grpc, balancer).await);
    }
    let suggestion = suggested(&collector, balancers.len()).await;
    assert_eq!(suggestion["members"].as_array().unwrap().len(), 3, "{suggestion:#}");
    assert!(suggestion["risk"].to_string().contains("503"), "{suggestion:#}");
    let id = confirmed(&collector, &suggestion).await;
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "promoted", "{done:#}");
    // 270 requests of 20 ms at the peak are 5.4 under way: 7.0 + 2.3, of which each has its part. The Envoy's of both backends are 3.2: 6.4 + 5.4.
    for (balancer, (steps, last)) in balancers.iter().zip([
        (&[50, 25, 13, 7, 4][..], 3..=4),
        (&[50, 25, 13, 7, 4], 3..=4),
        (&[100, 50, 25, 13], 11..=13),
    ]) {
        let offered = balancer.offered.lock().clone();
        assert!(offered.starts_with(steps), "{}: {offered:?}", balancer.node);
        assert!(last.contains(offered.last().unwrap()), "{}: {offered:?}", balancer.node);
    }
    assert_eq!(balancers[0].limit("maxconn:web/b"), Some(100), "nothing has queued there");
    // What is in force is near now.
    let look = json!({"scope": "load_balancer", "dry_run": true});
    let skipped = post(&collector, "/api/performance/optimize", &look).await.ok();
    let why =
        skipped["skipped"].as_array().unwrap().iter().find(|one| one["kind"] == "balancer.limits");
    assert!(why.is_some(), "{skipped:#}");
    for agent in agents {
        agent.abort();
        let _ = agent.await;
    }
    collector.stopped().await;
    clickhouse.stop().await;
}
