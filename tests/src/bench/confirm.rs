//! From a person's confirmation to its being in force: the shipped collector with a ClickHouse of its own, real HTTP, and agents as in [`super::steer`].
//!
//! A confirmation is two rows of the journal (confirmed, started), each appended and read back, before the policy goes out. What is in force is what the server
//! in memory was set to.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_agent::steer::{self, Steer, SteerParts};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{CacheReport, CacheState, Target};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use rand::RngExt as _;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::steer::{InMemory, NAME, PARAMETER, START};
use super::table::{Table, percentile};
use crate::clickhouse::{self, ClickHouse};
use crate::http::Api;
use crate::port;
use crate::process::{Process, binary};
use crate::steering::{say, text};
use crate::wait::until;

/// Longest time until anything here must have happened.
const PATIENCE: Duration = Duration::from_mins(3);
/// Milliseconds from a confirmation to its being in force.
const BAR: f64 = 1_000.0;
/// Confirmations that wait for their answers at once.
const AT_ONCE: usize = 64;

/// When each server was set, by node.
#[derive(Debug, Default)]
pub(super) struct Board {
    set: Mutex<HashMap<usize, Instant>>,
    changed: Notify,
}

impl Board {
    /// A server was set now.
    pub(super) fn set(&self, node: usize) {
        self.set.lock().insert(node, Instant::now());
        self.changed.notify_waiters();
    }

    /// Waits until it was.
    async fn wait(&self, node: usize) -> Result<Instant> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(at) = self.set.lock().get(&node) {
                    return *at;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, wait).await.with_context(|| format!("node-{node} is not set"))
    }
}

struct Fleet {
    api: Api,
    board: Arc<Board>,
    stop: CancellationToken,
    _collector: Process,
    _engine: Process,
    _dir: tempfile::TempDir,
}

/// Confirmations one after the other at `changes` of the agents, then at once at all the others.
///
/// # Errors
/// When one is refused or does not come into force.
pub async fn run(table: &mut Table, agents: usize, changes: usize) -> Result<()> {
    let fleet = Fleet::start(agents).await?;
    let mut suggestions = Vec::new();
    for node in 0..agents {
        suggestions.push((node, fleet.propose(node).await?));
    }
    let (one, all) = suggestions.split_at(changes.min(agents));
    let (mut answers, mut single) = (Vec::new(), Vec::new());
    for (node, suggestion) in one {
        let (answered, in_force) = fleet.confirm(*node, suggestion).await?;
        answers.push(answered);
        single.push(in_force);
    }
    let mut crowd = Vec::new();
    for part in all.chunks(AT_ONCE) {
        let confirms = part.iter().map(|(node, suggestion)| fleet.confirm(*node, suggestion));
        crowd.extend(try_join_all(confirms).await?.into_iter().map(|(_, in_force)| in_force));
    }
    fleet.stop.cancel();
    for (what, mut times, bar) in [
        (format!("one of {agents} agents: confirm -> in force"), single, Some(BAR)),
        ("confirm -> answer".to_owned(), answers, None),
        (format!("{AT_ONCE} at once: confirm -> in force"), crowd, None),
    ] {
        times.sort_by(f64::total_cmp);
        for (p, share, bar) in [("p99", 0.99, bar), ("median", 0.5, None), ("largest", 1.0, None)] {
            if !times.is_empty() {
                table.push(&format!("{what}, {p} ms"), vec![percentile(&times, share)], bar);
            }
        }
    }
    Ok(())
}

