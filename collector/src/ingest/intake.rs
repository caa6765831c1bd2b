//! From an agent's messages to rows: decodes definitions and frames, keeps the last values live, and hands over what is to be stored.
//!
//! Nothing here waits or fails halfway: a message is taken over whole, or the stream ends with a status that says why.
//!
//! After a gap the agent is asked to send again, from a keyframe, what is not acknowledged. Frames that were on their way by then still arrive and go
//! on ascending; to decode a keyframe among them would acknowledge the missing frames unseen. So everything is dropped until a number comes that was
//! seen before: only then has the agent turned back.

use std::sync::Arc;

use flyball_proto::frame::{DecodeError, Decoder, DefineError, Remedy, Scratch, peek};
use flyball_proto::series::NodeName;
use flyball_proto::v1;
use tonic::Status;

use super::Shared;
use super::batch::{NewSeries, Submission, weight};
use super::hello::{Epoch, Hello};
use super::ledger::{ALL_SLOTS, Ledger, Refused};
use super::slots::{Rows, Slots};
use crate::account::Accounting;
use crate::caches::Caches;
use crate::live::{NodeFeed, now_ms};

/// Frames that may arrive after a resync was asked for before the stream is given up.
const MAX_DROPPED: u32 = 1_024;

/// What a frame leads to.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nothing to store or to say.
    Nothing,
    /// Something to store.
    Frame(Submission),
    /// The agent is to send again what is not acknowledged; says why.
    Resync(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Intake {
    shared: Arc<Shared>,
    node: NodeName,
    epoch: Epoch,
    acked_seq: u64,
    decoder: Decoder,
    slots: Slots,
    caches: Caches,
    /// Series to be written with the next frame.
    unwritten: Vec<NewSeries>,
    /// The node's present; `None` on the backlog lane, whose frames are of the past.
    feed: Option<NodeFeed>,
    ledger: Arc<Ledger>,
    /// Highest number seen, decoded or not.
    highest_seq: u64,
    /// Frames dropped since a resync was asked for.
    dropped: Option<u32>,
}

impl Intake {
    pub(super) fn new(
        shared: Arc<Shared>,
        hello: &Hello,
        feed: Option<NodeFeed>,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self {
            decoder: Decoder::pooled(shared.settings.limits(), Arc::clone(&shared.definitions)),
            slots: Slots::new(Arc::clone(&shared), hello.info.node.clone(), feed.is_some()),
            caches: Caches::default(),
            shared,
            node: hello.info.node.clone(),
            epoch: hello.epoch,
            acked_seq: hello.acked_seq,
            unwritten: Vec::new(),
            feed,
            ledger,
            highest_seq: 0,
            dropped: None,
        }
    }

    /// Takes a message after Hello. A frame is given back: [`Intake::frame`] decodes it when there is room for its rows.
    pub(super) fn take(&mut self, message: v1::AgentMessage) -> Result<Option<v1::Frame>, Status> {
        use v1::agent_message::Kind;
        match message.kind {
            Some(Kind::Define(define)) => self.define(define).map(|()| None),
            Some(Kind::Frame(frame)) => Ok(Some(frame)),
            Some(Kind::Report(report)) => self.report(report).map(|()| None),
            Some(Kind::Hello(_)) => Err(Status::invalid_argument("a second hello")),
            None => Err(Status::invalid_argument("a message of an unknown kind")),
        }
    }

    /// The most that the next frame can take of the bound on rows in flight.
    pub(super) fn most_weight(&self) -> usize {
        weight(self.slots.len(), self.unwritten.len(), self.caches.len())
    }

    fn report(&self, report: v1::Report) -> Result<(), Status> {
        let Some(feed) = &self.feed else {
            return Err(Status::invalid_argument("a report on the backlog lane"));
        };
        let accounting = Arc::new(Accounting::of(report, now_ms()));
        if feed.account(&accounting) {
            self.shared.accounts.report(&self.node, accounting);
        }
        Ok(())
    }

    fn define(&mut self, define: v1::Define) -> Result<(), Status> {
        let metrics = &self.shared.metrics;
        let definitions = self.decoder.define(define).map_err(|error| {
            metrics.refused("define");
            let text = format!("define: {error}");
            match error {
                DefineError::Slots { .. } | DefineError::Bytes { .. } => {
                    Status::resource_exhausted(text)
                }
                _ => Status::invalid_argument(text),
            }
        })?;
        if definitions.restarted {
            self.slots.clear();
            self.caches.clear();
            // No frame has used them: one would have taken them along.
            self.unwritten.clear();
            if let Some(feed) = &self.feed {
                feed.clear();
            }
        }
        let series = definitions.iter().map(|(_, series)| series);
        self.slots.define(series, now_ms(), &mut self.unwritten);
        self.caches.define(definitions.iter());
        if let Some(feed) = &self.feed {
            let slots = &self.slots;
            feed.define(
                definitions.iter().map(|(slot, series)| (slot.0, slots.own(slot.0), series)),
            );
        }
        Ok(())
    }

    /// Decodes a frame.
    pub(super) fn frame(&mut self, payload: &[u8]) -> Result<Taken, Status> {
        if let (Some(dropped), Ok(seen)) = (&mut self.dropped, peek(payload)) {
            if seen.seq > self.highest_seq {
                self.highest_seq = seen.seq;
                *dropped += 1;
                if *dropped > MAX_DROPPED {
                    return Err(Status::aborted("nothing was sent again after a resync"));
                }
                return Ok(Taken::Nothing);
            }
            self.dropped = None;
        }
        let mut scratch = self.shared.scratches.lock().pop().unwrap_or_default();
        let taken = self.decode(&mut scratch, payload);
        self.shared.scratches.lock().push(scratch);
        taken
    }

    fn decode(&mut self, scratch: &mut Scratch, payload: &[u8]) -> Result<Taken, Status> {
        let metrics = &self.shared.metrics;
        let decoded = match self.decoder.decode_in(scratch, payload) {
            Ok(decoded) => decoded,
            Err(error) => return self.refuse(payload, error),
        };
        metrics.frames.inc();
        metrics.bytes.inc_by(payload.len() as u64);
        self.highest_seq = self.highest_seq.max(decoded.seq);
        if decoded.seq <= self.acked_seq {
            metrics.frames_repeated.inc();
            self.slots.pass(&decoded);
            self.caches.pass(&decoded);
            if let Some(feed) = &self.feed
                && self.shared.check_time(decoded.ts_ms, now_ms()).is_ok()
            {
                feed.update(decoded.ts_ms, decoded.samples);
            }
            return Ok(Taken::Nothing);
        }
        let (seq, samples) = (decoded.seq, decoded.samples.len() as u64);
        let now_ms = now_ms();
        let mut caches = Vec::new();
        let Rows { rows, refused } = match self.shared.check_time(decoded.ts_ms, now_ms) {
            Ok(()) => {
                match &self.feed {
                    Some(feed) => feed.update(decoded.ts_ms, decoded.samples),
                    None => self.shared.live.missed(&self.node, decoded.ts_ms),
                }
                caches = self.caches.rows(&self.node, &decoded);
                self.slots.rows(&decoded, now_ms)
            }
            Err(reason) if samples > 0 => Rows {
                rows: Vec::new(),
                refused: vec![Refused { slot: ALL_SLOTS, samples, reason }],
            },
            Err(_) => Rows::default(),
        };
        Ok(Taken::Frame(Submission {
            ledger: Arc::clone(&self.ledger),
            epoch: self.epoch,
            seq,
            series: std::mem::take(&mut self.unwritten),
            samples,
            rows,
            caches,
            refused,
            room: None,
        }))
    }

    fn refuse(&mut self, payload: &[u8], error: DecodeError) -> Result<Taken, Status> {
        let metrics = &self.shared.metrics;
        metrics.refused(reason(&error));
        match error.remedy() {
            Remedy::Skip => Ok(Taken::Nothing),
            Remedy::Resync => {
                metrics.resyncs.inc();
                let seen = peek(payload).map_or(0, |seen| seen.seq);
                self.highest_seq = self.highest_seq.max(seen);
                self.dropped = Some(0);
                Ok(Taken::Resync(error.to_string()))
            }
            Remedy::Refuse => {
                let text = format!("frame: {error}");
                Err(match error {
                    DecodeError::TooLarge { .. } => Status::resource_exhausted(text),
                    DecodeError::Format(_) => Status::failed_precondition(text),
                    _ => Status::invalid_argument(text),
                })
            }
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if self.feed.as_ref().is_some_and(NodeFeed::is_current) {
            self.slots.untell();
        }
    }
}

/// Label of a metric.
const fn reason(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::TooLarge { .. } => "too_large",
        DecodeError::Format(_) => "format",
        DecodeError::Checksum => "checksum",
        DecodeError::Truncated => "truncated",
        DecodeError::Malformed(_) => "malformed",
        DecodeError::Dictionary { .. } => "dictionary",
        DecodeError::UndefinedSlot { .. } => "undefined_slot",
        DecodeError::Repeat { .. } => "repeat",
        DecodeError::Gap { .. } => "gap",
        DecodeError::NoKeyframe { .. } => "no_keyframe",
    }
}
