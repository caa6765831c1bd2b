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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flyball_proto::steering::{BackendServer, BalancerReport, BalancerState};
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

/// A mean that is older says nothing of now: three windows.
const FRESH: Duration = Duration::from_secs(3);

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
    /// Requests under way over the time before that reading.
    pub(crate) under_way: Arc<UnderWay>,
}

/// Mean requests under way at servers, over the window of a report.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct UnderWay {
    /// When the window ended; `None`: there was none.
    at: Option<Instant>,
    /// The process that they were under way in.
    process: String,
    /// By group and server.
    means: BTreeMap<String, BTreeMap<String, f64>>,
}

impl UnderWay {
    fn of(report: &BalancerReport, at: Instant) -> Self {
        let means = report.groups.iter().map(|group| {
            let mean = |server: &BackendServer| Some((server.name.clone(), server.in_flight?));
            (group.name.clone(), group.backends.iter().filter_map(mean).collect())
        });
        Self { at: Some(at), process: report.process.clone(), means: means.collect() }
    }

    /// The mean at a server of this process, where it is of the present.
    pub(crate) fn mean(&self, process: &str, group: &str, server: &str) -> Option<f64> {
        let is_fresh = self.at.is_some_and(|at| at.elapsed() < FRESH);
        let known = (is_fresh && self.process == process).then_some(&self.means)?;
        known.get(group)?.get(server).copied()
    }
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

#[cfg(test)]
mod tests {
    use flyball_proto::steering::{BackendGroup, Target, WeightMeaning};

    use super::*;

    #[test]
    fn a_mean_is_of_a_process_and_of_the_present() {
        let mut server = BackendServer::new("a", "10.0.0.1:80", 1);
        server.in_flight = Some(1.6);
        let mut report =
            BalancerReport::new(Target::new(KIND, "edge"), BalancerState::Up, 1_800_000_000_000);
        report.process = "7@1".to_owned();
        report.groups.push(BackendGroup {
            name: "web".to_owned(),
            limit: None,
            algorithm: "roundrobin".to_owned(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: vec![server, BackendServer::new("new", "10.0.0.2:80", 1)],
        });
        let now = Instant::now();
        let known = UnderWay::of(&report, now);
        assert_eq!(known.mean("7@1", "web", "a"), Some(1.6));
        for (process, group, server) in
            [("8@2", "web", "a"), ("7@1", "api", "a"), ("7@1", "web", "new")]
        {
            assert_eq!(known.mean(process, group, server), None, "{process} {group}/{server}");
        }
        let old = UnderWay { at: now.checked_sub(FRESH), ..known };
        assert_eq!(old.mean("7@1", "web", "a"), None, "of three seconds ago");
        assert_eq!(UnderWay::default().mean("", "web", "a"), None);
    }
}
