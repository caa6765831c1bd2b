//! Standing control: pushes after a promotion, a person's word on it, restarts, several collectors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flyball_collector::config::Config;
use flyball_collector::steer::journal::{Append, Journal};
use flyball_collector::store::Store;
use flyball_model::journal::Log;
use flyball_model::rollout::{
    Actor, Applied, Bound, CONTROLLED, Candidate, Change, Event, Judgement, Limits, Member,
    Outcome, Phase, Prediction, Proposal, RolloutId, SuggestionId, Target, TargetId, Verdict,
    decide,
};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, BackendGroup, BackendServer, BackendState, BalancerReport,
    BalancerState, Bounds, Capability, PolicyOutcome, PolicyResult, Revision, Settings,
    SteeringHello, Target as Server, UtilizationSource, WeightMeaning,
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
use crate::world::{get, note, quick};

const A: &str = "weight:web/a";
const B: &str = "weight:web/b";
/// Requests a second of each balancer.
const TRAFFIC: f64 = 400.0;
/// Time between two reports.
const REPORT: Duration = Duration::from_millis(100);
const POOL: &str = "/api/performance/balancers/pools/web";

fn target(node: &str) -> Target {
    Target {
        id: TargetId(format!("haproxy:{node}:edge")),
        node: node.to_owned(),
        kind: "haproxy".into(),
        name: "edge".into(),
    }
}

fn weights(a: u64, b: u64) -> Settings {
    [(A, a), (B, b)].map(|(name, weight)| (name.to_owned(), weight.to_string())).into()
}

/// The balancers' promoted weights are 200 for each backend, of 100 and 50 before.
fn proposal(nodes: &[&str]) -> Proposal {
    let change = |parameter: &str, from: u64| Change {
        parameter: parameter.to_owned(),
        from: from.to_string(),
        to: "200".to_owned(),
        unit: String::new(),
        bound: Bound::Number {
            min: 0,
            max: 256,
            largest_growth: 2.0,
            largest_shrink: 0.5,
            always: 256,
            zero_is: None,
        },
    };
    let member = |node: &&str| Candidate {
        target: target(node),
        change: vec![change(A, 100), change(B, 50)],
        size: 2.0,
        traffic: TRAFFIC,
    };
    Proposal {
        id: SuggestionId("s-1".into()),
        kind: CONTROLLED.into(),
        target: Target {
            id: TargetId("pool:web".into()),
            node: String::new(),
            kind: "pool".into(),
            name: "web".into(),
        },
        title: "new weights".into(),
        members: nodes.iter().map(member).collect(),
        prediction: Prediction {
            metric: "balancer.latency_ms".into(),
            before: 20.0,
            after: 15.0,
            low: 14.0,
            high: 16.0,
            unit: "ms".into(),
            confidence: 0.9,
        },
        undo: "the old weights".into(),
        details: json!({}),
    }
}

/// Writes a journal in which weights were promoted a minute ago.
async fn promoted(store: &Store, nodes: &[&str]) {
    let journal = Journal::new(store);
    let limits = Limits {
        balancer: flyball_model::rollout::BalancerLimits {
            hold_ms: 0,
            validate_min_ms: 0,
            ..Default::default()
        },
        ..Limits::default()
    };
    let mut log = Log::default();
    let now = now_ms() - 60_000;
    let by = Actor { name: "ana".into(), address: "127.0.0.1".into() };
    let id = RolloutId("r-1".into());
    let confirmed = Event::confirmed(SuggestionId("s-1".into()), by, "go".into());
    let mut first = [Event::Proposed(Box::new(proposal(nodes))), confirmed].into_iter();
    while let Some(event) = first.next().or_else(|| next(&log, &id)) {
        for made in decide(log.state(), &event, now, &limits).unwrap().transitions {
            let row = log.row(&made).unwrap();
            assert_eq!(journal.append(&row).await.unwrap(), Append::Ours);
            log.admit(&row).unwrap();
        }
    }
    assert_eq!(log.state().control(&id).unwrap().status(), "running");
}

/// What willing agents and a content judge say next.
fn next(log: &Log, id: &RolloutId) -> Option<Event> {
    let rollout = log.state().rollout(id)?;
    if let Some(place) = rollout.members.iter().position(|member| *member == Member::Asked) {
        let target = &rollout.plan.members[place].target;
        return Some(Event::Outcome(Outcome {
            node: target.node.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            rollout: id.clone(),
            revision: log.state().policy(&target.node).revision,
            sequence: 1,
            result: Applied::Applied,
            in_force: log.state().wanted(&target.id)?.values,
        }));
    }
    let verdict = Verdict {
        result: Judgement::Pass,
        metric: "balancer.latency_ms".into(),
        expected: None,
        observed: None,
        samples: 1,
        reason: "it is".into(),
    };
    matches!(rollout.phase, Phase::Validating { .. }).then(|| Event::Judged {
        rollout: id.clone(),
        revision: rollout.revision(),
        verdict,
        inputs: Value::Null,
    })
}

