//! The outbox: frames from when they are produced until the collector says that they are stored.
//!
//! A bounded log of [segments](super::segment). A segment is freed when its last frame is acknowledged, never before; when the log is full the oldest
//! segment is shed, because the newest measurements are the ones that people look at, and its samples are counted. At any time
//!
//! ```text
//! produced = acked + in flight + shed
//! ```
//!
//! in samples, where *in flight* are those still in the log. A stream reads the log with a [`Cursor`] of its own, so the log knows nothing of connections.
//! It is in memory; the spool on disk takes the place of a segment's buffers.

use std::collections::VecDeque;

use flyball_proto::v1;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tonic::codegen::Bytes;

use super::segment::{NewFrame, Segment};

/// Part of the limit that one segment may fill before it is ended early, so that shedding one loses no more than that.
const SEGMENTS_AT_LEAST: usize = 8;
/// A Define message holds about this many bytes of definitions at most, well below the usual limits of gRPC messages.
const DEFINE_BYTES: usize = 512 * 1024;

/// Why samples were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// The outbox was full.
    Full,
    /// The agent was at its memory ceiling.
    Memory,
    /// The collector ended the stream because of the segment they were in.
    Refused,
    /// The collector stored the frame without them.
    Rejected,
}

/// Samples by what became of them, since the agent started, and the outbox's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Encoded into frames.
    pub produced: u64,
    /// Stored, as the collector says.
    pub acked: u64,
    /// Given up, by [`Shed`].
    pub shed: [u64; Shed::ALL.len()],
    /// Frames not acknowledged yet.
    pub frames: u64,
    /// Memory that the log takes.
    pub bytes: usize,
}

/// Where one stream is in the log.
#[derive(Debug, Clone)]
pub struct Cursor {
    next_seq: u64,
    dictionary_version: u32,
    slots: u32,
}

/// How far a stream may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Frames that may be unacknowledged at once.
    pub credits: u32,
    /// Only the oldest segment that holds an unacknowledged frame: to find the one that the collector refuses.
    pub one_segment: bool,
}

/// The next message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    /// Definitions that the next frame needs.
    Define(v1::Define),
    /// A frame's payload.
    Frame(Bytes),
}

/// The log itself. One place holds it, [`SharedOutbox`]; tests use it bare.
#[derive(Debug)]
pub struct Outbox {
    limit_bytes: usize,
    bytes: usize,
    segments: VecDeque<Segment>,
    /// Oldest first; all but the last are kept only as long as a segment names them.
    dictionaries: VecDeque<Dictionary>,
    acked_seq: u64,
    last_seq: u64,
    keyframe_wanted: bool,
    totals: Totals,
}

#[derive(Debug)]
struct Dictionary {
    version: u32,
    bytes: usize,
    series: Vec<v1::SeriesDefinition>,
}

/// The outbox between the sampling thread, which appends, and the stream, which reads. The lock is held for a copy of one frame at most.
#[derive(Debug)]
pub struct SharedOutbox {
    outbox: Mutex<Outbox>,
    appended: Notify,
}

impl Shed {
    /// All of them, in the order of [`Totals::shed`].
    pub const ALL: [Self; 4] = [Self::Full, Self::Memory, Self::Refused, Self::Rejected];

    /// Name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
        }
    }
}

impl Cursor {
    /// True when anything was read.
    pub fn is_started(&self) -> bool {
        self.dictionary_version != 0
    }
}

impl Totals {
    /// Samples that are neither stored nor given up yet.
    pub fn in_flight(&self) -> u64 {
        self.produced - self.acked - self.shed.iter().sum::<u64>()
    }
}

