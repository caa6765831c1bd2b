//! What agents know of caches and load balancers: the last report of each. Bounded; reports that are not renewed are forgotten in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_proto::series::NodeName;
use flyball_proto::steering::{BalancerReport, BalancerState, CacheReport, Target};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

/// A report that nothing has followed for this long is forgotten.
const STALE: Duration = Duration::from_mins(15);
/// Reports that a reader of all may be behind.
const NEWS: usize = 1_024;

/// See the module. Cheap to clone; all clones are the same.
#[derive(Debug)]
pub struct Reports<R>(Arc<Inner<R>>);

/// What agents know of caches.
pub type Caches = Reports<CacheReport>;
/// What agents know of load balancers.
pub type Balancers = Reports<BalancerReport>;
/// The last report of a cache.
pub type Cache = Reported<CacheReport>;
/// The last report of a load balancer.
pub type Balancer = Reported<BalancerReport>;

/// Something that is known of a target.
pub trait Report {
    /// Which.
    fn target(&self) -> &Target;

    /// True when the target could be read, so that the report says all.
    fn is_whole(&self) -> bool {
        true
    }
}

impl Report for CacheReport {
    fn target(&self) -> &Target {
        &self.target
    }
}

impl Report for BalancerReport {
    fn target(&self) -> &Target {
        &self.target
    }

    fn is_whole(&self) -> bool {
        self.state == BalancerState::Up
    }
}

#[derive(Debug)]
struct Inner<R> {
    reports: Mutex<BTreeMap<(NodeName, Target), Reported<R>>>,
    most: usize,
    changes: watch::Sender<u64>,
    news: broadcast::Sender<Reported<R>>,
}

/// A report and when it came.
#[derive(Debug)]
pub struct Reported<R> {
    /// The node that its target is on.
    pub node: NodeName,
    /// What its agent knows.
    pub report: Arc<R>,
    /// The newest report of a time when the target could be read: the same one while it can.
    pub whole: Option<Arc<R>>,
    /// When the report came, by the collector's clock.
    pub received: Instant,
}

impl<R> Clone for Reports<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> Clone for Reported<R> {
    fn clone(&self) -> Self {
        let (node, report) = (self.node.clone(), Arc::clone(&self.report));
        Self { node, report, whole: self.whole.clone(), received: self.received }
    }
}

impl<R: Report> Reports<R> {
    /// At most `most` targets; above it the one that was not reported for longest is forgotten.
    pub fn new(most: usize) -> Self {
        let changes = watch::Sender::new(0);
        let news = broadcast::Sender::new(NEWS);
        Self(Arc::new(Inner { reports: Mutex::default(), most, changes, news }))
    }

    /// Takes a report.
    pub fn set(&self, node: &NodeName, report: R) {
        let key = (node.clone(), report.target().clone());
        let report = Arc::new(report);
        let mut reports = self.0.reports.lock();
        let before = || reports.get(&key).and_then(|one| one.whole.clone());
        let whole = if report.is_whole() { Some(Arc::clone(&report)) } else { before() };
        let report = Reported { node: node.clone(), report, whole, received: Instant::now() };
        if reports.len() >= self.0.most && !reports.contains_key(&key) {
            let oldest = reports.iter().min_by_key(|(_, one)| one.received);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|oldest| reports.remove(&oldest));
        }
        reports.insert(key, report.clone());
        drop(reports);
        // Nobody may be there to hear it.
        let _ = self.0.news.send(report);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// The last report of one target.
    pub fn get(&self, node: &NodeName, target: &Target) -> Option<Reported<R>> {
        self.0.reports.lock().get(&(node.clone(), target.clone())).cloned()
    }

    /// The last reports of all targets, by node and name.
    pub fn all(&self) -> Vec<Reported<R>> {
        self.0.reports.lock().values().cloned().collect()
    }

    /// Changes with each report.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Every report from now on. A reader that is more than 1,024 reports behind misses the oldest and is told how many.
    pub fn news(&self) -> broadcast::Receiver<Reported<R>> {
        self.0.news.subscribe()
    }

    /// Forgets what was not reported for long. Returns how many are known.
    pub fn sweep(&self, now: Instant) -> usize {
        let mut reports = self.0.reports.lock();
        reports.retain(|_, one| now.saturating_duration_since(one.received) < STALE);
        reports.len()
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::steering::CacheState;

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn report(name: &str, at: i64) -> CacheReport {
        CacheReport::new(Target::new("redis", name), CacheState::Up, at)
    }

    #[test]
    fn the_last_report_of_each_cache_is_known_until_it_is_stale() {
        let caches = Caches::new(2);
        let mut changes = caches.changes();
        caches.set(&node("n"), report("a", 1));
        caches.set(&node("n"), report("a", 2));
        caches.set(&node("m"), report("a", 3));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let times = |caches: &Caches| -> Vec<_> {
            caches.all().iter().map(|cache| cache.report.measured_at_ms).collect()
        };
        assert_eq!(times(&caches), [3, 2]);
        caches.set(&node("m"), report("b", 4));
        assert_eq!(times(&caches), [3, 4], "the oldest made room");
        assert!(caches.get(&node("n"), &Target::new("redis", "a")).is_none());
        assert_eq!(caches.sweep(Instant::now()), 2);
        assert_eq!(caches.sweep(Instant::now() + STALE), 0);
    }
}
