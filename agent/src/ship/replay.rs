//! One segment on its way over the backlog lane: what is sent next, and what of it is acknowledged. No connection and no clock.

use flyball_proto::v1;
use tonic::codegen::Bytes;

use super::outbox::{Backlog, Outgoing};
use super::verdict::End;

/// See the module.
#[derive(Debug)]
pub(super) struct Replay {
    backlog: Backlog,
    next_define: usize,
    next_frame: usize,
    acked_seq: u64,
    /// Frames from here on are never sent: the first of them is larger than the collector takes.
    end: usize,
    frame_limit: u32,
}

/// What the lane may do now.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this. Only frames that are to be stored count against the rate.
    Send(Outgoing, Cost),
    /// Wait for an acknowledgement or a credit.
    Wait,
    /// All that can be stored is.
    End(End),
}

/// Whether a message counts against the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// It carries state only.
    Free,
    /// It is to be stored.
    Frame,
}

impl Replay {
    /// Begins to send a segment to a collector that takes frames of `frame_limit` bytes; 0: of any size.
    pub(super) fn new(backlog: Backlog, frame_limit: u32) -> Self {
        let too_large = |bytes: &Bytes| frame_limit > 0 && bytes.len() > frame_limit as usize;
        let frames = backlog.frames.iter();
        let end = frames.take_while(|frame| !too_large(&frame.payload)).count();
        let acked_seq = backlog.acked_seq;
        Self { backlog, next_define: 0, next_frame: 0, acked_seq, end, frame_limit }
    }

    /// The segment.
    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// True when definitions or frames were sent.
    pub(super) fn is_started(&self) -> bool {
        self.next_define > 0
    }

    /// Frames that were sent and are not acknowledged.
    pub(super) fn in_transit(&self) -> u64 {
        self.sent_seq().saturating_sub(self.acked_seq)
    }

    /// Takes an acknowledgement. Returns the number up to which everything is stored now; what was never sent is not believed.
    pub(super) fn ack(&mut self, durable_seq: u64) -> u64 {
        self.acked_seq = self.acked_seq.max(durable_seq.min(self.sent_seq()));
        self.acked_seq
    }

    /// What to do when `credits` frames may be unacknowledged.
    pub(super) fn step(&self, credits: u32) -> Step {
        if let Some(define) = self.backlog.definitions.get(self.next_define) {
            return Step::Send(Outgoing::Define(define.clone()), Cost::Free);
        }
        let Some(frame) = self.backlog.frames[..self.end].get(self.next_frame) else {
            return if self.in_transit() > 0 { Step::Wait } else { Step::End(self.end()) };
        };
        let payload = Outgoing::Frame(frame.payload.clone());
        if frame.seq <= self.acked_seq {
            Step::Send(payload, Cost::Free)
        } else if self.in_transit() < u64::from(credits) {
            Step::Send(payload, Cost::Frame)
        } else {
            Step::Wait
        }
    }

    /// Why nothing is left to send.
    fn end(&self) -> End {
        match self.backlog.frames.get(self.end) {
            Some(frame) => End::TooLarge { bytes: frame.payload.len(), limit: self.frame_limit },
            None => End::Drained,
        }
    }

    fn sent_seq(&self) -> u64 {
        self.backlog.frames[..self.next_frame].last().map_or(0, |frame| frame.seq)
    }

    /// The message of the last [`Step::Send`] is on its way.
    pub(super) fn sent(&mut self, message: &Outgoing) {
        match message {
            Outgoing::Define(_) => self.next_define += 1,
            Outgoing::Frame(_) => self.next_frame += 1,
        }
    }
}

/// A message as the stream carries it.
pub(super) fn message(outgoing: Outgoing) -> v1::AgentMessage {
    use v1::agent_message::Kind;
    let kind = match outgoing {
        Outgoing::Define(define) => Kind::Define(define),
        Outgoing::Frame(payload) => Kind::Frame(v1::Frame { payload }),
    };
    v1::AgentMessage { kind: Some(kind) }
}
