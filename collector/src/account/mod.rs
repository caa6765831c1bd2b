//! Accounting: where every sample of every agent is, and alerts when something is wrong with that.
//!
//! Agents report their totals ([`Accounting`]). The collector checks the equation, keeps the last report of each node and tells it in `status` and
//! `/metrics`; [`judge`] decides which alerts fire, [`alert`] is the book of them. Each change of an alert is an event, a log line and a count.
//! Streams add what they alone know: series over a cap, series that ClickHouse refuses. Why in memory and not in ClickHouse: every agent reports every
//! 10 s to whichever collector serves it, so a collector that starts anew knows all within that time. See docs/adr/009-cardinality-and-accounting.md.

mod alert;
mod fullness;
mod judge;
mod metrics;
mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use flyball_proto::series::NodeName;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use self::alert::{Alert, AlertState, Kind, Severity};
pub use self::report::{Accounting, AccountingTotals, ClockSteps};

use self::alert::{Book, Change, Finding};
use self::fullness::Fullness;
use self::judge::Watch;
use self::metrics::Scrape;
use crate::live::{Live, now_ms};
use crate::store::Catalog;

/// Time between two looks for alerts that are over because nothing happened, and at the catalog.
const TICK: Duration = Duration::from_secs(2);

/// Accounts of all nodes. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Accounts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    live: Live,
    nodes: Mutex<HashMap<NodeName, Account>>,
    max_nodes: usize,
    book: Mutex<Book>,
    raised: [AtomicU64; Kind::ALL.len()],
    dropped: AtomicU64,
}

/// What is known of a node.
#[derive(Debug)]
struct Account {
    watch: Watch,
    last: Arc<Accounting>,
}

impl Accounts {
    /// Accounts of at most `max_nodes` nodes; above it the one that has not reported for longest is forgotten. Alerts are told to the readers of `live`.
    pub fn new(live: Live, max_nodes: usize) -> Self {
        Self(Arc::new(Inner {
            live,
            nodes: Mutex::default(),
            max_nodes,
            book: Mutex::new(Book::new(now_ms())),
            raised: Default::default(),
            dropped: AtomicU64::new(0),
        }))
    }

    /// Makes the accounts part of what a registry prints. The registry's prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Scrape(self.clone())));
    }

    /// Takes the report of a node.
    pub fn report(&self, node: &NodeName, report: Arc<Accounting>) {
        let now_ms = report.reported_ms;
        let (findings, forgotten) = {
            let mut nodes = self.0.nodes.lock();
            let forgotten = make_room(&mut nodes, node, self.0.max_nodes);
            let account = nodes
                .entry(node.clone())
                .or_insert_with(|| Account { watch: Watch::default(), last: Arc::clone(&report) });
            let findings = account.watch.report(&report);
            account.last = report;
            (findings, forgotten)
        };
        if let Some(gone) = forgotten {
            self.resolve_all(&gone, now_ms);
        }
        self.take(Some(node), findings, now_ms);
    }

    /// Says that an alert of a node, or of the collector itself, fires with this text, or does not fire.
    pub fn set(&self, kind: Kind, node: Option<&NodeName>, text: Option<String>) {
        self.take(node, [Finding { kind, text }], now_ms());
    }

    /// Alerts that fire, the worst first; then those that are over, the newest first.
    pub fn alerts(&self) -> Vec<Arc<Alert>> {
        self.0.book.lock().list()
    }

    /// Resolves alerts for which nothing happened for long and watches whether `catalog` is full, until `shutdown`.
    pub async fn run(&self, catalog: Arc<Catalog>, shutdown: CancellationToken) {
        let mut fullness = Fullness::default();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.tick(now_ms());
                    if let Some(finding) = fullness.look(&catalog) {
                        self.take(None, [finding], now_ms());
                    }
                }
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn tick(&self, now_ms: i64) {
        let mut over = Vec::new();
        for (node, account) in self.0.nodes.lock().iter_mut() {
            let findings = account.watch.tick(now_ms);
            if !findings.is_empty() {
                over.push((node.clone(), findings));
            }
        }
        for (node, findings) in over {
            self.take(Some(&node), findings, now_ms);
        }
    }

    fn resolve_all(&self, node: &NodeName, now_ms: i64) {
        self.take(Some(node), Kind::ALL.map(Finding::over), now_ms);
    }

    /// Takes findings into the book and tells what changed.
    fn take(
        &self,
        node: Option<&NodeName>,
        findings: impl IntoIterator<Item = Finding>,
        now_ms: i64,
    ) {
        // Told under the lock, so that readers hear of changes in their order.
        let mut book = self.0.book.lock();
        for finding in findings {
            let kind = finding.kind;
            match book.take(node, finding, now_ms) {
                None => {}
                Some(change) => self.0.tell(kind, change),
            }
        }
    }
}

impl Inner {
    fn tell(&self, kind: Kind, change: Change) {
        let alert = match change {
            Change::Dropped => {
                self.dropped.fetch_add(1, Relaxed);
                return;
            }
            Change::Raised(alert) => {
                self.raised[kind as usize].fetch_add(1, Relaxed);
                let Alert { id, name, node, text, .. } = &*alert;
                tracing::warn!(
                    alert = name,
                    id,
                    node = node.as_ref().map(NodeName::as_str),
                    "{text}"
                );
                alert
            }
            Change::Resolved(alert) => {
                let Alert { id, name, node, since_ms, .. } = &*alert;
                let lasted_ms = alert.resolved_ms.unwrap_or(*since_ms) - since_ms;
                let node = node.as_ref().map(NodeName::as_str);
                tracing::info!(alert = name, id, node, lasted_ms, "the alert is over");
                alert
            }
            Change::Updated(alert) => alert,
        };
        self.live.alert(alert);
    }

    /// The last report of every node.
    fn accountings(&self) -> Vec<(String, Arc<Accounting>)> {
        let nodes = self.nodes.lock();
        let mut all: Vec<_> = nodes
            .iter()
            .map(|(node, account)| (node.as_str().to_owned(), Arc::clone(&account.last)))
            .collect();
        drop(nodes);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn firing(&self) -> [(Kind, usize); Kind::ALL.len()] {
        let book = self.book.lock();
        Kind::ALL.map(|kind| (kind, book.firing(kind)))
    }

    fn raised(&self, kind: Kind) -> u64 {
        self.raised[kind as usize].load(Relaxed)
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// Forgets the node that has not reported for longest when `node` is new and there is no room. Gives its name.
fn make_room(
    nodes: &mut HashMap<NodeName, Account>,
    node: &NodeName,
    max_nodes: usize,
) -> Option<NodeName> {
    if nodes.len() < max_nodes || nodes.contains_key(node) {
        return None;
    }
    let oldest = nodes.iter().min_by_key(|(_, account)| account.last.reported_ms)?.0.clone();
    nodes.remove(&oldest);
    Some(oldest)
}

#[cfg(test)]
mod tests;
