//! A cache in a world where its size decides its hit ratio: its agent on a stream, its rows in `cache_stats`.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flyball_collector::config::Config;
use flyball_collector::store::{CacheRow, Store};
use flyball_model::rollout::Limits;
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, Bounds, CacheCounters, CacheFacts, CacheReport, CacheState,
    Capability, HitCurve, HitCurvePoint, MissAttribution, PolicyOutcome, PolicyResult, Revision,
    Settings, SteeringHello, Target,
};
use flyball_proto::v1;
use flyball_proto::v1::steering_client::SteeringClient;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{ClickHouse, Collector, now_ms, until};

pub const MIB: u64 = 1 << 20;
pub const ID: &str = "redis:web-1:sessions";
/// Requests between two rows.
const REQUESTS: u64 = 10_000;
/// Time between two rows.
const TICK_MS: i64 = 500;

/// Time that is short, and all else as it is.
pub fn quick(config: &mut Config) {
    config.rollout = Limits {
        apply_ms: 20_000,
        hold_ms: 300,
        validate_min_ms: 500,
        validate_max_ms: 60_000,
        restore_ms: 20_000,
        silent_ms: 10_000,
        lease_ms: 5_000,
        cool_down_ms: 600_000,
        ..Limits::default()
    };
    config.judge.window_ms = 1_000;
    config.judge.min_before = 16;
    config.judge.min_after = 8;
    config.judge.max_before = 60;
    config.judge.breach_ms = 1_000;
    config.suggest.period_ms = 0;
    config.suggest.window_ms = 30_000;
}

/// What is in force of a cache, and what its world makes of it.
#[derive(Debug)]
pub struct Server {
    pub settings: Mutex<Settings>,
    /// Hit ratio by the limit in force.
    pub law: Mutex<fn(u64) -> f64>,
    pub state: Mutex<CacheState>,
    /// Whether an agent ever set something.
    changed: AtomicBool,
    pub counters: Mutex<CacheCounters>,
    node: String,
}

/// Brings what its curve promises.
pub fn honest(limit: u64) -> f64 {
    0.95 * (1.0 - (-(limit as f64) / 60e6).exp())
}

/// Gets worse when it grows.
pub fn perverse(limit: u64) -> f64 {
    if limit > 64 * MIB { honest(64 * MIB) - 0.2 } else { honest(limit) }
}

/// A cache with its rows, until it is dropped.
pub struct World {
    pub server: Arc<Server>,
    stop: DropGuard,
    rows: JoinHandle<()>,
}

impl World {
    /// A cache on `node` with a minute of past, whose rows go on.
    pub async fn begin(clickhouse: &ClickHouse, node: &str) -> Self {
        let settings =
            [("maxmemory", (64 * MIB).to_string()), ("maxmemory-policy", "allkeys-lru".into())];
        let server = Arc::new(Server {
            settings: Mutex::new(settings.map(|(k, v)| (k.to_owned(), v)).into()),
            law: Mutex::new(honest),
            state: Mutex::new(CacheState::Up),
            changed: AtomicBool::new(false),
            counters: Mutex::default(),
            node: node.to_owned(),
        });
        let mut past = Rows::new(&server, now_ms() - 70_000);
        let store = clickhouse.open.store.clone();
        insert(&store, &past.until(now_ms(), &server)).await;
        let stop = CancellationToken::new();
        let (of, ending) = (Arc::clone(&server), stop.clone());
        let rows = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(TICK_MS as u64));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    _ = ticks.tick() => insert(&store, &past.until(now_ms(), &of)).await,
                    () = ending.cancelled() => return,
                }
            }
        });
        Self { server, stop: stop.drop_guard(), rows }
    }

    pub fn limit(&self) -> u64 {
        self.server.limit()
    }

    /// Whether its agent ever set something.
    pub fn was_changed(&self) -> bool {
        self.server.changed.load(Ordering::Relaxed)
    }

    pub async fn end(self) {
        let Self { stop, rows, .. } = self;
        drop(stop);
        rows.await.unwrap();
    }
}

impl Server {
    pub fn limit(&self) -> u64 {
        self.settings.lock()["maxmemory"].parse().unwrap()
    }

