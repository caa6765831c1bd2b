//! The outbox: frames from when they are produced until a collector says that they are stored.
//!
//! Frames are in *segments*: on disk in the [spool](crate::spool), or in memory while the disk cannot be written. A segment is freed when its last
//! frame is acknowledged, never before; when there is no room the oldest one is shed, because the newest measurements are the ones that people look at,
//! and its samples are counted. At any time
//!
//! ```text
//! produced = stored + in flight + shed
//! ```
//!
//! in samples, where *in flight* is what the segments hold and is counted there. Two lanes read them, and a segment is the affair of one of them:
//!
//! - the *live lane* has the newest frames in memory as well, so that the steady state reads no disk;
//! - the *backlog* is every closed segment that is not the live lane's: those of an outage and those of earlier processes. One is read at a time.
//!
//! A frame counts as produced when the spool has it. No time and no connection is known here; what is done is decided by the calls alone.
//!
//! Properties, each tested over random sequences of calls: the equation; every frame in flight can be reached by a lane, now or once the open segment is
//! closed; a stream gets definitions before what needs them and begins with a keyframe; memory and disk stay within their bounds.

mod account;
mod backlog;
mod dictionary;
mod live;
mod memory;
mod room;
mod write;

use std::time::Duration;

use flyball_proto::v1;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tonic::codegen::Bytes;

use crate::spool::{NewFrame, PersistedTotals, Recovery, SegmentId, Spool};

use crate::schedule::Step;

use dictionary::{Dictionaries, Told};
use live::{Home, Live};
use memory::{Memory, MemorySegment};

pub use account::{Shed, Totals};
pub use backlog::{Backlog, Unit};

/// Part of the memory for frames that the live lane may take.
const LIVE_PART: usize = 4;
/// Part of the memory for frames that one segment in memory may fill before it is ended, so that shedding one loses no more than that.
const SEGMENTS_AT_LEAST: usize = 8;
/// Shortest and longest time until a disk that failed is tried again, in milliseconds of frames.
const RETRY_MS: (u64, u64) = (1_000, 60_000);

/// Who writes the frames, and how much of them stays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxSettings {
    /// Epoch of this process.
    pub epoch: [u8; 16],
    /// Nominal time between two frames.
    pub interval_ms: u32,
    /// Memory that frames may take, in bytes.
    pub memory_bytes: usize,
}

/// The next message of the live lane.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    /// Definitions that the next frame needs.
    Define(v1::Define),
    /// A frame's payload.
    Frame(Bytes),
}

/// The outbox itself. One place holds it, [`SharedOutbox`]; tests use it bare.
#[derive(Debug)]
pub struct Outbox {
    settings: OutboxSettings,
    spool: Spool,
    memory: Memory,
    live: Live,
    dictionaries: Dictionaries,
    /// Definitions of the current dictionary that the open segment on disk has.
    spooled_slots: usize,
    totals: PersistedTotals,
    last_seq: u64,
    last_ts_ms: i64,
    segment_wanted: bool,
    disk: Disk,
    /// Segments that the disk could not read when it was asked last.
    unreadable: Vec<SegmentId>,
    /// The segment on disk that the backlog lane read last.
    sending: Option<Home>,
    limits: Option<v1::Limits>,
    /// No frame follows.
    is_sealed: bool,
}

/// Whether the disk takes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Works,
    /// It is tried again with the segment that begins at or after this frame.
    Failed {
        retry_seq: u64,
        wait_ms: u64,
    },
}

/// The outbox between the sampling thread, which appends, and the streams, which read. The lock is held for one write or the read of one segment at most.
#[derive(Debug)]
pub struct SharedOutbox {
    outbox: Mutex<Outbox>,
    appended: Notify,
    backlog: Notify,
}

impl Outbox {
    /// An outbox upon a spool that was just opened.
    pub fn new(settings: OutboxSettings, spool: Spool, recovery: &Recovery) -> Self {
        let stamps = recovery.totals.stamps.caught_up(recovery.totals.highest_ts_ms);
        Self {
            settings,
            spool,
            memory: Memory::default(),
            live: Live::new(settings.memory_bytes / LIVE_PART),
            dictionaries: Dictionaries::default(),
            spooled_slots: 0,
            totals: PersistedTotals { stamps, ..recovery.totals },
            last_seq: 0,
            last_ts_ms: recovery.totals.highest_ts_ms,
            segment_wanted: false,
            disk: Disk::Works,
            unreadable: Vec::new(),
            sending: None,
            limits: None,
            is_sealed: false,
        }
    }

