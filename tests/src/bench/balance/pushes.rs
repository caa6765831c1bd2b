//! From a policy that the collector sends to its being in force, and to the requests that follow it: a real HAProxy and a real Envoy with the shipped agent between.
//!
//! The collector's own service for policies runs in this process, so that the moment at which a policy is wanted is known. In force is what HAProxy's runtime socket or Envoy's
//! admin server says, asked again and again; requests go on meanwhile, and none may fail. Envoy is given a policy each second and a bit, because weights are pushed no more
//! often to it; each goes out at once then.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
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

use super::scene::servers;
use super::{Options, say};
use crate::balance::{
    AgentOf, Algorithm, Backends, Cluster, Envoy, EnvoyFleet, GROUP, Haproxy, HaproxyFleet, Load,
    Sample, Source, Spec,
};
use crate::bench::table::{Bar, Table, percentile};
use crate::bench::temporary;
use crate::port;
use crate::process::{Process, binary};
use crate::wait::until;

/// Milliseconds from a policy to its being in force.
const BAR: f64 = 50.0;
const PATIENCE: Duration = Duration::from_secs(30);
const NODE: &str = "lb";
/// Quick backends: what is measured is not theirs.
const SPECS: [Spec; 4] = [Spec::new(8, 2); 4];
/// Requests a second meanwhile.
const RATE: f64 = 300.0;
/// Requests in a row to one backend, which a draw would hardly give.
const IN_A_ROW: usize = 6;
/// One in so many pushes is followed by its requests.
const FOLLOWED: usize = 10;
/// So many fewer policies for an Envoy, and the time between two.
const ENVOY_FEWER: usize = 40;
const ENVOY_PACE: Duration = Duration::from_millis(1_200);

/// The collector's part.
struct Policies {
    table: PolicyTable,
    steering: Steering,
    address: SocketAddr,
    node: NodeName,
    revision: u64,
    _stop: DropGuard,
}

/// What is pushed to.
enum Plane {
    Haproxy(Haproxy),
    Envoy(Envoy),
}

/// A data plane, its agent and its clients.
struct Ground<'a> {
    plane: &'a Plane,
    // As the plane names them.
    backends: Vec<String>,
    favourite: u32,
    poll: Duration,
    load: Load,
}

/// `options.pushes` policies, one after the other, and fewer for Envoy.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    haproxy(table, options.pushes).await?;
    envoy(table, options.pushes.div_ceil(ENVOY_FEWER)).await
}

async fn haproxy(table: &mut Table, pushes: usize) -> Result<()> {
    let (dir, backends) = (temporary()?, Backends::start(&SPECS, false).await?);
    let servers = servers(&backends, &SPECS, &[128; 4]);
    let mut fleet =
        HaproxyFleet::start(dir.path(), "lb", 1, Algorithm::RoundRobin, &servers).await?;
    let one = fleet.0.pop().context("one was started")?;
    let mut policies = Policies::serve().await?;
    let agent = agent(&AgentOf::from(&one), policies.address, dir.path())?;
    let load = Load::start(&[one.address], RATE, 1);
    let plane = Plane::Haproxy(one);
    let names = (0..SPECS.len()).map(|number| format!("b{number}")).collect();
    let poll = Duration::from_millis(1);
    let ground = Ground { plane: &plane, backends: names, favourite: 256, poll, load };
    policies.connected(&agent).await?;
    ground.push_all(table, &mut policies, pushes, Duration::ZERO).await.with_context(|| agent.log())
}

async fn envoy(table: &mut Table, pushes: usize) -> Result<()> {
    let (dir, backends) = (temporary()?, Backends::start(&SPECS, true).await?);
    let xds = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
    let endpoints: Vec<_> = backends.0.iter().map(|one| (one.address, 4)).collect();
    let names = endpoints.iter().map(|(address, _)| address.to_string()).collect();
    let cluster = Cluster { policy: "ROUND_ROBIN", endpoints };
    // The admin interface of an Envoy that is not there yet: nothing is measured here.
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
    let mut policies = Policies::serve().await?;
    let settings = AgentOf::Envoy { name: "edge".into(), admin, xds, cluster };
    let agent = agent(&settings, policies.address, dir.path())?;
    let fleet = EnvoyFleet::start(dir.path(), "envoy", 1, &Source::Xds(xds)).await;
    let one = fleet.with_context(|| agent.log())?.0.pop().context("one was started")?;
    let load = Load::start(&[one.address], RATE, 1);
    let plane = Plane::Envoy(one);
    let poll = Duration::from_millis(2);
    let ground = Ground { plane: &plane, backends: names, favourite: 16, poll, load };
    policies.connected(&agent).await?;
    ground.push_all(table, &mut policies, pushes, ENVOY_PACE).await.with_context(|| agent.log())
}

