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
//! A canary outlives a restart of the agent, so an agent that is updated ends no trial; one that is stopped for good leaves what is in force.

pub mod actuator;
pub mod brain;
pub mod clock;
pub mod config;
pub mod outbox;
pub mod record;
pub mod redis;
pub mod store;

mod desk;
mod watch;
mod worker;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flyball_proto::steering::{Capability, Revision, SteeringHello};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;

use crate::ship::dial::Dial;
use actuator::Actuator;
use clock::Clock;
pub use config::SteerConfig;
use desk::Desk;
use outbox::Outbox;
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
    /// Those that may not, each with its reason.
    pub barred: Vec<Capability>,
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
        let mut capabilities = parts.barred.clone();
        let mut desk = Desk::new(parts.barred, clock.clone(), Arc::clone(&outbox));
        let mut mailboxes = Vec::new();
        let (work, working) = mpsc::channel(1);
        for actuator in parts.actuators {
            capabilities.push(actuator.capability());
            let (target, mailbox) = (actuator.target().clone(), Arc::new(Mailbox::default()));
            let worker = Worker::new(actuator, store.clone(), clock.clone(), Arc::clone(&outbox));
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
