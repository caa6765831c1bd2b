//! The backlog lane: one closed segment after the other, each on a stream of its own, oldest first.
//!
//! It runs beside the live lane and over the same connection, as long as that lane has one. Its rate is bounded to a multiple of the live one, its
//! unacknowledged frames by the collector's credits, its memory by one segment. A status that blames the data blames this segment, because nothing else was on the
//! stream: it is given up alone, counted and logged. All other segments arrive.

use std::time::Duration;

use flyball_model::backoff::Backoff;
use flyball_proto::v1;
use rand::RngExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Streaming;
use tonic::transport::Channel;

use super::delay;
use super::greet::{Greeted, close};
use super::outbox::{Backlog, SharedOutbox, Shed};
use super::pace::Pace;
use super::replay::{Cost, Replay, Step, message};
use super::verdict::{End, Verdict};

/// Time until the disk is asked again for what it could not read: it may have been a passing fault.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// Sends the backlog.
pub(super) struct BacklogLane<'a> {
    pub(super) outbox: &'a SharedOutbox,
    pub(super) hello: v1::Hello,
    /// The connection while there is one.
    pub(super) channel: watch::Receiver<Option<Channel>>,
    pub(super) pace: Pace,
    pub(super) backoff: Backoff,
    /// When the disk was last asked again for what it could not read.
    pub(super) asked_at: Instant,
}

/// The stream of one segment.
struct Stream<'a> {
    outbox: &'a SharedOutbox,
    requests: mpsc::Sender<v1::AgentMessage>,
    answers: Streaming<v1::CollectorMessage>,
    credits: u32,
}

impl BacklogLane<'_> {
    /// Sends what there is and what comes, for ever.
    pub(super) async fn run(mut self) {
        loop {
            let Ok(channel) = self.channel.wait_for(Option::is_some).await.map(|c| c.clone())
            else {
                return;
            };
            let Some(channel) = channel else { continue };
            let Some(backlog) = self.outbox.lock().backlog() else {
                let _ = timeout(READ_AGAIN, self.outbox.backlog_changed()).await;
                if self.asked_at.elapsed() >= READ_AGAIN {
                    self.asked_at = Instant::now();
                    self.outbox.lock().read_again();
                }
                continue;
            };
            let mut gone = self.channel.clone();
            gone.mark_unchanged();
            tokio::select! {
                biased;
                // The live lane has no connection any more: then this one has none either.
                _ = gone.changed() => {}
                wait = self.segment(channel, backlog) => sleep(wait).await,
            }
        }
    }

    /// Sends one segment. Returns how long to wait before the next one.
    async fn segment(&mut self, channel: Channel, backlog: Backlog) -> Duration {
        let unit = backlog.unit;
        let (end, has_sent) = self.send(channel, backlog).await;
        match end.verdict(has_sent) {
            Verdict::Stop => {
                self.backoff.reset();
                return Duration::ZERO;
            }
            Verdict::Suspect => {
                let samples = self.outbox.lock().give_up(unit, Shed::Refused);
                tracing::error!(reason = %end, samples, "gave up a segment that the collector refuses");
            }
            Verdict::Retry | Verdict::RetrySeldom => {
                tracing::debug!(reason = %end, "a segment is sent again");
            }
        }
        delay(end.verdict(has_sent), &mut self.backoff, rand::rng().random())
    }

    async fn send(&mut self, channel: Channel, backlog: Backlog) -> (End, bool) {
        let hello = v1::Hello {
            epoch: backlog.epoch.to_vec(),
            interval_ms: backlog.interval_ms,
            acked_seq: backlog.acked_seq,
            lane: v1::Lane::Backlog.into(),
            ..self.hello.clone()
        };
        let Greeted { requests, answers, welcome } = match Greeted::open(channel, hello).await {
            Ok(greeted) => greeted,
            Err(end) => return (end, false),
        };
        let limits = welcome.limits.unwrap_or_default();
        let mut replay = Replay::new(backlog, limits.frame_bytes);
        let mut stream =
            Stream { outbox: self.outbox, requests, answers, credits: welcome.credits };
        let end = stream.exchange(&mut replay, &mut self.pace).await;
        if matches!(end, End::Drained) {
            close(stream.requests, stream.answers).await;
        }
        (end, replay.is_started())
    }
}

impl Stream<'_> {
    /// Sends the segment and takes acknowledgements until all is stored or the stream ends.
    async fn exchange(&mut self, replay: &mut Replay, pace: &mut Pace) -> End {
        let requests = self.requests.clone();
        loop {
            let (outgoing, cost) = match replay.step(self.credits) {
                Step::End(end) => return end,
                Step::Wait => (None, Cost::Free),
                Step::Send(outgoing, cost) => (Some(outgoing), cost),
            };
            let (now, ready_at) = (Instant::now(), pace.ready_at());
            let is_early = cost == Cost::Frame && ready_at > now;
            tokio::select! {
                biased;
                answer = self.answers.message() => match answer {
                    Ok(Some(message)) => if let Err(end) = self.take(message, replay) { return end },
                    Ok(None) => return End::Closed,
                    Err(status) => return End::Status(Box::new(status)),
                },
                () = sleep_until(ready_at), if is_early => {}
                permit = requests.reserve(), if outgoing.is_some() && !is_early => {
                    let (Ok(permit), Some(outgoing)) = (permit, outgoing) else {
                        return self.status().await;
                    };
                    replay.sent(&outgoing);
                    permit.send(message(outgoing));
                    if cost == Cost::Frame {
                        pace.take(now);
                    }
                }
            }
        }
    }

    /// Why the connection has dropped its end: the other half tells.
    async fn status(&mut self) -> End {
        loop {
            match self.answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return End::Closed,
                Err(status) => return End::Status(Box::new(status)),
            }
        }
    }

    fn take(&mut self, message: v1::CollectorMessage, replay: &mut Replay) -> Result<(), End> {
        use v1::collector_message::Kind;
        match message.kind {
            Some(Kind::Ack(ack)) => {
                let acked_seq = replay.ack(ack.durable_seq);
                let rejected = ack.rejected.iter().map(|r| r.samples).sum();
                self.outbox.lock().ack_backlog(replay.backlog(), acked_seq, rejected);
                Ok(())
            }
            Some(Kind::Credit(credit)) => {
                self.credits = credit.frames;
                Ok(())
            }
            // A stream of one segment has no other keyframe to go back to.
            Some(Kind::Resync(_)) => Err(End::Resync),
            Some(Kind::Welcome(_)) => Err(End::Protocol("a second Welcome")),
            None => Ok(()),
        }
    }
}
