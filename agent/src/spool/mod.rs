//! The spool: frames on disk from when they are produced until the collector says that they are stored.
//!
//! A directory of *segments*, each a file that can be decoded alone: whose frames they are, the definitions they need, frames from a keyframe on. A frame is
//! written with one `write` as it comes, so it survives `kill -9`; `fdatasync` follows on a thread of its own, and only where a frame would otherwise be
//! neither acknowledged nor on the medium for longer than `spool.fsync_seconds`. With a collector that answers nothing is ever synced but the account
//! at the end of a segment.
//!
//! The spool knows files, nothing of streams. Its owner, the outbox, says how far a segment is acknowledged and what is freed, and keeps the account of all
//! samples; [`Spool::commit`] makes both durable in one write of the [ledger](ledger), then removes what was freed. So after `kill -9` at any moment
//!
//! ```text
//! produced = stored + in the segments + shed + lost
//! ```
//!
//! holds again with nothing lost that was in a segment; after a power cut what the medium did not keep is in `lost`.
//!
//! In memory is an index of some 100 bytes for each segment, never a frame. `docs/spool-format.md` has the bytes, `docs/adr/006-spool.md` the reasons and costs.

mod config;
pub mod disk;
mod ledger;
mod record;
mod recover;
mod scan;
mod syncer;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_proto::v1;

use disk::{Disk, DiskFile, HostDisk};
use ledger::{Ledger, Note, State};
use record::{Place, Summary};
use scan::Unusable;
use syncer::{Job, Syncer};

pub use config::SpoolConfig;
pub use record::FrameRecord;
pub use recover::{Damage, Recovery};
pub use syncer::Syncing;

/// Reasons that samples may be shed for, at most; which is which the outbox knows.
pub const REASONS: usize = 8;
/// Bytes of frames that end a segment, unless the limit of the spool or the definitions ask for another size.
const SEGMENT_BYTES: u64 = 256 * 1024;
/// Time between the first and the last frame that ends a segment, in milliseconds.
const SEGMENT_MS: i64 = 10 * 60 * 1000;
/// Part of the limit that one segment may fill, so that shedding one loses no more than that.
const SEGMENTS_AT_LEAST: u64 = 8;
/// Definitions in one record, in bytes and roughly.
const DEFINE_BYTES: usize = 256 * 1024;
/// File systems give out room in blocks of this size.
const BLOCK_BYTES: u64 = 4096;

/// Number of a segment; grows over the life of the directory, over all epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// How much the spool keeps and how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Room on disk, in bytes. Not enforced here: see [`Spool::is_over_limit`].
    pub limit_bytes: u64,
    /// Longest time that a frame is neither acknowledged nor synced; zero: each frame is synced before [`Spool::append`] returns.
    pub fsync: Duration,
}

/// Whose frames a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Epoch of the agent process.
    pub epoch: [u8; 16],
    /// Nominal time between two frames.
    pub interval_ms: u32,
    /// Version of the dictionary that all its frames are encoded with.
    pub dictionary_version: u32,
    /// Number of the first frame, which is a keyframe.
    pub first_seq: u64,
    /// Samples that this node had produced before that frame, [`PersistedTotals::produced`].
    pub produced_before: u64,
}

/// A frame as it was produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFrame<'a> {
    /// Number of the frame, one more than the last one's.
    pub seq: u64,
    /// Its time, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// Samples in it.
    pub samples: u32,
    /// Decodable without the frames before it.
    pub keyframe: bool,
    /// The encoded frame.
    pub payload: &'a [u8],
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its number.
    pub id: SegmentId,
    /// Epoch of the agent process that wrote it.
    pub epoch: [u8; 16],
    /// Nominal time between two frames.
    pub interval_ms: u32,
    /// Version of its dictionary.
    pub dictionary_version: u32,
    /// Number of its first frame.
    pub first_seq: u64,
    /// Number of its last frame; one less than `first_seq` when there is none yet.
    pub last_seq: u64,
    /// Frames up to this number are acknowledged.
    pub acked_seq: u64,
    /// Samples of all its frames.
    pub samples: u64,
    /// Samples of the acknowledged ones.
    pub acked_samples: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Time of its first frame.
    pub first_ts_ms: i64,
    /// Time of its last frame.
    pub last_ts_ms: i64,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentContents {
    /// What is known of it, corrected by what was read.
    pub meta: SegmentMeta,
    /// Definitions that its frames need, those of one dictionary version in the order of their slots.
    pub definitions: Vec<v1::Define>,
    /// Its frames in order, without gaps.
    pub frames: Vec<FrameRecord>,
    /// Samples that were in it, are not acknowledged and cannot be read. They are no longer in `meta`; add them to [`PersistedTotals::lost`].
    pub lost_samples: u64,
}