impl Fleet {
    async fn start(agents: usize) -> Result<Self> {
        let dir = super::temporary()?;
        let (clickhouse, engine) = ClickHouse::start(dir.path()).await?;
        let [http, grpc] = [port::free()?, port::free()?]
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let collector = collector(dir.path(), http, grpc, clickhouse.address())?;
        let api = Api::new(http);
        until("the collector to be ready", PATIENCE, || api.json("/readyz")).await?;
        // Nothing is confirmed without a past to judge it by.
        let past = format!(
            "INSERT INTO flyball.cache_stats (node, cache, ts, kind, started_at) \
             SELECT 'node-' || toString(number % {agents}), '{NAME}', \
             now64(3) - toIntervalSecond(number < {agents} ? 900 : 0), 'redis', \
             now64(3) - toIntervalSecond(9000) FROM numbers({})",
            2 * agents
        );
        clickhouse.query(&past).await?;
        let (board, stop) = (Arc::new(Board::default()), CancellationToken::new());
        for number in 0..agents {
            let agent = agent(number, grpc, dir.path(), &board)?;
            tokio::spawn(agent.run(stop.clone()));
        }
        until("all agents to watch", PATIENCE, || async {
            let answer = api.json("/api/performance/policies").await?;
            let all = answer["policies"].as_array().context("policies")?;
            let watch = all.iter().filter(|node| node["connected"] == true).count();
            ensure!(watch == agents, "{watch} of {agents} watch");
            Ok(())
        })
        .await?;
        Ok(Self { api, board, stop, _collector: collector, _engine: engine, _dir: dir })
    }

    async fn propose(&self, node: usize) -> Result<String> {
        let body = json!({
            "target": format!("redis:node-{node}:{NAME}"),
            "change": [{ "parameter": PARAMETER, "to": "7" }],
            "prediction": { "before": 0.5, "after": 0.5 },
        });
        let (status, answer) = self.api.post("/api/performance/suggestions", &body).await?;
        ensure!(status == 201, "{status} {answer}");
        text(&answer, "id")
    }

    /// Milliseconds until the answer, and until it is in force.
    async fn confirm(&self, node: usize, suggestion: &str) -> Result<(f64, f64)> {
        let begun = Instant::now();
        let (status, answer) = say(&self.api, &format!("suggestions/{suggestion}/confirm")).await?;
        let answered = begun.elapsed();
        ensure!(status == 202, "{status} {answer}");
        let set = self.board.wait(node).await?.duration_since(begun);
        Ok((answered.as_secs_f64() * 1e3, set.as_secs_f64() * 1e3))
    }
}

fn collector(dir: &Path, http: SocketAddr, grpc: SocketAddr, store: SocketAddr) -> Result<Process> {
    let mut command = Command::new(binary("flyball-collector")?);
    command.args(["--http", &http.to_string(), "--grpc", &grpc.to_string()]);
    command.arg("--data-dir").arg(dir.join("collector"));
    for (key, value) in [
        ("CLICKHOUSE_URL", format!("http://{store}")),
        ("CLICKHOUSE_USER", clickhouse::USER.to_owned()),
        ("CLICKHOUSE_PASSWORD", clickhouse::PASSWORD.to_owned()),
        ("SUGGEST_PERIOD_MS", "0".to_owned()),
        // None goes on while others are confirmed.
        ("ROLLOUT_HOLD_MS", "3600000".to_owned()),
        ("ROLLOUT_FLEET_SHARE", "1".to_owned()),
    ] {
        command.env(format!("FLYBALL_{key}"), value);
    }
    Process::start("collector", command, dir)
}

fn agent(number: usize, collector: SocketAddr, dir: &Path, board: &Arc<Board>) -> Result<Steer> {
    let node = NodeName::new(&format!("node-{number}"))?;
    let server = InMemory::told(number, Arc::clone(board));
    let parts = SteerParts {
        hello: steer::hello(node, env!("CARGO_PKG_VERSION"), rand::rng().random()),
        collectors: vec![format!("http://{collector}").parse()?],
        dir: &dir.join(format!("agent-{number}")),
        actuators: vec![Box::new(server)],
        barred: Vec::new(),
    };
    let steer = Steer::start(parts)?;
    let mut report = CacheReport::new(Target::new("redis", NAME), CacheState::Up, 0);
    report.settings = [(PARAMETER.to_owned(), START.to_owned())].into();
    steer.outbox().cache(report);
    Ok(steer)
}
