//! The observer: a thread for each cache that decides what is asked of it and when, and reports what comes of it.
//!
//! ```text
//! looks -----> state, facts, settings ------+
//! ages ------> curve of smaller sizes ------+--> CacheReport --> outbox of steering
//! windows ---> curve of larger sizes, ------+
//!              reasons of misses
//! ```
//!
//! Looks (INFO) come with each report, ages are drawn all the time, events are heard in windows that the [schedule] allows. What is refused is left out of the report with its reason
//! and tried again later and later; a server that is away is looked for with growing pauses. What was learned is on disk, and so is the setting that was borrowed, so that whatever
//! kills the agent the next one gives it back.

pub mod schedule;

mod estimate;
mod findings;
mod hot;
mod look;
mod requests;
mod state;
mod worker;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::config::{Observe, ObserveConfig};
use super::hash::KeyHasher;
use crate::redis::Instance;
use crate::sense::HostPaths;
use crate::steer::outbox::Outbox;
use crate::steer::redis::host::Host;
use worker::Worker;

/// Stack of a thread. Only what is touched becomes resident.
const STACK_BYTES: usize = 512 * 1024;
/// How long the end waits for the threads: somewhat longer than the longest call.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// What observers need.
#[derive(Debug)]
pub struct ObserverParts<'a> {
    /// All instances; those that are not to be observed are passed over.
    pub instances: &'a [Instance],
    /// How closely.
    pub config: &'a ObserveConfig,
    /// Directory of what is kept, made where it is missing.
    pub dir: &'a Path,
    /// Where the host shows itself.
    pub paths: &'a HostPaths,
    /// Where reports go.
    pub outbox: Arc<Outbox>,
}

/// The observers of all caches.
#[derive(Debug)]
pub struct Observers {
    stops: Vec<Arc<Stop>>,
    /// Ends when the last thread has.
    working: mpsc::Receiver<Infallible>,
}

/// Asks a thread to end.
#[derive(Debug, Default)]
struct Stop {
    is_set: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.is_set.lock() = true;
        self.wake.notify_all();
    }

    fn is_set(&self) -> bool {
        *self.is_set.lock()
    }

    /// Waits until then, or until it is set.
    fn wait_until(&self, deadline: Instant) {
        let mut is_set = self.is_set.lock();
        while !*is_set {
            if self.wake.wait_until(&mut is_set, deadline).timed_out() {
                return;
            }
        }
    }
}

/// Where the setting of events is kept that was there before.
fn lease_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.events"))
}

impl Observers {
    /// Starts a thread for each cache that is to be observed, and for each that an earlier agent has left with a setting that is not its own.
    ///
    /// # Errors
    /// When the directory cannot be used or a thread not be started.
    pub fn start(parts: &ObserverParts<'_>) -> io::Result<Self> {
        let (work, working) = mpsc::channel(1);
        let is_wanted = |instance: &&Instance| {
            instance.config().observe != Observe::Off
                || lease_file(parts.dir, instance.name()).exists()
        };
        let mut stops = Vec::new();
        for instance in parts.instances.iter().filter(is_wanted) {
            let hasher = KeyHasher::open(parts.dir)?;
            let host = Host { proc: parts.paths.proc.clone(), sys: parts.paths.sys.clone() };
            let (outbox, name) =
                (Arc::clone(&parts.outbox), format!("observe-{}", instance.name()));
            let worker =
                Worker::new(instance.clone(), parts.config, hasher, parts.dir, host, outbox);
            let (stop, work) = (Arc::new(Stop::default()), work.clone());
            let own = Arc::clone(&stop);
            std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || {
                let _work = work;
                worker.run(&own);
            })?;
            stops.push(stop);
        }
        Ok(Self { stops, working })
    }

    /// Observes until `drain` is cancelled; then settings are given back and what was learned is kept.
    pub async fn run(mut self, drain: CancellationToken) {
        drain.cancelled().await;
        self.stops.iter().for_each(|stop| stop.set());
        // One that hangs in a call is left behind; the next agent gives back what it has borrowed.
        let _ = timeout(STOP_TIMEOUT, self.working.recv()).await;
    }
}
