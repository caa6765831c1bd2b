//! What happens in the fleet, as the dashboard and the CLI hear it: one bounded ring that every reader follows at its own pace.
//!
//! Writers append and never wait. A reader keeps the id of the event it read last; when the ring has already dropped the next one, the reader is told
//! `resync` and goes on from the fleet's present status. So one structure serves slow readers and readers that come back with `Last-Event-ID`,
//! and there is no queue for each reader. Ids start at the time of the process's start in milliseconds: they grow over restarts too.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_proto::series::{NodeName, Series};
use parking_lot::Mutex;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::sync::watch;

use super::status::{NodeStatus, Totals};
use crate::account::Alert;

/// Most events in the ring.
const RING_EVENTS: usize = 1_024;
/// Most nodes and samples that the events in the ring hold together; some 400 bytes each at worst.
const RING_ITEMS: usize = 20_000;
/// A node's samples are kept for this long after its last reader went, so that it can come back without a gap.
const LINGER: Duration = Duration::from_secs(30);

/// Which events a reader wants: status of all nodes always, samples of one node when it is named.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Samples of this node.
    pub node: Option<NodeName>,
    /// Only these metrics; all when empty.
    pub metrics: Vec<MetricPattern>,
}

/// An exact name of a metric, or the beginning of names when it ends in `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricPattern {
    /// This name.
    Exact(String),
    /// All names that begin so.
    Prefix(String),
}

/// An event and its place in the order of events.
#[derive(Debug, Clone)]
pub struct Event {
    /// Grows from event to event; what `Last-Event-ID` names.
    pub id: u64,
    /// What happened.
    pub body: EventBody,
}

