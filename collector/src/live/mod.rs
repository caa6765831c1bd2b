//! Last values of the fleet in memory, and the events that tell of their changes.
//!
//! Streams write through a [`NodeFeed`], one for each connected agent; readers take [`Live::status`] or follow [`Live::subscribe`]. Each node has a lock
//! of its own, held for the microseconds of one frame and never across an await, so nodes do not wait for each other and a reader never holds up ingest.
//! The status of a node is computed once for each frame and shared by pointer after that: a fleet of 1,000 nodes is read by copying 1,000 pointers.
//! Why not one task that owns everything: each frame would cross a queue only to be read back through another one.

mod derive;
mod events;
mod node;
mod recent;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flyball_proto::frame::Sample;
use flyball_proto::series::{NodeName, Series};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use self::events::{
    Change, Event, EventBody, EventFilter, MetricPattern, SamplesEvent, StatusEvent,
};
pub use self::node::NodeInfo;
pub(crate) use self::node::Recalled;
pub(crate) use self::recent::says_status;
pub use self::recent::{LastValue, WindowStats};
pub use self::settings::LiveSettings;
pub use self::status::{FleetStatus, HostStatus, NodeStatus, Totals};

use self::events::{Bus, Cursor, FrameSamples, Read, Stored};
use self::node::Node;
pub(crate) use self::window::Snapshot;
use crate::account::{Accounting, AccountingTotals, Alert};
use crate::store::SeriesId;

/// Changes of status are gathered for at most this long before they are told.
const COALESCE: Duration = Duration::from_millis(50);
/// Time between two looks for nodes that fell silent.
const SWEEP: Duration = Duration::from_secs(1);

/// The fleet's last values. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nodes: RwLock<BTreeMap<NodeName, Arc<Node>>>,
    settings: LiveSettings,
    started: Instant,
    /// From this time on no sample is stored but those that come here; `None` when other collectors may store some.
    alone_from_ms: Option<i64>,
    /// Time that the windows of recent samples hold, in milliseconds.
    span_ms: AtomicI64,
    window_bytes: AtomicUsize,
    streams: AtomicU64,
    bus: Arc<Bus>,
    /// Nodes whose status changed since it was last told; each at most once.
    dirty: Mutex<Vec<Arc<Node>>>,
    changed: Notify,
    stopped: CancellationToken,
}

/// The fleet has as many nodes as it may have, and all of them are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the collector already serves {max_nodes} nodes, its limit")]
pub struct FleetFull {
    /// The limit, `live.max_nodes`.
    pub max_nodes: usize,
}

/// The way of one stream into the last values of its node. When it is dropped the node is no longer up.
/// A newer feed of the same node makes this one a no-op.
#[derive(Debug)]
pub struct NodeFeed {
    live: Live,
    node: Arc<Node>,
    stream: u64,
}

/// A reader of events; see [`Live::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    live: Live,
    cursor: Cursor,
    greeting: Greeting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Resync,
    Status,
    Done,
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

// === impl Live ===

impl Live {
    /// An empty fleet of at most `max_nodes` nodes, whose samples others may store too.
    pub fn new(max_nodes: usize) -> Self {
        Self::with(LiveSettings { max_nodes, ..LiveSettings::default() }, None)
    }

    /// An empty fleet. From `alone_from_ms` on no sample is stored but those that come here; `None` when other collectors may store some.
    pub fn with(settings: LiveSettings, alone_from_ms: Option<i64>) -> Self {
        let span_ms = AtomicI64::new(settings.span().ms());
        Self(Arc::new(Inner {
            nodes: RwLock::default(),
            settings,
            started: Instant::now(),
            alone_from_ms,
            span_ms,
            window_bytes: AtomicUsize::new(0),
            streams: AtomicU64::new(1),
            bus: Arc::new(Bus::new(now_ms() as u64)),
            dirty: Mutex::default(),
            changed: Notify::new(),
            stopped: CancellationToken::new(),
        }))
    }

