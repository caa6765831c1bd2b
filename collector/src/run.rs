//! The collector as a whole: store, last values, ingest, gRPC and HTTP, started in this order and stopped in the opposite one.
//!
//! Addresses are bound first, so that a wrong one costs no start of the engine. While a ClickHouse that is not ours is away, they say so ([`opening`]). On shutdown no new connection is accepted; frames that were read are
//! written and acknowledged, streams end, then the servers, and the engine last.

mod files;
mod opening;
mod servers;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flyball_service::endpoints;
use flyball_service::shutdown::within_grace;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::opening::Opening;
pub use self::servers::grpc_server;

use crate::account::Accounts;
use crate::api::hosts::Hosts;
use crate::api::{self, AppState, Parts, Readiness};
use crate::balancers::gather::LiveLoads;
use crate::balancers::recall as past_of_balancers;
use crate::balancers::recorder::{self, RecorderMetrics};
use crate::balancers::watch::PoolWatch;
use crate::config::Config;
use crate::ingest::{Ingest, IngestMetrics, IngestParts};
use crate::live::{Live, now_ms};
use crate::query::{QueryParts, SharedParts};
use crate::recall;
use crate::rollup::{self, Roller, RollupMetrics};
use crate::share;
use crate::steer::control::{ControlMetrics, Controls};
use crate::steer::driver::{Driver, DriverParts};
use crate::steer::journal::Journal;
use crate::steer::tell;
use crate::steer::watch::{PolicyTable, Steering};
use crate::store::engine::Engine;
use crate::store::{Catalog, OpenStore, Store, StoreError, StoreMetrics};
use crate::suggest::Suggester;

/// Part of the grace period in which ClickHouse may still accept what was read.
const DRAIN_SHARE: f64 = 0.6;
/// Longest time that connections may take to close after their streams have ended.
const CLOSE: Duration = Duration::from_secs(1);
/// Threads of the runtime: decoding and batching need less than one core for a thousand agents, queries the other.
const THREADS: usize = 2;
/// Shortest secret that values in Redis are authenticated with.
const MIN_SECRET_BYTES: usize = 16;

/// Why the collector could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error(
        "cannot write to the data directory {path}: {source}; choose another one with --data-dir"
    )]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else listens there.
    #[error(
        "{address} is in use by another process; stop it, or choose another address with {flag} (port 0 takes a free one)"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused threads, signal handlers or sockets.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The settings of Redis or their files.
    #[error("{0}")]
    Redis(String),
    /// A server ended by itself.
    #[error("the {0} server has stopped")]
    Server(&'static str),
    /// Not everything ended within the grace period.
    #[error("did not stop within the grace period of {grace_ms} ms")]
    Grace {
        /// `server.grace_ms`
        grace_ms: u64,
    },
}

/// The collector's runtime.
///
/// # Errors
/// When the system refuses it.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(THREADS).max_blocking_threads(4).thread_name("collector");
    builder.enable_all().build()
}

/// Runs the collector until `shutdown` is cancelled and everything has ended.
///
/// # Errors
/// When a part cannot start or ends by itself.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let grace = config.grace();
    let work = Box::pin(serve(config, shutdown.clone()));
    let grace_ms = grace.as_millis() as u64;
    Box::pin(within_grace(&shutdown, grace, work)).await.unwrap_or(Err(Error::Grace { grace_ms }))
}

