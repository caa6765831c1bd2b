//! The segment that is being written.

use std::io;
use std::sync::Arc;

use flyball_proto::v1;

use super::disk::{Disk, DiskFile};
use super::exposure::Exposure;
use super::record::{self, Place, Summary};
use super::{NewFrame, SegmentHeader, SegmentId, SpoolSettings, file_name};

/// Bytes of frames that end a segment, unless the limit of the spool or the definitions ask for another size.
const SEGMENT_BYTES: u64 = 256 * 1024;
/// Most bytes of frames, however many definitions there are.
const MAX_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Fewest, however small the spool is.
const MIN_SEGMENT_BYTES: u64 = 4096;
/// Part of the spool's limit that one segment may fill, so that shedding one loses no more than that.
const SEGMENTS_AT_LEAST: u64 = 8;
/// Time between the first and the last frame that ends a segment, in milliseconds.
const SEGMENT_MS: i64 = 10 * 60 * 1000;
/// Definitions in one record, in bytes and roughly.
const DEFINE_BYTES: usize = 256 * 1024;

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) id: SegmentId,
    /// Where the next record goes.
    pub(super) end: u64,
    pub(super) summary: Summary,
    /// A sync is under way.
    pub(super) syncing: bool,
    /// A sync failed: no frame more.
    pub(super) suspect: bool,
    next_seq: u64,
    interval_ms: u32,
    dictionary_version: u32,
    /// Bytes of header and first definitions.
    front_bytes: u64,
    /// Bytes of frames at which the segment is full.
    full_bytes: u64,
    /// Definitions that go before the next frame.
    definitions: Vec<v1::Define>,
    /// Frames that are neither acknowledged nor synced.
    pub(super) exposure: Exposure,
}

impl Open {
    /// Makes the file, with everything that its first frame needs. One segment may fill a part of the spool only.
    pub(super) fn begin(
        disk: &dyn Disk,
        id: SegmentId,
        header: &SegmentHeader,
        definitions: &[v1::SeriesDefinition],
        settings: &SpoolSettings,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Self> {
        let name = file_name(id);
        let file = disk.create(&name)?;
        buffer.clear();
        let place = Place { segment: id, offset: 0 };
        record::put_preamble(buffer);
        record::put_header(buffer, place, header, false);
        for define in in_parts(header.dictionary_version, definitions) {
            record::put_define(buffer, place, &define);
        }
        if let Err(error) = file.write_at(0, buffer) {
            // An empty segment that stays is removed at the next start.
            let _ = disk.remove(&name);
            return Err(error);
        }
        let front_bytes = buffer.len() as u64;
        let part = settings.limit_bytes / SEGMENTS_AT_LEAST;
        // Definitions are to be a third of a segment at most.
        let full_bytes = (2 * front_bytes).clamp(SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        Ok(Self {
            file,
            id,
            end: front_bytes,
            summary: Summary::default(),
            syncing: false,
            suspect: false,
            next_seq: header.first_seq,
            interval_ms: header.interval_ms,
            dictionary_version: header.dictionary_version,
            front_bytes,
            full_bytes: full_bytes.min(part.max(MIN_SEGMENT_BYTES)),
            definitions: Vec::new(),
            exposure: Exposure::new(settings.fsync.as_millis() as i64),
        })
    }

    /// Keeps definitions for the next frame.
    pub(super) fn define(&mut self, definitions: &[v1::SeriesDefinition]) {
        self.definitions.extend(in_parts(self.dictionary_version, definitions));
    }

    /// True when a frame can be decoded after the ones that are there.
    pub(super) fn can_follow(&self, frame: &NewFrame<'_>) -> bool {
        let first = self.summary.last_seq == 0;
        !self.suspect && frame.seq == self.next_seq && (frame.keyframe || !first)
    }

    /// Writes a frame, with the definitions before it. After an error the segment is as it was.
    pub(super) fn write(&mut self, frame: &NewFrame<'_>, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let place = Place { segment: self.id, offset: self.end };
        for define in &self.definitions {
            record::put_define(buffer, place, define);
        }
        record::put_frame(buffer, place, frame);
        self.put(buffer)?;
        self.definitions.clear();
        self.next_seq += 1;
        self.summary.add(frame.seq, frame.ts_ms, frame.samples);
        self.exposure.add(frame.seq, frame.ts_ms);
        Ok(())
    }

    /// Writes the last record. Without it the segment is read as a whole at the next start; no more depends on it.
    pub(super) fn write_end(&mut self, buffer: &mut Vec<u8>) {
        buffer.clear();
        record::put_end(buffer, Place { segment: self.id, offset: self.end }, &self.summary);
        let _ = self.put(buffer);
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_at(self.end, bytes) {
            // What was written of it would be taken for a torn write; the next one overwrites it in any case.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// True when it has its size or its age, or is to hold no frame more.
    pub(super) fn is_full(&self) -> bool {
        let age_ms = self.summary.last_ts_ms.saturating_sub(self.summary.first_ts_ms);
        self.suspect || self.end - self.front_bytes >= self.full_bytes || age_ms >= SEGMENT_MS
    }

    /// True when it is to be synced now.
    pub(super) fn is_sync_due(&self) -> bool {
        !self.syncing && !self.suspect && self.exposure.is_due(self.interval_ms)
    }
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
