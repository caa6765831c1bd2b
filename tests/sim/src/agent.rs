//! A simulated agent: the real schedule, encoder, outbox, spool and connection, fed with made-up series instead of a host's, on a disk in memory.

mod producer;

use std::sync::Arc;
use std::time::Duration;

use flyball_agent::ship::Ship;
use flyball_agent::ship::dial::Dial;
use flyball_agent::ship::outbox::{Outbox, OutboxSettings, SharedOutbox};
use flyball_agent::spool::memory_disk::{Faults, MemoryDisk};
use flyball_agent::spool::{Spool, SpoolSettings, Syncing};
use flyball_proto::{PROTOCOL_VERSION, v1};
use flyball_service::shutdown::GRACE_PERIOD;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;

use self::producer::{Producer, WallClock};
use crate::journal::{Epoch, Recovered, SharedJournal};
use crate::net::{Cut, Network};
use crate::store::Database;
use crate::{kernel, trace};

pub(crate) use self::producer::Load;

/// `spool.fsync_seconds`.
const FSYNC: Duration = Duration::from_secs(5);
/// By this much a frame may stay longer than [`FSYNC`] off the medium: syncs are asked for when a frame is written.
const FSYNC_SLACK: Duration = Duration::from_secs(6);
/// What the spool may take above its limit at a time: it makes room when a frame has been written, by whole segments.
const SPOOL_SLACK_BYTES: u64 = 64 * 1024;

/// How an agent is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) memory_bytes: usize,
    pub(crate) spool_bytes: u64,
    pub(crate) load: Load,
    pub(crate) collectors: Vec<String>,
}

/// An agent on its host; its process comes and goes, its disk stays.
pub(crate) struct Agent {
    pub(crate) setup: Setup,
    network: Network,
    journal: SharedJournal,
    rng: StdRng,
    clock: Arc<WallClock>,
    disk: MemoryDisk,
    /// The disk has failed or lost its power since the last process began.
    is_disk_to_blame: bool,
    /// Samples that the last process had in memory only.
    in_memory: u64,
    process: Option<Process>,
}

/// One process of an agent.
struct Process {
    epoch: Epoch,
    outbox: Arc<SharedOutbox>,
    drain: CancellationToken,
    stop: CancellationToken,
    producer: JoinHandle<()>,
    ship: JoinHandle<()>,
}

/// How a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// `kill -9`: what was written is there.
    Killed,
    /// The host loses its power: what was not synced is there or not.
    PowerCut,
}