/// The account of all samples of this node, over all runs of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistedTotals {
    /// Encoded into frames.
    pub produced: u64,
    /// Stored, as the collectors said.
    pub stored: u64,
    /// Given up, by reason.
    pub shed: [u64; REASONS],
    /// Lost by the disk: unreadable, or not synced before a power cut, or in memory when the agent was killed because the disk could not be written.
    pub lost: u64,
    /// The highest time that a frame ever had; `i64::MIN` before the first.
    pub highest_ts_ms: i64,
    /// Steps of the wall clock forward.
    pub clock_steps_forward: u64,
    /// Steps of the wall clock backward.
    pub clock_steps_backward: u64,
}

/// What went wrong with the disk since the spool was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Syncs that were done.
    pub syncs: u64,
    /// Syncs that failed. The segment is ended then: what the medium holds of it is not known.
    pub sync_failures: u64,
    /// Syncs that were left out because too many waited.
    pub syncs_skipped: u64,
    /// Segments with records that could not be read.
    pub corrupt_segments: u64,
}

/// Why something was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk, the quota or the file is at its limit. With segments freed and [committed](Spool::commit) it can be tried again.
    #[error("no room left on the spool's disk: {0}")]
    Full(#[source] io::Error),
    /// The disk failed.
    #[error("cannot {what} the spool: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no open segment that the frame could follow in: begin one with a keyframe.
    #[error("no open segment holds the frame before frame {seq}")]
    NoSegment {
        /// Number of the frame.
        seq: u64,
    },
    /// There is no such segment.
    #[error("no segment {}", .0.0)]
    Unknown(SegmentId),
}

/// The segments of one agent. One place owns it, the outbox.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    settings: SpoolSettings,
    ledger: Ledger,
    syncer: Syncer,
    /// Oldest first; the last one may be open.
    segments: VecDeque<SegmentMeta>,
    open: Option<Open>,
    next_id: u64,
    /// Freed, not removed yet.
    freed: Vec<SegmentId>,
    bytes: u64,
    /// Names were made that are not synced.
    names: Names,
    health: Health,
    buffer: Vec<u8>,
}

/// The segment that is written.
#[derive(Debug)]
struct Open {
    file: Arc<dyn DiskFile>,
    id: SegmentId,
    /// Where the next record goes.
    end: u64,
    /// Bytes of frames at which the segment is full.
    full_bytes: u64,
    /// Bytes of header and first definitions.
    front_bytes: u64,
    summary: Summary,
    interval_ms: u32,
    /// Definitions that go before the next frame.
    definitions: Vec<v1::Define>,
    /// Number and time of the oldest frame that is neither acknowledged nor synced.
    exposed: Option<(u64, i64)>,
    /// A sync is under way.
    syncing: bool,
    /// A sync failed: no frame more.
    suspect: bool,
}

/// Whether the directory's entries are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Synced,
    Syncing,
    Changed,
}

impl Default for PersistedTotals {
    fn default() -> Self {
        Self {
            produced: 0,
            stored: 0,
            shed: [0; REASONS],
            lost: 0,
            highest_ts_ms: i64::MIN,
            clock_steps_forward: 0,
            clock_steps_backward: 0,
        }
    }
}

impl PersistedTotals {
    /// Samples that are neither stored, shed nor lost by this account.
    pub fn outstanding(&self) -> u64 {
        let settled = self.stored + self.lost + self.shed.iter().sum::<u64>();
        self.produced.saturating_sub(settled)
    }
}

impl SegmentMeta {
    /// Samples in it that are not acknowledged.
    pub fn in_flight(&self) -> u64 {
        self.samples - self.acked_samples
    }

    /// Frames in it that are not acknowledged.
    pub fn frames_in_flight(&self) -> u64 {
        self.last_seq + 1 - self.first_seq.max(self.acked_seq + 1).min(self.last_seq + 1)
    }

