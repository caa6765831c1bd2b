//! The agent as a whole: one thread samples, one runs the connection, the outbox is between them.
//!
//! ```text
//! sampling thread: schedule -> recorder -> [outbox] -> ship: runtime thread
//! samplers that may block: a thread each
//! targets that are steered: a thread each, told by the runtime thread
//! caches that are observed: a thread each
//! ```
//!
//! Sampling has a thread of its own because it is to be on time: neither a burst of acknowledgements nor a name that does not resolve may delay it.
//! On shutdown sampling stops first; then what is left is sent, until everything is stored or the grace period is over.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use flyball_proto::series::NodeName;
use flyball_proto::{PROTOCOL_VERSION, v1};
use flyball_service::shutdown::{GRACE_PERIOD, within_grace};
use rand::RngExt as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::cache::observer::{ObserverParts, Observers};
use crate::config::{Config, Servers};
use crate::data_dir::{DataDir, DataDirError};
use crate::envoy::{Balanced, BalancerParts, Balancers, Task};
use crate::haproxy::Watchers;
use crate::nginx;
use crate::recorder::{Record, Recorder, Scheduled};
use crate::schedule::{Next, Now, Schedule};
use crate::sense;
use crate::ship::Ship;
use crate::ship::outbox::{Outbox, OutboxSettings, SharedOutbox};
use crate::spool::{SegmentMeta, Spool, SpoolError};
use crate::steer::actuator::Actuator;
use crate::steer::haproxy::HaproxyActuator;
use crate::steer::nginx::NginxActuator;
use crate::steer::redis::RedisActuator;
use crate::steer::xds::{self, ReadOnly, XdsActuator};
use crate::steer::{self, Steer, SteerConfig, SteerParts};

/// Longest sleep of the sampling thread: how late a step of the wall clock may be noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Directory of the spool, below the data directory.
const SPOOL: &str = "spool";
/// Directory of what is being steered, below the data directory.
const STEER: &str = "steer";
/// Directory of what was learned of caches, below the data directory.
const CACHE: &str = "cache";
/// How long the end of the process waits for the disk.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Stack of the sampling thread. Only what is touched becomes resident.
const STACK_BYTES: usize = 1024 * 1024;

/// Why the agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The node has no name.
    #[error("this host has no usable name ({0}); give one with --node")]
    Node(String),
    /// The system refused a thread, a signal handler or the event loop.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// The record cannot be written.
    #[error("cannot write the record {path}: {source}")]
    Record {
        /// Its file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The sampling thread has ended by itself.
    #[error("sampling has stopped")]
    Sampling,
}

/// The event loop of the connection: one thread, because one stream needs no more.
///
/// # Errors
/// When the system refuses it.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()
}

/// Samples and sends until `shutdown` is cancelled, then drains.
///
/// # Errors
/// When the agent cannot start, or sampling fails as a whole.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let servers = config.servers();
    let samplers = config.samplers(&servers);
    let host = sense::host_identity(&config.sense.paths);
    run_with(config, samplers, servers, host, shutdown).await
}

