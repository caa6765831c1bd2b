//! Steer: brings what a collector wants into force in the servers of this host, within bounds that the host sets, and tells what became of it.
//!
//! ```text
//!                 +- mailbox -> worker [brain | actuator] -> redis "a"
//! collector <= watch            |
//!     ^           +- mailbox -> worker [brain | actuator] -> redis "b"
//!     |                         v
//!     +--------------------- outbox
//! ```
//!
//! A [worker] for each target asks the [brain] what to do, which is pure, and has the [actuator] do it. What it will have done is in the [store] before it does it, so that kill -9 at any
//! moment can be undone. With the collector gone everything stays as it is, but for canaries: their lease ends, also while the agent is down, and what was before is put back.
//! A canary outlives a restart of the agent, so an agent that is updated ends no trial; one that may no longer steer puts it back, and one that is stopped for good leaves what is in force.

pub mod actuator;
pub mod brain;
pub mod clock;
pub mod config;
pub mod haproxy;
pub mod nginx;
pub mod outbox;
pub mod record;
pub mod redis;
pub mod store;
pub mod xds;

mod balance;
mod desk;
mod watch;
mod worker;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flyball_proto::steering::{Capability, Revision, SteeringHello, Target};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;

use crate::ship::dial::Dial;
use actuator::{Actuator, in_words};
use clock::Clock;
pub use config::SteerConfig;
use desk::Desk;
use outbox::Outbox;
use record::Record;
use store::Store;
use watch::Watch;
use worker::{Mailbox, Worker};

/// Stack of a worker. Only what is touched becomes resident.
const STACK_BYTES: usize = 512 * 1024;
/// How long the end waits for the workers: somewhat longer than the longest call.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Who steers, and where it keeps its records.
#[derive(Debug)]
pub struct SteerParts<'a> {
    /// The first message of each stream; its revision and capabilities are filled in.
    pub hello: SteeringHello,
    /// Where the collectors are.
    pub collectors: Vec<Uri>,
    /// Directory of the records, made where it is missing.
    pub dir: &'a Path,
    /// The targets that may be steered.
    pub actuators: Vec<Box<dyn Actuator>>,
    /// Those that may not, each with its reason. Of one that was steered before, what is on trial is put back.
    pub barred: Vec<Box<dyn Actuator>>,
}

/// The workers, and the stream that tells them what is wanted.
pub struct Steer {
    watch: Watch,
    outbox: Arc<Outbox>,
    mailboxes: Vec<Arc<Mailbox>>,
    /// Ends when the last worker has.
    working: mpsc::Receiver<Infallible>,
}

impl Steer {
    /// Starts the workers. What an earlier process has begun goes on from here, also without a collector.
    ///
    /// # Errors
    /// When the directory cannot be made or a thread not be started.
    pub fn start(parts: SteerParts<'_>) -> io::Result<Self> {
        let (store, clock) = (Store::open(parts.dir)?, Clock::host());
        let good = store.load_node();
        let keeper = store.clone();
        let outbox = Arc::new(Outbox::new(good, move |good| {
            if let Err(error) = keeper.save_node(good) {
                tracing::warn!(%error, "cannot write which revision is in force");
            }
        }));
        report_lost(&store, parts.actuators.iter().chain(&parts.barred));
        let barred: Vec<Capability> = parts.barred.iter().map(|one| one.capability()).collect();
        let mut capabilities = barred.clone();
        let mut desk = Desk::new(barred, clock.clone(), Arc::clone(&outbox));
        let mut mailboxes = Vec::new();
        let (work, working) = mpsc::channel(1);
        capabilities.extend(parts.actuators.iter().map(|one| one.capability()));
        let was_steered = |one: &dyn Actuator| store.load(one.target()) != Record::default();
        let barred = parts.barred.into_iter().filter(|one| was_steered(one.as_ref()));
        let barred = barred.map(|one| (one, true));
        let steered = parts.actuators.into_iter().map(|one| (one, false));
        for (actuator, is_barred) in barred.chain(steered) {
            let (target, mailbox) = (actuator.target().clone(), Arc::new(Mailbox::default()));
            let worker = Worker::new(actuator, store.clone(), clock.clone(), Arc::clone(&outbox));
            let worker = if is_barred { worker.barred() } else { worker };
            let (own, work) = (Arc::clone(&mailbox), work.clone());
            let thread = std::thread::Builder::new().name(format!("steer-{}", target.name));
            thread.stack_size(STACK_BYTES).spawn(move || {
                let _work = work;
                worker.run(&own);
            })?;
            mailboxes.push(Arc::clone(&mailbox));
            desk.seat(target, mailbox);
        }
        let hello = SteeringHello { capabilities, ..parts.hello };
        let watch = Watch::new(parts.collectors, hello, desk, Arc::clone(&outbox));
        Ok(Self { watch, outbox, mailboxes, working })
    }

    /// Opens connections by `dial` instead of over TCP.
    #[must_use]
    pub fn dialling(mut self, dial: Dial) -> Self {
        self.watch.dial = dial;
        self
    }

    /// Where whoever knows something of a cache tells it.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Watches what is wanted until `drain` is cancelled; then the workers end what they are doing.
    pub async fn run(mut self, drain: CancellationToken) {
        if self.watch.has_targets() {
            Box::pin(self.watch.run(&drain)).await;
        } else {
            drain.cancelled().await;
        }
        for mailbox in self.mailboxes {
            mailbox.stop();
        }
        // One that hangs in a call is left behind; what it does is on disk.
        let _ = timeout(STOP_TIMEOUT, self.working.recv()).await;
    }
}

/// Says what an earlier process has left in force at targets that are no longer in the configuration: nothing here can reach them to put it back.
fn report_lost<'a>(store: &Store, known: impl Iterator<Item = &'a Box<dyn Actuator>>) {
    let known: Vec<Target> = known.map(|actuator| actuator.target().clone()).collect();
    for (path, followed) in store.lost(&known) {
        tracing::error!(
            path = %path.display(),
            rollout_id = followed.rollout_id,
            before = in_words(&followed.before),
            "a trial was left in force at a target that is no longer in the configuration; set the old values there by hand, or enter it again under its name"
        );
    }
}

/// A Hello without anything that only a started [`Steer`] knows.
pub fn hello(
    node: flyball_proto::series::NodeName,
    agent_version: &str,
    epoch: [u8; 16],
) -> SteeringHello {
    SteeringHello {
        node,
        agent_version: agent_version.to_owned(),
        epoch,
        revision: Revision::default(),
        journal: String::new(),
        capabilities: Vec::new(),
    }
}