    fn room(&self) -> u64 {
        self.bytes.next_multiple_of(BLOCK_BYTES)
    }
}

impl SpoolError {
    fn new(what: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full(source),
            _ => Self::Io { what, source },
        }
    }
}

impl Spool {
    /// Opens the spool in a directory, which is made where it is missing, and finds what is in it. The caller makes sure that no other process does.
    ///
    /// # Errors
    /// When the directory or the ledger cannot be read or written. What is wrong with single segments is no error but is in [`Recovery`].
    pub fn open(dir: &Path, settings: &SpoolSettings) -> Result<(Self, Recovery), SpoolError> {
        let disk = HostDisk::open(dir).map_err(|source| SpoolError::new("make", source))?;
        Self::open_on(Arc::new(disk), settings, Syncing::Thread)
    }

    /// As [`Self::open`], on another kind of disk.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        settings: &SpoolSettings,
        syncing: Syncing,
    ) -> Result<(Self, Recovery), SpoolError> {
        recover::open(disk, settings, syncing)
    }

    /// Ends the open segment and begins another one. `definitions` are all that its dictionary has so far, in the order of their slots.
    ///
    /// # Errors
    /// When the file cannot be made or written; then there is no open segment.
    pub fn begin(
        &mut self,
        header: &SegmentHeader,
        definitions: &[v1::SeriesDefinition],
    ) -> Result<SegmentId, SpoolError> {
        self.close();
        let id = SegmentId(self.next_id);
        self.next_id += 1;
        let name = file_name(id);
        let file = self.disk.create(&name).map_err(|e| SpoolError::new("begin a segment of", e))?;
        self.buffer.clear();
        let place = Place { segment: id, offset: 0 };
        record::put_preamble(&mut self.buffer);
        record::put_header(&mut self.buffer, place, header);
        for define in in_parts(header.dictionary_version, definitions) {
            record::put_define(&mut self.buffer, place, &define);
        }
        if let Err(error) = file.write_at(0, &self.buffer) {
            // An empty segment that stays is removed at the next start.
            let _ = self.disk.remove(&name);
            return Err(SpoolError::new("begin a segment of", error));
        }
        self.names = Names::Changed;
        let front_bytes = self.buffer.len() as u64;
        let largest = self.settings.limit_bytes / SEGMENTS_AT_LEAST;
        self.segments.push_back(SegmentMeta::new(id, header, front_bytes));
        self.bytes += front_bytes.next_multiple_of(BLOCK_BYTES);
        self.open = Some(Open {
            file,
            id,
            end: front_bytes,
            // Definitions are to be a third of a segment at most.
            full_bytes: SEGMENT_BYTES.max(2 * front_bytes).min(largest.max(BLOCK_BYTES)),
            front_bytes,
            summary: Summary::default(),
            interval_ms: header.interval_ms,
            definitions: Vec::new(),
            exposed: None,
            syncing: false,
            suspect: false,
        });
        Ok(id)
    }

    /// Adds definitions to the open segment; they are written with the next frame. Without one nothing happens: the next one begins with them.
    pub fn define(&mut self, definitions: &[v1::SeriesDefinition]) {
        if let (Some(open), Some(meta)) = (&mut self.open, self.segments.back()) {
            open.definitions.extend(in_parts(meta.dictionary_version, definitions));
        }
    }

    /// Appends a frame to the open segment. When it returns, the frame survives `kill -9`.
    ///
    /// # Errors
    /// When there is no segment that it can follow in, or when it cannot be written: then the segment is as it was, and the frame may be tried again.
    pub fn append(&mut self, frame: &NewFrame<'_>) -> Result<(), SpoolError> {
        self.poll();
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(frame, &mut buffer);
        self.buffer = buffer;
        written?;
        if self.settings.fsync.is_zero() {
            self.sync_now()?;
        } else if self.is_sync_due() {
            self.sync_open();
        }
        Ok(())
    }

    fn write(&mut self, frame: &NewFrame<'_>, buffer: &mut Vec<u8>) -> Result<(), SpoolError> {
        let no_segment = SpoolError::NoSegment { seq: frame.seq };
        let (Some(open), Some(meta)) = (&mut self.open, self.segments.back_mut()) else {
            return Err(no_segment);
        };
        if frame.seq != meta.last_seq + 1 || open.suspect {
            return Err(no_segment);
        }
        buffer.clear();
        let place = Place { segment: open.id, offset: open.end };
        for define in &open.definitions {
            record::put_define(buffer, place, define);
        }
        record::put_frame(buffer, place, frame);
        if let Err(error) = open.file.write_at(open.end, buffer) {
            // What was written of it would be taken for a torn write; the next frame overwrites it in any case.
            let _ = open.file.set_len(open.end);
            return Err(SpoolError::new("write to", error));
        }
        open.definitions.clear();
        open.end += buffer.len() as u64;
        open.summary.add(frame.seq, frame.ts_ms, frame.samples);
        open.exposed.get_or_insert((frame.seq, frame.ts_ms));
        self.bytes -= meta.room();
        meta.take(&open.summary, open.end);
        self.bytes += meta.room();
        Ok(())
    }

    /// True when the open segment has its size or age, or a sync of it failed, or there is none: the next frame should be a keyframe of a new one.
    pub fn is_segment_full(&self) -> bool {
        self.open.as_ref().is_none_or(|open| {
            let age_ms = open.summary.last_ts_ms.saturating_sub(open.summary.first_ts_ms);
            open.suspect || open.end - open.front_bytes >= open.full_bytes || age_ms >= SEGMENT_MS
        })
    }

    /// Ends the open segment, if there is one. What of it is not acknowledged is synced.
    pub fn close(&mut self) {
        self.poll();
        let Some(open) = self.open.take() else { return };
        if open.summary.last_seq == 0 {
            self.forget(open.id);
            return;
        }
        self.buffer.clear();
        let place = Place { segment: open.id, offset: open.end };
        record::put_end(&mut self.buffer, place, &open.summary);
        if let Some(meta) = self.segments.back_mut() {
            self.bytes -= meta.room();
            // Without its end record it is read as a whole at the next start; no more depends on it.
            match open.file.write_at(open.end, &self.buffer) {
                Ok(()) => meta.bytes += self.buffer.len() as u64,
                Err(_) => drop(open.file.set_len(open.end)),
            }
            self.bytes += meta.room();
        }
        let segment = open.exposed.map(|_| (open.id, open.summary.last_seq, open.file));
        self.submit(segment);
    }

    /// The open segment.
    pub fn open_segment(&self) -> Option<SegmentId> {
        self.open.as_ref().map(|open| open.id)
    }

    /// Reads a whole segment.
    ///
    /// # Errors
    /// When the system cannot read it, or there is no such segment. What cannot be understood is no error: it is left out and counted.
    pub fn read(&mut self, id: SegmentId) -> Result<SegmentContents, SpoolError> {
        let index = self.index(id).ok_or(SpoolError::Unknown(id))?;
        let meta = self.segments[index];
        let file = match &self.open {
            Some(open) if open.id == id => Arc::clone(&open.file),
            _ => self
                .disk
                .open(&file_name(id))
                .map_err(|e| SpoolError::new("open a segment of", e))?,
        };
        let (definitions, frames) = match scan::scan(&*file, id, meta.bytes) {
            Ok(scan) => (scan.definitions, scan.frames),
            Err(Unusable::Io(error)) => return Err(SpoolError::new("read a segment of", error)),
            Err(Unusable::Corrupt | Unusable::Version) => (Vec::new(), Vec::new()),
        };
        let readable: u64 = frames.iter().map(|frame| u64::from(frame.samples)).sum();
        let lost_samples = meta.samples - readable.max(meta.acked_samples).min(meta.samples);
        if frames.len() as u64 != meta.last_seq + 1 - meta.first_seq {
            self.health.corrupt_segments += 1;
            let meta = &mut self.segments[index];
            meta.samples -= lost_samples;
            meta.last_seq = meta.first_seq + frames.len() as u64 - 1;
            if self.open_segment() == Some(id) {
                self.open = None;
            }
        }
        Ok(SegmentContents { meta: self.segments[index], definitions, frames, lost_samples })
    }

    /// Notes that all frames of a segment up to `up_to_seq` are dealt with, `samples` more than before. [`Self::commit`] makes it durable.
    pub fn acked(&mut self, id: SegmentId, up_to_seq: u64, samples: u64) {
        let Some(index) = self.index(id) else { return };
        let meta = &mut self.segments[index];
        meta.acked_seq = meta.acked_seq.max(up_to_seq.min(meta.last_seq));
        meta.acked_samples = (meta.acked_samples + samples).min(meta.samples);
        if let Some(open) = self.open.as_mut().filter(|open| open.id == id) {
            open.unexpose(up_to_seq);
        }
    }

    /// Gives a segment up. Its file is removed by the next [`Self::commit`].
    pub fn free(&mut self, id: SegmentId) {
        if self.open_segment() == Some(id) {
            self.open = None;
        }
        self.forget(id);
    }

    /// Makes the account and everything that was noted and freed since the last time durable, as one; then removes the files.
    ///
    /// # Errors
    /// When the ledger cannot be written. The files are removed nevertheless.
    pub fn commit(&mut self, totals: &PersistedTotals) -> Result<(), SpoolError> {
        self.poll();
        let state = self.state(totals);
        let committed = self.ledger.commit(&state);
        self.remove_freed();
        committed.map_err(|e| SpoolError::new("keep the account of", e))
    }

    /// Ends the open segment, commits, and waits for the medium, `patience` at most. Returns false when something is not known to be on it.
    pub fn finish(&mut self, totals: &PersistedTotals, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let committed = self.commit(totals).is_ok();
        self.close();
        let failures = self.health.sync_failures + self.health.syncs_skipped;
        while let Some(done) = self.syncer.wait(deadline) {
            self.done(done);
        }
        committed && failures == self.health.sync_failures + self.health.syncs_skipped
    }

    /// What is known of all segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &SegmentMeta> + ExactSizeIterator {
        self.segments.iter()
    }

    /// What is known of a segment.
    pub fn segment(&self, id: SegmentId) -> Option<&SegmentMeta> {
        self.index(id).map(|index| &self.segments[index])
    }

    /// Room that the segments take on disk, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes + ledger::BYTES
    }

    /// Room that they may take.
    pub fn limit_bytes(&self) -> u64 {
        self.settings.limit_bytes
    }

    /// True when something is to be freed.
    pub fn is_over_limit(&self) -> bool {
        self.bytes() > self.settings.limit_bytes
    }

    /// What went wrong so far.
    pub fn health(&self) -> Health {
        self.health
    }

    fn state(&self, totals: &PersistedTotals) -> State {
        let freed =
            self.freed.iter().map(|id| Note { id: *id, acked_seq: u64::MAX, acked_samples: 0 });
        let acked = self.segments.iter().filter(|meta| meta.acked_seq > 0).map(|meta| Note {
            id: meta.id,
            acked_seq: meta.acked_seq,
            acked_samples: meta.acked_samples,
        });
        State { next_id: self.next_id, totals: *totals, notes: acked.chain(freed).collect() }
    }

    /// Removes what was freed; what cannot be removed is tried again with the next commit.
    fn remove_freed(&mut self) {
        let disk = &self.disk;
        self.freed.retain(|id| {
            let removed = disk.remove(&file_name(*id));
            removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
    }

    fn forget(&mut self, id: SegmentId) {
        if let Some(index) = self.index(id)
            && let Some(meta) = self.segments.remove(index)
        {
            self.bytes -= meta.room();
            self.freed.push(id);
        }
    }

    fn index(&self, id: SegmentId) -> Option<usize> {
        self.segments.binary_search_by_key(&id, |meta| meta.id).ok()
    }

    /// True when the oldest exposed frame would be so for too long if it had to wait for the next one. Frames tell the time: no clock is needed.
    fn is_sync_due(&self) -> bool {
        let Some(open) = self.open.as_ref().filter(|open| !open.syncing) else { return false };
        open.exposed.is_some_and(|(_, since_ms)| {
            let age_ms = open.summary.last_ts_ms.saturating_sub(since_ms);
            let next_ms = age_ms.saturating_add(i64::from(open.interval_ms));
            age_ms < 0 || next_ms >= self.settings.fsync.as_millis() as i64
        })
    }

    fn sync_open(&mut self) {
        let Some(open) = &mut self.open else { return };
        open.syncing = true;
        let segment = Some((open.id, open.summary.last_seq, Arc::clone(&open.file)));
        self.submit(segment);
    }

    /// Syncs before anything else happens.
    fn sync_now(&mut self) -> Result<(), SpoolError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let names = self.names != Names::Synced;
        let synced = open.file.sync().and_then(|()| if names { self.disk.sync() } else { Ok(()) });
        match synced {
            Ok(()) => {
                (open.exposed, self.names) = (None, Names::Synced);
                self.health.syncs += 1;
                Ok(())
            }
            Err(error) => {
                open.suspect = true;
                self.health.sync_failures += 1;
                Err(SpoolError::new("sync", error))
            }
        }
    }

    fn submit(&mut self, segment: Option<(SegmentId, u64, Arc<dyn DiskFile>)>) {
        let names = self.names == Names::Changed && segment.is_some();
        let ledger = self.ledger.start_sync();
        if segment.is_none() && ledger.is_none() {
            return;
        }
        if names {
            self.names = Names::Syncing;
        }
        if let Err(job) = self.syncer.submit(Job { segment, ledger, names }) {
            self.health.syncs_skipped += 1;
            self.undo(names, job.ledger.is_some());
        }
        self.poll();
    }

    fn undo(&mut self, names: bool, ledger: bool) {
        if names {
            self.names = Names::Changed;
        }
        if ledger {
            self.ledger.synced(false);
        }
        if let Some(open) = &mut self.open {
            open.syncing = false;
        }
    }

    fn poll(&mut self) {
        while let Some(done) = self.syncer.poll() {
            self.done(done);
        }
    }

    fn done(&mut self, done: syncer::Done) {
        let open =
            self.open.as_mut().filter(|open| done.segment.is_some_and(|(id, _)| open.id == id));
        if let Err(error) = done.result {
            if self.health.sync_failures == 0 {
                tracing::error!(%error, "cannot sync the spool: what is not stored may be lost in a power cut");
            }
            self.health.sync_failures += 1;
            if let Some(open) = open {
                open.suspect = true;
            }
            self.undo(done.names, done.ledger);
            return;
        }
        self.health.syncs += 1;
        if done.ledger {
            self.ledger.synced(true);
        }
        if done.names && self.names == Names::Syncing {
            self.names = Names::Synced;
        }
        if let (Some(open), Some((_, up_to_seq))) = (open, done.segment) {
            open.syncing = false;
            open.unexpose(up_to_seq);
        }
    }
}