impl Outbox {
    /// An empty log that takes `limit_bytes` of memory at most.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            bytes: 0,
            segments: VecDeque::new(),
            dictionaries: VecDeque::new(),
            acked_seq: 0,
            last_seq: 0,
            keyframe_wanted: false,
            totals: Totals::default(),
        }
    }

    /// Takes definitions. Those of one version come in the order of their slots; a new version starts an empty dictionary.
    pub fn define(&mut self, define: v1::Define) {
        if self.dictionaries.back().is_none_or(|d| d.version != define.dictionary_version) {
            self.bytes += self.dictionaries.back().map_or(0, |superseded| superseded.bytes);
            self.dictionaries.push_back(Dictionary {
                version: define.dictionary_version,
                bytes: 0,
                series: Vec::new(),
            });
            self.forget_dictionaries();
            self.keep_within_limit();
        }
        if let Some(dictionary) = self.dictionaries.back_mut() {
            dictionary.bytes += define.series.iter().map(definition_bytes).sum::<usize>();
            dictionary.series.extend(define.series);
        }
    }

    /// Appends a frame; then sheds the oldest segments until the log is within its limit. A frame that is no keyframe after a segment was ended is shed
    /// itself, because nothing could decode it.
    pub fn append(&mut self, frame: NewFrame<'_>) {
        let (version, slots) =
            self.dictionaries.back().map_or((0, 0), |d| (d.version, d.series.len() as u32));
        self.totals.produced += u64::from(frame.samples);
        self.last_seq = frame.seq;
        if frame.keyframe {
            self.keyframe_wanted = false;
            self.close_last();
            let segment = Segment::new(version, slots, frame);
            self.bytes += segment.bytes();
            self.segments.push_back(segment);
            self.totals.frames += 1;
        } else if let Some(segment) = self.segments.back_mut().filter(|s| s.is_open()) {
            let before = segment.bytes();
            segment.push(slots, frame);
            self.bytes += segment.bytes() - before;
            self.keyframe_wanted |= segment.bytes() > self.limit_bytes / SEGMENTS_AT_LEAST;
            self.totals.frames += 1;
        } else {
            self.keyframe_wanted = true;
            self.totals.shed[Shed::Full as usize] += u64::from(frame.samples);
        }
        self.keep_within_limit();
        self.free_acked();
    }

    /// True when the next frame should be a keyframe, so that a new segment starts.
    pub fn keyframe_wanted(&self) -> bool {
        self.keyframe_wanted
    }

    /// Asks for a new segment.
    pub fn want_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// Takes the collector's word that all frames up to `durable_seq` are stored but for `rejected` samples. Returns true when that was news.
    pub fn ack(&mut self, durable_seq: u64, rejected: u64) -> bool {
        let durable_seq = durable_seq.min(self.last_seq);
        let (mut samples, mut frames) = (0, 0);
        for segment in &self.segments {
            samples += segment.samples_between(self.acked_seq, durable_seq);
            frames += segment.frames_between(self.acked_seq, durable_seq + 1);
        }
        let rejected = rejected.min(samples);
        self.totals.acked += samples - rejected;
        self.totals.shed[Shed::Rejected as usize] += rejected;
        self.totals.frames -= frames;
        let news = durable_seq > self.acked_seq;
        self.acked_seq = self.acked_seq.max(durable_seq);
        self.free_acked();
        news
    }

    /// Gives up the oldest segment that holds an unacknowledged frame. Returns how many segments that was: 0 when there was none.
    pub fn shed_oldest(&mut self, reason: Shed) -> usize {
        let Some(segment) = self.segments.pop_front() else { return 0 };
        self.bytes -= segment.bytes();
        self.totals.shed[reason as usize] += segment.samples_between(self.acked_seq, u64::MAX - 1);
        self.totals.frames -= segment.frames_between(self.acked_seq, u64::MAX);
        self.keyframe_wanted |= segment.is_open();
        self.forget_dictionaries();
        1
    }

    /// Gives up everything. Returns how many samples that were.
    pub fn shed_all(&mut self, reason: Shed) -> u64 {
        let before = self.totals.in_flight();
        while self.shed_oldest(reason) > 0 {}
        before - self.totals.in_flight()
    }

    /// Number of the last frame that is known to be stored, with all before it.
    pub fn acked_seq(&self) -> u64 {
        self.acked_seq
    }

    /// Number of the last frame that was produced.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// True when nothing waits to be stored.
    pub fn is_drained(&self) -> bool {
        self.totals.frames == 0
    }

    /// What became of all samples so far.
    pub fn totals(&self) -> Totals {
        Totals { bytes: self.bytes, ..self.totals }
    }

    /// The place where a new stream starts: the keyframe of the oldest segment.
    pub fn cursor(&self) -> Cursor {
        Cursor { next_seq: self.oldest_seq(), dictionary_version: 0, slots: 0 }
    }

    /// Goes back to the keyframe of the oldest segment. Returns false when this stream cannot: dictionary versions only grow on a stream.
    pub fn rewind(&self, cursor: &mut Cursor) -> bool {
        let version = self.segments.front().map_or(u32::MAX, Segment::dictionary_version);
        if version < cursor.dictionary_version {
            return false;
        }
        cursor.next_seq = self.oldest_seq();
        true
    }

    /// Frames that the stream has sent and that are neither acknowledged nor shed.
    pub fn unacked(&self, cursor: &Cursor) -> u64 {
        self.segments.iter().map(|s| s.frames_between(self.acked_seq, cursor.next_seq)).sum()
    }

    /// The next message for a stream, if its window allows one. Frames that are acknowledged already count for nothing: they only carry state.
    pub fn next(&self, cursor: &mut Cursor, window: Window) -> Option<Outgoing> {
        let i = self.segments.partition_point(|s| s.last_seq() < cursor.next_seq);
        let segment = self.segments.get(i)?;
        if window.one_segment && i > 0 {
            return None;
        }
        let seq = cursor.next_seq.max(segment.first_seq());
        if seq > self.acked_seq && self.unacked(cursor) >= u64::from(window.credits) {
            return None;
        }
        if let Some(define) = self.definitions(cursor, segment, seq) {
            return Some(Outgoing::Define(define));
        }
        cursor.next_seq = seq + 1;
        Some(Outgoing::Frame(segment.payload(seq)))
    }

    /// The definitions that frame `seq` of `segment` needs and the stream has not sent, or the first part of them.
    fn definitions(&self, cursor: &mut Cursor, segment: &Segment, seq: u64) -> Option<v1::Define> {
        let (version, slots) = (segment.dictionary_version(), segment.slots(seq));
        if cursor.dictionary_version == version && cursor.slots >= slots {
            return None;
        }
        if cursor.dictionary_version != version {
            (cursor.dictionary_version, cursor.slots) = (version, 0);
        }
        let dictionary = self.dictionaries.iter().find(|d| d.version == version)?;
        let missing = &dictionary.series[cursor.slots as usize..slots as usize];
        let mut bytes = 0;
        let part = missing.iter().take_while(|series| {
            let first = bytes == 0;
            bytes += definition_bytes(series);
            first || bytes <= DEFINE_BYTES
        });
        let series: Vec<_> = part.cloned().collect();
        cursor.slots += series.len() as u32;
        Some(v1::Define { dictionary_version: version, series })
    }

    fn keep_within_limit(&mut self) {
        while self.bytes > self.limit_bytes && self.shed_oldest(Shed::Full) > 0 {}
    }

    fn oldest_seq(&self) -> u64 {
        self.segments.front().map_or(self.last_seq + 1, Segment::first_seq)
    }

    fn close_last(&mut self) {
        if let Some(last) = self.segments.back_mut() {
            last.close();
        }
    }

    /// Frees segments that are stored. The open one stays: frames that build upon it follow.
    fn free_acked(&mut self) {
        while let Some(oldest) = self.segments.front()
            && !oldest.is_open()
            && oldest.last_seq() <= self.acked_seq
        {
            self.bytes -= oldest.bytes();
            self.segments.pop_front();
        }
        self.forget_dictionaries();
    }

    /// Drops dictionaries that neither a segment nor the next frame needs.
    fn forget_dictionaries(&mut self) {
        let needed = self.segments.front().map(Segment::dictionary_version);
        while self.dictionaries.len() > 1
            && let Some(oldest) = self.dictionaries.front()
            && needed.is_none_or(|version| oldest.version < version)
        {
            self.bytes -= oldest.bytes;
            self.dictionaries.pop_front();
        }
    }
}

impl SharedOutbox {
    /// An empty outbox that takes `limit_bytes` of memory at most.
    pub fn new(limit_bytes: usize) -> Self {
        Self { outbox: Mutex::new(Outbox::new(limit_bytes)), appended: Notify::new() }
    }

    /// The log. Not to be held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock()
    }

    /// Wakes the stream, after something was appended.
    pub fn notify(&self) {
        self.appended.notify_one();
    }

    /// Waits until something has been appended since the last call returned.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }
}

/// Memory that a definition takes.
fn definition_bytes(series: &v1::SeriesDefinition) -> usize {
    let attributes: usize = series
        .attributes
        .iter()
        .map(|a| size_of::<v1::Attribute>() + a.key.len() + a.value.len())
        .sum();
    size_of::<v1::SeriesDefinition>() + series.metric.len() + series.unit.len() + attributes
}

#[cfg(test)]
mod tests;
