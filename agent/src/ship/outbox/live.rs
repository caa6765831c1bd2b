//! The live lane: the newest frames, in memory, from a keyframe on.
//!
//! It carries what is measured now. Frames wait here for the collector's acknowledgement, [`MAX_UNACKED`] at most and within a bound of memory; when more would
//! have to wait the lane is given up as a whole (*detached*): its frames are in segments, and the segments become the backlog. It is taken up again with the
//! first frame of a new segment, so that a segment is either the live lane's or the backlog's.
//!
//! Frames before the first that is not acknowledged, back to a keyframe, are kept for their state: a stream that begins anew begins there.

use std::collections::VecDeque;

use tonic::codegen::Bytes;

use super::dictionary::Told;
use super::memory::Number;
use crate::spool::{NewFrame, SegmentId};

/// Frames that may wait for their acknowledgement on the live lane: two minutes at one frame a second.
pub(super) const MAX_UNACKED: usize = 128;

/// Which segment holds a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// On disk.
    Disk(SegmentId),
    /// In memory, because the disk could not be written.
    Memory(Number),
}

/// A frame that waits.
#[derive(Debug)]
struct LiveFrame {
    seq: u64,
    ts_ms: i64,
    samples: u32,
    keyframe: bool,
    home: Home,
    /// Definitions that it needs.
    needs: Told,
    payload: Bytes,
}

/// A frame that the present stream has sent and that is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) samples: u32,
    pub(super) home: Home,
}

/// Whether the lane has frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has all frames from this number on, the first of a segment.
    Attached { from_seq: u64 },
    /// It takes the next frame that begins a segment.
    Waiting,
    /// Nobody reads it.
    Detached,
}

/// What the lane sends next.
#[derive(Debug)]
pub(super) struct NextFrame<'a> {
    pub(super) needs: Told,
    pub(super) told: &'a mut Told,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    state: State,
    frames: VecDeque<LiveFrame>,
    bytes: usize,
    limit_bytes: usize,
    /// Frames up to this number are acknowledged or not this lane's.
    acked_seq: u64,
    /// Number of the next frame to be sent on the present stream.
    next_seq: u64,
    told: Told,
    sent: VecDeque<Sent>,
}