/// A balancer whose backends do so many requests a second when all of them is in use.
struct Balancer {
    node: String,
    weights: Mutex<Settings>,
    capacity: Mutex<[f64; 2]>,
    /// What its agent does with policies from now on.
    manner: Mutex<PolicyResult>,
}

impl Balancer {
    fn new(node: &str) -> Arc<Self> {
        Arc::new(Self {
            node: node.to_owned(),
            weights: Mutex::new(weights(200, 200)),
            capacity: Mutex::new([300.0, 900.0]),
            manner: Mutex::new(PolicyResult::Applied),
        })
    }

    fn weight(&self, name: &str) -> u32 {
        self.weights.lock()[name].parse().unwrap()
    }

    fn ratio(&self) -> f64 {
        f64::from(self.weight(A)) / f64::from(self.weight(B))
    }

    fn report(&self) -> BalancerReport {
        let sum = f64::from(self.weight(A) + self.weight(B));
        let server = |(index, parameter): (usize, &str)| {
            let weight = self.weight(parameter);
            let per_second = TRAFFIC * f64::from(weight) / sum;
            let used = (per_second / self.capacity.lock()[index]).min(1.0);
            BackendServer {
                name: parameter.rsplit_once('/').unwrap().1.to_owned(),
                address: format!("10.0.0.{}:80", index + 1),
                state: BackendState::Ready,
                weight_configured: [100, 50][index],
                weight,
                requests: (per_second * REPORT.as_secs_f64()) as u64,
                errors: 0,
                connect_errors: 0,
                latency_ms: Some(20.0),
                latency_p50_ms: None,
                latency_p99_ms: None,
                in_flight: Some(used * 10.0),
                queue: 0,
                limit: None,
                utilization: Some((used, UtilizationSource::Orca)),
            }
        };
        let group = BackendGroup {
            name: "web".into(),
            limit: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: [A, B].into_iter().enumerate().map(server).collect(),
        };
        let of = Server::new("haproxy", "edge");
        let mut report = BalancerReport::new(of, BalancerState::Up, now_ms());
        report.window_ms = REPORT.as_millis() as u32;
        report.groups = vec![group];
        report
    }

    fn obey(&self, policy: &AgentPolicy, sequence: &mut u64) -> Vec<PolicyOutcome> {
        let result = *self.manner.lock();
        let outcome = |wanted: &flyball_proto::steering::TargetPolicy| {
            *sequence += 1;
            if result == PolicyResult::Applied {
                self.weights.lock().extend(wanted.settings.clone());
            }
            PolicyOutcome {
                revision: policy.revision,
                target: wanted.target.clone(),
                result,
                reason: if result == PolicyResult::Applied {
                    String::new()
                } else {
                    "a person".into()
                },
                in_force: self.weights.lock().clone(),
                expected: Settings::new(),
                rollout_id: wanted.rollout_id.clone(),
                sequence: *sequence,
            }
        };
        policy.targets.iter().map(outcome).collect()
    }
}

/// An agent on a stream, until it is ended.
struct Agent(JoinHandle<()>);

