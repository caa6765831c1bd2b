//! One stream: reads the agent's messages, waits for room in the queue, and tells the agent what was stored and whether it may send.
//!
//! What goes down is always the newest state (one acknowledgement, one credit), never a queue of messages, so an agent that does not read costs nothing.
//! While a frame waits for room it is not decoded, so it takes some hundred bytes, and the stream is not read: HTTP/2's flow control then holds the agent.

use std::sync::Arc;
use std::time::Duration;

use flyball_proto::v1;
use flyball_proto::v1::collector_message::Kind;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::Shared;
use super::gate::Flow;
use super::hello::{Hello, Lane};
use super::intake::{Intake, Taken};
use super::ledger::Ledger;

/// A stream that says nothing for this long after it was opened is ended.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// What the agent is told: a message, or why its stream ends.
pub(super) type Message = Result<v1::CollectorMessage, Status>;
/// Messages to the agent. In boxes, because the channel makes room for 32 at once, for as long as the stream lives.
pub(super) type Outbound = mpsc::Sender<Box<Message>>;

/// A stream after its Hello.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) inbound: Streaming<v1::AgentMessage>,
    pub(super) outbound: Outbound,
    pub(super) ledger: Arc<Ledger>,
    pub(super) intake: Intake,
    pub(super) lane: Lane,
    /// A newer stream of the same node and lane has come.
    pub(super) replaced: CancellationToken,
}

/// What the agent is to be told, newest state only.
struct News {
    flow: watch::Receiver<Flow>,
    credits: u32,
    credit_changed: bool,
    resync: Option<String>,
}

/// Waits for the first message and checks it.
pub(super) async fn greet(inbound: &mut Streaming<v1::AgentMessage>) -> Result<Hello, Status> {
    let message = timeout(HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello within 10 s"))??;
    match message.and_then(|message| message.kind) {
        Some(v1::agent_message::Kind::Hello(hello)) => Ok(Hello::try_from(hello)?),
        Some(_) => Err(Status::failed_precondition("the first message is not hello")),
        None => Err(Status::invalid_argument("no hello")),
    }
}

impl Session {
    /// Serves the stream until it ends; `Err` says what the agent is told.
    pub(super) async fn run(mut self: Box<Self>) -> Result<(), Status> {
        let shared = Arc::clone(&self.shared);
        let mut news = News {
            flow: shared.gate.watch(self.lane),
            credits: shared.settings.credits_of(self.lane),
            credit_changed: false,
            resync: None,
        };
        self.welcome(&mut news).await?;
        let mut waiting: Option<v1::Frame> = None;
        // Held until the next message comes, so that the buffer that both were read into is let go: definitions make it eight times as large as frames need.
        let mut last = v1::Frame::default();
        let mut is_reading = true;
        while is_reading || waiting.is_some() || !self.is_settled() {
            tokio::select! {
                biased;
                () = self.replaced.cancelled() => {
                    return Err(Status::aborted("a newer stream of this node has replaced this one"));
                }
                () = shared.stop.drain.cancelled(), if is_reading => is_reading = false,
                () = shared.ended.cancelled() => {
                    return Err(Status::unavailable("the collector stores nothing any more"));
                }
                permit = self.outbound.reserve(), if news.is_some(&self.ledger) => {
                    let Ok(permit) = permit else { return Ok(()) };
                    if let Some(message) = news.next(&self.ledger) {
                        permit.send(Box::new(Ok(message)));
                    }
                }
                () = self.ledger.changed() => {}
                Ok(()) = news.flow.changed() => news.credit_changed = true,
                room = shared.room(self.intake.most_weight()), if waiting.is_some() => {
                    if let (Some(frame), Some(room)) = (waiting.take(), room) {
                        match self.intake.frame(&frame.payload)? {
                            Taken::Nothing => {}
                            Taken::Frame(submission) => room.submit(submission),
                            Taken::Resync(reason) => news.resync = Some(reason),
                        }
                        drop(std::mem::replace(&mut last, frame));
                    }
                }
                message = self.inbound.message(), if is_reading && waiting.is_none() => match message {
                    Ok(Some(message)) => waiting = self.intake.take(message)?,
                    Ok(None) => is_reading = false,
                    Err(status) => return Err(from_transport(&status)),
                },
            }
        }
        if shared.stop.drain.is_cancelled() {
            return Err(Status::unavailable("the collector is stopping"));
        }
        Ok(())
    }

    async fn welcome(&self, news: &mut News) -> Result<(), Status> {
        let shared = &self.shared;
        let welcome = v1::Welcome {
            collector: shared.name.clone(),
            limits: Some(shared.settings.limits().into()),
            credits: news.credits(),
        };
        let sent = self.outbound.send(Box::new(Ok(message(Kind::Welcome(welcome))))).await;
        sent.map_err(|_| Status::cancelled("the agent has gone"))
    }

    /// Everything that was submitted has settled and the agent was told.
    fn is_settled(&self) -> bool {
        self.ledger.frames_in_flight() == 0 && !self.ledger.has_news()
    }
}

impl News {
    fn is_some(&self, ledger: &Ledger) -> bool {
        self.credit_changed || self.resync.is_some() || ledger.has_news()
    }

    /// The most urgent message.
    fn next(&mut self, ledger: &Ledger) -> Option<v1::CollectorMessage> {
        if std::mem::take(&mut self.credit_changed) {
            let frames = self.credits();
            return Some(message(Kind::Credit(v1::Credit { frames })));
        }
        if let Some(reason) = self.resync.take() {
            return Some(message(Kind::Resync(v1::Resync { reason })));
        }
        ledger.take().map(|ack| message(Kind::Ack(ack)))
    }

    /// Frames that may be unacknowledged now.
    fn credits(&mut self) -> u32 {
        match *self.flow.borrow_and_update() {
            Flow::Open => self.credits,
            Flow::Closed => 0,
        }
    }
}

fn message(kind: Kind) -> v1::CollectorMessage {
    v1::CollectorMessage { kind: Some(kind) }
}

/// What a failure to read means: a message that is too long or no protobuf is the agent's fault, everything else a connection that broke.
fn from_transport(status: &Status) -> Status {
    let text = status.message().to_owned();
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(text),
        Code::Internal => Status::invalid_argument(text),
        _ => Status::cancelled(format!("the connection broke: {text}")),
    }
}