impl Live {
    /// A lane without frames that takes `limit_bytes` of memory at most.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            state: State::Waiting,
            frames: VecDeque::new(),
            bytes: 0,
            limit_bytes,
            acked_seq: 0,
            next_seq: 0,
            told: Told::default(),
            sent: VecDeque::new(),
        }
    }

    /// True when nobody reads the lane.
    pub(super) fn is_detached(&self) -> bool {
        self.state == State::Detached
    }

    /// True when the frames of a segment of this process that begins with `first_seq` are this lane's.
    pub(super) fn covers(&self, first_seq: u64) -> bool {
        matches!(self.state, State::Attached { from_seq } if first_seq >= from_seq)
    }

    /// True when frames of this segment are under way.
    pub(super) fn has_sent(&self, home: Home) -> bool {
        self.sent.iter().any(|sent| sent.home == home)
    }

    /// Takes the frame that was produced last, if it is the lane's.
    pub(super) fn push(&mut self, frame: &NewFrame<'_>, home: Home, begins: bool, needs: Told) {
        match self.state {
            State::Detached => return,
            State::Waiting if !begins => return,
            State::Waiting => {
                self.state = State::Attached { from_seq: frame.seq };
                (self.acked_seq, self.next_seq) = (frame.seq - 1, frame.seq);
            }
            State::Attached { .. } => {}
        }
        self.bytes += frame_bytes(frame.payload.len());
        self.frames.push_back(LiveFrame {
            seq: frame.seq,
            ts_ms: frame.ts_ms,
            samples: frame.samples,
            keyframe: frame.keyframe,
            home,
            needs,
            payload: Bytes::copy_from_slice(frame.payload),
        });
        if self.unacked() > MAX_UNACKED || self.bytes > self.limit_bytes {
            self.detach();
        }
    }

    /// Gives the lane's frames up to the backlog. Those that are under way may still be acknowledged.
    pub(super) fn detach(&mut self) {
        self.state = State::Detached;
        self.frames = VecDeque::new();
        self.bytes = 0;
    }

    /// Takes the lane up again with the next frame that begins a segment. True when it was given up before.
    pub(super) fn attach(&mut self) -> bool {
        let was_detached = self.is_detached();
        if was_detached {
            self.state = State::Waiting;
        }
        was_detached
    }

    /// A segment is no more.
    pub(super) fn forget(&mut self, home: Home) {
        self.sent.retain(|sent| sent.home != home);
        if self.frames.iter().any(|frame| frame.home == home && frame.seq > self.acked_seq) {
            self.detach();
        }
    }

    /// Number up to which nothing is to be stored from the next stream. `last_seq`: number of the last frame that was produced.
    pub(super) fn hello_seq(&self, last_seq: u64) -> u64 {
        match self.state {
            State::Attached { .. } => self.acked_seq,
            State::Waiting | State::Detached => last_seq,
        }
    }

    /// Begins a stream.
    pub(super) fn connect(&mut self, last_seq: u64) {
        self.sent.clear();
        self.told = Told::default();
        self.next_seq = self.frames.front().map_or(last_seq + 1, |frame| frame.seq);
    }

    /// The stream has ended: what was under way on it is not acknowledged any more.
    pub(super) fn disconnect(&mut self) {
        self.sent.clear();
    }

    /// Goes back to the first keyframe. False when this stream cannot: it has sent nothing of what is left, or versions of the dictionary would shrink.
    pub(super) fn rewind(&mut self) -> bool {
        let Some(first) = self.frames.front() else { return false };
        if first.seq >= self.next_seq || first.needs.version < self.told.version {
            return false;
        }
        self.next_seq = first.seq;
        self.sent.clear();
        true
    }

    /// What the next frame needs, when there is one and `credits` allow it. Frames that are acknowledged count for nothing: they only carry state.
    pub(super) fn peek(&mut self, credits: u32) -> Option<NextFrame<'_>> {
        let index = self.next_index()?;
        let frame = &self.frames[index];
        if frame.seq > self.acked_seq && self.sent.len() >= credits as usize {
            return None;
        }
        Some(NextFrame { needs: frame.needs, told: &mut self.told })
    }

    /// Sends the next frame.
    pub(super) fn send(&mut self) -> Option<Bytes> {
        let index = self.next_index()?;
        let LiveFrame { seq, samples, home, .. } = self.frames[index];
        self.next_seq = seq + 1;
        if seq > self.acked_seq {
            self.sent.push_back(Sent { seq, samples, home });
        }
        Some(self.frames[index].payload.clone())
    }

    /// Frames under way.
    pub(super) fn in_transit(&self) -> usize {
        self.sent.len()
    }

    /// Takes the next frame that an acknowledgement of all up to `durable_seq` settles.
    pub(super) fn settle_next(&mut self, durable_seq: u64) -> Option<Sent> {
        let sent = *self.sent.front().filter(|sent| sent.seq <= durable_seq)?;
        self.sent.pop_front();
        if matches!(self.state, State::Attached { from_seq } if sent.seq >= from_seq) {
            self.acked_seq = self.acked_seq.max(sent.seq);
        }
        Some(sent)
    }

    /// Drops frames that not even a new stream needs: all before the last keyframe that everything unacknowledged can be built upon.
    pub(super) fn trim(&mut self) {
        let base = |frame: &LiveFrame| frame.keyframe && frame.seq <= self.acked_seq + 1;
        let Some(first) = self.frames.iter().rposition(base) else { return };
        for frame in self.frames.drain(..first) {
            self.bytes -= frame_bytes(frame.payload.len());
        }
    }

    /// Oldest version of the dictionary that a frame needs.
    pub(super) fn oldest_version(&self) -> Option<u32> {
        self.frames.front().map(|frame| frame.needs.version)
    }

    /// Number of the last frame that is known to be stored, with all of this lane before it.
    pub(super) fn acked_seq(&self) -> u64 {
        self.acked_seq
    }

    /// Frames that wait for an acknowledgement.
    pub(super) fn unacked(&self) -> usize {
        let last = self.frames.back().map_or(0, |frame| frame.seq);
        (last.saturating_sub(self.acked_seq) as usize).min(self.frames.len())
    }

    /// Time of the first frame that waits.
    pub(super) fn oldest_unacked_ms(&self) -> Option<i64> {
        self.frames.iter().find(|frame| frame.seq > self.acked_seq).map(|frame| frame.ts_ms)
    }

    /// Memory that the frames take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn next_index(&self) -> Option<usize> {
        let first = self.frames.front()?.seq;
        let index = self.next_seq.saturating_sub(first) as usize;
        (index < self.frames.len()).then_some(index)
    }
}

fn frame_bytes(payload: usize) -> usize {
    size_of::<LiveFrame>() + payload
}
