//! The recent samples of a node in memory, so that questions about the present never reach ClickHouse.
//!
//! A window holds every sample of its node from some time on, as the live stream brought them, in blocks of five minutes. *Every* is what makes an answer from here as right as
//! one from the store, so the window keeps the time from which it is complete, and that time only ever grows:
//!
//! - samples that come on another way, as the backlog does, or out of order are not taken in: the window is complete from after them;
//! - while other collectors may store samples of the node, a window counts only while the node's stream is here, and begins anew with each stream;
//! - blocks that are dropped to keep to the bound on time or memory take their time with them.
//!
//! Nobody else stores into the embedded engine. There a node that is not connected has no samples after the start of the collector but those that are here.
//!
//! Properties, each a test: a snapshot gives exactly the samples that were recorded at and after the time that was asked for; it is refused when a sample of that time may be missing;
//! bytes are what the blocks take.

mod block;
mod span;
mod stream;

use std::collections::VecDeque;
use std::sync::Arc;

use flyball_proto::frame::Sample;
use flyball_proto::series::{Kind, Scale, Series};

use self::block::{Block, Key, Open};
pub(super) use self::span::{Span, WindowUse};
use crate::store::SeriesId;

/// Time that one block holds. What is dropped is dropped by the block.
const BLOCK_MS: i64 = 5 * 60_000;

/// See the module.
#[derive(Debug)]
pub(super) struct NodeWindow {
    /// The node's dictionary.
    keys: Arc<Vec<Key>>,
    sealed: VecDeque<Arc<Block>>,
    open: Option<Open>,
    /// Every sample of the node at and after this time is here; `None` until the next frame.
    complete_from_ms: Option<i64>,
    newest_ms: i64,
    bytes: usize,
}

/// Samples of some series of a node, apart from the node and its lock.
#[derive(Debug)]
pub(crate) struct Snapshot {
    blocks: Vec<Arc<Block>>,
}

impl NodeWindow {
    /// Without samples. Complete from `complete_from_ms`, or else from the first frame.
    pub(super) fn new(complete_from_ms: Option<i64>) -> Self {
        Self {
            keys: Arc::default(),
            sealed: VecDeque::new(),
            open: None,
            complete_from_ms,
            newest_ms: i64::MIN,
            bytes: 0,
        }
    }

    /// Forgets all samples: what came meanwhile may have gone elsewhere.
    pub(super) fn restart(&mut self) {
        self.sealed.clear();
        (self.open, self.complete_from_ms, self.bytes) = (None, None, 0);
    }

    /// The dictionary begins anew.
    pub(super) fn clear(&mut self) {
        self.close();
        self.keys = Arc::default();
    }

    /// Defines a slot, whose samples are stored as `id` or not as a series of their own.
    pub(super) fn define(&mut self, slot: u32, id: Option<SeriesId>, series: &Series) {
        let slot = slot as usize;
        let id = id.map(SeriesId::get);
        if let Some(open) = &self.open
            && (!open.is_free(slot) || id.is_some_and(|id| open.has(id)))
        {
            self.close();
        }
        let keys = Arc::make_mut(&mut self.keys);
        if keys.len() <= slot {
            keys.resize(slot + 1, Key { id: None, scale: Scale::UNIT, is_counter: false });
        }
        let is_counter = series.kind == Kind::Counter;
        keys[slot] = Key { id, scale: series.scale, is_counter };
    }

    /// Takes the samples of a frame.
    pub(super) fn record(&mut self, ts_ms: i64, samples: &[Sample], span: Span) {
        if !span.is_on() {
            self.restart();
            return;
        }
        if ts_ms < self.newest_ms {
            return self.missed(ts_ms);
        }
        let from_ms = *self.complete_from_ms.get_or_insert(ts_ms);
        if ts_ms > self.newest_ms {
            self.begin(ts_ms);
            self.newest_ms = ts_ms;
            self.prune(ts_ms - span.keep_ms());
        }
        let Some(open) = &mut self.open else {
            self.complete_from_ms = Some(from_ms.max(ts_ms + 1));
            return;
        };
        let before = open.bytes();
        let mut is_whole = true;
        for sample in samples {
            is_whole &= open.push(sample.slot.index(), sample.raw);
        }
        self.bytes += open.bytes() - before;
        if !is_whole {
            // Two samples of one series and time: the store decides which one counts.
            self.missed(ts_ms);
        }
    }

    /// A sample of the node and this time was stored, or will be, and is not here.
    pub(super) fn missed(&mut self, ts_ms: i64) {
        self.complete_from_ms = self.complete_from_ms.map(|from_ms| from_ms.max(ts_ms + 1));
    }

    /// Drops blocks that end before `oldest_ms`.
    pub(super) fn prune(&mut self, oldest_ms: i64) {
        while self.sealed.front().is_some_and(|block| block.last_ms() < oldest_ms) {
            if let Some(block) = self.sealed.pop_front() {
                self.bytes -= block.bytes();
                self.missed(block.last_ms());
            }
        }
    }

    /// Bytes that the window takes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Samples of these series in `[from_ms, to_ms)` and perhaps around it; `None` when some may be missing.
    pub(super) fn snapshot(&self, ids: &[u64], from_ms: i64, to_ms: i64) -> Option<Snapshot> {
        self.complete_from_ms.filter(|&complete_ms| complete_ms <= from_ms)?;
        let within = |block: &&Arc<Block>| block.start_ms() < to_ms && block.last_ms() >= from_ms;
        let mut blocks: Vec<_> = self.sealed.iter().filter(within).map(Arc::clone).collect();
        if let Some(open) = self.open.as_ref().filter(|open| open.start_ms() < to_ms) {
            let wanted = |key: &Key| key.id.is_some_and(|id| ids.contains(&id));
            blocks.push(Arc::new(open.seal(wanted)));
        }
        Some(Snapshot { blocks })
    }

    /// Makes room for a frame of this time, which is later than all others.
    fn begin(&mut self, ts_ms: i64) {
        if self.open.as_ref().is_some_and(|open| ts_ms - open.start_ms() >= BLOCK_MS) {
            self.close();
        }
        if self.open.is_none() {
            let open = Open::new(&self.keys, ts_ms);
            self.bytes += open.bytes();
            self.open = Some(open);
        }
        let Some(open) = &mut self.open else { return };
        let before = open.bytes();
        open.rekey(&self.keys);
        open.begin(ts_ms);
        self.bytes += open.bytes() - before;
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let block = open.seal(|_| true);
            self.bytes = self.bytes - open.bytes() + block.bytes();
            self.sealed.push_back(Arc::new(block));
        }
    }
}

impl Snapshot {
    /// Frames; a series has at most a sample in each.
    pub(crate) fn frames(&self) -> usize {
        self.blocks.iter().map(|block| block.frames()).sum()
    }

    /// Gives time and value of every sample of a series to `take`, in the order of their times.
    pub(crate) fn samples(&self, id: u64, mut take: impl FnMut(i64, f64)) {
        for block in &self.blocks {
            block.samples(id, &mut take);
        }
    }
}

#[cfg(test)]
mod tests;