impl Agent {
    async fn begin(grpc: SocketAddr, balancer: &Arc<Balancer>) -> Self {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let mut client = SteeringClient::new(endpoint.connect().await.unwrap());
        let (send, stream) = mpsc::channel::<v1::AgentSteering>(16);
        let hello = SteeringHello {
            node: NodeName::new(&balancer.node).unwrap(),
            agent_version: "0.1.0".into(),
            epoch: [7; 16],
            revision: Revision(0),
            journal: String::new(),
            capabilities: vec![Capability {
                target: Server::new("haproxy", "edge"),
                parameters: [("weight:*".to_owned(), Bounds::Number(0, 256))].into(),
                may_persist: false,
                reason: String::new(),
                largest_growth: None,
            }],
        };
        send.send(AgentSteering::Hello(hello).into()).await.unwrap();
        let mut policies = client.watch(ReceiverStream::new(stream)).await.unwrap().into_inner();
        let balancer = Arc::clone(balancer);
        Self(tokio::spawn(async move {
            let mut reports = interval(REPORT);
            let (mut sequence, mut done) = (0, Revision(0));
            loop {
                tokio::select! {
                    _ = reports.tick() => {
                        let report = AgentSteering::Balancer(Box::new(balancer.report()));
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
        }))
    }

    async fn end(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

fn windows_of_a_second(config: &mut Config) {
    quick(config);
    config.balance.window_ms = 1_000;
}

/// Control of the pool once it is so.
async fn control(collector: &Collector, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let last = std::cell::RefCell::new(Value::Null);
    until(std::fmt::from_fn(|f| write!(f, "{what}: {:#}", last.borrow())), async || {
        let answer = get(collector, "/api/performance/control").await;
        let found = answer.body["control"][0].clone();
        let is_so = answer.status == 200 && found.is_object() && is_so(&found);
        last.replace(if found.is_object() { found.clone() } else { answer.body });
        is_so.then_some(found)
    })
    .await
}

fn pushes(control: &Value) -> u64 {
    control["pushes"].as_u64().unwrap()
}

fn is_confirmed(control: &Value) -> bool {
    let all = control["last_pushes"][0]["balancers"].as_array();
    all.is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["confirmed_at_ms"].is_i64()))
}

async fn metric(collector: &Collector, line: &str) -> f64 {
    let (_, text) = collector.get("/metrics").await;
    let found = text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0.0)
}

/// Until the pool's watch has had time for so many windows.
async fn windows_pass(collector: &Collector, windows: f64, agents: f64) {
    let name = "flyball_steering_balancer_reports_total";
    let begin = metric(collector, name).await;
    let reports = windows * 10.0 * agents;
    until("windows", async || (metric(collector, name).await >= begin + reports).then_some(()))
        .await;
}

async fn is_whole(collector: &Collector) -> BTreeMap<String, usize> {
    let audit =
        get(collector, "/api/performance/audit?verify=true&limit=200&inputs=true").await.ok();
    assert_eq!(audit["verified"]["intact"], true, "{audit:#}");
    let mut names = BTreeMap::new();
    for entry in audit["entries"].as_array().unwrap() {
        let moved = &entry["inputs"]["move"];
        let name = moved.as_object().and_then(|moved| moved.keys().next()).cloned();
        if let Some(name) = name.or_else(|| moved.as_str().map(str::to_owned)) {
            *names.entry(name).or_insert(0) += 1;
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_weights_follow_the_load_until_frozen_and_killed() {
    let clickhouse = ClickHouse::start().await;
    promoted(&clickhouse.open.store, &["lb-1", "lb-2"]).await;
    let collector = Collector::start_with(&clickhouse, windows_of_a_second).await;
    let balancers = ["lb-1", "lb-2"].map(Balancer::new);
    let mut agents = Vec::new();
    for balancer in &balancers {
        agents.push(Agent::begin(collector.grpc, balancer).await);
    }
    let done = control(&collector, "it follows", |found| {
        pushes(found) >= 2 && is_confirmed(found) && balancers.iter().all(|b| b.ratio() < 0.45)
    })
    .await;
    eprintln!("{:#}", done["last_pushes"][0]);
    assert_eq!(done["state"], "running");
    assert_eq!(done["envelope"]["largest_shift"], 0.2);

    let freeze = note(&collector, &format!("{POOL}/freeze")).await.ok();
    assert_eq!(freeze["control"][0]["state"], "frozen");
    assert_eq!(note(&collector, &format!("{POOL}/freeze")).await.status, 409);
    let frozen = pushes(&freeze["control"][0]);
    // One that was decided on just before may still be on its way.
    control(&collector, "all that was pushed has arrived", is_confirmed).await;
    let before: Vec<Settings> = balancers.iter().map(|b| b.weights.lock().clone()).collect();
    for balancer in &balancers {
        *balancer.capacity.lock() = [900.0, 300.0];
    }
    windows_pass(&collector, 4.0, 2.0).await;
    let still = control(&collector, "it is there", |_| true).await;
    assert_eq!(pushes(&still), frozen, "{still:#}");
    let after: Vec<Settings> = balancers.iter().map(|b| b.weights.lock().clone()).collect();
    assert_eq!(before, after, "what is in force stays");
    note(&collector, &format!("{POOL}/unfreeze")).await.ok();
    control(&collector, "it goes on", |found| {
        pushes(found) > frozen && balancers.iter().all(|b| b.ratio() > 1.2)
    })
    .await;

    let killed = note(&collector, &format!("{POOL}/kill")).await.ok();
    assert_eq!(killed["control"][0]["state"], "killed");
    control(&collector, "it is let go", |found| {
        let all = found["balancers"].as_array().unwrap();
        all.iter().all(|one| one["state"] == "restored")
    })
    .await;
    for balancer in &balancers {
        assert_eq!(*balancer.weights.lock(), weights(100, 50));
    }
    let wanted = get(&collector, "/api/performance/policies").await.ok();
    for policy in wanted["policies"].as_array().unwrap() {
        assert!(policy["targets"][0]["wanted"].is_null(), "{policy:#}");
    }
    let again = note(&collector, &format!("{POOL}/kill")).await;
    assert_eq!(again.status, 404, "{again:?}");
    let names = is_whole(&collector).await;
    let count = |name: &str| names.get(name).copied().unwrap_or(0);
    assert_eq!((count("froze"), count("unfroze"), count("killed")), (1, 1, 1), "{names:?}");
    let stranger = reqwest::Client::new()
        .post(format!("http://{}{POOL}/freeze", collector.http))
        .header("origin", "http://elsewhere.example")
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(stranger.status().as_u16(), 403);
    for agent in agents {
        agent.end().await;
    }
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_during_control_goes_on_after_three_windows() {
    let clickhouse = ClickHouse::start().await;
    promoted(&clickhouse.open.store, &["lb-1", "lb-2"]).await;
    let balancers = ["lb-1", "lb-2"].map(Balancer::new);
    for (round, capacity) in [[300.0, 900.0], [900.0, 300.0]].into_iter().enumerate() {
        let collector = Collector::start_with(&clickhouse, windows_of_a_second).await;
        // Nothing more is pushed while nobody reports.
        let pushed = pushes(&control(&collector, "it is there", |_| true).await);
        let mut agents = Vec::new();
        for balancer in &balancers {
            *balancer.capacity.lock() = capacity;
            agents.push(Agent::begin(collector.grpc, balancer).await);
        }
        control(&collector, "it pushes", |found| pushes(found) > pushed).await;
        let warm_up = "flyball_control_held_total{reason=\"warm_up\"}";
        assert!(metric(&collector, warm_up).await >= 1.0, "it waits first, round {round}");
        is_whole(&collector).await;
        for agent in agents {
            agent.end().await;
        }
        collector.stopped().await;
    }
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_collectors_the_one_that_hears_the_majority_pushes() {
    let clickhouse = ClickHouse::start().await;
    let nodes = ["lb-1", "lb-2", "lb-3"];
    promoted(&clickhouse.open.store, &nodes).await;
    let one = Collector::start_with(&clickhouse, windows_of_a_second).await;
    let two = Collector::start_with(&clickhouse, windows_of_a_second).await;
    let balancers = nodes.map(Balancer::new);
    let mut agents = Vec::new();
    for (balancer, of) in balancers.iter().zip([&one, &one, &two]) {
        agents.push(Agent::begin(of.grpc, balancer).await);
    }
    until("all follow, also the one at the other collector", async || {
        balancers.iter().all(|b| b.ratio() < 0.45).then_some(())
    })
    .await;
    assert!(metric(&one, "flyball_control_pushes_total{by=\"this\"}").await >= 1.0);
    assert!(metric(&two, "flyball_control_pushes_total{by=\"this\"}").await < 1.0);
    assert!(metric(&two, "flyball_control_held_total{reason=\"minority\"}").await >= 1.0);
    // Any of them takes a person's word.
    note(&two, &format!("{POOL}/kill")).await.ok();
    until("the configured weights are back", async || {
        balancers.iter().all(|b| *b.weights.lock() == weights(100, 50)).then_some(())
    })
    .await;
    is_whole(&one).await;
    for agent in agents {
        agent.end().await;
    }
    one.stopped().await;
    two.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hand_frees_its_balancer_and_freezes_control_with_an_alert() {
    let clickhouse = ClickHouse::start().await;
    promoted(&clickhouse.open.store, &["lb-1", "lb-2"]).await;
    let collector = Collector::start_with(&clickhouse, windows_of_a_second).await;
    let balancers = ["lb-1", "lb-2"].map(Balancer::new);
    let mut agents = Vec::new();
    for balancer in &balancers {
        agents.push(Agent::begin(collector.grpc, balancer).await);
    }
    control(&collector, "it pushes", |found| pushes(found) >= 1 && is_confirmed(found)).await;
    *balancers[1].manner.lock() = PolicyResult::Drifted;
    *balancers[1].weights.lock() = weights(7, 7);
    // The next push, or a new stream, has the agent tell.
    agents.push(Agent::begin(collector.grpc, &balancers[1]).await);
    let frozen = control(&collector, "it freezes", |found| found["state"] == "frozen").await;
    let reason = frozen["frozen"]["reason"].as_str().unwrap();
    assert!(reason.contains("haproxy:lb-2:edge was let go"), "{reason}");
    assert_eq!(frozen["balancers"][1]["state"], "let_go", "{frozen:#}");
    assert_eq!(*balancers[1].weights.lock(), weights(7, 7));
    until("an alert", async || {
        let alerts = get(&collector, "/api/performance/alerts").await.ok();
        let all = alerts["alerts"].as_array().unwrap().clone();
        all.iter().any(|alert| alert["name"] == "control.frozen").then_some(())
    })
    .await;
    for agent in agents {
        agent.end().await;
    }
    collector.stopped().await;
    clickhouse.stop().await;
}
