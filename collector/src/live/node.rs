//! Last values of one node: its slots as the agent defined them, and the status computed from them after each frame.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use flyball_proto::frame::{Sample, Slot as FrameSlot};
use flyball_proto::series::{NodeName, Series};
use parking_lot::Mutex;

use super::derive::Derived;
use super::status::{HostStatus, NodeStatus};
use super::window::{NodeWindow, Snapshot, Span};
use crate::account::Accounting;
use crate::store::SeriesId;

/// Frames over which samples per second are counted.
const RATE_FRAMES: usize = 10;
/// A node is never called down for less silence than this.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);
/// Values and series that were not reported for this long (and for five intervals) no longer belong to the status.
const STALE_MS: i64 = 60_000;
/// Frames between two counts of the series that are still reported.
const SERIES_COUNT_EVERY: u32 = 16;

/// What an agent says of itself when it connects.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// Name of the node.
    pub node: NodeName,
    /// Version of the agent.
    pub agent_version: String,
    /// Nominal time between two frames.
    pub interval: Duration,
    /// What the node is.
    pub host: HostStatus,
}

/// A series and its last samples as the store has them, in order: time and raw integer.
pub(crate) type Recalled = (Arc<Series>, Vec<(i64, i64)>);

/// A series and its last value: 24 bytes, of which a large fleet has millions.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) series: Arc<Series>,
    pub(super) raw: i64,
    /// Twice the time of the value in milliseconds, and one more when the counter had started again.
    when: i64,
}

/// A node of the fleet.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    /// Its status changed and waits to be told.
    pub(super) dirty: AtomicBool,
    pub(super) state: Mutex<NodeState>,
}

/// What is known of a node.
#[derive(Debug)]
pub(super) struct NodeState {
    /// Number of the stream that feeds this node; `None` while no agent is connected.
    pub(super) stream: Option<u64>,
    interval: Duration,
    slots: Vec<Option<Slot>>,
    derived: Derived,
    /// Times and numbers of samples of the last frames.
    recent: VecDeque<(i64, usize)>,
    /// When the last frame arrived.
    arrived: Option<Instant>,
    frames_since_count: u32,
    status: Arc<NodeStatus>,
    window: NodeWindow,
}

impl Slot {
    /// A series without a value.
    const fn new(series: Arc<Series>) -> Self {
        Self { series, raw: 0, when: i64::MIN }
    }

    fn set(&mut self, ts_ms: i64, sample: &Sample) {
        self.raw = sample.raw;
        self.when = ts_ms << 1 | i64::from(sample.reset);
    }

    /// Time of the value; before all times until there is one.
    pub(super) const fn ts_ms(&self) -> i64 {
        self.when >> 1
    }

    /// The counter had started again.
    pub(super) const fn reset(&self) -> bool {
        self.when & 1 == 1
    }

    pub(super) fn value(&self) -> f64 {
        self.series.scale.value(self.raw)
    }
}

impl Node {
    /// A node that is not connected. `window_from_ms`: no sample of it is stored from then on but those that come here.
    pub(super) fn new(
        name: NodeName,
        last_seen_ms: Option<i64>,
        window_from_ms: Option<i64>,
    ) -> Self {
        let status =
            NodeStatus { node: name.as_str().to_owned(), last_seen_ms, ..NodeStatus::default() };
        let state = NodeState {
            stream: None,
            interval: Duration::from_secs(1),
            slots: Vec::new(),
            derived: Derived::default(),
            recent: VecDeque::with_capacity(RATE_FRAMES + 1),
            arrived: None,
            frames_since_count: 0,
            status: Arc::new(status),
            window: NodeWindow::new(window_from_ms),
        };
        Self { name, dirty: AtomicBool::new(false), state: Mutex::new(state) }
    }
}

impl NodeState {
    pub(super) fn status(&self) -> Arc<NodeStatus> {
        Arc::clone(&self.status)
    }

    /// A new stream takes over: its dictionary starts empty, the last status stays until its first frame. `alone`: nobody else stores samples of the node.
    pub(super) fn connect(&mut self, stream: u64, info: &NodeInfo, alone: bool) {
        if self.stream.is_some() || self.arrived.is_none() || !alone {
            self.window.restart();
        }
        self.stream = Some(stream);
        self.interval = info.interval;
        self.clear();
        self.recent.clear();
        let status = Arc::make_mut(&mut self.status);
        status.agent_version = Some(info.agent_version.clone());
        status.host = Some(Arc::new(info.host.clone()));
    }

    /// Takes note of the revision in force. True when that is news.
    pub(super) fn policy(&mut self, revision: u64) -> bool {
        let is_news = self.status.policy_revision != revision;
        if is_news {
            Arc::make_mut(&mut self.status).policy_revision = revision;
        }
        is_news
    }

