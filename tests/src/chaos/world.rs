//! Everything that a chaos run consists of: one ClickHouse, collectors on it, agents on the collectors, a proxy on each connection.
//!
//! ```text
//! agent-0 --proxy--> collector-0 --proxy--\
//!        \ \-proxy-> collector-1 --proxy---> ClickHouse
//! ```
//!
//! Time is compressed: agents sample every 100 to 200 ms and requests to ClickHouse time out after seconds.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::process::Command;

use super::clock::Clock;
use super::disk::Disk;
use super::namespace::Namespace;
use super::plan::{Abilities, Shape, Target};
use super::unit::{Ending, Unit};
use crate::clickhouse::{self, ClickHouse};
use crate::http::Api;
use crate::port;
use crate::process::{binary, with_room};
use crate::proxy::{Mode, Proxy};
use crate::wait::until;

/// Longest time until everything is ready, on a machine that is busy with other tests.
const READY: Duration = Duration::from_mins(2);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Samplers that are left out: what remains is a mix of steady series and ones that come and go.
const SAMPLERS_OFF: [&str; 6] =
    ["disk", "filesystem", "network", "transport", "pressure", "paging"];
/// A clock that is this far behind makes all samples late: ten minutes, a minute until their rollups are computed, and as much again.
const LATE_MS: i64 = -22 * 60_000;
const TMPFS_BYTES: u64 = 2 << 20;

/// One collector from outside.
#[derive(Debug, Clone)]
pub struct CollectorSide {
    /// Its API.
    pub api: Api,
    grpc: SocketAddr,
}

/// One agent from outside.
#[derive(Debug, Clone)]
pub struct AgentSide {
    /// Its node's name.
    pub node: String,
    /// Its own record of what it has produced.
    pub record: PathBuf,
    /// Time between two of its frames.
    pub interval: Duration,
    /// All its samples are late: the time that they are of has rollups.
    pub is_late: bool,
}

/// All processes and what is between them.
pub struct World {
    /// The server behind the engine.
    pub clickhouse: ClickHouse,
    /// The ClickHouse server's process; taken out by who looks after it.
    pub engine: Option<Unit>,
    /// The collectors.
    pub collectors: Vec<Unit>,
    /// Where the collectors are.
    pub sides: Vec<CollectorSide>,
    /// The agents.
    pub agents: Vec<Unit>,
    /// Who the agents are.
    pub nodes: Vec<AgentSide>,
    // Last, so that the directory goes after the processes.
    dir: TempDir,
}

impl World {
    /// Starts everything and waits until every collector is ready. Gives the shape with the abilities that this machine allows, and prints a line for
    /// each that it does not.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start(wanted: &Shape) -> Result<(Self, Shape)> {
        let dir = tempfile::Builder::new().prefix("flyball-chaos-").tempdir()?;
        let clickhouse = ClickHouse::prepare(dir.path())?;
        let server = clickhouse.clone();
        let mut engine = Unit::new("engine", dir.path(), Ending::Input, move || server.command());
        engine.run()?;
        let engine = Some(engine);
        let (collectors, sides, agents, nodes) = (vec![], vec![], vec![], vec![]);
        let mut world = Self { clickhouse, engine, collectors, sides, agents, nodes, dir };
        until("ClickHouse to answer", READY, || world.clickhouse.query("SELECT 1")).await?;
        for number in 0..wanted.collectors {
            world.add_collector(number).await?;
            // One after the other: the first one creates the tables.
            world.wait_ready(number).await?;
        }
        let mut agents = Vec::new();
        for (number, abilities) in wanted.agents.iter().enumerate() {
            agents.push(world.add_agent(number, *abilities).await?);
        }
        Ok((world, Shape { agents, ..wanted.clone() }))
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends everything and keeps the directory.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// The processes by what a plan calls them.
    pub fn units(&mut self) -> Vec<(Target, &mut Unit)> {
        let collectors = self.collectors.iter_mut().enumerate();
        let collectors = collectors.map(|(number, unit)| (Target::Collector(number), unit));
        let agents = self.agents.iter_mut().enumerate();
        let agents = agents.map(|(number, unit)| (Target::Agent(number), unit));
        let engine = self.engine.iter_mut().map(|unit| (Target::Engine, unit));
        engine.chain(collectors).chain(agents).collect()
    }