    /// What its agent reports: a curve that promises what the honest law gives.
    pub fn report(&self) -> CacheReport {
        let limit = self.limit();
        let now_ms = now_ms();
        let mut report =
            CacheReport::new(Target::new("redis", "sessions"), *self.state.lock(), now_ms);
        report.role = "primary".into();
        report.version = "7.4.0".into();
        report.settings = self.settings.lock().clone();
        report.counters = Some(self.counters.lock().clone());
        report.facts = Some(CacheFacts {
            used_bytes: limit,
            max_bytes: limit,
            rss_bytes: Some(limit + 10 * MIB),
            keys: 1_000,
            keys_with_ttl: 1_000,
            hits_per_second: Some(honest(limit) * 1_000.0),
            misses_per_second: Some((1.0 - honest(limit)) * 1_000.0),
            evictions_per_second: Some(100.0),
            expirations_per_second: Some(0.0),
            fragmentation: Some(1.1),
            host_memory_bytes: Some(8 << 30),
            host_available_bytes: Some(4 << 30),
            replicas: 0,
        });
        let point = |i: u64| {
            let bytes = 32 * MIB + i * 8 * MIB;
            let hit_ratio = honest(bytes);
            HitCurvePoint { bytes, hit_ratio, low: hit_ratio - 0.002, high: hit_ratio + 0.002 }
        };
        report.curve = Some(HitCurve {
            measured_at_ms: now_ms - 1_000,
            reach_bytes: 128 * MIB,
            points: (0..=12).map(point).collect(),
            method: "test".into(),
        });
        report.misses = Some(MissAttribution {
            capacity: 0.9,
            cold: 0.1,
            sampled: 1_000,
            ..MissAttribution::default()
        });
        report
    }
}

/// The rows of a cache, one after another.
struct Rows {
    at_ms: i64,
    started_ms: i64,
    hits: u64,
    misses: u64,
    number: u64,
}

impl Rows {
    fn new(server: &Server, at_ms: i64) -> Self {
        // Other chance on every node, far from that of names that are alike: what is the same to the
        // last digit is no control, also when its rows began a tick later.
        let number =
            server.node.bytes().fold(0, |number, byte| number * 31 + u64::from(byte)) << 32;
        Self { at_ms, started_ms: at_ms - 1_000_000, hits: 1_000_000, misses: 500_000, number }
    }

    /// All rows that are due, in one insert: a slow store makes them late and never later and later.
    fn until(&mut self, now_ms: i64, server: &Server) -> Vec<CacheRow> {
        let due = (now_ms - self.at_ms).max(0) / TICK_MS;
        (0..due).map(|_| self.next(server)).collect()
    }

    fn next(&mut self, server: &Server) -> CacheRow {
        self.number += 1;
        self.at_ms += TICK_MS;
        // A number that only looks random, of the size of chance among so many requests.
        let noise = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let noise = (noise as f64 / f64::from(1 << 24) - 0.5) * 0.02;
        let hits = ((*server.law.lock())(server.limit()) + noise) * REQUESTS as f64;
        self.hits += hits as u64;
        self.misses += REQUESTS - hits as u64;
        CacheRow {
            node: server.node.clone(),
            cache: "sessions".into(),
            ts: self.at_ms,
            kind: "redis".into(),
            started_at: self.started_ms,
            clients: 20,
            max_bytes: server.limit(),
            used_bytes: server.limit(),
            eviction_policy: "allkeys-lru".into(),
            requests: self.hits + self.misses,
            hits: self.hits,
            misses: self.misses,
            ..CacheRow::default()
        }
    }
}

async fn insert(store: &Store, rows: &[CacheRow]) {
    for day in rows.chunk_by(|a, b| a.day() == b.day()) {
        let token = format!("{} {}", day[0].node, day[0].ts);
        store.insert_cache_stats(day, &token).await.unwrap();
    }
}

/// How an agent treats what it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Applies it.
    Willing,
    /// Rejects what is new, applies what is old.
    Refusing,
}

/// An agent on a stream, until it is dropped.
pub struct Agent {
    task: JoinHandle<()>,
}

impl Agent {
    pub async fn begin(grpc: SocketAddr, world: &World, manner: Manner) -> Self {
        Self::having_seen(grpc, world, manner, (Revision(0), String::new())).await
    }

    /// The same of one that has followed a revision of a journal.
    pub async fn having_seen(
        grpc: SocketAddr,
        world: &World,
        manner: Manner,
        (revision, journal): (Revision, String),
    ) -> Self {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let mut client = SteeringClient::new(endpoint.connect().await.unwrap());
        let (send, stream) = mpsc::channel::<v1::AgentSteering>(16);
        let hello = SteeringHello { revision, journal, ..hello(&world.server.node) };
        send.send(AgentSteering::Hello(hello).into()).await.unwrap();
        let mut policies = client.watch(ReceiverStream::new(stream)).await.unwrap().into_inner();
        let server = Arc::clone(&world.server);
        let task = tokio::spawn(async move {
            let mut reports = interval(Duration::from_millis(200));
            let (mut sequence, mut done) = (0, Revision(0));
            loop {
                tokio::select! {
                    _ = reports.tick() => {
                        let report = AgentSteering::Cache(Box::new(server.report()));
                        if send.send(report.into()).await.is_err() { return }
                    }
                    policy = policies.message() => {
                        let Ok(Some(policy)) = policy else { return };
                        let policy = AgentPolicy::try_from(policy).unwrap();
                        if policy.revision == done { continue }
                        done = policy.revision;
                        for outcome in obey(&server, &policy, manner, &mut sequence) {
                            send.send(AgentSteering::Outcome(outcome).into()).await.unwrap();
                        }
                    }
                }
            }
        });
        Self { task }
    }

