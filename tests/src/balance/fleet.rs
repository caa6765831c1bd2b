//! Flyball in front of a fleet: the shipped collector, the shipped agents, and what a person says to them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::GROUP;
use super::backend::PROBE;
use super::envoy::Cluster;
use super::haproxy::Haproxy;
use crate::http::Api;
use crate::process::Process;
use crate::stack::{Collector, Stack};
use crate::steering::{PATIENCE, confirmed, rollout_within, say, text};
use crate::wait::until;

/// The settings under which minutes are seconds, for balancers.
///
/// All balancers of a fleet are on one host here, which would be one node; a share of the nodes of less than one would allow one of them at a time.
const SETTINGS: &[(&str, &str)] = &[
    ("FLYBALL_ROLLOUT_FLEET_SHARE", "1"),
    ("FLYBALL_ROLLOUT_LARGEST_SHARE", "1"),
    ("FLYBALL_ROLLOUT_CANARY_SHARE", "0.25"),
    ("FLYBALL_ROLLOUT_RECORD_MS", "60000"),
    // Two dozen processes on two cores keep each other waiting for seconds.
    ("FLYBALL_ROLLOUT_LEASE_MS", "30000"),
    ("FLYBALL_ROLLOUT_BALANCER_HOLD_MS", "2000"),
    ("FLYBALL_ROLLOUT_BALANCER_VALIDATE_MIN_MS", "2000"),
    ("FLYBALL_ROLLOUT_BALANCER_VALIDATE_MAX_MS", "180000"),
    // In so few requests a tenth more latency is not seen in the noise.
    ("FLYBALL_JUDGE_LATENCY_MARGIN", "0.5"),
    ("FLYBALL_JUDGE_MIN_BEFORE", "16"),
    ("FLYBALL_JUDGE_MIN_AFTER", "8"),
];

/// Longest time of a rollout: windows may be of five seconds, and there are several waves.
const LONGEST: Duration = Duration::from_mins(10);

/// What an agent is told of one balancer.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentOf {
    /// An HAProxy by its runtime socket.
    Haproxy {
        /// Name of the target.
        name: String,
        /// The socket.
        socket: PathBuf,
    },
    /// Envoys that ask the agent for their endpoints.
    Envoy {
        /// Name of the target.
        name: String,
        /// Admin server of one of them.
        admin: SocketAddr,
        /// Where the agent's xDS server listens.
        xds: SocketAddr,
        /// What is served as long as nothing was changed.
        cluster: Cluster,
    },
    /// A backend that is asked how busy it is.
    Orca(SocketAddr),
}

/// A collector and agents that may change balancers.
#[derive(Debug)]
pub struct Flyball {
    /// The processes.
    pub stack: Stack,
    settings: Vec<(&'static str, &'static str)>,
    agents: Vec<(String, String)>,
}

impl From<&Haproxy> for AgentOf {
    fn from(one: &Haproxy) -> Self {
        Self::Haproxy { name: one.name.clone(), socket: one.socket.clone() }
    }
}

impl AgentOf {
    /// Its tables of an agent's settings.
    pub fn settings(&self) -> String {
        match self {
            Self::Haproxy { name, socket } => format!(
                "[[haproxy]]\nname = '{name}'\nsocket = '{}'\nsteer = true\n",
                socket.display()
            ),
            Self::Envoy { name, admin, xds, cluster } => {
                let endpoint = |(address, weight): &(SocketAddr, u32)| {
                    format!("{{ address = '{address}', weight = {weight} }}")
                };
                let endpoints: Vec<_> = cluster.endpoints.iter().map(endpoint).collect();
                format!(
                    "[[envoy]]\nname = '{name}'\nadmin = 'http://{admin}'\nxds_listen = '{xds}'\nsteer = true\n\
                     [[envoy.clusters]]\nname = '{GROUP}'\npolicy = '{}'\nendpoints = [{}]\n",
                    cluster.policy.to_ascii_lowercase(),
                    endpoints.join(", ")
                )
            }
            Self::Orca(backend) => format!(
                "[[orca]]\nname = 'backend-{}'\naddress = '{backend}'\nurl = 'http://{backend}{PROBE}'\n",
                backend.port()
            ),
        }
    }
}