    /// Takes note that another collector has stored a sample of `ts_ms`. True when that is news.
    pub(super) fn heard(&mut self, ts_ms: i64, patience: Duration, now: Instant) -> bool {
        let is_news = self.status.last_seen_ms.is_none_or(|last_ms| last_ms < ts_ms);
        if self.stream.is_some() || !is_news {
            self.notice_elsewhere(ts_ms);
            return false;
        }
        self.arrived = Some(now);
        // Silence is judged by three intervals.
        self.interval = patience / 3;
        let status = Arc::make_mut(&mut self.status);
        (status.up, status.last_seen_ms) = (true, Some(ts_ms));
        status.forget_values();
        true
    }

    /// Takes over what another collector said of the node. True when that is news.
    pub(super) fn told(&mut self, status: NodeStatus, patience: Duration, now: Instant) -> bool {
        let Some(ts_ms) = status.last_seen_ms else { return false };
        // What is as old may have more in it: the store was asked before.
        let is_news = self.status.last_seen_ms.is_none_or(|last_ms| last_ms <= ts_ms);
        if self.stream.is_some() || !is_news {
            self.notice_elsewhere(ts_ms);
            return false;
        }
        self.arrived = Some(now);
        self.interval = patience / 3;
        let accounting = self.status.accounting.clone();
        self.status = Arc::new(NodeStatus { up: true, accounting, ..status });
        true
    }

    /// Computes the status from samples that the store has. True when they are news.
    pub(super) fn recalled(
        &mut self,
        series: &[Recalled],
        patience: Duration,
        now: Instant,
    ) -> bool {
        let newest =
            series.iter().filter_map(|(_, samples)| samples.last()).map(|(ts, _)| *ts).max();
        let Some(newest_ms) = newest else { return false };
        let is_known =
            |last_ms| last_ms > newest_ms || last_ms == newest_ms && self.status.has_values();
        if self.stream.is_some() || self.status.last_seen_ms.is_some_and(is_known) {
            return false;
        }
        let mut slots = Vec::with_capacity(series.len());
        let mut derived = Derived::default();
        let mut ticks: BTreeMap<i64, Vec<(usize, i64)>> = BTreeMap::new();
        for (number, (series, samples)) in series.iter().enumerate() {
            derived.define(number as u32, series);
            slots.push(Some(Slot::new(Arc::clone(series))));
            for &(ts_ms, raw) in samples {
                ticks.entry(ts_ms).or_default().push((number, raw));
            }
        }
        for (ts_ms, values) in ticks {
            for (number, raw) in values {
                if let Some(Some(slot)) = slots.get_mut(number) {
                    slot.set(ts_ms, &Sample { slot: FrameSlot(number as u32), raw, reset: false });
                }
            }
            derived.advance(&slots, ts_ms);
        }
        self.arrived = Some(now);
        self.interval = patience / 3;
        let status = Arc::make_mut(&mut self.status);
        (status.up, status.last_seen_ms) = (true, Some(newest_ms));
        derived.apply(&slots, newest_ms - STALE_MS, status);
        true
    }

    pub(super) fn disconnect(&mut self) {
        self.stream = None;
        self.set_down();
    }

    pub(super) fn account(&mut self, accounting: Arc<Accounting>) {
        Arc::make_mut(&mut self.status).accounting = Some(accounting);
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.derived.clear();
        self.window.clear();
    }

    /// Makes room for so many more slots, and little more than that.
    pub(super) fn reserve(&mut self, slots: usize) {
        if self.slots.capacity() - self.slots.len() < slots {
            self.slots.reserve_exact(slots.max(self.slots.len() / 8));
        }
    }

    pub(super) fn define(&mut self, slot: u32, id: Option<SeriesId>, series: Arc<Series>) {
        self.window.define(slot, id, &series);
        let index = slot as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        self.derived.define(slot, &series);
        self.slots[index] = Some(Slot::new(series));
        self.frames_since_count = SERIES_COUNT_EVERY;
    }

    /// Takes a frame. Frames come in the order in which they were made: one that is older than the last one means that the node's clock was
    /// set back, one of the same time that the samples of a tick did not fit into one frame.
    pub(super) fn update(&mut self, ts_ms: i64, samples: &[Sample], now: Instant, span: Span) {
        self.arrived = Some(now);
        self.window.record(ts_ms, samples, span);
        for sample in samples {
            if let Some(Some(slot)) = self.slots.get_mut(sample.slot.index()) {
                slot.set(ts_ms, sample);
            }
        }
        self.derived.advance(&self.slots, ts_ms);
        self.note_frame(ts_ms, samples.len());
        self.refresh(ts_ms);
    }