impl SegmentMeta {
    fn new(id: SegmentId, header: &SegmentHeader, bytes: u64) -> Self {
        Self {
            id,
            epoch: header.epoch,
            interval_ms: header.interval_ms,
            dictionary_version: header.dictionary_version,
            first_seq: header.first_seq,
            last_seq: header.first_seq - 1,
            acked_seq: 0,
            samples: 0,
            acked_samples: 0,
            bytes,
            first_ts_ms: 0,
            last_ts_ms: 0,
        }
    }

    fn take(&mut self, summary: &Summary, bytes: u64) {
        self.last_seq = summary.last_seq;
        self.samples = summary.samples;
        self.first_ts_ms = summary.first_ts_ms;
        self.last_ts_ms = summary.last_ts_ms;
        self.bytes = bytes;
    }
}

impl Open {
    /// Frames up to a number need no sync any more.
    fn unexpose(&mut self, up_to_seq: u64) {
        let Some((seq, ts_ms)) = self.exposed.filter(|(seq, _)| *seq <= up_to_seq) else { return };
        let last = &self.summary;
        let later_ms = (up_to_seq + 1 - seq).saturating_mul(u64::from(self.interval_ms)) as i64;
        self.exposed = (up_to_seq < last.last_seq)
            .then(|| (up_to_seq + 1, ts_ms.saturating_add(later_ms).min(last.last_ts_ms)));
    }
}

/// Name of a segment's file; names sort as ids do.
fn file_name(id: SegmentId) -> String {
    format!("segment-{:016x}", id.0)
}

/// Definitions in messages of bounded size.
fn in_parts(
    dictionary_version: u32,
    definitions: &[v1::SeriesDefinition],
) -> impl Iterator<Item = v1::Define> {
    let mut rest = definitions;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let count = rest.iter().take_while(|series| {
            let first = bytes == 0;
            bytes += prost::Message::encoded_len(*series) + 8;
            first || bytes <= DEFINE_BYTES
        });
        let (part, after) = rest.split_at(count.count());
        rest = after;
        (!part.is_empty()).then(|| v1::Define { dictionary_version, series: part.to_vec() })
    })
}

#[cfg(test)]
mod tests;
