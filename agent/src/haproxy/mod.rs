//! HAProxy by its runtime socket: what it says of its servers, and the words by which they are set.
//!
//! One thread for each process looks at requests under way ten times a second, reads everything once a second, tells the collector and leaves what it read for the sampler.

mod config;
mod error;
pub(crate) mod meaning;
mod report;
pub(crate) mod snapshot;
pub mod socket;
mod table;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flyball_proto::steering::BalancerState;
use parking_lot::Mutex;

pub use config::{HaproxyConfig, Place};
pub use error::HaproxyError;
use snapshot::Snapshot;
pub use watch::Watchers;

/// The kind of target.
pub const KIND: &str = "haproxy";
/// Given requests.
pub(crate) const READY: &str = "ready";
/// Given no new ones.
pub(crate) const DRAIN: &str = "drain";
/// Taken out; connections that are kept are closed.
pub(crate) const MAINT: &str = "maint";

/// One HAProxy. Clones are of the same: the watcher leaves what it read, the sampler takes it.
#[derive(Debug, Clone)]
pub struct Haproxy {
    config: Arc<HaproxyConfig>,
    place: Place,
    latest: Arc<Mutex<Latest>>,
    cpu_ns: Arc<AtomicU64>,
}

/// What is known of one now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latest {
    /// `None`: it was not asked yet.
    pub(crate) state: Option<BalancerState>,
    /// Number of the reading.
    pub(crate) number: u64,
    /// The last reading, and how long it took; `None` while there is no answer.
    pub(crate) read: Option<(Arc<Snapshot>, Duration)>,
}

impl Haproxy {
    /// One with these settings.
    ///
    /// # Errors
    /// What is wrong with its socket.
    pub fn new(config: HaproxyConfig) -> Result<Self, &'static str> {
        let place = Place::parse(&config.socket)?;
        let (latest, cpu_ns) = Default::default();
        Ok(Self { config: Arc::new(config), place, latest, cpu_ns })
    }

    /// Its settings.
    pub fn config(&self) -> &HaproxyConfig {
        &self.config
    }

    /// Where its runtime socket is.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn read(&self) -> Result<Snapshot, HaproxyError> {
        Snapshot::read(&self.place, &self.config)
    }

    pub(crate) fn latest(&self) -> Latest {
        self.latest.lock().clone()
    }

    /// CPU time of its watcher since that was started.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }
}
