//! Where a frame is written: to the open segment on disk; where the disk fails, to one in memory that continues it, until the disk can be written again.

use super::live::Home;
use super::{Disk, Outbox, RETRY_MS, SEGMENTS_AT_LEAST};
use crate::spool::{NewFrame, SegmentHeader, SegmentId, SpoolError};

impl Outbox {
    /// Begins a segment with a keyframe.
    pub(super) fn begin(&mut self, frame: &NewFrame<'_>) -> Option<Home> {
        self.close();
        self.segment_wanted = false;
        if self.is_disk_tried(frame.seq) {
            match self.begin_on_disk(frame) {
                Ok(id) => {
                    self.disk_works();
                    return Some(Home::Disk(id));
                }
                Err(error) => self.disk_failed(frame.seq, &error),
            }
        }
        self.begin_in_memory(None);
        self.append_in_memory(frame)
    }

    pub(super) fn begin_on_disk(&mut self, frame: &NewFrame<'_>) -> Result<SegmentId, SpoolError> {
        let header = SegmentHeader {
            epoch: self.settings.epoch,
            interval_ms: self.settings.interval_ms,
            dictionary_version: self.dictionaries.version(),
            first_seq: frame.seq,
            produced_before: self.totals.produced,
        };
        self.keep_within_limit();
        let id = loop {
            match self.spool.begin(&header, self.dictionaries.series()) {
                Err(SpoolError::Full(_)) if self.shed_oldest_on_disk() => {}
                begun => break begun?,
            }
        };
        self.spooled_slots = self.dictionaries.series().len();
        self.append_on_disk(id, frame)
    }

    /// Appends to the open segment; where the disk fails, to one in memory that continues it.
    pub(super) fn go_on(&mut self, frame: &NewFrame<'_>) -> Option<Home> {
        let Some(id) = self.spool.open_segment() else { return self.append_in_memory(frame) };
        let defined = self.dictionaries.series();
        if self.spooled_slots < defined.len() {
            self.spool.define(&defined[self.spooled_slots..]);
            self.spooled_slots = defined.len();
        }
        match self.append_on_disk(id, frame) {
            Ok(id) => Some(Home::Disk(id)),
            Err(error) => {
                self.disk_failed(frame.seq, &error);
                // In this order: a segment that another one continues is not freed.
                self.begin_in_memory(Some(id));
                let home = self.append_in_memory(frame);
                self.close_on_disk();
                home
            }
        }
    }

    /// Appends to the open segment on disk; for want of room others are shed.
    pub(super) fn append_on_disk(
        &mut self,
        id: SegmentId,
        frame: &NewFrame<'_>,
    ) -> Result<SegmentId, SpoolError> {
        loop {
            match self.spool.append(frame) {
                Err(SpoolError::Full(_)) if self.shed_oldest_on_disk() => {}
                // Written, but the medium does not confirm it: it is as safe as a frame can be here.
                Err(_) if self.spool.segment(id).is_some_and(|m| m.last_seq == frame.seq) => break,
                appended => {
                    appended?;
                    break;
                }
            }
        }
        self.keep_within_limit();
        Ok(id)
    }

    pub(super) fn begin_in_memory(&mut self, base: Option<SegmentId>) {
        let (version, bytes) = (self.dictionaries.version(), self.dictionaries.current_bytes());
        self.memory.begin(base, version, self.dictionaries.series(), bytes);
    }

    pub(super) fn append_in_memory(&mut self, frame: &NewFrame<'_>) -> Option<Home> {
        self.memory.append(frame, self.dictionaries.series()).map(Home::Memory)
    }

    pub(super) fn has_open_segment(&self) -> bool {
        self.spool.open_segment().is_some() || self.memory.open().is_some()
    }

    /// True when the next keyframe should begin a segment.
    pub(super) fn is_segment_due(&self, seq: u64) -> bool {
        match self.memory.open() {
            Some(open) => {
                self.is_disk_tried(seq + 1)
                    || open.bytes() > self.settings.memory_bytes / SEGMENTS_AT_LEAST
            }
            None => self.spool.is_segment_full(),
        }
    }

    /// Ends the open segment.
    pub(super) fn close(&mut self) {
        if let Some(number) = self.memory.close() {
            self.drop_settled(number);
        }
        self.close_on_disk();
    }

    pub(super) fn close_on_disk(&mut self) {
        if let Some(id) = self.spool.open_segment() {
            self.spool.close();
            self.free_settled(id);
            self.commit();
        }
    }

    pub(super) fn is_disk_tried(&self, seq: u64) -> bool {
        match self.disk {
            Disk::Works => true,
            Disk::Failed { retry_seq, .. } => seq >= retry_seq,
        }
    }

    pub(super) fn disk_failed(&mut self, seq: u64, error: &SpoolError) {
        let wait_ms = match self.disk {
            Disk::Works => {
                tracing::error!(%error, "the spool cannot be written: frames stay in memory until it can");
                RETRY_MS.0
            }
            Disk::Failed { wait_ms, .. } => (wait_ms * 2).min(RETRY_MS.1),
        };
        let frames = wait_ms.div_ceil(u64::from(self.settings.interval_ms.max(1)));
        self.disk = Disk::Failed { retry_seq: seq + frames, wait_ms };
    }

    pub(super) fn disk_works(&mut self) {
        if self.disk != Disk::Works {
            tracing::info!(in_memory = self.unspooled(), "the spool can be written again");
            self.disk = Disk::Works;
        }
    }
}
