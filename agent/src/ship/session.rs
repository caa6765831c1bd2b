//! One stream, from Hello to its end.
//!
//! The task owns the stream's place in the outbox. It sends what the collector's credits allow, and wakes for three things only: a message from the
//! collector, room in the stream's queue, a frame in the outbox.

use std::time::Duration;

use flyball_proto::v1;
use flyball_proto::v1::telemetry_client::TelemetryClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::{self, Channel};

use super::link::Link;
use super::outbox::{Cursor, Outgoing, SharedOutbox, Window};
use super::verdict::{End, causes};

/// How long the collector may take to answer Hello.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the collector may take to end the stream after the agent has, when everything is stored.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Messages between this task and the connection. More would only be memory: the credits bound what is under way.
const QUEUE: usize = 4;

/// A stream that the collector has welcomed.
pub(super) struct Session<'a> {
    outbox: &'a SharedOutbox,
    link: &'a mut Link,
    requests: mpsc::Sender<v1::AgentMessage>,
    answers: Streaming<v1::CollectorMessage>,
    cursor: Cursor,
    window: Window,
    /// Largest frame that the collector takes, in bytes; 0: no limit.
    frame_limit: u32,
    /// Frames up to this number are sent one segment at a time.
    suspect_until: u64,
    /// Acknowledged frames when the collector last lost the thread.
    resynced_at: Option<u64>,
}

/// How a session ended and where it was.
pub(super) struct Ended {
    /// Why.
    pub(super) end: End,
    /// Definitions or frames were sent.
    pub(super) sent: bool,
    /// They were of one segment.
    pub(super) one_segment: bool,
}

impl Ended {
    /// Ended before anything was sent.
    pub(super) fn early(end: End) -> Self {
        Self { end, sent: false, one_segment: false }
    }
}

impl<'a> Session<'a> {
    /// Says Hello on a connection, if there is one, and waits for Welcome.
    pub(super) async fn open(
        channel: Result<Channel, transport::Error>,
        hello: v1::Hello,
        outbox: &'a SharedOutbox,
        link: &'a mut Link,
        suspect_until: u64,
    ) -> Result<Self, End> {
        let channel = channel.map_err(|e| End::Connect(causes(&e)))?;
        let hello = v1::Hello { acked_seq: outbox.lock().acked_seq(), ..hello };
        let (requests, answers, welcome) =
            tokio::time::timeout(ANSWER_TIMEOUT, greet(channel, hello))
                .await
                .map_err(|_| End::Silent(ANSWER_TIMEOUT))??;
        link.up(&welcome.collector, outbox.lock().totals().frames);
        let cursor = outbox.lock().cursor();
        let frame_limit = welcome.limits.map_or(0, |limits| limits.frame_bytes);
        let window = Window { credits: welcome.credits, one_segment: false };
        Ok(Self {
            outbox,
            link,
            requests,
            answers,
            cursor,
            window,
            frame_limit,
            suspect_until,
            resynced_at: None,
        })
    }

    /// Sends frames and takes acknowledgements until the stream ends.
    pub(super) async fn run(mut self, drain: &CancellationToken) -> Ended {
        let end = self.exchange(drain).await;
        let (sent, one_segment) = (self.cursor.is_started(), self.window.one_segment);
        if matches!(end, End::Drained) {
            self.close().await;
        }
        Ended { end, sent, one_segment }
    }

    /// Ends the stream in order and waits until the collector has ended its half, so that it sees an agent that left and not a connection that broke.
    async fn close(self) {
        let Self { requests, mut answers, .. } = self;
        drop(requests);
        let ended = async { while let Ok(Some(_)) = answers.message().await {} };
        if tokio::time::timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::debug!("the collector did not end the stream");
        }
    }

    async fn exchange(&mut self, drain: &CancellationToken) -> End {
        let requests = self.requests.clone();
        let mut may_send = true;
        loop {
            let draining = drain.is_cancelled();
            if draining && self.outbox.lock().is_drained() {
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
                permit = requests.reserve(), if may_send => match permit {
                    Ok(permit) => match self.next() {
                        Ok(Some(message)) => permit.send(message),
                        Ok(None) => may_send = false,
                        Err(end) => return end,
                    },
                    // The connection dropped its end: the status comes by the other half.
                    Err(_) => may_send = false,
                },
                () = self.outbox.appended(), if !may_send => may_send = true,
                () = drain.cancelled(), if !draining => {}
            }
        }
    }

    /// The next message that the window allows.
    fn next(&mut self) -> Result<Option<v1::AgentMessage>, End> {
        use v1::agent_message::Kind;
        let outbox = self.outbox.lock();
        self.window.one_segment = outbox.acked_seq() < self.suspect_until;
        let kind = match outbox.next(&mut self.cursor, self.window) {
            None => return Ok(None),
            Some(Outgoing::Define(define)) => Kind::Define(define),
            Some(Outgoing::Frame(payload)) => {
                let (bytes, limit) = (payload.len(), self.frame_limit);
                if limit > 0 && bytes > limit as usize {
                    return Err(End::TooLarge { bytes, limit });
                }
                Kind::Frame(v1::Frame { payload })
            }
        };
        Ok(Some(v1::AgentMessage { kind: Some(kind) }))
    }

    fn take(&mut self, message: v1::CollectorMessage) -> Result<(), End> {
        use v1::collector_message::Kind;
        match message.kind {
            Some(Kind::Ack(ack)) => {
                self.acknowledge(&ack);
                Ok(())
            }
            Some(Kind::Credit(credit)) => {
                self.window.credits = credit.frames;
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
        if again || !outbox.rewind(&mut self.cursor) {
            return Err(End::Resync);
        }
        Ok(())
    }
}

type Greeted = (mpsc::Sender<v1::AgentMessage>, Streaming<v1::CollectorMessage>, v1::Welcome);

async fn greet(channel: Channel, hello: v1::Hello) -> Result<Greeted, End> {
    let refused = |status| End::Status(Box::new(status));
    let (requests, stream) = mpsc::channel(QUEUE);
    let hello = v1::AgentMessage { kind: Some(v1::agent_message::Kind::Hello(hello)) };
    requests.try_send(hello).map_err(|_| End::Closed)?;
    let mut answers = TelemetryClient::new(channel)
        .stream(ReceiverStream::new(stream))
        .await
        .map_err(refused)?
        .into_inner();
    match answers.message().await.map_err(refused)?.and_then(|m| m.kind) {
        Some(v1::collector_message::Kind::Welcome(welcome)) => Ok((requests, answers, welcome)),
        Some(_) => Err(End::Protocol("the first answer is not Welcome")),
        None => Err(End::Closed),
    }
}