    /// Adds nodes that are known from the store, as not up. Those above the limit are left out, the longest unseen first.
    pub fn seed(&self, known: impl IntoIterator<Item = (NodeName, Option<i64>)>) {
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort_by_key(|(_, last_seen_ms)| std::cmp::Reverse(*last_seen_ms));
        let mut nodes = self.0.nodes.write();
        let from_ms = self.0.alone_from_ms;
        for (name, last_seen_ms) in known.into_iter().take(self.0.settings.max_nodes) {
            nodes
                .entry(name.clone())
                .or_insert_with(|| Arc::new(Node::new(name, last_seen_ms, from_ms)));
        }
    }

    /// Status of `nodes`, or of all nodes when it is empty. Unknown names are left out; see [`Live::knows`].
    pub fn status(&self, nodes: &[NodeName]) -> FleetStatus {
        let known = self.0.nodes.read();
        let status = |node: &Arc<Node>| node.state.lock().status();
        let nodes: Vec<_> = if nodes.is_empty() {
            known.values().map(status).collect()
        } else {
            nodes.iter().filter_map(|name| known.get(name)).map(status).collect()
        };
        let totals = Totals::of(nodes.iter().map(Arc::as_ref));
        let mut accounting = AccountingTotals::default();
        nodes.iter().filter_map(|node| node.accounting.as_ref()).for_each(|a| accounting.add(a));
        FleetStatus { nodes, totals, accounting }
    }

    /// Nodes whose agents are not connected to this collector.
    pub fn absent(&self) -> Vec<NodeName> {
        let nodes = self.0.nodes.read();
        let absent = nodes.values().filter(|node| node.state.lock().stream.is_none());
        absent.map(|node| node.name.clone()).collect()
    }

    /// Those of `nodes`, or of all nodes when it is empty, that are connected to another collector.
    pub(crate) fn elsewhere(&self, nodes: &[NodeName]) -> Vec<NodeName> {
        if self.0.alone_from_ms.is_some() {
            return Vec::new();
        }
        let known = self.0.nodes.read();
        let is_elsewhere = |node: &&Arc<Node>| {
            let state = node.state.lock();
            state.stream.is_none() && state.status().up
        };
        let named = nodes.iter().filter_map(|name| known.get(name));
        let all = known.values().filter(|_| nodes.is_empty());
        named.chain(all).filter(is_elsewhere).map(|node| node.name.clone()).collect()
    }

    /// Whether a node's samples come, here or to another collector.
    pub(crate) fn is_up(&self, node: &NodeName) -> bool {
        let node = self.0.nodes.read().get(node).map(Arc::clone);
        node.is_some_and(|node| node.state.lock().status().up)
    }

    /// A node that is not connected here was heard of elsewhere at `ts_ms`. It counts as up until nothing newer was heard for `patience`; its values are
    /// not known here.
    pub fn heard(&self, node: &NodeName, ts_ms: i64, patience: Duration) {
        let Some(node) = self.0.nodes.read().get(node).map(Arc::clone) else { return };
        let changed = node.state.lock().heard(ts_ms, patience, Instant::now());
        if changed {
            self.touch(&node);
        }
    }

    /// Status of the nodes whose agents are connected here.
    pub(crate) fn connected(&self) -> Vec<Arc<NodeStatus>> {
        let nodes = self.0.nodes.read();
        let states = nodes.values().map(|node| node.state.lock());
        states.filter(|state| state.stream.is_some()).map(|state| state.status()).collect()
    }

    /// Another collector says how a node is that is connected there. Nothing when it is connected here, or something newer was heard. It counts as up until nothing newer was heard for
    /// `patience`.
    pub fn told(&self, status: NodeStatus, patience: Duration) {
        let Ok(name) = NodeName::new(&status.node) else { return };
        self.seed([(name.clone(), None)]);
        let Some(node) = self.0.nodes.read().get(&name).map(Arc::clone) else { return };
        let is_news = node.state.lock().told(status, patience, Instant::now());
        if is_news {
            self.touch(&node);
        }
    }