/// What happened; serializes to the JSON of `/api/performance/events`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum EventBody {
    /// The status of some nodes changed.
    Status(#[serde(serialize_with = "super::status::one")] Arc<StatusEvent>),
    /// A node's frame arrived.
    Samples(SamplesEvent),
    /// An alert began to fire, has another text, or is over.
    Alert(#[serde(serialize_with = "super::status::one")] Arc<Alert>),
    /// A suggestion was made or decided on; as `/api/performance/suggestions/{id}` tells it.
    Suggestion(#[serde(serialize_with = "super::status::one")] Arc<Value>),
    /// A rollout went on; as `/api/performance/rollouts/{id}` tells it.
    Rollout(#[serde(serialize_with = "super::status::one")] Arc<Value>),
    /// Something else is wanted of a node, or its agent told what became of it.
    Policy(#[serde(serialize_with = "super::status::one")] Arc<Value>),
    /// An agent told how a cache is.
    Cache(#[serde(serialize_with = "super::status::one")] Arc<Value>),
    /// An agent told how a load balancer is, or its weights have changed.
    Balancer(#[serde(serialize_with = "super::status::one")] Arc<Value>),
    /// Events were missed: what was known before may be out of date.
    Resync,
}

/// Nodes whose status changed.
#[derive(Debug, Serialize)]
pub struct StatusEvent {
    /// When it was told, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The nodes that changed since the last such event; all nodes in the first one.
    #[serde(serialize_with = "super::status::each")]
    pub nodes: Vec<Arc<NodeStatus>>,
    /// Sums over the whole fleet.
    pub totals: Totals,
}

/// Samples of one frame, those that the reader asked for.
#[derive(Debug, Clone)]
pub struct SamplesEvent {
    frame: Arc<FrameSamples>,
    filter: Arc<EventFilter>,
}

/// Samples of one frame.
#[derive(Debug)]
pub(super) struct FrameSamples {
    pub(super) node: NodeName,
    pub(super) ts_ms: i64,
    pub(super) samples: Vec<(Arc<Series>, f64)>,
}

/// What the ring holds.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    Status(Arc<StatusEvent>),
    Samples(Arc<FrameSamples>),
    Alert(Arc<Alert>),
    Change(Change, Arc<Value>),
}

/// What an event about steering is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A suggestion.
    Suggestion,
    /// A rollout.
    Rollout,
    /// What is wanted of a node.
    Policy,
    /// A cache.
    Cache,
    /// A load balancer.
    Balancer,
}

/// The ring and those who wait for it.
#[derive(Debug)]
pub(super) struct Bus {
    ring: Mutex<Ring>,
    /// Id of the newest event.
    newest: watch::Sender<u64>,
    watched: Mutex<HashMap<NodeName, Watched>>,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Stored>,
    /// Id of the first event in `events`.
    first_id: u64,
    items: usize,
}

#[derive(Debug)]
struct Watched {
    readers: usize,
    until: Instant,
}

/// A reader's place in the ring.
#[derive(Debug)]
pub(super) struct Cursor {
    bus: Arc<Bus>,
    filter: Arc<EventFilter>,
    newest: watch::Receiver<u64>,
    /// Id of the last event that was read or passed over.
    last_id: u64,
}

/// What a cursor finds.
pub(super) enum Read {
    Event(Event),
    /// The events after the cursor are gone; it now stands at the newest one.
    Gap,
    /// Nothing new.
    Nothing,
}

// === impl EventFilter, MetricPattern ===

impl EventFilter {
    /// True when samples of `metric` are wanted.
    pub fn wants(&self, metric: &str) -> bool {
        self.metrics.is_empty() || self.metrics.iter().any(|pattern| pattern.matches(metric))
    }
}

impl MetricPattern {
    /// Reads `system.cpu.*` or `system.uptime`.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// True when `metric` is meant.
    pub fn matches(&self, metric: &str) -> bool {
        match self {
            Self::Exact(name) => name == metric,
            Self::Prefix(prefix) => metric.starts_with(prefix),
        }
    }
}

// === impl SamplesEvent ===

impl SamplesEvent {
    /// The node.
    pub fn node(&self) -> &NodeName {
        &self.frame.node
    }

    /// Time of the frame, milliseconds since the Unix epoch.
    pub fn ts_ms(&self) -> i64 {
        self.frame.ts_ms
    }

    /// The samples that the reader asked for.
    pub fn samples(&self) -> impl Iterator<Item = (&Series, f64)> {
        let wanted = |series: &Series| self.filter.wants(&series.metric);
        self.frame
            .samples
            .iter()
            .map(|(series, value)| (series.as_ref(), *value))
            .filter(move |(series, _)| wanted(series))
    }
}

impl Serialize for SamplesEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            node: &'a str,
            ts_ms: i64,
            samples: Samples<'a>,
        }
        let samples = Samples(self);
        Shape { node: self.node().as_str(), ts_ms: self.ts_ms(), samples }.serialize(serializer)
    }
}

struct Samples<'a>(&'a SamplesEvent);

impl Serialize for Samples<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            metric: &'a str,
            attributes: Attributes<'a>,
            value: f64,
        }
        let mut list = serializer.serialize_seq(None)?;
        for (series, value) in self.0.samples() {
            let attributes = Attributes(&series.attributes);
            list.serialize_element(&Shape { metric: &series.metric, attributes, value })?;
        }
        list.end()
    }
}