    /// Takes definitions. Those of one version come in the order of their slots; a new version starts an empty dictionary, and a keyframe follows it.
    pub fn define(&mut self, define: v1::Define) {
        if self.dictionaries.define(define) {
            self.segment_wanted = true;
            self.forget_dictionaries();
            self.keep_within_memory();
        }
    }

    /// Takes a frame. When it returns, the frame is on disk, or in memory where the disk cannot be written, or counted as shed. A frame that is
    /// no keyframe is shed when there is no segment to append it to, because nothing could decode it.
    pub fn append(&mut self, frame: &NewFrame<'_>) {
        let begins = frame.keyframe && (self.segment_wanted || !self.has_open_segment());
        let home = if begins { self.begin(frame) } else { self.go_on(frame) };
        self.totals.produced += u64::from(frame.samples);
        self.totals.highest_ts_ms = self.totals.highest_ts_ms.max(frame.ts_ms);
        (self.last_seq, self.last_ts_ms) = (frame.seq, frame.ts_ms);
        let slots = self.dictionaries.series().len() as u32;
        let needs = Told { version: self.dictionaries.version(), slots };
        if let Some(home) = home {
            self.live.push(frame, home, begins, needs);
        } else {
            account::shed(&mut self.totals, Shed::Full, u64::from(frame.samples));
            self.live.detach();
            self.segment_wanted = true;
        }
        if self.live.is_detached() {
            self.forget_dictionaries();
        }
        self.segment_wanted |= self.is_segment_due(frame.seq);
        self.keep_within_memory();
    }

    /// True when the next frame should be a keyframe, so that a new segment starts.
    pub fn keyframe_wanted(&self) -> bool {
        self.segment_wanted
    }

    /// Asks for a new segment.
    pub fn want_keyframe(&mut self) {
        self.segment_wanted = true;
    }

    /// Gives the timestamp of a tick, one that no frame of this node ever had; `None` when there is none left that is close enough. A time at or before the
    /// newest frame of an earlier process counts as a step backward.
    pub fn stamp(&mut self, scheduled_ms: i64, step: Option<Step>) -> Option<i64> {
        let started_behind = self.last_seq == 0 && scheduled_ms <= self.totals.highest_ts_ms;
        match step.or(started_behind.then_some(Step::Backward)) {
            Some(Step::Forward) => self.totals.clock_steps_forward += 1,
            Some(Step::Backward) => self.totals.clock_steps_backward += 1,
            None => {}
        }
        let before = self.totals.stamps.offset_ms();
        let stamp_ms = self.totals.stamps.give(scheduled_ms, self.settings.interval_ms);
        if step.is_some() || started_behind || self.totals.stamps.offset_ms() != before {
            // What was given since the last time may be lost, but not on which track; nor by a power cut: this clock may be behind what was given before.
            self.commit();
            self.spool.sync_account();
        }
        stamp_ms
    }

    /// Times that the wall clock was set forward and backward.
    pub fn clock_steps(&self) -> (u64, u64) {
        (self.totals.clock_steps_forward, self.totals.clock_steps_backward)
    }

    /// Limits that a collector has set since the last call.
    pub fn take_limits(&mut self) -> Option<v1::Limits> {
        self.limits.take()
    }

    /// Number up to which nothing is to be stored from the next stream of the live lane, for its Hello.
    pub fn hello_seq(&self) -> u64 {
        self.live.hello_seq(self.last_seq)
    }

    /// The collector has welcomed a stream of the live lane.
    pub fn connect(&mut self) {
        self.attach();
        self.live.connect(self.last_seq);
        self.unreadable.clear();
    }

    /// The disk is asked again for the segments that it could not read.
    pub fn read_again(&mut self) {
        self.unreadable.clear();
    }

    /// The collector holds the live lane's stream to these limits.
    pub fn limit(&mut self, limits: v1::Limits) {
        self.limits = Some(limits);
    }

