//! Frames that the disk did not take, kept in memory: segments as on disk, bounded by `ship.memory_mb` instead of the room on disk.
//!
//! A segment here either begins with a keyframe, or continues the segment on disk that a write failed in. It is never written to the disk later: it leaves by
//! an acknowledgement, or it is given up when memory is short, and a kill of the agent loses it. So it is counted apart.

use std::collections::VecDeque;

use flyball_proto::v1;
use tonic::codegen::Bytes;

use crate::spool::{FrameRecord, NewFrame, SegmentId};

/// Number of a segment in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ship) struct Number(u64);

/// A run of frames in memory.
#[derive(Debug)]
pub(super) struct MemorySegment {
    pub(super) number: Number,
    /// The segment on disk that its frames continue; `None`: it begins with a keyframe.
    pub(super) base: Option<SegmentId>,
    pub(super) dictionary_version: u32,
    /// All definitions that its frames need, those of the base included.
    pub(super) definitions: Vec<v1::SeriesDefinition>,
    pub(super) frames: Vec<FrameRecord>,
    pub(super) acked_seq: u64,
    bytes: usize,
    is_open: bool,
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Memory {
    segments: VecDeque<MemorySegment>,
    last: u64,
}

impl MemorySegment {
    /// Number of its first frame.
    pub(super) fn first_seq(&self) -> u64 {
        self.frames.first().map_or(0, |frame| frame.seq)
    }

    /// Frames that are not acknowledged.
    pub(super) fn unacked(&self) -> impl Iterator<Item = &FrameRecord> {
        self.frames.iter().filter(|frame| frame.seq > self.acked_seq)
    }

    /// Samples that are not acknowledged.
    pub(super) fn in_flight(&self) -> u64 {
        self.unacked().map(|frame| u64::from(frame.samples)).sum()
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when no frame follows.
    pub(super) fn is_closed(&self) -> bool {
        !self.is_open
    }
}

impl Memory {
    /// Begins a segment. `definitions` are all that its dictionary has so far, and take `bytes`.
    pub(super) fn begin(
        &mut self,
        base: Option<SegmentId>,
        dictionary_version: u32,
        definitions: &[v1::SeriesDefinition],
        bytes: usize,
    ) {
        self.close();
        self.last += 1;
        self.segments.push_back(MemorySegment {
            number: Number(self.last),
            base,
            dictionary_version,
            definitions: definitions.to_vec(),
            frames: Vec::new(),
            acked_seq: 0,
            bytes: size_of::<MemorySegment>() + bytes,
            is_open: true,
        });
    }

    /// Appends a frame to the open segment, which then has all of `definitions`. `None` when there is no open segment.
    pub(super) fn append(
        &mut self,
        frame: &NewFrame<'_>,
        definitions: &[v1::SeriesDefinition],
    ) -> Option<Number> {
        let segment = self.segments.back_mut().filter(|segment| segment.is_open)?;
        let known = segment.definitions.len();
        segment.definitions.extend_from_slice(&definitions[known.min(definitions.len())..]);
        segment.bytes += size_of::<FrameRecord>() + frame.payload.len();
        segment.frames.push(FrameRecord {
            seq: frame.seq,
            ts_ms: frame.ts_ms,
            samples: frame.samples,
            keyframe: frame.keyframe,
            payload: Bytes::copy_from_slice(frame.payload),
        });
        Some(segment.number)
    }

    /// Ends the open segment, if there is one.
    pub(super) fn close(&mut self) -> Option<Number> {
        let open = self.segments.back_mut().filter(|segment| segment.is_open)?;
        open.is_open = false;
        Some(open.number)
    }

    /// The open segment.
    pub(super) fn open(&self) -> Option<&MemorySegment> {
        self.segments.back().filter(|segment| segment.is_open)
    }

    /// Takes a segment out.
    pub(super) fn remove(&mut self, number: Number) -> Option<MemorySegment> {
        let index = self.segments.iter().position(|segment| segment.number == number)?;
        self.segments.remove(index)
    }

    /// A segment.
    pub(super) fn get(&self, number: Number) -> Option<&MemorySegment> {
        self.segments.iter().find(|segment| segment.number == number)
    }

    /// A segment, to be changed.
    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut MemorySegment> {
        self.segments.iter_mut().find(|segment| segment.number == number)
    }

    /// All segments, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &MemorySegment> {
        self.segments.iter()
    }

    /// The segment that continues this one on disk.
    pub(super) fn upon(&self, base: SegmentId) -> Option<Number> {
        let upon = self.segments.iter().find(|segment| segment.base == Some(base));
        upon.map(|segment| segment.number)
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.segments.iter().map(MemorySegment::bytes).sum()
    }
}