impl Flyball {
    /// Starts a collector with these settings besides those for short windows, and one agent for each list of balancers, as nodes `lb-0` and so on.
    ///
    /// # Errors
    /// When the collector or an agent does not come up.
    pub async fn start(
        balancers: &[Vec<AgentOf>],
        others: &[(&'static str, &'static str)],
    ) -> Result<Self> {
        let kept = SETTINGS.iter().filter(|(key, _)| others.iter().all(|(other, _)| other != key));
        let all: Vec<_> = kept.chain(others).copied().collect();
        let settings = crate::steering::quick_with(&all);
        let stack = Stack::start_with(&settings).await?;
        let mut flyball = Self { stack, settings, agents: Vec::new() };
        for (number, list) in balancers.iter().enumerate() {
            let node = format!("lb-{number}");
            let file = flyball.write(&node, list)?;
            flyball.stack.start_agent(&node, &["--config", &file])?;
            flyball.agents.push((node, file));
        }
        for (number, (node, _)) in flyball.agents.iter().enumerate() {
            let up = flyball.stack.wait_up(node).await;
            up.with_context(|| flyball.stack.agents[number].log())?;
        }
        Ok(flyball)
    }

    fn write(&self, node: &str, list: &[AgentOf]) -> Result<String> {
        let mut text = "[budget]\ncpu_percent = 100.0\n".to_owned();
        for one in list {
            write!(text, "{}", one.settings())?;
        }
        let file = self.stack.dir().join(format!("{node}.toml"));
        std::fs::write(&file, text)?;
        Ok(file.to_str().context("a path in UTF-8")?.to_owned())
    }

    /// The collector's API.
    pub fn api(&self) -> &Api {
        &self.stack.collector.api
    }

    /// Waits until the collector knows so many balancers that are up.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn known(&self, count: usize) -> Result<Value> {
        until("balancers to be known", PATIENCE, || async {
            let answer = self.api().json("/api/performance/balancers").await?;
            let all = answer["balancers"].as_array().context("balancers")?;
            let up = all.iter().filter(|one| one["state"] == "up").count();
            ensure!(up == count, "{up} of {count} are up: {answer}");
            Ok(answer)
        })
        .await
    }

    /// Asks for suggestions until there is one of this kind for the pool. Gives the suggestion.
    ///
    /// # Errors
    /// When there is none in time; with the reasons why not.
    pub async fn suggested(&self, kind: &str) -> Result<Value> {
        until(&format!("a suggestion {kind}"), PATIENCE, || async {
            let answer = self.api().posted("/api/performance/optimize", &json!({})).await?;
            let all = answer["suggestions"].as_array().context("suggestions")?;
            let found = all.iter().find(|one| one["kind"] == kind).cloned();
            found.with_context(|| answer.to_string())
        })
        .await
    }

    /// Confirms a suggestion and waits until it is promoted. Gives the rollout.
    ///
    /// # Errors
    /// When it is refused, or ends otherwise.
    pub async fn promoted(&self, suggestion: &Value) -> Result<Value> {
        let id = confirmed(self.api(), &text(suggestion, "id")?).await?;
        let over = |rollout: &Value| rollout["ended_at_ms"].is_i64() || is_kept(rollout);
        let done = rollout_within(self.api(), &id, LONGEST, over).await?;
        ensure!(is_kept(&done), "{done:#}");
        Ok(done)
    }

    /// What the collector says of the pool.
    ///
    /// # Errors
    /// When it does not know it.
    pub async fn pool(&self) -> Result<Value> {
        self.api().json(&format!("/api/performance/balancers/pools/{GROUP}")).await
    }

    /// Tells the pool something: `freeze`, `unfreeze`, `kill`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn tell(&self, order: &str) -> Result<Value> {
        let path = format!("balancers/pools/{GROUP}/{order}");
        let (status, answer) = say(self.api(), &path).await?;
        ensure!((200..300).contains(&status), "{order}: {status} {answer}");
        Ok(answer)
    }

    /// Kills the collector and waits for its end.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill_collector(&mut self) -> Result<()> {
        kill(&mut self.stack.collector.process).await
    }

    /// Starts the collector again at its old address with what it had.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_collector(&mut self) -> Result<()> {
        let (dir, grpc) = (self.stack.dir().to_owned(), self.stack.collector.grpc);
        self.stack.collector = Collector::start_with(&dir, grpc, &self.settings).await?;
        Ok(())
    }

    /// Kills an agent and waits for its end.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill_agent(&mut self, number: usize) -> Result<()> {
        kill(&mut self.stack.agents[number]).await
    }

    /// Starts an agent again that was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_agent(&mut self, number: usize) -> Result<()> {
        let (node, file) = self.agents[number].clone();
        self.stack.start_agent(&node, &["--config", &file])?;
        let started = self.stack.agents.pop().context("it was just started")?;
        self.stack.agents[number] = started;
        Ok(())
    }
}

fn is_kept(rollout: &Value) -> bool {
    rollout["state"] == "promoted"
}

async fn kill(process: &mut Process) -> Result<()> {
    process.signal(rustix::process::Signal::KILL)?;
    process.wait(crate::wait::SOON).await?;
    Ok(())
}