async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let max_open_files = files::raise_limit();
    tracing::debug!(max_open_files, "each agent's connection is one");
    let data_dir = config.data_dir();
    prepare(&data_dir)?;
    let http = listen(config.server.http, "--http").await?;
    let grpc = listen(config.server.grpc, "--grpc").await?;
    for (key, address) in config.server.exposed() {
        tracing::warn!(key, %address, "other hosts reach this address without encryption and authentication");
    }
    let shared = share(&config).map_err(Error::Redis)?;
    let metrics = StoreMetrics::default();
    let addresses = BTreeMap::from([("http", http.local_addr()?), ("grpc", grpc.local_addr()?)]);
    let readiness = Readiness::default();
    let opening = Opening {
        config: &config,
        metrics: &metrics,
        readiness: &readiness,
        listeners: (&http, &grpc),
        addresses: &addresses,
    };
    let Some(opened) = opening.run(&shutdown).await? else { return Ok(()) };
    // Nobody else stores into the embedded engine. What was stored before this start is at most so far in the future.
    let alone_from_ms =
        opened.engine.as_ref().map(|_| now_ms() + config.ingest.max_future_ms as i64);
    let live = Live::with(config.live.clone(), alone_from_ms);
    match recall::nodes(&opened.store, &opened.catalog).await {
        Ok(nodes) => live.seed(nodes),
        Err(error) => tracing::warn!(%error, "nodes that are not connected are not shown yet"),
    }
    let mut running = Running::start(&config, opened, &metrics, readiness, live, shared, &shutdown);
    let ended = running.listen(http, grpc, &shutdown).await;
    let result = match announce(&data_dir, &addresses) {
        Ok(()) => tokio::select! {
            // The servers end on shutdown too: that is asked first.
            biased;
            () = shutdown.cancelled() => Ok(()),
            server = ended => Err(Error::Server(server)),
            () = running.ingest.ended() => Err(Error::Server("ingest")),
        },
        Err(error) => Err(error),
    };
    shutdown.cancel();
    running.stop(config.grace().mul_f64(DRAIN_SHARE)).await;
    result
}

/// The parts that run.
struct Running {
    ingest: Ingest,
    state: AppState,
    engine: Option<Engine>,
    /// Ends what serves streams and requests, after them.
    ending: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(
        config: &Config,
        opened: OpenStore,
        metrics: &StoreMetrics,
        readiness: Readiness,
        live: Live,
        shared: SharedParts,
        shutdown: &CancellationToken,
    ) -> Self {
        let OpenStore { store, catalog, engine } = opened;
        let accounts = Accounts::new(live.clone(), config.live.max_nodes);
        let ingest_metrics = IngestMetrics::new(config.live.max_nodes);
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("flyball");
        metrics.register(own);
        ingest_metrics.register(own);
        accounts.register(own);
        let (rollup_metrics, control_metrics) = <(RollupMetrics, ControlMetrics)>::default();
        rollup_metrics.register(own);
        control_metrics.register(own);
        let policies = PolicyTable::default();
        let steering = steering(config, &policies, &live, own, shutdown);
        let ending = CancellationToken::new();
        let record = record(&steering, &store, own, &ending);
        let roller = Roller::new(&store, config.rollup.clone(), rollup_metrics, &config.name());
        let parts = IngestParts {
            name: config.name(),
            settings: config.ingest.clone(),
            retention_days: config.clickhouse.retention_days,
            live: live.clone(),
            accounts: accounts.clone(),
            catalog: Arc::clone(&catalog),
            metrics: ingest_metrics,
        };
        let ingest = Ingest::start(parts, store.clone());
        let watched = engine.as_ref().map(Engine::state);
        let roll = tokio::spawn(rollup::run(roller, ending.clone()));
        let [tell, judge] = tell_and_judge(&live, &accounts, &catalog, &ending);
        // Nobody else stores into the embedded engine.
        let follow = engine.is_none().then(|| {
            let (store, catalog) = (store.clone(), Arc::clone(&catalog));
            tokio::spawn(recall::follow(store, catalog, live.clone(), ending.clone()))
        });
        let query = QueryParts {
            store,
            catalog,
            live: live.clone(),
            limits: config.query,
            cache: config.cache.clone(),
            shared,
            is_alone: engine.is_some(),
        };
        let steer = tokio::spawn(steering.clone().run(ending.clone()));
        let pools = PoolWatch::new(&config.balance, config.suggest.objective);
        let watching =
            pools.clone().run(steering.clone(), Arc::new(LiveLoads(live.clone())), ending.clone());
        let watching = tokio::spawn(watching);
        let recalling = recall_of_balancers(&pools, &query.store, &ending);
        let (driver, suggester, decide) =
            decide(config, &query, (&steering, policies, &pools), &accounts, &ending);
        let controls = Controls::new(driver.clone(), steering.clone(), pools, control_metrics);
        let controlling = tokio::spawn(controls.clone().run(ending.clone()));
        let (health, of, to) = (readiness.clone(), query.store.clone(), ending.clone());
        let watch = watch::run(health, ingest.clone(), of, watched, driver.clone(), to);
        let state = AppState::new(Parts {
            query,
            accounts,
            steering,
            driver,
            controls,
            suggester,
            registry,
            readiness,
            shutdown: shutdown.clone(),
            limits: config.http.limits(),
            hosts: Hosts::new(&config.http.hosts),
        });
        let sharing = share::run(state.querier().clone(), live, ending.clone());
        let share = tokio::spawn(sharing);
        let mut tasks = vec![tell, judge, roll, share, steer, record, watching, controlling];
        tasks.push(recalling);
        tasks.push(tokio::spawn(watch));
        tasks.extend(follow.into_iter().chain(decide));
        Self { ingest, state, engine, ending, tasks }
    }

