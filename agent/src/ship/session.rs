//! One stream of the live lane, from Hello to its end.
//!
//! It sends what the collector's credits allow, and wakes for a message from the collector, room in the stream's queue, a frame in the outbox and
//! the account that is due.

use std::time::Duration;

use flyball_proto::v1;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

use super::greet::{Greeted, close};
use super::link::Link;
use super::outbox::{Outgoing, SharedOutbox};
use super::replay::message;
use super::verdict::End;

/// Time between two accounts to the collector.
const REPORT_PERIOD: Duration = Duration::from_secs(10);

/// A stream that the collector has welcomed.
pub(super) struct Session<'a> {
    outbox: &'a SharedOutbox,
    link: &'a mut Link,
    requests: mpsc::Sender<v1::AgentMessage>,
    answers: Streaming<v1::CollectorMessage>,
    credits: u32,
    /// Largest frame that the collector takes, in bytes; 0: no limit.
    frame_limit: u32,
    /// Definitions or frames were sent.
    has_sent: bool,
    /// Acknowledged frames when the collector last lost the thread.
    resynced_at: Option<u64>,
}

/// How a session ended.
pub(super) struct Ended {
    /// Why.
    pub(super) end: End,
    /// Definitions or frames were sent.
    pub(super) has_sent: bool,
}

impl Ended {
    /// Ended before anything was sent.
    pub(super) fn early(end: End) -> Self {
        Self { end, has_sent: false }
    }
}

impl<'a> Session<'a> {
    /// Says Hello on a connection and waits for Welcome.
    pub(super) async fn open(
        channel: Channel,
        hello: v1::Hello,
        outbox: &'a SharedOutbox,
        link: &'a mut Link,
    ) -> Result<Self, End> {
        let acked_seq = outbox.lock().hello_seq();
        let hello = v1::Hello { acked_seq, lane: v1::Lane::Live.into(), ..hello };
        let Greeted { requests, answers, welcome } = Greeted::open(channel, hello).await?;
        let mut held = outbox.lock();
        link.up(&welcome.collector, held.totals().frames);
        held.connect();
        let limits = welcome.limits.unwrap_or_default();
        held.limit(limits);
        drop(held);
        Ok(Self {
            outbox,
            link,
            requests,
            answers,
            credits: welcome.credits,
            frame_limit: limits.frame_bytes,
            has_sent: false,
            resynced_at: None,
        })
    }

    /// Sends frames and takes acknowledgements until the stream ends.
    pub(super) async fn run(mut self, drain: &CancellationToken) -> Ended {
        let end = self.exchange(drain).await;
        self.outbox.lock().disconnect();
        let has_sent = self.has_sent;
        if matches!(end, End::Drained) {
            close(self.requests, self.answers).await;
        }
        Ended { end, has_sent }
    }

    async fn exchange(&mut self, drain: &CancellationToken) -> End {
        let requests = self.requests.clone();
        let mut reports = interval_at(Instant::now() + REPORT_PERIOD, REPORT_PERIOD);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut may_send, mut report_due) = (true, true);
        loop {
            let draining = drain.is_cancelled();
            if draining && self.outbox.lock().is_drained() {
                self.report(&requests);
                return End::Drained;
            }
            tokio::select! {
                biased;
                answer = self.answers.message() => {
                    match answer {
                        Ok(Some(message)) => if let Err(end) = self.take(message) { return end },
                        Ok(None) => return End::Closed,
                        Err(status) => return End::Status(Box::new(status)),
                    }
                    may_send = true;
                }
                _ = reports.tick(), if !report_due => report_due = true,
                permit = requests.reserve(), if may_send || report_due => match permit {
                    Ok(permit) if std::mem::take(&mut report_due) => permit.send(self.account()),
                    Ok(permit) => match self.next() {
                        Ok(Some(message)) => permit.send(message),
                        Ok(None) => may_send = false,
                        Err(end) => return end,
                    },
                    // The connection dropped its end: the status comes by the other half.
                    Err(_) => (may_send, report_due) = (false, false),
                },
                () = self.outbox.appended(), if !may_send => may_send = true,
                () = drain.cancelled(), if !draining => {}
            }
        }
    }

    /// The next message that the credits allow.
    fn next(&mut self) -> Result<Option<v1::AgentMessage>, End> {
        let Some(outgoing) = self.outbox.lock().next(self.credits) else { return Ok(None) };
        self.has_sent = true;
        if let Outgoing::Frame(payload) = &outgoing {
            let (bytes, limit) = (payload.len(), self.frame_limit);
            if limit > 0 && bytes > limit as usize {
                return Err(End::TooLarge { bytes, limit });
            }
        }
        Ok(Some(message(outgoing)))
    }

    fn take(&mut self, message: v1::CollectorMessage) -> Result<(), End> {
        use v1::collector_message::Kind;
        match message.kind {
            Some(Kind::Ack(ack)) => {
                self.acknowledge(&ack);
                Ok(())
            }
            Some(Kind::Credit(credit)) => {
                self.credits = credit.frames;
                Ok(())
            }
            Some(Kind::Resync(resync)) => self.resync(&resync.reason),
            Some(Kind::Welcome(_)) => Err(End::Protocol("a second Welcome")),
            // A kind of message that a newer collector knows: it cannot matter to a stream of this version.
            None => Ok(()),
        }
    }

    fn acknowledge(&mut self, ack: &v1::Ack) {
        let rejected = ack.rejected.iter().map(|r| r.samples).sum();
        for rejection in &ack.rejected {
            self.link.rejected(rejection);
        }
        if self.outbox.lock().ack(ack.durable_seq, rejected) {
            self.link.progress();
        }
    }

    /// Goes back to a keyframe. The frames that the collector has already decoded are skipped there; where that does not help either, the
    /// stream starts anew.
    fn resync(&mut self, reason: &str) -> Result<(), End> {
        let mut outbox = self.outbox.lock();
        tracing::warn!(reason, acked_seq = outbox.acked_seq(), "collector asks for a keyframe");
        outbox.want_keyframe();
        let again = self.resynced_at.replace(outbox.acked_seq()) == Some(outbox.acked_seq());
        if again || !outbox.rewind() {
            return Err(End::Resync);
        }
        Ok(())
    }

    fn account(&self) -> v1::AgentMessage {
        let report = self.outbox.lock().report();
        v1::AgentMessage { kind: Some(v1::agent_message::Kind::Report(report)) }
    }

    /// The last account. Where the connection takes no more it is left out.
    fn report(&self, requests: &mpsc::Sender<v1::AgentMessage>) {
        let _ = requests.try_send(self.account());
    }
}
