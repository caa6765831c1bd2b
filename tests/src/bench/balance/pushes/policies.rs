//! The collector's own service for policies in this process, and an agent that watches it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use flyball_collector::live::Live;
use flyball_collector::run::grpc_server;
use flyball_collector::steer::watch::{AgentEvent, PolicyTable, Steering};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, PolicyResult, Revision, Settings, Target, TargetPolicy,
};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::TcpIncoming;

use super::PATIENCE;
use crate::process::{Process, binary};
use crate::wait::until;

const NODE: &str = "lb";

/// The collector's part, for one agent with one target.
pub(super) struct Policies {
    table: PolicyTable,
    steering: Steering,
    address: SocketAddr,
    node: NodeName,
    target: Target,
    revision: u64,
    _stop: DropGuard,
}

/// A policy that was sent to the agent.
pub(super) struct Wanted {
    /// When.
    pub(super) at: Instant,
    revision: Revision,
    events: Receiver<AgentEvent>,
}

impl Policies {
    /// Serves on a free port.
    pub(super) async fn serve(target: Target) -> Result<Self> {
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
        let revision = 0;
        Ok(Self { table, steering, address, node, target, revision, _stop: stop.drop_guard() })
    }

    /// Starts an agent with these settings, which watches this; its files are in `dir`.
    pub(super) fn agent(&self, settings: &str, dir: &Path) -> Result<Process> {
        let file = dir.join("agent.toml");
        // Each policy sends most of the requests to another backend, so that they tell which one is in force.
        let own = "[budget]\ncpu_percent = 100.0\n[steer]\nlargest_shift = 1.0\n";
        std::fs::write(&file, format!("{own}{settings}"))?;
        let mut command = Command::new(binary("flyball-agent")?);
        command.arg("--collector").arg(format!("http://{}", self.address));
        command.args(["--node", NODE, "--data-dir"]).arg(dir.join("agent"));
        command.arg("--config").arg(file);
        Process::start("agent", command, dir)
    }

    /// Waits until the agent watches.
    pub(super) async fn connected(&self) -> Result<()> {
        until("the agent to watch", PATIENCE, || async {
            ensure!(self.steering.agents().connected() == 1, "not yet");
            Ok(())
        })
        .await
    }

    /// Waits until the agent has counted requests of the target: what it serves by xDS is paced by them.
    pub(super) async fn counted(&self) -> Result<()> {
        until("the agent to count requests", PATIENCE, || async {
            let known = self.steering.balancers().get(&self.node, &self.target);
            let Some(reported) = known else { bail!("no report yet") };
            let backends = reported.report.groups.iter().flat_map(|group| &group.backends);
            let requests: u64 = backends.map(|backend| backend.requests).sum();
            ensure!(requests > 0, "{:?}", reported.report);
            Ok(())
        })
        .await
    }

    /// Sends these settings to the agent.
    pub(super) fn want(&mut self, settings: Settings) -> Result<Wanted> {
        self.revision += 1;
        let revision = Revision(self.revision);
        let target = TargetPolicy {
            target: self.target.clone(),
            settings,
            rollout_id: format!("r-{}", self.revision),
            canary: None,
            persist: false,
        };
        let policy = AgentPolicy { revision, targets: vec![target], ..AgentPolicy::default() };
        let events = self.steering.agents().subscribe();
        let at = Instant::now();
        self.table.set(&self.node, policy)?;
        Ok(Wanted { at, revision, events })
    }

    /// What the agent has told.
    pub(super) fn told(&self) -> String {
        format!("{:?}", self.steering.agents().all())
    }
}

impl Wanted {
    /// Waits until the agent has told that all of it is in force; the time from the sending until that has come.
    pub(super) async fn applied(&mut self) -> Result<Duration> {
        timeout(PATIENCE, self.told()).await?
    }

    async fn told(&mut self) -> Result<Duration> {
        loop {
            let AgentEvent::Outcome(_, outcome) = self.events.recv().await? else { continue };
            if outcome.revision != self.revision {
                continue;
            }
            match outcome.result {
                PolicyResult::Applying => {}
                PolicyResult::Applied => return Ok(self.at.elapsed()),
                other => bail!("{}: {}", other.as_str(), outcome.reason),
            }
        }
    }
}
