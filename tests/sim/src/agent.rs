//! A simulated agent: the real schedule, encoder, outbox and connection, fed with made-up series instead of a host's.

mod producer;

use std::sync::Arc;
use std::time::Duration;

use flyball_agent::ship::Ship;
use flyball_agent::ship::dial::Dial;
use flyball_agent::ship::outbox::SharedOutbox;
use flyball_proto::{PROTOCOL_VERSION, v1};
use flyball_service::shutdown::GRACE_PERIOD;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;

use self::producer::Producer;
use crate::journal::{End, SharedJournal};
use crate::net::{Cut, Network};
use crate::store::Database;
use crate::trace;

pub(crate) use self::producer::Load;

/// Host that stands for whichever collector is there, as a balancer before them would.
pub(crate) const ANY_COLLECTOR: &str = "collectors";

/// How an agent is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) memory_bytes: usize,
    pub(crate) load: Load,
    /// Collectors in the order in which it tries them.
    pub(crate) collectors: Vec<String>,
}

/// An agent on its host; its process comes and goes.
pub(crate) struct Agent {
    pub(crate) setup: Setup,
    network: Network,
    journal: SharedJournal,
    rng: StdRng,
    /// What the host's wall clock is ahead of the world's.
    clock: Arc<producer::WallClock>,
    process: Option<Process>,
}

/// One process of an agent.
struct Process {
    number: usize,
    outbox: Arc<SharedOutbox>,
    drain: CancellationToken,
    stop: CancellationToken,
    producer: JoinHandle<()>,
    ship: JoinHandle<()>,
}

impl Agent {
    pub(crate) fn new(setup: Setup, seed: u64, network: Network, journal: SharedJournal) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { setup, network, journal, rng, clock: Arc::default(), process: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.setup.name
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts a process.
    pub(crate) fn start(&mut self) {
        let Setup { name, interval, memory_bytes, load, .. } = &self.setup;
        let outbox = Arc::new(SharedOutbox::new(*memory_bytes));
        let number = self.journal.lock().begin(name);
        let epoch = self.rng.random::<[u8; 16]>();
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            node: name.clone(),
            epoch: epoch.to_vec(),
            agent_version: "simulated".to_owned(),
            interval_ms: interval.as_millis() as u32,
            ..v1::Hello::default()
        };
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let producer = Producer::new(
            name,
            *load,
            StdRng::from_rng(&mut self.rng),
            Arc::clone(&outbox),
            (Arc::clone(&self.journal), number),
        );
        let producer = producer.run(*interval, Arc::clone(&self.clock), stop.clone());
        let collector = Uri::try_from(format!("http://{ANY_COLLECTOR}:7400")).expect("a plain URI");
        let ship = Ship::new(collector, hello, Arc::clone(&outbox)).dialling(self.dial());
        let (producer, ship) = (tokio::spawn(producer), tokio::spawn(ship.run(drain.clone())));
        trace::line(&self.setup.name, format_args!("starts as process {number}"));
        self.process = Some(Process { number, outbox, drain, stop, producer, ship });
    }

    /// Kills the process: what it had in memory is gone.
    pub(crate) fn kill(&mut self, cut: Cut) {
        let Some(process) = self.process.take() else { return };
        process.ship.abort();
        process.producer.abort();
        self.network.crash(&self.setup.name, cut);
        self.note_end(&process);
    }

    /// Stops in order: samples no more, sends what is left as long as a collector takes it.
    pub(crate) async fn stop(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.stop.cancel();
        process.drain.cancel();
        let Process { ship, .. } = process;
        // Killed after the grace period, as `within_grace` has it.
        let mut ship = ship;
        if timeout(GRACE_PERIOD, &mut ship).await.is_err() {
            ship.abort();
        }
        let process = Process { ship, ..process };
        self.note_end(&process);
    }

    /// Sets the host's wall clock forward or back.
    pub(crate) fn step_clock(&self, by_ms: i64) {
        self.clock.step(by_ms);
    }

    /// Samples no more from now on.
    pub(crate) fn quiesce(&self) {
        if let Some(process) = &self.process {
            process.stop.cancel();
        }
    }

    /// True when nothing waits to be stored.
    pub(crate) fn is_drained(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.outbox.lock().is_drained())
    }

    /// Holds what the agent says against the journal and the database.
    pub(crate) fn check(&self, database: &Database) {
        let Some(process) = &self.process else { return };
        let mut journal = self.journal.lock();
        let (totals, acked_seq) = {
            let outbox = process.outbox.lock();
            (outbox.totals(), outbox.acked_seq())
        };
        let shed = totals.shed.iter().sum();
        journal.check_acked(process.number, acked_seq, shed, database);
        let mut require = |holds: bool, what: &str| {
            if !holds {
                journal.broken.push(format!("{}: {what}: {totals:?}", self.setup.name));
            }
        };
        require(totals.bytes <= self.setup.memory_bytes, "takes more memory than it may");
        require(totals.produced >= totals.acked + shed, "stored and given up exceed produced");
        let produced = journal.samples_of(process.number);
        if produced != totals.produced {
            let text =
                format!("{} says it produced {}, not {produced}", self.setup.name, totals.produced);
            journal.broken.push(text);
        }
    }

    fn note_end(&self, process: &Process) {
        let totals = process.outbox.lock().totals();
        let end = End { shed: totals.shed.iter().sum(), lost: totals.in_flight() };
        trace::line(&self.setup.name, format_args!("ends: {end:?}"));
        self.journal.lock().ended(process.number, end);
    }

    /// Opens connections over the simulated network.
    fn dial(&self) -> Dial {
        let (network, setup) = (self.network.clone(), self.setup.clone());
        Dial::new(move |endpoint| {
            let (network, setup) = (network.clone(), setup.clone());
            Box::pin(async move {
                let connector = tower::service_fn(move |uri: Uri| {
                    let server = choose(&network, &setup, uri.host().unwrap_or_default());
                    let (network, client) = (network.clone(), setup.name.clone());
                    async move { network.connect(client, server).await.map(TokioIo::new) }
                });
                endpoint.connect_with_connector(connector).await
            })
        })
    }
}

/// The collector that a connection leads to.
fn choose(network: &Network, setup: &Setup, host: &str) -> String {
    if host != ANY_COLLECTOR {
        return host.to_owned();
    }
    let listening = setup.collectors.iter().find(|collector| network.listens(collector));
    listening.unwrap_or(&setup.collectors[0]).clone()
}