    /// Starts both servers. What is returned ends when one of them ends by itself, with its name.
    async fn listen(
        &mut self,
        http: TcpListener,
        grpc: TcpListener,
        shutdown: &CancellationToken,
    ) -> impl Future<Output = &'static str> + use<> {
        let grpc = servers::grpc(grpc, &self.ingest, self.state.clone(), shutdown.clone()).await;
        let http = api::serve::serve(http, self.state.clone(), shutdown.clone());
        let (grpc_end, http_end) = (CancellationToken::new(), CancellationToken::new());
        self.tasks.push(supervise(grpc, grpc_end.clone()));
        self.tasks.push(supervise(http, http_end.clone()));
        async move {
            tokio::select! {
                () = grpc_end.cancelled() => "gRPC",
                () = http_end.cancelled() => "HTTP",
            }
        }
    }

    /// Writes and acknowledges what was read, within `patience`; then ends streams, servers and the engine, in this order.
    async fn stop(self, patience: Duration) {
        if !self.ingest.stop(sleep(patience)).await {
            tracing::warn!(
                "clickhouse did not accept everything in time, the agents keep the rest"
            );
        }
        self.ending.cancel();
        for mut task in self.tasks {
            if timeout(CLOSE, &mut task).await.is_err() {
                // A connection that does not close: its peer will notice.
                task.abort();
            }
        }
        if let Some(engine) = self.engine {
            engine.stop().await;
        }
        tracing::info!("stopped");
    }
}

/// What steers the agents. Nothing is wanted of any until the journal says so.
fn steering(
    config: &Config,
    policies: &PolicyTable,
    live: &Live,
    registry: &mut Registry,
    shutdown: &CancellationToken,
) -> Steering {
    let policies = Arc::new(policies.clone());
    let steering = Steering::new(policies, live.clone(), config.live.max_nodes, shutdown.clone());
    steering.metrics().register(registry);
    steering
}

/// Tells what is new in the fleet, and looks after accounts and alerts.
fn tell_and_judge(
    live: &Live,
    accounts: &Accounts,
    catalog: &Arc<Catalog>,
    ending: &CancellationToken,
) -> [JoinHandle<()>; 2] {
    let tell = {
        let (live, ending) = (live.clone(), ending.clone());
        async move { live.run(ending).await }
    };
    let judge = {
        let (accounts, ending) = (accounts.clone(), ending.clone());
        let catalog = Arc::clone(catalog);
        async move { accounts.run(catalog, ending).await }
    };
    [tokio::spawn(tell), tokio::spawn(judge)]
}