impl Agent {
    pub(crate) fn new(setup: Setup, seed: u64, network: Network, journal: SharedJournal) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let (clock, disk) = (Arc::default(), MemoryDisk::new());
        Self {
            setup,
            network,
            journal,
            rng,
            clock,
            disk,
            is_disk_to_blame: false,
            in_memory: 0,
            process: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.setup.name
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts a process. False when its disk does not let it.
    pub(crate) fn start(&mut self) -> bool {
        let Setup { name, interval, memory_bytes, load, spool_bytes, collectors } = &self.setup;
        let settings = SpoolSettings { limit_bytes: *spool_bytes, fsync: FSYNC };
        let opened = Spool::open_on(Arc::new(self.disk.clone()), &settings, Syncing::Inline);
        let (spool, recovery) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                trace::line(name, format_args!("cannot start: {error}"));
                return false;
            }
        };
        let epoch = self.rng.random::<Epoch>();
        let interval_ms = interval.as_millis() as u32;
        let settings = OutboxSettings { epoch, interval_ms, memory_bytes: *memory_bytes };
        let outbox = Arc::new(SharedOutbox::new(Outbox::new(settings, spool, &recovery)));
        let totals = outbox.lock().totals();
        let account = Recovered {
            produced: totals.produced,
            shed: totals.shed_in_all(),
            in_memory: std::mem::take(&mut self.in_memory),
            is_disk_to_blame: std::mem::take(&mut self.is_disk_to_blame),
        };
        // One that went wrong before and still does may do so to the next process too.
        self.is_disk_to_blame = self.disk.faults() != Faults::default();
        self.journal.lock().recovered(name, &account);
        trace::line(
            name,
            format_args!(
                "starts, epoch {:02x?}, {} segments, {} samples lost",
                &epoch[..2],
                recovery.segments.len(),
                recovery.lost_samples
            ),
        );
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            node: name.clone(),
            epoch: epoch.to_vec(),
            agent_version: "simulated".to_owned(),
            interval_ms,
            ..v1::Hello::default()
        };
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let rng = StdRng::from_rng(&mut self.rng);
        let producer =
            Producer::new(name, epoch, *load, rng, Arc::clone(&outbox), Arc::clone(&self.journal));
        let producer = producer.run(*interval, Arc::clone(&self.clock), stop.clone());
        let uri = |name| Uri::try_from(format!("http://{name}:7400")).expect("a plain name");
        let ship = Ship::new(collectors.iter().map(uri).collect(), hello, Arc::clone(&outbox));
        let ship = ship.dialling(self.dial()).run(drain.clone());
        let (producer, ship) = (tokio::spawn(producer), tokio::spawn(ship));
        self.process = Some(Process { epoch, outbox, drain, stop, producer, ship });
        true
    }

    /// Ends the process at once.
    pub(crate) fn kill(&mut self, death: Death, cut: Cut) {
        let Some(process) = self.process.take() else { return };
        process.ship.abort();
        process.producer.abort();
        self.network.crash(&self.setup.name, cut);
        let (unspooled, waiting) = {
            let outbox = process.outbox.lock();
            (outbox.totals().unspooled, outbox.waiting())
        };
        self.in_memory = unspooled;
        let mut unsynced = 0;
        match death {
            Death::Killed => self.disk.kill(),
            Death::PowerCut => {
                self.disk.power_cut(self.rng.random());
                self.is_disk_to_blame = true;
                let since = kernel::elapsed().saturating_sub(FSYNC + FSYNC_SLACK);
                let mut journal = self.journal.lock();
                unsynced = journal.younger(&self.setup.name, &waiting, since);
                journal.excuse(&self.setup.name, unsynced);
            }
        }
        let text = format_args!("{death:?}: {unspooled} samples in memory, {unsynced} not synced");
        trace::line(&self.setup.name, text);
    }

    /// Stops in order: samples no more, sends what is left as long as a collector takes it.
    pub(crate) async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.stop.cancel();
        {
            process.outbox.lock().seal();
            process.outbox.notify();
        }
        process.drain.cancel();
        // Killed after the grace period, as `within_grace` has it.
        if timeout(GRACE_PERIOD, &mut process.ship).await.is_err() {
            process.ship.abort();
        }
        let mut outbox = process.outbox.lock();
        let is_synced = outbox.finish(Duration::ZERO);
        let totals = outbox.totals();
        drop(outbox);
        self.in_memory = totals.unspooled;
        trace::line(&self.setup.name, format_args!("stops, synced: {is_synced}, {totals:?}"));
        self.disk.kill();
    }

    /// Lets the disk fail from now on, or work again.
    pub(crate) fn set_disk_faults(&mut self, faults: Faults) {
        self.is_disk_to_blame = true;
        self.disk.set_faults(faults);
    }

    /// Sets the host's wall clock forward or back.
    pub(crate) fn step_clock(&self, by_ms: i64) {
        self.clock.step(by_ms);
    }

    /// Samples no more from now on, and hands what is left to the lanes.
    pub(crate) fn quiesce(&self) {
        if let Some(process) = &self.process {
            process.stop.cancel();
            process.producer.abort();
            process.outbox.lock().seal();
            process.outbox.notify();
        }
    }

    /// True when nothing waits to be stored.
    pub(crate) fn is_drained(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.outbox.lock().totals().in_flight == 0)
    }

    /// Age of the newest frame that is stored, by the agent's knowledge.
    pub(crate) fn live_lag(&self) -> Option<Duration> {
        let process = self.process.as_ref()?;
        let acked_seq = process.outbox.lock().acked_seq();
        self.journal.lock().age(&self.setup.name, process.epoch, acked_seq)
    }

    /// Holds what the agent says against the journal and the database.
    pub(crate) fn check(&self, database: &Database) {
        let Some(process) = &self.process else { return };
        let (totals, waiting) = {
            let outbox = process.outbox.lock();
            (outbox.totals(), outbox.waiting())
        };
        let shed = totals.shed_in_all();
        let mut journal = self.journal.lock();
        journal.check(&self.setup.name, &waiting, totals.produced, shed, database);
        let mut require = |holds: bool, what: &str| {
            if !holds {
                journal.broken.push(format!("{}: {what}: {totals:?}", self.setup.name));
            }
        };
        require(
            totals.produced == totals.acked + totals.in_flight + shed,
            "produced is not stored + in flight + given up",
        );
        require(totals.bytes <= self.setup.memory_bytes, "takes more memory than it may");
        let most = self.setup.spool_bytes + SPOOL_SLACK_BYTES;
        require(totals.spool_bytes <= most, "takes more of the disk than it may");
    }

    /// Opens connections over the simulated network.
    fn dial(&self) -> Dial {
        let (network, client) = (self.network.clone(), self.setup.name.clone());
        Dial::new(move |endpoint| {
            let (network, client) = (network.clone(), client.clone());
            Box::pin(async move {
                let connector = tower::service_fn(move |uri: Uri| {
                    let (network, client) = (network.clone(), client.clone());
                    let server = uri.host().unwrap_or_default().to_owned();
                    async move { network.connect(client, server).await.map(TokioIo::new) }
                });
                endpoint.connect_with_connector(connector).await
            })
        })
    }
}