struct Attributes<'a>(&'a [(String, String)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

// === impl Stored ===

impl Stored {
    fn items(&self) -> usize {
        match self {
            Self::Status(event) => event.nodes.len() + 1,
            Self::Samples(frame) => frame.samples.len() + 1,
            Self::Alert(_) => 1,
            // Tens of kilobytes at worst.
            Self::Change(..) => 16,
        }
    }
}

// === impl Change ===

impl Change {
    const fn event(self, body: Arc<Value>) -> EventBody {
        match self {
            Self::Suggestion => EventBody::Suggestion(body),
            Self::Rollout => EventBody::Rollout(body),
            Self::Policy => EventBody::Policy(body),
            Self::Cache => EventBody::Cache(body),
            Self::Balancer => EventBody::Balancer(body),
        }
    }
}

// === impl Bus ===

impl Bus {
    /// An empty bus whose first event gets the id after `first_id`.
    pub(super) fn new(first_id: u64) -> Self {
        let ring = Ring { events: VecDeque::new(), first_id: first_id + 1, items: 0 };
        Self {
            ring: Mutex::new(ring),
            newest: watch::Sender::new(first_id),
            watched: Mutex::default(),
        }
    }

    /// Appends an event; the oldest ones make room.
    pub(super) fn push(&self, event: Stored) {
        let mut ring = self.ring.lock();
        ring.items += event.items();
        ring.events.push_back(event);
        while ring.events.len() > RING_EVENTS || (ring.items > RING_ITEMS && ring.events.len() > 1)
        {
            let dropped = ring.events.pop_front().map_or(0, |event| event.items());
            ring.items -= dropped;
            ring.first_id += 1;
        }
        let newest = ring.newest();
        drop(ring);
        self.newest.send_replace(newest);
    }

    /// True while somebody reads the samples of `node`, or did a moment ago.
    pub(super) fn is_watched(&self, node: &NodeName, now: Instant) -> bool {
        let mut watched = self.watched.lock();
        let Some(entry) = watched.get(node) else {
            return false;
        };
        let wanted = entry.readers > 0 || entry.until > now;
        if !wanted {
            watched.remove(node);
        }
        wanted
    }

    /// A reader that stands after `last_id`, or at the newest event.
    pub(super) fn cursor(self: &Arc<Self>, filter: EventFilter, last_id: Option<u64>) -> Cursor {
        let now = Instant::now();
        if let Some(node) = &filter.node {
            let mut watched = self.watched.lock();
            watched.retain(|_, entry| entry.readers > 0 || entry.until > now);
            watched.entry(node.clone()).or_insert(Watched { readers: 0, until: now }).readers += 1;
        }
        let newest = self.newest.subscribe();
        let last_id = last_id.unwrap_or_else(|| *newest.borrow());
        Cursor { bus: Arc::clone(self), filter: Arc::new(filter), newest, last_id }
    }
}

// === impl Ring ===

impl Ring {
    fn newest(&self) -> u64 {
        self.first_id + self.events.len() as u64 - 1
    }
}

// === impl Cursor ===

impl Cursor {
    /// Id of the last event that was read or passed over.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The next event that the filter lets through.
    pub(super) fn read(&mut self) -> Read {
        let ring = self.bus.ring.lock();
        let newest = ring.newest();
        if self.last_id > newest || self.last_id + 1 < ring.first_id {
            self.last_id = newest;
            return Read::Gap;
        }
        while self.last_id < newest {
            self.last_id += 1;
            let stored = &ring.events[(self.last_id - ring.first_id) as usize];
            let body = match stored {
                Stored::Status(event) => EventBody::Status(Arc::clone(event)),
                Stored::Samples(frame) if Some(&frame.node) == self.filter.node.as_ref() => {
                    let (frame, filter) = (Arc::clone(frame), Arc::clone(&self.filter));
                    EventBody::Samples(SamplesEvent { frame, filter })
                }
                Stored::Samples(_) => continue,
                Stored::Alert(alert) => EventBody::Alert(Arc::clone(alert)),
                Stored::Change(about, body) => about.event(Arc::clone(body)),
            };
            return Read::Event(Event { id: self.last_id, body });
        }
        Read::Nothing
    }

    /// Waits until there is something new.
    pub(super) async fn changed(&mut self) {
        // The sender lives in the bus, which this cursor holds.
        let _ = self.newest.changed().await;
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(node) = &self.filter.node
            && let Some(entry) = self.bus.watched.lock().get_mut(node)
        {
            entry.readers -= 1;
            entry.until = Instant::now() + LINGER;
        }
    }
}