    /// The live lane's stream has ended.
    pub fn disconnect(&mut self) {
        self.live.disconnect();
    }

    /// The live lane's frames may be at fault: they become backlog, where each segment stands alone.
    pub fn distrust_live(&mut self) {
        self.live.detach();
        self.forget_dictionaries();
    }

    /// The live lane's stream goes back to a keyframe. Returns false when this stream cannot; a new one can.
    pub fn rewind(&mut self) -> bool {
        self.live.rewind()
    }

    /// The next message of the live lane, if `credits` unacknowledged frames allow one.
    pub fn next(&mut self, credits: u32) -> Option<Outgoing> {
        if self.live.in_transit() < credits as usize {
            self.attach();
        }
        let next = self.live.peek(credits)?;
        if let Some(define) = self.dictionaries.missing(next.told, next.needs) {
            return Some(Outgoing::Define(define));
        }
        self.live.send().map(Outgoing::Frame)
    }

    /// Takes the collector's word that all frames of the live lane's stream up to `durable_seq` are stored but for `rejected` samples. Returns true
    /// when that was news.
    pub fn ack(&mut self, durable_seq: u64, rejected: u64) -> bool {
        let (mut settled, mut news) = (0, false);
        while let Some(sent) = self.live.settle_next(durable_seq) {
            settled += self.settle(sent.home, sent.seq, u64::from(sent.samples));
            news = true;
        }
        if news {
            self.count_stored(settled, rejected);
            self.live.trim();
            self.forget_dictionaries();
            self.commit();
        }
        news
    }

    /// Number of the last frame of the live lane that is known to be stored.
    pub fn acked_seq(&self) -> u64 {
        self.live.acked_seq()
    }

    /// Number of the last frame that was produced.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// True when nothing is left that should be sent before the process ends: what is on disk can wait for the next one.
    pub fn is_drained(&self) -> bool {
        self.live.unacked() == 0
            && self.live.in_transit() == 0
            && self.memory.iter().next().is_none()
    }

    /// Gives back memory: the live lane's copies, and what is in memory only. Returns how many samples are lost by that.
    pub fn relieve(&mut self) -> u64 {
        self.live.detach();
        let before = self.unspooled();
        while self.shed_oldest_in_memory(Shed::Memory) {}
        self.forget_dictionaries();
        before - self.unspooled()
    }

    /// No frame follows: ends the open segment, so that the backlog lane may take what is in memory only.
    pub fn seal(&mut self) {
        self.is_sealed = true;
        self.close();
    }

    /// Keeps the account, before the process ends. Waits for the disk for `patience` at most. Returns false when something is not known to be on the medium.
    pub fn finish(&mut self, patience: Duration) -> bool {
        self.close();
        self.spool.finish(&self.totals, patience)
    }

    /// What became of all samples so far.
    pub fn totals(&self) -> Totals {
        let unspooled = self.unspooled();
        let on_disk = self.spool.segments();
        let (samples, frames) = on_disk.fold((0, 0), |(samples, frames), meta| {
            (samples + meta.in_flight(), frames + meta.frames_in_flight())
        });
        Totals {
            produced: self.totals.produced,
            acked: self.totals.stored,
            in_flight: samples + unspooled,
            shed: account::by_reason(&self.totals),
            frames: frames + self.memory.iter().map(|s| s.unacked().count() as u64).sum::<u64>(),
            bytes: self.memory_bytes(),
            unspooled,
            spool_bytes: self.spool.bytes(),
        }
    }

    /// Epoch, first and last number of all frames that are neither acknowledged nor given up, for whoever holds the account against a record of their own.
    pub fn waiting(&self) -> Vec<([u8; 16], u64, u64)> {
        let on_disk = self.spool.segments();
        let on_disk = on_disk.map(|m| (m.epoch, m.first_seq.max(m.acked_seq + 1), m.last_seq));
        let in_memory = self.memory.iter().filter_map(|segment| {
            let mut seqs = segment.unacked().map(|frame| frame.seq);
            let first = seqs.next()?;
            Some((self.settings.epoch, first, seqs.last().unwrap_or(first)))
        });
        on_disk.chain(in_memory).filter(|(_, first, last)| first <= last).collect()
    }

