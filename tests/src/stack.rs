//! A collector with its embedded ClickHouse and any number of agents, in one temporary directory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_service::endpoints;
use tempfile::TempDir;
use tokio::process::Command;

use crate::http::Api;
use crate::process::{Process, binary, with_room};
use crate::{port, wait};

/// Longest time from a collector's start until it is ready, on a machine that is busy with other tests.
const READY: Duration = Duration::from_mins(1);

/// Any port of the loopback address.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    /// The process.
    pub process: Process,
    /// Its API.
    pub api: Api,
    /// Address of its gRPC server.
    pub grpc: SocketAddr,
    data_dir: PathBuf,
}

/// A collector, its agents, and the directory they live in.
#[derive(Debug)]
pub struct Stack {
    /// The collector.
    pub collector: Collector,
    /// The agents, in the order they were started.
    pub agents: Vec<Process>,
    // Last, so that the directory goes after the processes.
    dir: TempDir,
}

impl Collector {
    /// Starts a collector with its data in `dir` and its gRPC server on `grpc`, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn start(dir: &Path, grpc: SocketAddr) -> Result<Self> {
        Self::start_with(dir, grpc, &[]).await
    }

    /// The same with settings as environment variables, for example `FLYBALL_INGEST_PERIOD_MS`.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn start_with(
        dir: &Path,
        grpc: SocketAddr,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let data_dir = dir.join("collector");
        let _ = std::fs::remove_file(data_dir.join(endpoints::FILE));
        let mut command = Command::new(binary("flyball-collector")?);
        command.args(["--http", "127.0.0.1:0", "--grpc"]).arg(grpc.to_string());
        command.arg("--data-dir").arg(&data_dir).envs(settings.iter().copied());
        let mut process = Process::start("collector", command, dir)?;
        let addresses = wait::until("the collector's endpoints", READY, || {
            let running = process.check_running();
            let read = endpoints::read(&data_dir);
            async move {
                running?;
                Ok(read?)
            }
        });
        let addresses = addresses.await.with_context(|| process.log())?;
        let address = |name: &str| addresses.get(name).copied().context("endpoints.json is whole");
        let api = Api::new(address("http")?);
        let ready = wait::until("the collector to be ready", READY, || api.json("/readyz")).await;
        ready.with_context(|| process.log())?;
        Ok(Self { grpc: address("grpc")?, process, api, data_dir })
    }

    /// The directory of its data.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}

impl Stack {
    /// Starts a collector and nothing else.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with settings of the collector as environment variables.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(Self::directory()?, settings).await
    }

    /// A directory for a stack that is started later on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory() -> Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("flyball-").tempdir()?)
    }

    /// The same in a directory in which a collector's data, below `collector`, may be already.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> Result<Self> {
        // One at which it can be started again.
        let grpc = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let collector = Collector::start_with(dir.path(), grpc, settings).await?;
        Ok(Self { collector, agents: Vec::new(), dir })
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts an agent that reports as `node`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&mut self, node: &str, arguments: &[&str]) -> Result<&mut Process> {
        let mut command = Command::new(binary("flyball-agent")?);
        command.arg("--collector").arg(format!("http://{}", self.collector.grpc));
        with_room(&mut command)
            .args(["--node", node, "--data-dir"])
            .arg(self.dir.path().join(node))
            .args(arguments);
        self.agents.push(Process::start(node, command, self.dir.path())?);
        self.agents.last_mut().context("an agent was just added")
    }

    /// Waits until `node` is up in the status.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn wait_up(&self, node: &str) -> Result<serde_json::Value> {
        wait::until(&format!("{node} to be up"), wait::SOON, || async {
            let status = self.collector.api.json("/api/performance/status").await?;
            let nodes = status["nodes"].as_array().context("status has nodes")?;
            let found = nodes.iter().find(|n| n["node"] == node && n["up"] == true);
            found.cloned().with_context(|| format!("not up: {status}"))
        })
        .await
    }

    /// Checks that every sample is accounted for: by each agent (produced = stored + in flight + shed) and by the collector (received = stored + in flight +
    /// rejected), and that no alert says otherwise.
    ///
    /// # Errors
    /// When something does not add up, or an agent that runs has not reported.
    pub async fn check_accounts(&self) -> Result<()> {
        wait::until("accounts that add up", wait::SOON, || async {
            let fleet = self.collector.api.json("/api/performance/status").await?;
            for node in fleet["nodes"].as_array().context("status has nodes")? {
                let account = &node["accounting"];
                ensure!(account.is_null() || account["gap"] == 0, "a gap: {node}");
            }
            let reported = fleet["accounting"]["nodes"].as_u64().unwrap_or_default();
            ensure!(self.agents.is_empty() || reported > 0, "no agent has reported: {fleet}");
            Ok(())
        })
        .await?;
        let alerts = self.collector.api.json("/api/performance/alerts").await?;
        let alerts = alerts["alerts"].as_array().context("alerts are a list")?;
        ensure!(alerts.iter().all(|alert| alert["name"] != "accounting.gap"), "{alerts:?}");
        // Four counts are not read at one moment: while frames arrive they may differ for an instant.
        wait::until("the collector's own account", wait::SOON, || async {
            let (_, text) = self.collector.api.get("/metrics").await?;
            let sum = |name: &str| -> f64 {
                let name = format!("flyball_ingest_samples_{name}{{");
                let of_nodes = text.lines().filter(|line| line.starts_with(&name));
                of_nodes.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
            };
            let known = sum("stored_total") + sum("in_flight") + sum("rejected_total");
            ensure!((sum("received_total") - known).abs() < 0.5, "{text}");
            Ok(())
        })
        .await
    }

    /// Checks the accounts, then stops agents and collector as a person would; all must end with code 0.
    ///
    /// # Errors
    /// When samples are not accounted for, or a process does not end as it should.
    pub async fn stop(self) -> Result<()> {
        self.check_accounts().await?;
        self.shut_down().await?;
        Ok(())
    }

    /// Stops everything and gives the collector's data directory, which lasts as long as the other directory given.
    ///
    /// # Errors
    /// When a process does not end with code 0.
    pub async fn shut_down(mut self) -> Result<(PathBuf, TempDir)> {
        for agent in &mut self.agents {
            agent.stop().await?;
        }
        self.collector.process.stop().await?;
        Ok((self.collector.data_dir, self.dir))
    }
}