    /// The store says what series of a node that is not connected here were: for each the samples of the last minute, in order.
    pub(crate) fn recalled(&self, node: &NodeName, series: &[Recalled], patience: Duration) {
        let Some(node) = self.0.nodes.read().get(node).map(Arc::clone) else { return };
        let is_news = node.state.lock().recalled(series, patience, Instant::now());
        if is_news {
            self.touch(&node);
        }
    }

    /// A node that is known has this revision of its policy in force.
    pub fn policy(&self, node: &NodeName, revision: u64) {
        let Some(node) = self.0.nodes.read().get(node).map(Arc::clone) else { return };
        let is_news = node.state.lock().policy(revision);
        if is_news {
            self.touch(&node);
        }
    }

    /// True when the node has ever been seen.
    pub fn knows(&self, node: &NodeName) -> bool {
        self.0.nodes.read().contains_key(node)
    }

    /// Connects a stream to its node; an older stream's feed becomes a no-op.
    ///
    /// # Errors
    /// When the fleet is full of nodes that are connected.
    pub fn connect(&self, info: &NodeInfo) -> Result<NodeFeed, FleetFull> {
        let node = self.node(&info.node)?;
        let stream = self.0.streams.fetch_add(1, Ordering::Relaxed);
        node.state.lock().connect(stream, info, self.0.alone_from_ms.is_some());
        self.touch(&node);
        Ok(NodeFeed { live: self.clone(), node, stream })
    }

    /// Tells all readers of a change of an alert.
    pub fn alert(&self, alert: Arc<Alert>) {
        self.0.bus.push(Stored::Alert(alert));
    }

    /// Tells all readers what became of a suggestion, a rollout, a policy or a cache: an object without `type`.
    pub fn change(&self, about: Change, body: serde_json::Value) {
        self.0.bus.push(Stored::Change(about, Arc::new(body)));
    }

    /// Follows events from now on, beginning with the status of all nodes; or from the one after `last_event_id` when it is still there, and
    /// when it is not with [`EventBody::Resync`] and then the status of all nodes.
    pub fn subscribe(&self, filter: EventFilter, last_event_id: Option<u64>) -> Subscription {
        let cursor = self.0.bus.cursor(filter, last_event_id);
        let greeting = if last_event_id.is_some() { Greeting::Done } else { Greeting::Status };
        Subscription { live: self.clone(), cursor, greeting }
    }

    /// Tells changes and finds silent nodes until `shutdown`, and ends all subscriptions then.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut coalesce = interval(COALESCE);
        coalesce.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = sweep.tick() => self.sweep(Instant::now()),
                () = self.0.changed.notified(), if !pending => pending = true,
                _ = coalesce.tick(), if pending => {
                    pending = false;
                    self.tell();
                }
            }
        }
        self.0.stopped.cancel();
    }

    fn node(&self, name: &NodeName) -> Result<Arc<Node>, FleetFull> {
        if let Some(node) = self.0.nodes.read().get(name) {
            return Ok(Arc::clone(node));
        }
        let mut nodes = self.0.nodes.write();
        if nodes.len() >= self.0.settings.max_nodes && !nodes.contains_key(name) {
            let idle = nodes.values().filter_map(|node| {
                let state = node.state.lock();
                state.stream.is_none().then(|| (state.arrived(), node.name.clone()))
            });
            let oldest = idle.min().ok_or(FleetFull { max_nodes: self.0.settings.max_nodes })?;
            nodes.remove(&oldest.1);
        }
        let new = || Arc::new(Node::new(name.clone(), None, None));
        let node = nodes.entry(name.clone()).or_insert_with(new);
        Ok(Arc::clone(node))
    }

    /// Notes that the status of `node` changed.
    fn touch(&self, node: &Arc<Node>) {
        if !node.dirty.swap(true, Ordering::AcqRel) {
            self.0.dirty.lock().push(Arc::clone(node));
            self.0.changed.notify_one();
        }
    }

    fn sweep(&self, now: Instant) {
        for node in self.0.nodes.read().values() {
            if node.state.lock().sweep(now) {
                self.touch(node);
            }
        }
        self.bound_windows(now_ms());
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for node in self.0.nodes.read().values() {
            totals.add(&node.state.lock().status());
        }
        totals
    }

    fn tell(&self) {
        let dirty = std::mem::take(&mut *self.0.dirty.lock());
        let status = |node: &Arc<Node>| {
            node.dirty.store(false, Ordering::Release);
            node.state.lock().status()
        };
        let nodes = dirty.iter().map(status).collect();
        let totals = self.totals();
        self.0.bus.push(Stored::Status(Arc::new(StatusEvent { ts_ms: now_ms(), nodes, totals })));
    }
}