/// As [`run`], with other samplers and another identity. `servers` are those that samplers share with whoever else works on them.
///
/// # Errors
/// See [`run`].
pub async fn run_with(
    config: Config,
    samplers: Vec<Scheduled>,
    servers: Servers,
    host: v1::Host,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let data_dir = DataDir::open(&config.data_dir())?;
    let hello = hello(&config, host)?;
    let interval = config.agent.interval.0;
    tracing::info!(
        node = hello.node,
        collector = %config.agent.collector,
        interval_ms = hello.interval_ms,
        samplers = samplers.len(),
        data_dir = %data_dir.path().display(),
        version = hello.agent_version,
        "starting"
    );
    if config.is_exposed() {
        tracing::warn!(
            collector = %config.agent.collector,
            "samples leave this host without encryption"
        );
    }
    let outbox = Arc::new(SharedOutbox::new(open_outbox(&config, &data_dir, &hello)?));
    let recorder = Recorder::new(samplers, interval, config.budget.limits(), Arc::clone(&outbox))?
        .with_record(open_record(&config.agent.record, &hello)?);
    let dir = data_dir.path().join(STEER);
    let xds_dir = data_dir.path().join(xds::DIR);
    let mut parts = steer_parts(&config, &servers, &hello, &dir);
    let serving = add_envoys(&mut parts, &servers.balanced, &config.steer, &xds_dir)?;
    let steer = Steer::start(parts)?;
    let balanced = servers.balanced.clone();
    let balancers = Balancers::start(BalancerParts {
        envoys: balanced.envoys,
        orca: balanced.orca,
        utilizations: balanced.utilizations,
        tasks: serving,
        outbox: steer.outbox(),
        cpu: balanced.cpu,
    })?;
    let observers = Observers::start(&ObserverParts {
        instances: &servers.redis,
        config: &config.observe,
        dir: &data_dir.path().join(CACHE),
        paths: &config.sense.paths,
        outbox: steer.outbox(),
    })?;
    let _watchers = Watchers::start(&servers.haproxy, &steer.outbox())?;
    let (stop, stopped) = start_sampling(recorder, interval)?;
    let (drain, failed) = (CancellationToken::new(), AtomicBool::new(false));
    // Boxed, because the futures of a gRPC connection are large.
    let ship = Ship::new(config.collectors(), hello, Arc::clone(&outbox))
        .replaying(config.ship.replay_rate);
    let ship = Box::pin(ship.run(drain.clone()));
    let watching = Box::pin(nginx::watch(config.nginx(), steer.outbox(), drain.clone()));
    let steer = Box::pin(steer.run(drain.clone()));
    let observing = Box::pin(observers.run(drain.clone()));
    let balancing = Box::pin(balancers.run(drain.clone()));
    let work = async {
        let sampling = async {
            let result = wait_for_sampling(stop, stopped, &shutdown).await;
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
                // Also starts the grace period: a collector that takes nothing must not keep an agent alive that samples nothing.
                shutdown.cancel();
            }
            outbox.lock().seal();
            outbox.notify();
            drain.cancel();
            result
        };
        tokio::join!(sampling, ship, steer, observing, watching, balancing).0
    };
    let unfinished = || if failed.load(Ordering::Relaxed) { Err(Error::Sampling) } else { Ok(()) };
    let result = within_grace(&shutdown, GRACE_PERIOD, work).await.unwrap_or_else(unfinished);
    report(&outbox);
    result
}

/// What is to be steered: the instances whose settings allow it.
fn steer_parts<'a>(
    config: &Config,
    servers: &Servers,
    hello: &v1::Hello,
    dir: &'a Path,
) -> SteerParts<'a> {
    let (paths, settings) = (&config.sense.paths, &config.steer);
    let redis = &servers.redis;
    let (steered, barred): (Vec<_>, Vec<_>) =
        redis.iter().cloned().partition(|instance| instance.config().steer);
    let actuator = |instance| -> Box<dyn Actuator> {
        Box::new(RedisActuator::new(instance, settings, paths).beside(redis))
    };
    let bar = |instance| -> Box<dyn Actuator> {
        Box::new(RedisActuator::barred(instance, settings, paths))
    };
    let nginx = |is_steered: bool| {
        let all = config.nginx().into_iter().filter(move |one| one.config().steer == is_steered);
        all.map(|one| -> Box<dyn Actuator> { Box::new(NginxActuator::new(one, settings)) })
    };
    let haproxy = |is_steered: bool| {
        let all = servers.haproxy.iter().filter(move |one| one.config().steer == is_steered);
        all.map(|one| -> Box<dyn Actuator> {
            Box::new(HaproxyActuator::new(one.clone(), settings))
        })
    };
    let balancers = |is_steered: bool| nginx(is_steered).chain(haproxy(is_steered));
    let node = NodeName::new(&hello.node).expect("the name was checked when it was said");
    let epoch = hello.epoch.as_slice().try_into().expect("an epoch is drawn as 16 bytes");
    SteerParts {
        hello: steer::hello(node, &hello.agent_version, epoch),
        collectors: config.collectors(),
        dir,
        actuators: steered.into_iter().map(actuator).chain(balancers(true)).collect(),
        barred: barred.into_iter().map(bar).chain(balancers(false)).collect(),
    }
}

/// Adds what Envoys and clients of xDS need to be steered, and returns the work of serving them.
fn add_envoys(
    parts: &mut SteerParts<'_>,
    balanced: &Balanced,
    settings: &SteerConfig,
    dir: &Path,
) -> Result<Vec<Task>, Error> {
    let mut tasks = Vec::new();
    for envoy in &balanced.envoys {
        if envoy.config().xds_listen.is_none() {
            parts.barred.push(Box::new(ReadOnly::new(envoy)));
            continue;
        }
        let (actuator, task) = XdsActuator::open(envoy.clone(), settings, dir)?;
        tasks.push(task);
        if envoy.config().steer {
            parts.actuators.push(Box::new(actuator));
        } else {
            parts.barred.push(Box::new(actuator.barred()));
        }
    }
    Ok(tasks)
}

