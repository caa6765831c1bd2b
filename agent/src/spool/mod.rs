//! The spool: frames on disk from when they are produced until the collector says that they are stored.
//!
//! A directory of *segments*, each a file that can be decoded alone: whose frames they are, the definitions they need, frames from a keyframe on. A frame is
//! written with one `write` as it comes, so it survives `kill -9`; `fdatasync` follows on a thread of its own, and only where a frame would otherwise be
//! neither acknowledged nor on the medium for longer than `spool.fsync_seconds`. With a collector that answers nothing is ever synced but the account
//! at the end of a segment.
//!
//! The spool knows files, nothing of streams. Its owner, the outbox, says how far a segment is acknowledged and what is freed, and keeps the account of all
//! samples; [`Spool::commit`] makes both durable in one write of the [ledger], then removes what was freed. So after `kill -9` at any moment
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
mod durable;
mod exposure;
mod ledger;
pub mod memory_disk;
mod open;
mod record;
mod recover;
mod scan;
mod syncer;
mod thin;
mod types;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use flyball_proto::v1;

use disk::{Disk, DiskFile, HostDisk};
use durable::Names;
use ledger::{FREED, Ledger, Note, State};
use open::Open;
use scan::{Scan, Unusable};
use syncer::Syncer;

pub use config::SpoolConfig;
pub use record::FrameRecord;
pub use recover::{Damage, Recovery};
pub use syncer::Syncing;
pub use thin::is_detail;
pub use types::{
    Health, NewFrame, PersistedTotals, REASONS, SegmentContents, SegmentHeader, SegmentId,
    SegmentMeta, SpoolError, SpoolSettings,
};

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
    /// Segments of other versions of the agent, oldest first, with their bytes.
    others: VecDeque<(SegmentId, u64)>,
    names: Names,
    health: Health,
    buffer: Vec<u8>,
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
        self.make_room();
        let id = SegmentId(self.next_id);
        self.next_id += 1;
        let open =
            Open::begin(&*self.disk, id, header, definitions, &self.settings, &mut self.buffer)
                .map_err(|e| SpoolError::new("begin a segment of", e))?;
        self.names = Names::Changed;
        let meta = SegmentMeta::new(id, header, open.end);
        self.bytes += meta.room();
        self.segments.push_back(meta);
        self.open = Some(open);
        Ok(id)
    }

    /// Adds definitions to the open segment; they are written with the next frame. Without one nothing happens: the next one begins with them.
    pub fn define(&mut self, definitions: &[v1::SeriesDefinition]) {
        if let Some(open) = &mut self.open {
            open.define(definitions);
        }
    }

    /// Appends a frame to the open segment. When it returns, the frame survives `kill -9`.
    ///
    /// # Errors
    /// When there is no segment that it can follow in, or when it cannot be written: then the segment is as it was, and the frame may be tried again.
    pub fn append(&mut self, frame: &NewFrame<'_>) -> Result<(), SpoolError> {
        self.poll();
        let no_segment = SpoolError::NoSegment { seq: frame.seq };
        let Some(open) = self.open.as_mut().filter(|open| open.can_follow(frame)) else {
            return Err(no_segment);
        };
        open.write(frame, &mut self.buffer).map_err(|e| SpoolError::new("write to", e))?;
        self.measure_open();
        self.sync_if_due();
        Ok(())
    }

    /// True when the open segment has its size or age, or a sync of it failed, or there is none: the next frame should be a keyframe of a new one.
    pub fn is_segment_full(&self) -> bool {
        self.open.as_ref().is_none_or(Open::is_full)
    }

    /// Ends the open segment, if there is one. What of it is not acknowledged is synced.
    pub fn close(&mut self) {
        self.poll();
        let Some(open) = &mut self.open else { return };
        if open.summary.last_seq == 0 {
            let id = open.id;
            self.free(id);
            return;
        }
        open.write_end(&mut self.buffer);
        self.measure_open();
        if let Some(open) = self.open.take() {
            let exposed = open.exposure.is_any();
            self.submit(exposed.then_some((open.id, open.summary.last_seq, open.file)));
        }
    }

    /// The open segment.
    pub fn open_segment(&self) -> Option<SegmentId> {
        self.open.as_ref().map(|open| open.id)
    }

    /// Reads a whole segment. One that turns out to have nothing in flight any more is to be [freed](Self::free).
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
        let scan = match scan::scan(&*file, id, meta.bytes) {
            Ok(scan) => Some(scan),
            Err(Unusable::Io(error)) => return Err(SpoolError::new("read a segment of", error)),
            Err(Unusable::Torn | Unusable::Corrupt | Unusable::Version) => None,
        };
        let mut lost_samples = 0;
        let readable = scan.as_ref().map_or(0, |scan| scan.frames.len() as u64);
        if readable != meta.last_seq + 1 - meta.first_seq {
            lost_samples = self.damaged(index, scan.as_ref(), &*file);
        }
        let (definitions, frames) =
            scan.map_or_else(Default::default, |scan| (scan.definitions, scan.frames));
        Ok(SegmentContents { meta: self.segments[index], definitions, frames, lost_samples })
    }

    /// Corrects what is known of a segment of which only a part can be read. Returns the samples that are lost by that.
    fn damaged(&mut self, index: usize, scan: Option<&Scan>, file: &dyn DiskFile) -> u64 {
        let meta = &mut self.segments[index];
        let readable = scan.map_or(0, |scan| scan.summary.samples).max(meta.acked_samples);
        let lost = meta.samples.saturating_sub(readable);
        tracing::warn!(segment = meta.id.0, samples = lost, "segment of the spool is damaged");
        meta.samples -= lost;
        meta.last_seq = meta.first_seq + scan.map_or(0, |scan| scan.frames.len() as u64) - 1;
        self.health.corrupt_segments += 1;
        let id = meta.id;
        if self.open_segment() == Some(id) {
            self.open = None;
        }
        if let Some(bytes) = scan.and_then(|scan| scan.seal(file, id).ok()) {
            self.bytes -= self.segments[index].room();
            self.segments[index].bytes = bytes;
            self.bytes += self.segments[index].room();
        }
        lost
    }

    /// Notes that all frames of a segment up to `up_to_seq` are dealt with, `samples` more than before. [`Self::commit`] makes it durable.
    pub fn acked(&mut self, id: SegmentId, up_to_seq: u64, samples: u64) {
        let Some(index) = self.index(id) else { return };
        let meta = &mut self.segments[index];
        meta.acked_seq = meta.acked_seq.max(up_to_seq.min(meta.last_seq));
        meta.acked_samples = (meta.acked_samples + samples).min(meta.samples);
        if let Some(open) = self.open.as_mut().filter(|open| open.id == id) {
            open.exposure.end(up_to_seq);
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
    /// When the ledger cannot be written. Then files are removed only if that was for want of room; otherwise they go with the next commit.
    pub fn commit(&mut self, totals: &PersistedTotals) -> Result<(), SpoolError> {
        self.poll();
        let state = self.state(totals);
        let committed = self.ledger.commit(&state);
        let committed = committed.map_err(|e| SpoolError::new("keep the account of", e));
        // Some file systems need room even to overwrite; on a disk that fails removing would only make the account wrong.
        if matches!(committed, Ok(()) | Err(SpoolError::Full(_))) {
            self.remove_freed();
        }
        committed
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
        self.is_over_limit_with(0)
    }

    /// What went wrong so far.
    pub fn health(&self) -> Health {
        self.health
    }

    fn state(&self, totals: &PersistedTotals) -> State {
        let freed =
            self.freed.iter().map(|id| Note { id: *id, acked_seq: FREED, acked_samples: 0 });
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

    /// Takes over what the open segment has become.
    fn measure_open(&mut self) {
        if let (Some(open), Some(meta)) = (&self.open, self.segments.back_mut()) {
            self.bytes -= meta.room();
            meta.take(&open.summary, open.end);
            self.bytes += meta.room();
        }
    }

    /// Removes segments of other versions of the agent where they would take room from this one's, oldest first.
    fn make_room(&mut self) {
        while self.is_over_limit_with(self.others.iter().map(|(_, bytes)| bytes).sum())
            && let Some((id, bytes)) = self.others.pop_front()
        {
            let removed = self.disk.remove(&file_name(id)).is_ok();
            tracing::warn!(
                segment = id.0,
                bytes,
                removed,
                "spool full: segment of another version given up"
            );
        }
    }

    fn is_over_limit_with(&self, more_bytes: u64) -> bool {
        self.bytes() + more_bytes > self.settings.limit_bytes
    }

    fn index(&self, id: SegmentId) -> Option<usize> {
        self.segments.binary_search_by_key(&id, |meta| meta.id).ok()
    }
}

/// Name of a segment's file; names sort as ids do.
fn file_name(id: SegmentId) -> String {
    format!("segment-{:016x}", id.0)
}

#[cfg(test)]
mod tests;
