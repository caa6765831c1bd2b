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

use std::io;
use std::path::Path;
use std::sync::Arc;

use flyball_proto::steering::{Capability, Revision, SteeringHello};
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
}

impl Steer {
    /// Starts the workers. What an earlier process has begun goes on from here, also without a collector.
    ///
    /// # Errors
    /// When the directory cannot be made or a thread not be started.
    pub fn start(parts: SteerParts<'_>) -> io::Result<Self> {
        let (store, clock) = (Store::open(parts.dir)?, Clock::host());
        let good = store.load_node();
        let outbox = Arc::new(Outbox::new(good));
        let mut capabilities = parts.barred.clone();
        let mut desk = Desk::new(parts.barred, store.clone(), clock.clone(), Arc::clone(&outbox));
        let mut mailboxes = Vec::new();
        for actuator in parts.actuators {
            capabilities.push(actuator.capability());
            let (target, mailbox) = (actuator.target().clone(), Arc::new(Mailbox::default()));
            let worker = Worker::new(actuator, store.clone(), clock.clone(), Arc::clone(&outbox));
            let own = Arc::clone(&mailbox);
            let thread = std::thread::Builder::new().name(format!("steer-{}", target.name));
            thread.stack_size(STACK_BYTES).spawn(move || worker.run(&own))?;
            mailboxes.push(Arc::clone(&mailbox));
            desk.seat(target, mailbox);
        }
        let hello = SteeringHello { capabilities, ..parts.hello };
        let watch = Watch::new(parts.collectors, hello, desk, Arc::clone(&outbox));
        Ok(Self { watch, outbox, mailboxes })
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
    pub async fn run(self, drain: CancellationToken) {
        if self.watch.has_targets() {
            Box::pin(self.watch.run(&drain)).await;
        } else {
            drain.cancelled().await;
        }
        for mailbox in self.mailboxes {
            mailbox.stop();
        }
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
