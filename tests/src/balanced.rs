//! Load balancers in a world that a test decides, and their agents: real streams of reports to a real collector.
//!
//! Three servers, of which the third is slow, behind balancers that share requests as their weights say. What is wanted of a balancer (`weight:GROUP/BACKEND`) is
//! set at once. A HAProxy would show the same numbers only by chance.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, BackendGroup, BackendServer, BackendState, BalancerReport,
    BalancerState, Bounds, Capability, PolicyOutcome, PolicyResult, Revision, Settings,
    SteeringHello, Target, WeightMeaning,
};
use flyball_proto::v1;
use flyball_proto::v1::steering_client::SteeringClient;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::load::now_ms;

/// Time between two reports.
const PERIOD: Duration = Duration::from_secs(1);
/// Requests of each balancer within a window.
pub const REQUESTS: u64 = 600;
/// The group.
pub const GROUP: &str = "web";
/// Name, address, weight in the configuration, mean latency in milliseconds and requests under way, of each server.
const SERVERS: [(&str, &str, u32, f64, f64); 3] = [
    ("web1", "10.0.1.1:8080", 100, 20.0, 12.0),
    ("web2", "10.0.1.2:8080", 100, 21.0, 13.0),
    ("web3", "10.0.1.3:8080", 100, 64.0, 36.0),
];
/// Requests that a server may be given at once by one balancer.
const LIMIT: u32 = 40;

/// One load balancer.
#[derive(Debug)]
pub struct World {
    /// Its node.
    pub node: String,
    /// Which.
    pub target: Target,
    /// How it shares requests, and what weights mean then.
    pub algorithm: (&'static str, WeightMeaning, &'static str),
    /// Weights in force, by server.
    pub weights: Mutex<BTreeMap<String, u32>>,
    /// How its agent gets on with it.
    pub state: Mutex<BalancerState>,
    /// A server that it gives no requests.
    pub drained: Mutex<Option<String>>,
}

/// Load balancers and their agents, until it is dropped.
#[derive(Debug)]
pub struct Balanced {
    /// The balancers.
    pub worlds: Vec<Arc<World>>,
    tasks: Vec<JoinSet<Result<()>>>,
}

impl World {
    /// A balancer of HAProxy that shares in proportion.
    pub fn exact(node: &str) -> Self {
        let note = "roundrobin: requests are shared in proportion to the weights";
        Self::new(node, "haproxy", ("roundrobin", WeightMeaning::Exact, note))
    }

    /// One that counts connections.
    pub fn when_busy(node: &str) -> Self {
        let note = "leastconn: weights count only while servers are busy; idle ones rank equal";
        Self::new(node, "haproxy", ("leastconn", WeightMeaning::WhenBusy, note))
    }

    fn new(node: &str, kind: &str, algorithm: (&'static str, WeightMeaning, &'static str)) -> Self {
        Self {
            node: node.to_owned(),
            target: Target::new(kind, "edge"),
            algorithm,
            weights: Mutex::new(
                SERVERS.map(|(name, _, weight, ..)| (name.to_owned(), weight)).into(),
            ),
            state: Mutex::new(BalancerState::Up),
            drained: Mutex::new(None),
        }
    }

    /// What its agent reports now.
    pub fn report(&self) -> BalancerReport {
        let state = *self.state.lock();
        let mut report = BalancerReport::new(self.target.clone(), state, now_ms());
        if state != BalancerState::Up {
            "connection refused".clone_into(&mut report.reason);
            return report;
        }
        "2.6.12".clone_into(&mut report.version);
        report.window_ms = PERIOD.as_millis() as u32;
        let (algorithm, weights, note) = self.algorithm;
        report.groups.push(BackendGroup {
            name: GROUP.to_owned(),
            limit: None,
            algorithm: algorithm.to_owned(),
            weights,
            weights_note: note.to_owned(),
            queue: 0,
            latency: None,
            backends: self.servers(),
        });
        report
    }