    /// The account for the collector.
    pub fn report(&self) -> v1::Report {
        let totals = self.totals();
        v1::Report {
            produced: totals.produced,
            stored: totals.acked,
            in_flight: totals.in_flight,
            shed: account::reported(totals.shed),
            spool_bytes: totals.spool_bytes,
            spool_limit_bytes: self.spool.limit_bytes(),
            backlog_segments: self.backlog_segments(),
            corrupt_segments: self.spool.health().corrupt_segments,
            clock_steps_forward: self.totals.clock_steps_forward,
            clock_steps_backward: self.totals.clock_steps_backward,
            oldest_unacked_ms: self.oldest_unacked_ms().unwrap_or(0),
            unspooled: totals.unspooled,
            taken_at_ms: self.last_ts_ms.max(0),
        }
    }

    /// Takes the live lane up again, when it was given up.
    fn attach(&mut self) {
        if self.live.attach() {
            self.segment_wanted = true;
        }
    }

    fn keep_within_memory(&mut self) {
        while self.memory_bytes() > self.settings.memory_bytes
            && self.shed_oldest_in_memory(Shed::Full)
        {}
    }

    /// Notes that the frames of a segment up to `seq` are settled, `samples` of them by this. Returns how many of those were not known to be.
    fn settle(&mut self, home: Home, seq: u64, samples: u64) -> u64 {
        match home {
            Home::Disk(id) => {
                if self.spool.segment(id).is_none_or(|meta| meta.acked_seq >= seq) {
                    return 0;
                }
                self.spool.acked(id, seq, samples);
                self.free_settled(id);
            }
            Home::Memory(number) => {
                let Some(segment) = self.memory.get_mut(number) else { return 0 };
                if segment.acked_seq >= seq {
                    return 0;
                }
                segment.acked_seq = seq;
                self.drop_settled(number);
            }
        }
        samples
    }

    /// Drops a closed segment in memory of which all is settled.
    fn drop_settled(&mut self, number: memory::Number) {
        let settled = |s: &MemorySegment| s.is_closed() && s.unacked().next().is_none();
        if self.memory.get(number).is_some_and(settled)
            && let Some(base) = self.memory.remove(number).and_then(|segment| segment.base)
        {
            self.free_settled(base);
        }
    }

    /// Frees a closed segment on disk of which all is settled, unless one in memory continues it.
    fn free_settled(&mut self, id: SegmentId) {
        let settled = self.spool.segment(id).is_some_and(|meta| meta.frames_in_flight() == 0);
        if settled && self.spool.open_segment() != Some(id) && self.memory.upon(id).is_none() {
            self.spool.free(id);
        }
    }

    fn count_stored(&mut self, settled: u64, rejected: u64) {
        let rejected = rejected.min(settled);
        self.totals.stored += settled - rejected;
        account::shed(&mut self.totals, Shed::Rejected, rejected);
    }

    fn commit(&mut self) {
        if let Err(error) = self.spool.commit(&self.totals) {
            tracing::debug!(%error, "the account is not on disk");
        }
    }

    fn unspooled(&self) -> u64 {
        self.memory.iter().map(MemorySegment::in_flight).sum()
    }

    fn memory_bytes(&self) -> usize {
        self.live.bytes() + self.memory.bytes() + self.dictionaries.superseded_bytes()
    }

    fn forget_dictionaries(&mut self) {
        let needed = self.live.oldest_version().unwrap_or_else(|| self.dictionaries.version());
        self.dictionaries.forget_before(needed);
    }
}

impl SharedOutbox {
    /// Shares an outbox.
    pub fn new(outbox: Outbox) -> Self {
        Self { outbox: Mutex::new(outbox), appended: Notify::new(), backlog: Notify::new() }
    }

    /// The outbox. Not to be held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock()
    }

    /// Wakes the streams, after something was appended.
    pub fn notify(&self) {
        self.appended.notify_one();
        self.backlog.notify_one();
    }

    /// Waits until something has been appended since the last call returned; for the live lane.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }

    /// Waits until the backlog may have changed since the last call returned; for the backlog lane.
    pub async fn backlog_changed(&self) {
        self.backlog.notified().await;
    }
}

#[cfg(test)]
mod tests;