    /// Waits until collector `number` is ready, starting it again when it has ended by itself.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn wait_ready(&mut self, number: usize) -> Result<()> {
        let api = self.sides[number].api.clone();
        let collector = &mut self.collectors[number];
        let ready = until("a collector to be ready", READY, || {
            let running = collector.run();
            let api = &api;
            async move {
                running?;
                api.json("/readyz").await
            }
        });
        ready.await.with_context(|| self.collectors[number].log())?;
        Ok(())
    }

    /// Kills collector `number` for good: nobody starts it again.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn lose_collector(&mut self, number: usize) -> Result<()> {
        self.collectors.remove(number).kill().await?;
        self.sides.remove(number);
        Ok(())
    }

    /// Ends all faults: links pass, and everything runs and is ready.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn heal(&mut self) -> Result<()> {
        for (_, unit) in self.units() {
            unit.links.iter().for_each(|link| link.set(Mode::Pass));
            unit.run()?;
        }
        until("ClickHouse to answer", READY, || self.clickhouse.query("SELECT 1")).await?;
        for number in 0..self.collectors.len() {
            self.wait_ready(number).await?;
        }
        Ok(())
    }

    async fn add_collector(&mut self, number: usize) -> Result<()> {
        let name = format!("collector-{number}");
        let [http, grpc] = [port::free()?, port::free()?]
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let store = Proxy::start(LOCALHOST, self.clickhouse.address()).await?;
        let file = self.dir().join(format!("{name}.toml"));
        let data_dir = self.dir().join(&name);
        let (user, password) = (clickhouse::USER, clickhouse::PASSWORD);
        let text = format!(
            "[server]\nhttp = \"{http}\"\ngrpc = \"{grpc}\"\ndata_dir = \"{}\"\nname = \"{name}\"\n\
             [clickhouse]\nurl = \"http://{}\"\nuser = \"{user}\"\npassword = \"{password}\"\ntimeout_ms = 4000\n",
            data_dir.display(),
            store.address()
        );
        std::fs::write(&file, text)?;
        let mut unit = Unit::new(&name, self.dir(), Ending::SignalOrItself, move || {
            let mut command = Command::new(binary("flyball-collector")?);
            command.arg("--config").arg(&file);
            Ok(command)
        });
        unit.links.push(store);
        self.collectors.push(unit);
        self.sides.push(CollectorSide { api: Api::new(http), grpc });
        Ok(())
    }

    async fn add_agent(&mut self, number: usize, wanted: Abilities) -> Result<Abilities> {
        let node = format!("agent-{number}");
        let dir = self.dir().join(&node);
        std::fs::create_dir_all(&dir)?;
        let clock =
            wanted.clock.map(|offset_ms| Clock::new(&dir, offset_ms)).transpose()?.flatten();
        let disk = if wanted.disk { Disk::mount(&dir.join("disk"), TMPFS_BYTES)? } else { None };
        let namespace = if wanted.namespace { Namespace::create().await? } else { None };
        let got = Abilities {
            clock: clock.as_ref().and(wanted.clock),
            disk: disk.is_some(),
            namespace: namespace.is_some(),
        };
        tell_missing(&node, wanted, got);

        let host = namespace.as_ref().map_or(LOCALHOST, Namespace::host);
        let mut links = Vec::new();
        for side in &self.sides {
            links.push(Proxy::start(host, side.grpc).await?);
        }
        let data_dir = disk.as_ref().map_or_else(|| dir.join("data"), |d| d.path().join("data"));
        let interval = Duration::from_millis([100, 200][number % 2]);
        let is_late = got.clock.is_some_and(|offset_ms| offset_ms <= LATE_MS);
        let record = dir.join("record");
        let side = AgentSide { node: node.clone(), record, interval, is_late };
        let file = dir.join("agent.toml");
        std::fs::write(&file, agent_toml(&side, &data_dir, &links)?)?;
        let (inside, seen) = (namespace.as_ref().map(Namespace::number), clock.clone());
        let mut unit = Unit::new(&node, self.dir(), Ending::Signal, move || {
            let program = binary("flyball-agent")?;
            let mut command =
                inside.map_or_else(|| Command::new(&program), |n| Namespace::command(n, &program));
            with_room(&mut command).arg("--config").arg(&file);
            if let Some(clock) = &seen {
                clock.apply(&mut command);
            }
            Ok(command)
        });
        (unit.links, unit.clock, unit.disk, unit.namespace) = (links, clock, disk, namespace);
        unit.spool = Some(data_dir.join("spool"));
        unit.run()?;
        self.agents.push(unit);
        self.nodes.push(side);
        Ok(got)
    }
}

/// Settings of an agent that may use all the CPU that it needs: slowed samplers would only make the run shorter of samples.
fn agent_toml(side: &AgentSide, data_dir: &Path, links: &[Proxy]) -> Result<String> {
    let urls: Vec<_> = links.iter().map(|link| format!("http://{}", link.address())).collect();
    let AgentSide { node, record, interval, .. } = side;
    let mut text = format!(
        "[agent]\ncollector = \"{}\"\nnode = \"{node}\"\ninterval = \"{}ms\"\ndata_dir = \"{}\"\nrecord = \"{}\"\ninsecure = true\n\
         [budget]\ncpu_percent = 100.0\n[sense.processes]\nperiod_seconds = 1\n",
        urls.join(","),
        interval.as_millis(),
        data_dir.display(),
        record.display(),
    );
    for sampler in SAMPLERS_OFF {
        write!(text, "[samplers.{sampler}]\nenabled = false\n")?;
    }
    Ok(text)
}

fn tell_missing(node: &str, wanted: Abilities, got: Abilities) {
    use std::io::Write as _;
    let lines = [
        (
            wanted.clock != got.clock,
            "its clock is the host's: install the Debian package libfaketime",
        ),
        (wanted.disk && !got.disk, "no full disk: mounting a tmpfs needs root"),
        (
            wanted.namespace && !got.namespace,
            "no partition by network namespace (needs root and iproute2): connections go into a black hole instead",
        ),
    ];
    for (_, line) in lines.iter().filter(|(missing, _)| *missing) {
        // For people; may be lost.
        let _ = writeln!(std::io::stderr(), "{node}: {line}");
    }
}