    /// Marks the node as down when its agent fell silent. True when that changed anything.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        let limit = (self.interval * 3).max(SHORTEST_SILENCE);
        let silent = self.arrived.is_none_or(|at| now.saturating_duration_since(at) > limit);
        silent && self.set_down()
    }

    /// When the last frame arrived; nodes that never sent one come first.
    pub(super) fn arrived(&self) -> Option<Instant> {
        self.arrived
    }

    /// Series and values of a frame's samples.
    pub(super) fn resolve(&self, samples: &[Sample]) -> Vec<(Arc<Series>, f64)> {
        let one = |sample: &Sample| {
            let slot = self.slots.get(sample.slot.index())?.as_ref()?;
            Some((Arc::clone(&slot.series), slot.series.scale.value(sample.raw)))
        };
        samples.iter().filter_map(one).collect()
    }

    /// A sample of this time was stored that no live stream brought.
    pub(super) fn missed(&mut self, ts_ms: i64) {
        self.window.missed(ts_ms);
    }

    /// Drops what is older than the windows hold. Gives the bytes that are left.
    pub(super) fn prune(&mut self, oldest_ms: Option<i64>) -> usize {
        match oldest_ms {
            Some(oldest_ms) => self.window.prune(oldest_ms),
            None => self.window.restart(),
        }
        self.window.bytes()
    }

    /// Somebody else has a newer sample than the stream that is here: that one is dead and does not know it yet.
    fn notice_elsewhere(&mut self, ts_ms: i64) {
        if self.stream.is_some() && self.status.last_seen_ms.is_none_or(|ours_ms| ours_ms < ts_ms) {
            self.window.missed(ts_ms);
        }
    }

    /// Recent samples; `None` when some may be missing. `alone`: nobody else stores samples of the node. A stream that has fallen silent may be one whose other end is gone and
    /// feeds somebody else by now.
    pub(super) fn recent(
        &self,
        ids: &[u64],
        range_ms: (i64, i64),
        alone: bool,
    ) -> Option<Snapshot> {
        let counts = alone || self.stream.is_some() && self.status.up;
        counts.then(|| self.window.snapshot(ids, range_ms.0, range_ms.1))?
    }

    /// The newest sample of each series.
    pub(super) fn last(&self) -> impl Iterator<Item = (&Arc<Series>, i64, f64)> {
        let slots = self.slots.iter().flatten().filter(|slot| slot.when != i64::MIN);
        slots.map(|slot| (&slot.series, slot.ts_ms(), slot.value()))
    }

    fn set_down(&mut self) -> bool {
        if !self.status.up {
            return false;
        }
        let status = Arc::make_mut(&mut self.status);
        status.up = false;
        status.samples_per_second = 0.0;
        true
    }

    fn note_frame(&mut self, ts_ms: i64, samples: usize) {
        match self.recent.back_mut() {
            Some((newest_ms, count)) if *newest_ms == ts_ms => *count += samples,
            newest => {
                if newest.is_some_and(|(newest_ms, _)| *newest_ms > ts_ms) {
                    self.recent.clear();
                }
                self.recent.push_back((ts_ms, samples));
            }
        }
        if self.recent.len() > RATE_FRAMES {
            self.recent.pop_front();
        }
    }

    fn refresh(&mut self, ts_ms: i64) {
        let oldest_ms = ts_ms - STALE_MS.max(self.interval.as_millis() as i64 * 5);
        let count = self.count_series(oldest_ms);
        let samples_per_second = self.samples_per_second();
        let status = Arc::make_mut(&mut self.status);
        status.up = true;
        status.last_seen_ms = Some(ts_ms);
        status.samples_per_second = samples_per_second;
        if let Some(count) = count {
            status.series = count;
        }
        self.derived.apply(&self.slots, oldest_ms, status);
    }

    /// Series reported since `oldest_ms`; `None` when it is not yet time to count again.
    fn count_series(&mut self, oldest_ms: i64) -> Option<u32> {
        self.frames_since_count += 1;
        if self.frames_since_count < SERIES_COUNT_EVERY {
            return None;
        }
        self.frames_since_count = 0;
        Some(self.slots.iter().flatten().filter(|slot| slot.ts_ms() >= oldest_ms).count() as u32)
    }

    /// Samples of all recent frames but the first, over the time since the first; of a single frame, over the interval.
    fn samples_per_second(&self) -> f64 {
        let (Some((first_ms, first)), Some((last_ms, _))) =
            (self.recent.front(), self.recent.back())
        else {
            return 0.0;
        };
        let samples: usize = self.recent.iter().map(|(_, samples)| samples).sum();
        if last_ms > first_ms {
            (samples - first) as f64 * 1_000.0 / (last_ms - first_ms) as f64
        } else {
            samples as f64 / self.interval.as_secs_f64().max(0.001)
        }
    }
}