// === impl NodeFeed ===

impl NodeFeed {
    /// Forgets all slots: the agent begins a new dictionary.
    pub fn clear(&self) {
        let mut state = self.node.state.lock();
        if state.stream == Some(self.stream) {
            state.clear();
        }
    }

    /// Defines the series of some slots, with the ids under which their samples are stored; `None`: not as series of their own.
    pub fn define<'a>(
        &self,
        series: impl Iterator<Item = (u32, Option<SeriesId>, &'a Arc<Series>)>,
    ) {
        let mut state = self.node.state.lock();
        if state.stream == Some(self.stream) {
            state.reserve(series.size_hint().0);
            for (slot, id, series) in series {
                state.define(slot, id, Arc::clone(series));
            }
        }
    }

    /// False when a newer stream feeds the node.
    pub fn is_current(&self) -> bool {
        self.node.state.lock().stream == Some(self.stream)
    }

    /// Takes over what the node's agent said of its samples. False when a newer stream feeds the node.
    pub fn account(&self, accounting: &Arc<Accounting>) -> bool {
        let mut state = self.node.state.lock();
        if state.stream != Some(self.stream) {
            return false;
        }
        state.account(Arc::clone(accounting));
        drop(state);
        self.live.touch(&self.node);
        true
    }

    /// Takes the samples of a frame. Frames come in the order in which the node made them.
    pub fn update(&self, ts_ms: i64, samples: &[Sample]) {
        let now = Instant::now();
        let mut state = self.node.state.lock();
        if state.stream != Some(self.stream) {
            return;
        }
        state.update(ts_ms, samples, now, self.live.span());
        let bus = &self.live.0.bus;
        let watched = bus.is_watched(&self.node.name, now);
        let frame = watched.then(|| FrameSamples {
            node: self.node.name.clone(),
            ts_ms,
            samples: state.resolve(samples),
        });
        drop(state);
        if let Some(frame) = frame {
            bus.push(Stored::Samples(Arc::new(frame)));
        }
        self.live.touch(&self.node);
    }
}

impl Drop for NodeFeed {
    fn drop(&mut self) {
        let mut state = self.node.state.lock();
        if state.stream == Some(self.stream) {
            state.disconnect();
            drop(state);
            self.live.touch(&self.node);
        }
    }
}

// === impl Subscription ===

impl Subscription {
    /// The next event; `None` when the collector stops. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if self.live.0.stopped.is_cancelled() {
                return None;
            }
            match self.greeting {
                Greeting::Resync => {
                    self.greeting = Greeting::Status;
                    return Some(self.event(EventBody::Resync));
                }
                Greeting::Status => {
                    self.greeting = Greeting::Done;
                    let FleetStatus { nodes, totals, .. } = self.live.status(&[]);
                    let status = StatusEvent { ts_ms: now_ms(), nodes, totals };
                    return Some(self.event(EventBody::Status(Arc::new(status))));
                }
                Greeting::Done => {}
            }
            match self.cursor.read() {
                Read::Event(event) => return Some(event),
                Read::Gap => self.greeting = Greeting::Resync,
                Read::Nothing => {
                    tokio::select! {
                        () = self.cursor.changed() => {}
                        () = self.live.0.stopped.cancelled() => {}
                    }
                }
            }
        }
    }

    fn event(&self, body: EventBody) -> Event {
        Event { id: self.cursor.last_id(), body }
    }
}