    fn servers(&self) -> Vec<BackendServer> {
        let (weights, drained) = (self.weights.lock(), self.drained.lock());
        let is_ready = |name: &str| drained.as_deref() != Some(name);
        let ready = SERVERS.iter().filter(|(name, ..)| is_ready(name));
        let sum: u64 = ready.map(|(name, ..)| u64::from(weights[*name])).sum();
        let server = |&(name, address, configured, latency_ms, in_flight): &_| {
            let mut server = BackendServer::new(name, address, configured);
            server.weight = weights[name];
            server.limit = Some(LIMIT);
            if !is_ready(name) {
                server.state = BackendState::Drain;
                return server;
            }
            server.requests = REQUESTS * u64::from(weights[name]) / sum.max(1);
            server.errors = if name == "web3" { server.requests / 50 } else { 0 };
            server.latency_ms = Some(latency_ms);
            server.latency_p50_ms = Some(latency_ms * 0.8);
            server.latency_p99_ms = Some(latency_ms * 4.0);
            // In proportion to the requests: by Little's law.
            let share = server.requests as f64 / (REQUESTS as f64 / 3.0);
            server.in_flight = Some(in_flight * share);
            server
        };
        SERVERS.iter().map(server).collect()
    }

    fn hello(&self) -> Result<SteeringHello> {
        Ok(SteeringHello {
            node: NodeName::new(&self.node)?,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: rand::random(),
            revision: Revision(0),
            journal: String::new(),
            capabilities: vec![Capability {
                target: self.target.clone(),
                parameters: [("weight:*".to_owned(), Bounds::Number(0, 256))].into(),
                may_persist: false,
                reason: String::new(),
                largest_growth: None,
            }],
        })
    }

    fn obey(&self, policy: &AgentPolicy, sequence: &mut u64) -> Vec<PolicyOutcome> {
        let outcome = |wanted: &flyball_proto::steering::TargetPolicy| {
            let mut weights = self.weights.lock();
            for (parameter, value) in &wanted.settings {
                let backend = parameter.strip_prefix("weight:web/");
                if let (Some(backend), Ok(weight)) = (backend, value.parse()) {
                    weights.insert(backend.to_owned(), weight);
                }
            }
            *sequence += 1;
            PolicyOutcome {
                revision: policy.revision,
                target: wanted.target.clone(),
                result: PolicyResult::Applied,
                reason: String::new(),
                in_force: wanted.settings.clone(),
                expected: Settings::new(),
                rollout_id: wanted.rollout_id.clone(),
                sequence: *sequence,
            }
        };
        policy.targets.iter().map(outcome).collect()
    }
}

impl Balanced {
    /// Agents of these balancers at a collector.
    pub fn begin(grpc: SocketAddr, worlds: Vec<World>) -> Self {
        let worlds: Vec<_> = worlds.into_iter().map(Arc::new).collect();
        let task = |world: &Arc<World>| {
            let mut tasks = JoinSet::new();
            tasks.spawn(run(grpc, Arc::clone(world)));
            tasks
        };
        Self { tasks: worlds.iter().map(task).collect(), worlds }
    }

    /// The agent of one falls silent.
    pub fn silence(&mut self, index: usize) {
        self.tasks[index].abort_all();
    }
}

/// Reports, and does what is wanted, until the collector ends the stream.
async fn run(grpc: SocketAddr, world: Arc<World>) -> Result<()> {
    let channel = Endpoint::from_shared(format!("http://{grpc}"))?.connect().await?;
    let mut client = SteeringClient::new(channel);
    let (send, stream) = mpsc::channel::<v1::AgentSteering>(16);
    send.send(AgentSteering::Hello(world.hello()?).into()).await?;
    let mut policies = client.watch(ReceiverStream::new(stream)).await?.into_inner();
    let mut reports = interval(PERIOD);
    let (mut sequence, mut done) = (0, Revision(0));
    loop {
        tokio::select! {
            _ = reports.tick() => {
                let report = AgentSteering::Balancer(Box::new(world.report()));
                send.send(report.into()).await.context("the stream has ended")?;
            }
            policy = policies.message() => {
                let policy = policy?.context("the collector ended the stream")?;
                let policy = AgentPolicy::try_from(policy)?;
                if policy.revision == done {
                    continue;
                }
                done = policy.revision;
                for outcome in world.obey(&policy, &mut sequence) {
                    send.send(AgentSteering::Outcome(outcome).into()).await?;
                }
            }
        }
    }
}
