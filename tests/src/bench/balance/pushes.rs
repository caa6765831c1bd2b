//! From a policy that the collector sends to the requests that follow it, on a real HAProxy with the shipped agent between.
//!
//! The collector's own service for policies runs in this process, so that the moment at which a policy is wanted is known. In force is what HAProxy's runtime socket says,
//! asked each millisecond; requests go on meanwhile, and none may fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_collector::live::Live;
use flyball_collector::run::grpc_server;
use flyball_collector::steer::watch::{PolicyTable, Steering};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{AgentPolicy, Revision, Target, TargetPolicy};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::TcpIncoming;

use super::scene::{Scene, Stage};
use super::{Options, say};
use crate::balance::{Algorithm, GROUP};
use crate::bench::table::{Bar, Table, percentile};
use crate::bench::temporary;
use crate::process::{Process, binary};
use crate::wait::until;

/// Milliseconds from a policy to its being in force.
const BAR: f64 = 50.0;
const POLL: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);
const NODE: &str = "lb";
/// Requests a second meanwhile, of which one tells soon that it follows.
const RATE: f64 = 300.0;
/// Requests in a row to one backend, which a draw would hardly give.
const IN_A_ROW: usize = 6;

/// The collector's part.
struct Policies {
    table: PolicyTable,
    steering: Steering,
    address: SocketAddr,
    node: NodeName,
    revision: u64,
    _stop: DropGuard,
}

/// `options.pushes` policies, one after the other.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    let (dir, scene) = (temporary()?, Scene::one());
    let mut policies = Policies::serve().await?;
    let stage = scene.set(dir.path(), Algorithm::RoundRobin, &[128; 4], 0.0).await?;
    let agent = agent(&stage, policies.address, dir.path())?;
    let connected = until("the agent to watch", PATIENCE, || async {
        ensure!(policies.steering.agents().connected() == 1, "not yet");
        Ok(())
    });
    connected.await.with_context(|| agent.log())?;
    stage.load.set_rate(RATE);
    let begun = Instant::now();
    let (mut in_force, mut follows) = (Vec::new(), Vec::new());
    for push in 0..options.pushes {
        if push % 100 == 0 {
            say(&format!("pushes: {push} of {}", options.pushes));
        }
        // The two quick backends in turns: the one has nearly all of the requests, the other hardly any.
        let favourite = push % 2;
        let one = policies.push(&stage, favourite).await.with_context(|| agent.log())?;
        in_force.push(one);
        // Requests tell it in one of ten only: they take longer to do so than the push.
        if push % 10 == 0 {
            follows.push(followed(&stage, favourite as u16).await?);
        }
    }
    stage.load.set_rate(0.0);
    until("the last answers", PATIENCE, || async {
        ensure!(stage.load.under_way() == 0, "{} are open", stage.load.under_way());
        Ok(())
    })
    .await?;
    let samples = stage.load.samples(begun, Instant::now());
    let failed = samples.iter().filter(|sample| !sample.is_good()).count();
    for (what, mut times, bar) in
        [("in force", in_force, Some(BAR)), ("requests follow", follows, None)]
    {
        times.sort_by(f64::total_cmp);
        let name = |p| format!("HAProxy: policy wanted -> {what}, {p} ms");
        table.push(&name("median"), vec![percentile(&times, 0.5)], None);
        table.push(&name("p99"), vec![percentile(&times, 0.99)], bar);
    }
    let name = format!("HAProxy: requests failed in {} pushes", options.pushes);
    table.add(&name, failed as f64, Some(Bar::AtMost(0.0)));
    table.add("HAProxy: requests meanwhile", samples.len() as f64, None);
    Ok(())
}

impl Policies {
    async fn serve() -> Result<Self> {
        let (table, stop) = (PolicyTable::default(), CancellationToken::new());
        let source = Arc::new(table.clone());
        let steering = Steering::new(source, Live::new(1), 1, stop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = grpc_server().add_service(steering.service());
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { server.serve_with_incoming_shutdown(incoming, stopped).await });
        let node = NodeName::new(NODE)?;
        Ok(Self { table, steering, address, node, revision: 0, _stop: stop.drop_guard() })
    }

    /// Wants one of the two quick backends to have nearly all requests; milliseconds until HAProxy says that it is so.
    async fn push(&mut self, stage: &Stage, favourite: usize) -> Result<f64> {
        self.revision += 1;
        let haproxy = &stage.fleet.0[0];
        let weights: Vec<(String, u32)> = (0..4)
            .map(|number| (format!("b{number}"), if number == favourite { 256 } else { 1 }))
            .collect();
        let setting = |(server, weight): &(String, u32)| {
            (format!("weight:{GROUP}/{server}"), weight.to_string())
        };
        let target = TargetPolicy {
            target: Target::new("haproxy", &haproxy.name),
            settings: weights.iter().map(setting).collect(),
            rollout_id: format!("r-{}", self.revision),
            canary: None,
            persist: false,
        };
        let revision = Revision(self.revision);
        let policy = AgentPolicy { revision, targets: vec![target], ..AgentPolicy::default() };
        let begun = Instant::now();
        self.table.set(&self.node, policy)?;
        loop {
            let found = haproxy.weights().await?;
            if weights.iter().all(|(server, weight)| found.get(server) == Some(weight)) {
                return Ok(begun.elapsed().as_secs_f64() * 1e3);
            }
            let of_node = self.steering.agents().all();
            ensure!(begun.elapsed() < PATIENCE, "{found:?} are in force; {of_node:?}");
            sleep(POLL).await;
        }
    }
}

/// Milliseconds from now until requests go to the favourite one after the other.
async fn followed(stage: &Stage, favourite: u16) -> Result<f64> {
    let begun = Instant::now();
    let first = until("requests that follow", PATIENCE, || async {
        let mut samples = stage.load.samples(begun, Instant::now());
        samples.sort_by_key(|sample| sample.due);
        let is_his = |of: &[crate::balance::Sample]| {
            of.iter().all(|sample| sample.backend == Some(favourite))
        };
        let found = samples.windows(IN_A_ROW).find(|of| is_his(of)).map(|of| of[0].due);
        found.context("not yet")
    })
    .await?;
    Ok(first.duration_since(begun).as_secs_f64() * 1e3)
}

fn agent(stage: &Stage, collector: SocketAddr, dir: &std::path::Path) -> Result<Process> {
    let one = &stage.fleet.0[0];
    let file = dir.join("agent.toml");
    let settings = format!(
        "[budget]\ncpu_percent = 100.0\n[[haproxy]]\nname = '{}'\nsocket = '{}'\nsteer = true\n",
        one.name,
        one.socket.display()
    );
    std::fs::write(&file, settings)?;
    let mut command = Command::new(binary("flyball-agent")?);
    command.arg("--collector").arg(format!("http://{collector}"));
    command.args(["--node", NODE, "--data-dir"]).arg(dir.join("agent"));
    command.arg("--config").arg(file);
    Process::start("agent", command, dir)
}
