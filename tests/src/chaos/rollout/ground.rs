//! The processes: ClickHouse, collectors, an agent and its caches.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flyball_collector::config::Config;
use flyball_collector::steer::journal::{Follower, Journal};
use flyball_collector::store::{self, Secret, Store, StoreMetrics};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::super::unit::{Ending, Unit};
use crate::clickhouse::{self, ClickHouse};
use crate::http::Api;
use crate::port;
use crate::process::{binary, with_room};
use crate::steering::{Cache, FITS, MIB, NEEDS_ROOM, QUICK, agent_settings};
use crate::wait::until;

/// Longest time until anything here is ready.
const READY: Duration = Duration::from_mins(2);
/// The node that all caches are on.
pub(super) const NODE: &str = "cache-1";
/// Lease of trials, longer than a collector takes to start again on a busy machine.
const LEASE_MS: &str = "15000";

/// A cache and what its limit is between two changes.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) cache: Cache,
    /// Half of its limit does harm.
    pub(super) needs_room: bool,
}

/// See the module.
pub(super) struct Ground {
    pub(super) collectors: Vec<Unit>,
    pub(super) apis: Vec<Api>,
    pub(super) places: Vec<Arc<Place>>,
    pub(super) store: Store,
    agent: Unit,
    engine: Unit,
    // Last, so that the directory goes after the processes.
    _dir: TempDir,
}

impl Ground {
    pub(super) async fn start(collectors: usize, caches: usize) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("flyball-kills-").tempdir()?;
        let clickhouse = ClickHouse::prepare(dir.path())?;
        let server = clickhouse.clone();
        let mut engine = Unit::new("engine", dir.path(), Ending::Input, move || server.command());
        engine.run()?;
        until("ClickHouse to answer", READY, || clickhouse.query("SELECT 1")).await?;
        let (mut units, mut apis, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..collectors {
            let (mut unit, http, grpc) = collector(dir.path(), number, clickhouse.address())?;
            unit.run()?;
            let api = Api::new(http);
            ready(&mut unit, &api).await?;
            units.push(unit);
            apis.push(api);
            addresses.push(format!("http://{grpc}"));
        }
        let mut places = Vec::new();
        for number in 0..caches {
            let needs_room = number % 4 == 3;
            let load = if needs_room { NEEDS_ROOM } else { FITS };
            let name = format!("cache-{number}");
            let cache = Cache::start(dir.path(), &name, 8 * MIB, load).await?;
            places.push(Arc::new(Place { name, cache, needs_room }));
        }
        let named: Vec<_> = places.iter().map(|p| (p.name.as_str(), &p.cache)).collect();
        let file = agent_settings(dir.path(), &named, "")?;
        let (collectors, data) = (addresses.join(","), dir.path().join("agent"));
        let mut agent = Unit::new("agent", dir.path(), Ending::Signal, move || {
            let mut command = Command::new(binary("flyball-agent")?);
            with_room(&mut command).args([
                "--config",
                &file,
                "--node",
                NODE,
                "--collector",
                &collectors,
            ]);
            command.arg("--data-dir").arg(&data);
            Ok(command)
        });
        agent.run()?;
        let store = open(clickhouse.address()).await?;
        Ok(Self { collectors: units, apis, places, store, agent, engine, _dir: dir })
    }

    /// A reader of the journal that asks nobody but ClickHouse.
    pub(super) fn follower(&self) -> Follower {
        Follower::new(Journal::new(&self.store))
    }

    /// Logs of all processes, for a failure.
    pub(super) fn logs(&self) -> String {
        let tail = |unit: &Unit| {
            let log = unit.log();
            let lines: Vec<_> = log.lines().rev().take(40).collect();
            format!(
                "--- {}\n{}\n",
                unit.name,
                lines.into_iter().rev().collect::<Vec<_>>().join("\n")
            )
        };
        self.collectors.iter().chain([&self.agent]).map(tail).collect()
    }

    /// Stops everything in order.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.agent.stop().await?;
        for unit in &mut self.collectors {
            unit.stop().await?;
        }
        self.engine.stop().await
    }
}

/// Waits until a collector is ready.
pub(super) async fn ready(unit: &mut Unit, api: &Api) -> Result<()> {
    let ready = until("a collector to be ready", READY, || {
        let running = unit.run();
        async move {
            running?;
            api.json("/readyz").await
        }
    });
    ready.await.with_context(|| unit.log())?;
    Ok(())
}

fn collector(
    dir: &Path,
    number: usize,
    store: SocketAddr,
) -> Result<(Unit, SocketAddr, SocketAddr)> {
    let [http, grpc] =
        [port::free()?, port::free()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let name = format!("collector-{number}");
    let data = dir.join(&name);
    let mut settings: BTreeMap<String, String> =
        QUICK.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    for (key, value) in [
        ("ROLLOUT_LEASE_MS", LEASE_MS),
        ("CLICKHOUSE_URL", &format!("http://{store}")),
        ("CLICKHOUSE_USER", clickhouse::USER),
        ("CLICKHOUSE_PASSWORD", clickhouse::PASSWORD),
        ("CLICKHOUSE_TIMEOUT_MS", "4000"),
    ] {
        settings.insert(format!("FLYBALL_{key}"), value.to_owned());
    }
    let unit = Unit::new(&name, dir, Ending::SignalOrItself, move || {
        let mut command = Command::new(binary("flyball-collector")?);
        command.args(["--http", &http.to_string(), "--grpc", &grpc.to_string()]);
        command.arg("--data-dir").arg(&data).envs(&settings);
        Ok(command)
    });
    Ok((unit, http, grpc))
}

/// The store, without a collector.
async fn open(address: SocketAddr) -> Result<Store> {
    let mut config = Config::default();
    config.clickhouse.url = vec![format!("http://{address}")];
    clickhouse::USER.clone_into(&mut config.clickhouse.user);
    config.clickhouse.password = Secret::new(clickhouse::PASSWORD);
    let stop = CancellationToken::new();
    Ok(store::open(&config.store(), &StoreMetrics::default(), stop).await?.store)
}
