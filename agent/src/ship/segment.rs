//! A run of frames that can be decoded alone: it starts with a keyframe, its numbers have no gaps, and it names the dictionary it was encoded with.
//!
//! This is the unit that is sent again, shed and freed, and the seam for the spool: a segment on disk holds the same bytes in the same order, so nothing
//! outside this file knows where they are.

use tonic::codegen::Bytes;

/// Memory of a segment besides its frames.
const OVERHEAD_BYTES: usize = size_of::<Segment>() + 64;

/// Frames from one keyframe to the one before the next.
#[derive(Debug)]
pub(super) struct Segment {
    dictionary_version: u32,
    first_seq: u64,
    frames: Vec<Entry>,
    payloads: Vec<u8>,
    open: bool,
}

/// Where a frame lies in its segment and what it needs.
#[derive(Debug, Clone, Copy)]
struct Entry {
    end: usize,
    samples: u32,
    slots: u32,
}

/// A frame as it was produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFrame<'a> {
    /// Number of the frame, one more than the last one's.
    pub seq: u64,
    /// Samples in it.
    pub samples: u32,
    /// Decodable without the frames before it.
    pub keyframe: bool,
    /// The encoded frame.
    pub payload: &'a [u8],
}

impl Segment {
    /// Starts a segment with its keyframe. `slots` series of the dictionary are defined at this point.
    pub(super) fn new(dictionary_version: u32, slots: u32, frame: NewFrame<'_>) -> Self {
        let mut segment = Self {
            dictionary_version,
            first_seq: frame.seq,
            frames: Vec::new(),
            payloads: Vec::new(),
            open: true,
        };
        segment.push(slots, frame);
        segment
    }

    /// Appends the next frame.
    pub(super) fn push(&mut self, slots: u32, frame: NewFrame<'_>) {
        debug_assert_eq!(
            frame.seq,
            self.first_seq + self.frames.len() as u64,
            "numbers have no gaps"
        );
        self.payloads.extend_from_slice(frame.payload);
        self.frames.push(Entry { end: self.payloads.len(), samples: frame.samples, slots });
    }

    /// Ends the segment: no frame follows.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.payloads.shrink_to_fit();
        self.frames.shrink_to_fit();
    }

    /// True while frames may follow.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Version of the dictionary that all its frames were encoded with.
    pub(super) fn dictionary_version(&self) -> u32 {
        self.dictionary_version
    }

    /// Number of its keyframe.
    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Number of its last frame.
    pub(super) fn last_seq(&self) -> u64 {
        self.first_seq + self.frames.len() as u64 - 1
    }

    /// Slots that must be defined before frame `seq`, which is in this segment.
    pub(super) fn slots(&self, seq: u64) -> u32 {
        self.frames[self.index(seq)].slots
    }

    /// Samples and payload of frame `seq`, which is in this segment.
    pub(super) fn payload(&self, seq: u64) -> Bytes {
        let i = self.index(seq);
        let start = if i == 0 { 0 } else { self.frames[i - 1].end };
        Bytes::copy_from_slice(&self.payloads[start..self.frames[i].end])
    }

    /// How many of its frames have a number above `after` and below `before`.
    pub(super) fn frames_between(&self, after: u64, before: u64) -> u64 {
        let (first, end) = (self.first_seq.max(after + 1), (self.last_seq() + 1).min(before));
        end.saturating_sub(first)
    }

    /// Samples of its frames with a number above `after` and up to `until`.
    pub(super) fn samples_between(&self, after: u64, until: u64) -> u64 {
        let first = (after + 1).saturating_sub(self.first_seq) as usize;
        let count = self.frames_between(after, until.saturating_add(1)) as usize;
        self.frames.iter().skip(first).take(count).map(|f| u64::from(f.samples)).sum()
    }

    /// Memory that the segment takes.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.payloads.len() + self.frames.len() * size_of::<Entry>()
    }

    fn index(&self, seq: u64) -> usize {
        (seq - self.first_seq) as usize
    }
}
