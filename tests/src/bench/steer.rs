//! From a wish to its being in force: the collector's service and real agents over TCP, with servers in memory instead of a thousand Redis.
//!
//! An agent here is all of it but its samples: stream, worker, decisions, record on disk, reading back. Records are on a file system in memory where there is one, because a
//! thousand hosts have a thousand disks. What the journal costs before a wish is known is not in it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flyball_agent::steer::actuator::{Actuator, Facts, Law, Memory, Reading, Step, Trouble};
use flyball_agent::steer::redis::RedisLaw;
use flyball_agent::steer::{self, Steer, SteerConfig, SteerParts};
use flyball_collector::live::Live;
use flyball_collector::run::grpc_server;
use flyball_collector::steer::watch::{AgentEvent, PolicyTable, Steering};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, Bounds, Canary, Capability, PolicyResult, Revision, Settings, Target, TargetPolicy,
};
use rand::RngExt as _;
use tokio::net::TcpListener;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;
use tonic::transport::server::TcpIncoming;

use super::confirm::Board;
use super::table::{Table, percentile};

/// Longest time until anything here must have happened.
const PATIENCE: Duration = Duration::from_mins(1);
/// Lease of the canaries: renewed by each stream every ten seconds meanwhile.
const LEASE: Duration = Duration::from_secs(30);
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// Milliseconds that a wish may take.
const BAR: f64 = 1_000.0;

/// Name of each server here, its one parameter, and the value that it starts with.
pub(super) const NAME: &str = "bench";
pub(super) const PARAMETER: &str = "maxmemory-samples";
pub(super) const START: &str = "5";

/// A server that takes every value at once.
#[derive(Debug)]
pub(super) struct InMemory {
    target: Target,
    in_force: Settings,
    /// Who is told that it was set, and as which node.
    told: Option<(usize, Arc<Board>)>,
}

impl InMemory {
    fn new() -> Self {
        let in_force = [(PARAMETER.to_owned(), START.to_owned())].into();
        Self { target: Target::new("redis", NAME), in_force, told: None }
    }

    /// The server of a node, which tells when it was set.
    pub(super) fn told(node: usize, board: Arc<Board>) -> Self {
        Self { told: Some((node, board)), ..Self::new() }
    }
}

/// The collector's part, and the agents.
struct Fleet {
    steering: Steering,
    policies: PolicyTable,
    nodes: Vec<NodeName>,
    events: Receiver<AgentEvent>,
    revision: u64,
    _dir: tempfile::TempDir,
    stop: CancellationToken,
}

/// Wishes for one agent at a time, `changes` of them, and for all at once, `rounds` times.
///
/// # Errors
/// When an agent does not do what is wanted of it in time.
pub async fn run(table: &mut Table, agents: usize, changes: usize, rounds: usize) -> Result<()> {
    let mut fleet = Fleet::start(agents).await?;
    let mut single = Vec::new();
    for _ in 0..changes {
        let node = rand::rng().random_range(0..agents);
        single.extend(fleet.want(&[node]).await?);
    }
    let mut all = Vec::new();
    let everybody: Vec<_> = (0..agents).collect();
    for _ in 0..rounds {
        all.extend(fleet.want(&everybody).await?);
    }
    fleet.stop.cancel();
    for (what, mut times) in [("one", single), ("all at once", all)] {
        times.sort_by(f64::total_cmp);
        let name = |p| format!("{what} of {agents} agents: wanted -> in force, {p} ms");
        table.push(&name("p99"), vec![percentile(&times, 0.99)], Some(BAR));
        table.push(&name("median"), vec![percentile(&times, 0.5)], None);
        table.push(&name("largest"), vec![percentile(&times, 1.0)], None);
    }
    Ok(())
}

impl Fleet {
    async fn start(agents: usize) -> Result<Self> {
        let (policies, stop) = (PolicyTable::default(), CancellationToken::new());
        let table = Arc::new(policies.clone());
        let steering = Steering::new(table, Live::new(agents), agents, stop.clone());
        let mut events = steering.agents().subscribe();
        let address = serve(&steering, stop.clone()).await?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("flyball-bench-steer-");
        let in_memory = builder.tempdir_in(MEMORY);
        let dir = in_memory.or_else(|_| builder.tempdir()).context("a directory")?;
        let mut nodes = Vec::new();
        for number in 0..agents {
            let node = NodeName::new(&format!("node-{number}"))?;
            let steer = agent(&node, address, &dir.path().join(number.to_string()))?;
            tokio::spawn(steer.run(stop.clone()));
            nodes.push(node);
            // They do not all come at once, but they do not wait for each other either.
            if number % 50 == 49 {
                connected(&steering, number / 2, &mut events).await?;
            }
        }
        connected(&steering, agents, &mut events).await?;
        Ok(Self { steering, policies, nodes, events, revision: 0, _dir: dir, stop })
    }

