//! Some minutes of a node: the times of its frames, and for each slot the samples as a [`Stream`].

use std::sync::Arc;

use flyball_proto::series::Scale;

use super::stream::{Stream, read};

/// What a slot of the node's dictionary is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Id of the series; `None` when its samples are not stored as such.
    pub(super) id: Option<u64>,
    pub(super) scale: Scale,
    pub(super) is_counter: bool,
}

/// A block that is being written.
#[derive(Debug)]
pub(super) struct Open {
    keys: Arc<Vec<Key>>,
    start_ms: i64,
    /// Times of the frames after the start, ascending.
    times: Vec<u32>,
    streams: Vec<Stream>,
    bytes: usize,
}

/// A block that does not change any more.
#[derive(Debug)]
pub(super) struct Block {
    keys: Arc<Vec<Key>>,
    start_ms: i64,
    times: Box<[u32]>,
    /// Where the stream of each slot ends in `bytes`; it begins where the one before it ends.
    ends: Box<[u32]>,
    bytes: Box<[u8]>,
}

impl Open {
    pub(super) fn new(keys: &Arc<Vec<Key>>, start_ms: i64) -> Self {
        let bytes = size_of::<Self>() + keys.len() * size_of::<Stream>();
        Self {
            keys: Arc::clone(keys),
            start_ms,
            times: Vec::new(),
            streams: vec![Stream::default(); keys.len()],
            bytes,
        }
    }

    /// Time of the first frame.
    pub(super) const fn start_ms(&self) -> i64 {
        self.start_ms
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when the slot has no samples here, so that it may become another series.
    pub(super) fn is_free(&self, slot: usize) -> bool {
        self.streams.get(slot).is_none_or(Stream::is_empty)
    }

    /// True when the series has samples here, so that another slot of it would mix their order.
    pub(super) fn has(&self, id: u64) -> bool {
        let mut slots = self.keys.iter().zip(&self.streams);
        slots.any(|(key, stream)| key.id == Some(id) && !stream.is_empty())
    }

    /// Takes over a new dictionary, of which every slot that is in use here is the same.
    pub(super) fn rekey(&mut self, keys: &Arc<Vec<Key>>) {
        self.bytes += (keys.len() - self.streams.len()) * size_of::<Stream>();
        self.streams.resize(keys.len(), Stream::default());
        self.keys = Arc::clone(keys);
    }

    /// Begins a frame, which is later than all before it.
    pub(super) fn begin(&mut self, ts_ms: i64) {
        self.bytes += size_of::<u32>();
        self.times.push((ts_ms - self.start_ms) as u32);
    }

    /// Adds a sample to the newest frame. False when it has one of this slot already.
    pub(super) fn push(&mut self, slot: usize, raw: i64) -> bool {
        let frame = (self.times.len() - 1) as u32;
        match self.streams.get_mut(slot) {
            Some(stream) if self.keys[slot].id.is_some() => {
                let before = stream.heap_bytes();
                let is_new = stream.push(frame, raw, self.keys[slot].is_counter);
                self.bytes += stream.heap_bytes() - before;
                is_new
            }
            _ => true,
        }
    }

    /// The block as it is now, with the slots for which `wanted` is true.
    pub(super) fn seal(&self, wanted: impl Fn(&Key) -> bool) -> Block {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(self.streams.len()));
        for (stream, key) in self.streams.iter().zip(self.keys.iter()) {
            if wanted(key) {
                stream.write_to(&mut bytes);
            }
            ends.push(bytes.len() as u32);
        }
        Block {
            keys: Arc::clone(&self.keys),
            start_ms: self.start_ms,
            times: self.times.as_slice().into(),
            ends: ends.into(),
            bytes: bytes.into(),
        }
    }
}

impl Block {
    /// Bytes that the block takes, without the dictionary that it shares.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + (self.times.len() + self.ends.len()) * 4
    }

    pub(super) const fn start_ms(&self) -> i64 {
        self.start_ms
    }

    pub(super) const fn frames(&self) -> usize {
        self.times.len()
    }

    /// Time of the last frame.
    pub(super) fn last_ms(&self) -> i64 {
        self.start_ms + self.times.last().copied().map_or(0, i64::from)
    }

    /// Gives time and value of every sample of a series to `take`, in order.
    pub(super) fn samples(&self, id: u64, mut take: impl FnMut(i64, f64)) {
        for (slot, key) in self.keys.iter().enumerate() {
            if key.id != Some(id) {
                continue;
            }
            let Some(&end) = self.ends.get(slot) else { return };
            let begin = if slot == 0 { 0 } else { self.ends[slot - 1] };
            let bytes = &self.bytes[begin as usize..end as usize];
            read(bytes, key.is_counter, |frame, raw| {
                let ts_ms = self.start_ms + i64::from(self.times[frame as usize]);
                take(ts_ms, key.scale.value(raw));
            });
        }
    }
}