fn open_record(path: &Path, hello: &v1::Hello) -> Result<Option<Record>, Error> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let unusable = |source| Error::Record { path: path.to_owned(), source };
    Record::open(path, hello).map(Some).map_err(unusable)
}

/// Stops sampling on shutdown and waits until the last frame is in the outbox.
async fn wait_for_sampling(
    stop: SyncSender<Infallible>,
    mut stopped: oneshot::Receiver<Infallible>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = &mut stopped => return Err(Error::Sampling),
    }
    drop(stop);
    // It says nothing; it only goes away.
    let _ = stopped.await;
    Ok(())
}

/// Opens the spool and puts the outbox upon it.
fn open_outbox(config: &Config, data_dir: &DataDir, hello: &v1::Hello) -> Result<Outbox, Error> {
    let (spool, recovery) = Spool::open(&data_dir.path().join(SPOOL), &config.spool.settings())?;
    let segments = recovery.segments.len();
    let samples: u64 = recovery.segments.iter().map(SegmentMeta::in_flight).sum();
    if segments > 0 {
        tracing::info!(segments, samples, "the spool holds samples of an earlier run");
    }
    if recovery.lost_samples > 0 || recovery.account_lost {
        tracing::error!(
            samples = recovery.lost_samples,
            corrupt_segments = recovery.corrupt.segments,
            unreadable_segments = recovery.unreadable.segments,
            account_lost = recovery.account_lost,
            "the spool has lost samples"
        );
    }
    let settings = OutboxSettings {
        epoch: hello.epoch.as_slice().try_into().expect("an epoch is drawn as 16 bytes"),
        interval_ms: hello.interval_ms,
        memory_bytes: config.ship.memory_bytes(),
    };
    Ok(Outbox::new(settings, spool, &recovery))
}

/// Keeps the account and says how it stands.
fn report(outbox: &SharedOutbox) {
    let mut outbox = outbox.lock();
    let is_synced = outbox.finish(FINISH_TIMEOUT);
    let totals = outbox.totals();
    let (shed, in_spool) = (totals.shed_in_all(), totals.in_flight - totals.unspooled);
    tracing::info!(
        produced = totals.produced,
        stored = totals.acked,
        shed,
        in_spool,
        lost = totals.unspooled,
        is_synced,
        "stopped"
    );
}

/// Starts the sampling thread. It stops when the sender is dropped, and drops its own sender when it has.
fn start_sampling(
    recorder: Recorder,
    interval: Duration,
) -> std::io::Result<(SyncSender<Infallible>, oneshot::Receiver<Infallible>)> {
    let (stop, stops) = sync_channel(0);
    let (alive, stopped) = oneshot::channel();
    std::thread::Builder::new().name("sampling".to_owned()).stack_size(STACK_BYTES).spawn(
        move || {
            let _alive = alive;
            sample_until_stopped(recorder, interval, &stops);
        },
    )?;
    Ok((stop, stopped))
}

fn sample_until_stopped(mut recorder: Recorder, interval: Duration, stops: &Receiver<Infallible>) {
    let start = Instant::now();
    let mut schedule = Schedule::new(interval, now(start));
    loop {
        match schedule.next(now(start)) {
            Next::Fire(tick) => recorder.tick(&tick),
            Next::Wait(time) => match stops.recv_timeout(time.min(LONGEST_WAIT)) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(never) => match never {},
            },
        }
    }
}

fn now(start: Instant) -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { wall_ns: wall.as_nanos() as i64, monotonic_ns: start.elapsed().as_nanos() as i64 }
}

fn hello(config: &Config, host: v1::Host) -> Result<v1::Hello, Error> {
    let name = if config.agent.node.is_empty() { &host.name } else { &config.agent.node };
    let node = NodeName::new(name).map_err(|invalid| Error::Node(invalid.reason))?;
    Ok(v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        node: node.as_str().to_owned(),
        epoch: rand::rng().random::<[u8; 16]>().to_vec(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        interval_ms: config.agent.interval.0.as_millis() as u32,
        acked_seq: 0,
        host: Some(host),
        lane: v1::Lane::Live.into(),
    })
}