    /// Its stream breaks.
    pub async fn end(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn obey(
    server: &Server,
    policy: &AgentPolicy,
    manner: Manner,
    sequence: &mut u64,
) -> Vec<PolicyOutcome> {
    let mut outcomes = Vec::new();
    for wanted in &policy.targets {
        let is_new = wanted.canary.is_some();
        let result = match manner {
            Manner::Refusing if is_new => PolicyResult::Rejected,
            _ => PolicyResult::Applied,
        };
        if result == PolicyResult::Applied {
            server.settings.lock().extend(wanted.settings.clone());
            server.changed.store(true, Ordering::Relaxed);
        }
        *sequence += 1;
        outcomes.push(PolicyOutcome {
            revision: policy.revision,
            target: wanted.target.clone(),
            result,
            reason: if result == PolicyResult::Rejected {
                "not here".into()
            } else {
                String::new()
            },
            in_force: server.settings.lock().clone(),
            expected: Settings::new(),
            rollout_id: wanted.rollout_id.clone(),
            sequence: *sequence,
        });
    }
    outcomes
}

fn hello(node: &str) -> SteeringHello {
    let words = ["allkeys-lru", "allkeys-lfu"].map(str::to_owned).to_vec();
    let parameters = [
        ("maxmemory".to_owned(), Bounds::Number(MIB, 1 << 30)),
        ("maxmemory-policy".to_owned(), Bounds::OneOf(words)),
    ];
    SteeringHello {
        node: NodeName::new(node).unwrap(),
        agent_version: "0.1.0".into(),
        epoch: [7; 16],
        revision: Revision(0),
        journal: String::new(),
        capabilities: vec![Capability {
            target: Target::new("redis", "sessions"),
            parameters: parameters.into(),
            may_persist: false,
            reason: String::new(),
            largest_growth: None,
        }],
    }
}

/// A collector on a ClickHouse of its own, and caches of one name with willing agents.
pub struct Fleet {
    pub clickhouse: ClickHouse,
    pub collector: Collector,
    pub caches: Vec<(World, Agent)>,
}

impl Fleet {
    /// One cache on each node, with [`quick`] settings but for what `adapt` changes.
    pub async fn begin(nodes: &[&str], adapt: impl FnOnce(&mut Config)) -> Self {
        let clickhouse = ClickHouse::start().await;
        let collector = Collector::start_with(&clickhouse, |config| {
            quick(config);
            adapt(config);
        })
        .await;
        let mut caches = Vec::new();
        for node in nodes {
            let world = World::begin(&clickhouse, node).await;
            let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
            caches.push((world, agent));
        }
        Self { clickhouse, collector, caches }
    }

    pub async fn end(self) {
        for (world, agent) in self.caches {
            agent.end().await;
            world.end().await;
        }
        self.collector.stopped().await;
        self.clickhouse.stop().await;
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        Self { status, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) }
    }

    pub fn ok(self) -> Value {
        assert!(self.status < 300, "{} {:#}", self.status, self.body);
        self.body
    }
}

pub async fn get(collector: &Collector, path: &str) -> Answer {
    Answer::of(reqwest::Client::new().get(format!("http://{}{path}", collector.http))).await
}

pub async fn post(collector: &Collector, path: &str, body: &Value) -> Answer {
    let url = format!("http://{}{path}", collector.http);
    Answer::of(reqwest::Client::new().post(url).json(body)).await
}

pub async fn note(collector: &Collector, path: &str) -> Answer {
    post(collector, path, &json!({"note": "a test"})).await
}

/// The suggestion for the cache, once there is one.
pub async fn suggested(collector: &Collector) -> Value {
    let look = json!({"scope": "cache", "target": ID});
    until("a suggestion", async || {
        let answer = post(collector, "/api/performance/optimize", &look).await;
        if answer.status == 200
            && let Some(found) = answer.body["suggestions"].as_array().unwrap().first()
        {
            return Some(found.clone());
        }
        None
    })
    .await
}

/// The rollout once it is so.
pub async fn rollout(collector: &Collector, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let last = RefCell::new(Value::Null);
    until(fmt::from_fn(|f| write!(f, "the rollout: {:#}", last.borrow())), async || {
        let answer = get(collector, &format!("/api/performance/rollouts/{id}")).await;
        let is_so = answer.status == 200 && is_so(&answer.body);
        last.replace(answer.body.clone());
        is_so.then_some(answer.body)
    })
    .await
}

pub async fn ended(collector: &Collector, id: &str) -> Value {
    rollout(collector, id, |rollout| rollout["ended_at_ms"].is_i64()).await
}

/// Confirms a suggestion. Gives the rollout's id.
pub async fn confirmed(collector: &Collector, suggestion: &Value) -> String {
    let id = suggestion["id"].as_str().unwrap();
    let answer = note(collector, &format!("/api/performance/suggestions/{id}/confirm")).await;
    assert_eq!(answer.status, 202, "{:#}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}