impl Plane {
    const fn name(&self) -> &'static str {
        match self {
            Self::Haproxy(_) => "HAProxy",
            Self::Envoy(_) => "Envoy",
        }
    }

    fn target(&self) -> Target {
        match self {
            Self::Haproxy(one) => Target::new("haproxy", &one.name),
            Self::Envoy(_) => Target::new("envoy", "edge"),
        }
    }

    async fn weights(&self) -> Result<HashMap<String, u32>> {
        match self {
            Self::Haproxy(one) => one.weights().await,
            Self::Envoy(one) => one.weights().await,
        }
    }
}

impl Ground<'_> {
    /// The favourite changes with each push.
    async fn push_all(
        &self,
        table: &mut Table,
        policies: &mut Policies,
        pushes: usize,
        pace: Duration,
    ) -> Result<()> {
        let begun = Instant::now();
        let (mut in_force, mut follows) = (Vec::new(), Vec::new());
        let name = self.plane.name();
        for push in 0..pushes {
            if push % 100 == 0 {
                say(&format!("pushes: {name}, {push} of {pushes}"));
            }
            sleep(pace).await;
            let favourite = push % 2;
            let wanted = Instant::now();
            in_force.push(policies.push(self, favourite).await?);
            // Requests tell it later than the plane itself, in proportion to their rate.
            if push % FOLLOWED == 0 {
                follows.push(self.followed(wanted, favourite as u16).await?);
            }
        }
        self.load.set_rate(0.0);
        until("the last answers", PATIENCE, || async {
            ensure!(self.load.under_way() == 0, "{} are open", self.load.under_way());
            Ok(())
        })
        .await?;
        let samples = self.load.samples(begun, Instant::now());
        let failed = samples.iter().filter(|sample| !sample.is_good()).count();
        for (what, mut times, bar) in
            [("in force", in_force, Some(BAR)), ("requests follow", follows, None)]
        {
            times.sort_by(f64::total_cmp);
            let row = |p| format!("{name}: policy wanted -> {what}, {p} ms");
            table.push(&row("median"), vec![percentile(&times, 0.5)], None);
            table.push(&row("p99"), vec![percentile(&times, 0.99)], bar);
        }
        let row = format!("{name}: requests failed in {pushes} pushes");
        table.add(&row, failed as f64, Some(Bar::AtMost(0.0)));
        table.add(&format!("{name}: requests meanwhile"), samples.len() as f64, None);
        Ok(())
    }

    /// Milliseconds from `wanted` until the first of several requests in a row that go to the favourite; they were due after it.
    async fn followed(&self, wanted: Instant, favourite: u16) -> Result<f64> {
        let first = until("requests that follow", PATIENCE, || async {
            let mut samples = self.load.samples(wanted, Instant::now());
            samples.sort_by_key(|sample| sample.due);
            let is_his = |of: &[Sample]| of.iter().all(|one| one.backend == Some(favourite));
            let found = samples.windows(IN_A_ROW).find(|of| is_his(of)).map(|of| of[0].due);
            found.context("not yet")
        })
        .await?;
        Ok(first.duration_since(wanted).as_secs_f64() * 1e3)
    }
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

    async fn connected(&self, agent: &Process) -> Result<()> {
        let connected = until("the agent to watch", PATIENCE, || async {
            ensure!(self.steering.agents().connected() == 1, "not yet");
            Ok(())
        });
        connected.await.with_context(|| agent.log())
    }

    /// Wants one of the first two backends to have most of the requests; milliseconds until the plane says that it is so.
    async fn push(&mut self, ground: &Ground<'_>, favourite: usize) -> Result<f64> {
        self.revision += 1;
        let weights: HashMap<String, u32> = ground
            .backends
            .iter()
            .enumerate()
            .map(|(number, name)| {
                (name.clone(), if number == favourite { ground.favourite } else { 1 })
            })
            .collect();
        let setting = |(server, weight): (&String, &u32)| {
            (format!("weight:{GROUP}/{server}"), weight.to_string())
        };
        let target = TargetPolicy {
            target: ground.plane.target(),
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
            let found = ground.plane.weights().await?;
            if weights.iter().all(|(server, weight)| found.get(server) == Some(weight)) {
                return Ok(begun.elapsed().as_secs_f64() * 1e3);
            }
            let of_node = self.steering.agents().all();
            ensure!(begun.elapsed() < PATIENCE, "{found:?} are in force; {of_node:?}");
            sleep(ground.poll).await;
        }
    }
}

fn agent(balancer: &AgentOf, collector: SocketAddr, dir: &Path) -> Result<Process> {
    let file = dir.join("agent.toml");
    let settings = format!("[budget]\ncpu_percent = 100.0\n{}", balancer.settings());
    std::fs::write(&file, settings)?;
    let mut command = Command::new(binary("flyball-agent")?);
    command.arg("--collector").arg(format!("http://{collector}"));
    command.args(["--node", NODE, "--data-dir"]).arg(dir.join("agent"));
    command.arg("--config").arg(file);
    Process::start("agent", command, dir)
}
