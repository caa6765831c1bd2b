//! What the spool and its owner tell each other.

use std::io;
use std::time::Duration;

use flyball_proto::v1;

use super::record::{FrameRecord, Summary};
use crate::stamps::Stamps;

/// Reasons that samples may be shed for, at most; which is which the outbox knows.
pub const REASONS: usize = 8;
/// File systems give out room in blocks of this size.
const BLOCK_BYTES: u64 = 4096;

/// Number of a segment; grows over the life of the directory, over all epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// How much the spool keeps and how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Room on disk, in bytes. Not enforced here: see [`Spool::is_over_limit`](super::Spool::is_over_limit).
    pub limit_bytes: u64,
    /// Longest time that a frame is neither acknowledged nor synced; zero: each frame is synced before [`Spool::append`](super::Spool::append) returns.
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
    /// Its detail was [left out](super::Spool::thin).
    pub thinned: bool,
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
    /// Timestamps that were given, so that none is given again.
    pub stamps: Stamps,
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
    /// The disk, the quota or the file is at its limit. With segments freed and [committed](super::Spool::commit) it can be tried again.
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
            stamps: Stamps::default(),
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

    /// Room that the file takes on disk.
    pub(super) fn room(&self) -> u64 {
        self.bytes.next_multiple_of(BLOCK_BYTES)
    }
}

impl SpoolError {
    pub(super) fn new(what: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full(source),
            _ => Self::Io { what, source },
        }
    }
}

impl SegmentMeta {
    /// A segment without frames.
    pub(super) fn new(id: SegmentId, header: &SegmentHeader, bytes: u64) -> Self {
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
            thinned: false,
            bytes,
            first_ts_ms: 0,
            last_ts_ms: 0,
        }
    }

    /// Takes over what the frames so far come to.
    pub(super) fn take(&mut self, summary: &Summary, bytes: u64) {
        self.last_seq = summary.last_seq;
        self.samples = summary.samples;
        self.first_ts_ms = summary.first_ts_ms;
        self.last_ts_ms = summary.last_ts_ms;
        self.bytes = bytes;
    }
}