/// The task that writes down what agents report of load balancers.
fn record(
    steering: &Steering,
    store: &Store,
    registry: &mut Registry,
    ending: &CancellationToken,
) -> JoinHandle<()> {
    let metrics = RecorderMetrics::default();
    metrics.register(registry);
    let news = steering.balancers().news();
    tokio::spawn(recorder::run(store.clone(), news, metrics, ending.clone()))
}

/// Reads what pools were before the start.
fn recall_of_balancers(
    pools: &PoolWatch,
    store: &Store,
    ending: &CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(past_of_balancers::run(pools.clone(), store.clone(), ending.clone()))
}

/// What decides, what looks for something to suggest, and their tasks.
fn decide(
    config: &Config,
    query: &QueryParts,
    (steering, policies, pools): (&Steering, PolicyTable, &PoolWatch),
    accounts: &Accounts,
    ending: &CancellationToken,
) -> (Driver, Suggester, [JoinHandle<()>; 3]) {
    let (driver, driving) = Driver::new(DriverParts {
        journal: Journal::new(&query.store),
        steering: steering.clone(),
        policies,
        pools: pools.clone(),
        accounts: accounts.clone(),
        live: query.live.clone(),
        limits: config.rollout.clone(),
        judge: config.judge.clone(),
        is_alone: query.is_alone,
    });
    let judging = (&config.judge, &config.rollout);
    let suggester =
        Suggester::new(&driver, steering, (&query.store, pools), &config.suggest, judging);
    let tell = tell::run(steering.clone(), query.live.clone(), ending.clone());
    let tasks = [
        tokio::spawn(driving.run(ending.clone())),
        tokio::spawn(suggester.clone().run(ending.clone())),
        tokio::spawn(tell),
    ];
    (driver, suggester, tasks)
}

/// The cache of parts of answers, in Redis too when there is one.
fn share(config: &Config) -> Result<SharedParts, String> {
    if !config.redis.is_on() {
        return Ok(SharedParts::local(&config.cache));
    }
    let secret = if let Some(path) = &config.redis.secret_file {
        std::fs::read(path).map_err(|error| {
            format!("redis.secret_file: cannot read {}: {error}", path.display())
        })?
    } else {
        let password = config.clickhouse.resolved_password();
        let password = password.map_err(|error| error.to_string())?;
        let database = &config.clickhouse.database;
        format!("flyball cache of {database}: {}", password.expose()).into_bytes()
    };
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!(
            "redis.secret_file: has {} bytes, at least {MIN_SECRET_BYTES} are needed",
            secret.len()
        ));
    }
    SharedParts::redis(&config.cache, &config.redis, &secret)
}

/// Cancels `end` when `server` has ended, however it ended.
fn supervise(
    server: impl Future<Output = ()> + Send + 'static,
    end: CancellationToken,
) -> JoinHandle<()> {
    let guard = end.drop_guard();
    tokio::spawn(async move {
        server.await;
        drop(guard);
    })
}

/// Creates the data directory and proves that it can be written.
fn prepare(path: &Path) -> Result<(), Error> {
    let probe = path.join(format!(".probe.{}", std::process::id()));
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|source| Error::DataDir { path: path.to_owned(), source })
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { address, flag },
        _ => Error::Listen { address, flag, source },
    })
}

/// Writes and logs the addresses in use.
fn announce(data_dir: &Path, addresses: &BTreeMap<&'static str, SocketAddr>) -> Result<(), Error> {
    write_endpoints(data_dir, addresses)?;
    tracing::info!(http = %addresses["http"], grpc = %addresses["grpc"], "listening");
    Ok(())
}

fn write_endpoints(
    data_dir: &Path,
    addresses: &BTreeMap<&'static str, SocketAddr>,
) -> Result<(), Error> {
    endpoints::write(data_dir, addresses)
        .map_err(|source| Error::DataDir { path: data_dir.to_owned(), source })
}