    /// Wants something new of these, and returns the milliseconds until it was in force at each.
    async fn want(&mut self, nodes: &[usize]) -> Result<Vec<f64>> {
        self.revision += 1;
        let mut began = HashMap::new();
        for &number in nodes {
            let node = &self.nodes[number];
            began.insert(node.clone(), Instant::now());
            self.policies.set(node, policy(self.revision))?;
        }
        let mut times = Vec::new();
        while !began.is_empty() {
            let event = timeout(PATIENCE, self.events.recv()).await;
            match event.with_context(|| format!("{} do not tell", began.len()))? {
                Ok(AgentEvent::Outcome(node, outcome)) => {
                    ensure!(outcome.result != PolicyResult::Rejected, "{}", outcome.reason);
                    let is_it = outcome.result == PolicyResult::Applied
                        && outcome.revision.0 == self.revision;
                    let began = if is_it { began.remove(&node) } else { None };
                    times.extend(began.map(elapsed_ms));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    for (node, state) in self.steering.agents().all() {
                        if state.in_force.0 == self.revision {
                            times.extend(began.remove(&node).map(elapsed_ms));
                        }
                    }
                }
                Err(RecvError::Closed) => bail!("nothing is told any more"),
            }
        }
        Ok(times)
    }
}

fn elapsed_ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// Serves as the collector does.
async fn serve(steering: &Steering, stop: CancellationToken) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = grpc_server().add_service(steering.service());
    tokio::spawn(async move {
        server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await
    });
    Ok(address)
}

fn agent(node: &NodeName, collector: SocketAddr, dir: &Path) -> Result<Steer> {
    let collector: Uri = format!("http://{collector}").parse()?;
    let server = InMemory::new();
    let parts = SteerParts {
        hello: steer::hello(node.clone(), env!("CARGO_PKG_VERSION"), rand::rng().random()),
        collectors: vec![collector],
        dir: &PathBuf::from(dir),
        actuators: vec![Box::new(server)],
        barred: Vec::new(),
    };
    Ok(Steer::start(parts)?)
}

/// Waits until so many agents watch.
async fn connected(
    steering: &Steering,
    count: usize,
    events: &mut Receiver<AgentEvent>,
) -> Result<()> {
    while steering.agents().connected() < count {
        match timeout(PATIENCE, events.recv()).await {
            Ok(_) => {}
            Err(_) => bail!("{} of {count} agents watch", steering.agents().connected()),
        }
    }
    Ok(())
}

/// Another value with each revision, on trial.
fn policy(revision: u64) -> AgentPolicy {
    let target = TargetPolicy {
        target: Target::new("redis", NAME),
        settings: [(PARAMETER.to_owned(), (1 + revision % 64).to_string())].into(),
        rollout_id: format!("r-{revision}"),
        canary: Some(Canary { lease: LEASE, revert_to: Settings::new() }),
        persist: false,
    };
    let targets = vec![target];
    AgentPolicy { revision: Revision(revision), targets, ..AgentPolicy::default() }
}

impl Actuator for InMemory {
    fn target(&self) -> &Target {
        &self.target
    }

    fn capability(&self) -> Capability {
        Capability {
            target: self.target.clone(),
            parameters: [(PARAMETER.to_owned(), Bounds::Number(1, 64))].into(),
            may_persist: false,
            reason: String::new(),
            largest_growth: None,
        }
    }

    fn law(&self) -> Box<dyn Law> {
        Box::new(RedisLaw::new(SteerConfig::default()))
    }

    fn read(&mut self) -> Result<Reading, Trouble> {
        let memory = Some(Memory { total_bytes: 1 << 40, available_bytes: 1 << 40 });
        Ok(Reading {
            in_force: self.in_force.clone(),
            identity: "bench".to_owned(),
            is_settled: true,
            facts: Facts { memory, ..Facts::default() },
            ..Reading::default()
        })
    }

    fn apply_step(&mut self, step: &Step) -> Result<(), Trouble> {
        self.in_force.insert(step.parameter.clone(), step.value.clone());
        if let Some((node, board)) = &self.told {
            board.set(*node);
        }
        Ok(())
    }

    fn persist(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}
