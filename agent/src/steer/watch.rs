//! The stream to a collector: policies come down, outcomes and reports go up.
//!
//! It has a connection of its own, beside that for samples: a collector that refuses samples for a while must not end a trial by that. When it ends, the next of several
//! collectors is tried; waits after a round in vain are jittered and capped. A collector that has promised to send and is silent for three times as long is given up.

use std::sync::Arc;
use std::time::Duration;

use flyball_model::backoff::Backoff;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, MAX_MESSAGE_BYTES, Revision, SteeringHello,
};
use flyball_proto::v1;
use flyball_proto::v1::steering_client::SteeringClient;
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::{Channel, Uri};

use super::desk::Desk;
use super::outbox::Outbox;
use crate::ship::collectors::Collectors;
use crate::ship::dial::Dial;
use crate::ship::endpoint;
use crate::ship::verdict::{End, Verdict, causes};

/// Shortest and longest wait between two attempts.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long the collector may take to open the stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages between the outbox and the connection.
const QUEUE: usize = 4;
/// Broken promises of the collector to send until it is given up.
const SILENCES: u32 = 3;
/// Shortest silence that a collector is given up for.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Watch {
    collectors: Collectors,
    pub(super) dial: Dial,
    hello: SteeringHello,
    desk: Desk,
    outbox: Arc<Outbox>,
    backoff: Backoff,
    last: Option<Verdict>,
}

/// A stream that is open.
struct Session<'a> {
    desk: &'a Desk,
    outbox: &'a Outbox,
    requests: mpsc::Sender<v1::AgentSteering>,
    answers: Streaming<v1::AgentPolicy>,
    /// When the collector is given up unless something comes.
    patience: Option<(Duration, Instant)>,
    /// A policy has come.
    has_heard: bool,
}

impl Watch {
    pub(super) fn new(
        collectors: Vec<Uri>,
        hello: SteeringHello,
        desk: Desk,
        outbox: Arc<Outbox>,
    ) -> Self {
        let collectors = Collectors::new(collectors, hello.node.as_str());
        let backoff = Backoff::new(WAITS.0, WAITS.1).expect("the floor is below the cap");
        Self { collectors, dial: Dial::tcp(), hello, desk, outbox, backoff, last: None }
    }

    /// True when there is anything to be steered or told.
    pub(super) fn has_targets(&self) -> bool {
        !self.hello.capabilities.is_empty()
    }

    /// One stream after the other until `drain` is cancelled.
    pub(super) async fn run(mut self, drain: &CancellationToken) {
        let work = async {
            loop {
                let end = self.session().await;
                let verdict = end.verdict(false);
                self.log(&end, verdict);
                let random = rand::rng().random();
                let is_round = self.collectors.next();
                sleep(if !is_round {
                    WAITS.0.mul_f64(random)
                } else if verdict == Verdict::RetrySeldom {
                    WAITS.1.mul_f64(0.5 + 0.5 * random)
                } else {
                    self.backoff.next_delay(random)
                })
                .await;
            }
        };
        drain.run_until_cancelled(work).await;
    }

    async fn session(&mut self) -> End {
        let Some(uri) = self.collectors.current() else {
            return End::Connect("there is no collector".to_owned());
        };
        let channel = match self.dial.connect(&endpoint(uri.clone())).await {
            Ok(channel) => channel,
            Err(error) => return End::Connect(causes(&error)),
        };
        let good = self.outbox.good();
        let (revision, journal) = (Revision(good.revision), good.journal);
        let hello = SteeringHello { revision, journal, ..self.hello.clone() };
        let opened = Session::open(channel, hello, &self.desk, &self.outbox);
        match timeout(ANSWER_TIMEOUT, opened).await {
            Ok(Ok(session)) => {
                let was_down = self.last.take().is_some();
                tracing::info!(collector = %uri, was_down, "watching for policies");
                let (end, has_heard) = session.run().await;
                if has_heard {
                    self.backoff.reset();
                    self.collectors.works();
                }
                end
            }
            Ok(Err(end)) => end,
            Err(_) => End::Silent(ANSWER_TIMEOUT),
        }
    }

    fn log(&mut self, end: &End, verdict: Verdict) {
        if self.last.replace(verdict) != Some(verdict) {
            tracing::warn!(reason = %end, "no policies can be received; what is in force stays, canaries end with their lease");
        }
    }
}

impl<'a> Session<'a> {
    /// Says Hello, and waits until the collector has opened its half.
    async fn open(
        channel: Channel,
        hello: SteeringHello,
        desk: &'a Desk,
        outbox: &'a Outbox,
    ) -> Result<Self, End> {
        let (requests, stream) = mpsc::channel(QUEUE);
        let hello = AgentSteering::Hello(hello).into();
        requests.try_send(hello).map_err(|_| End::Closed)?;
        let mut client = SteeringClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let answers = client.watch(ReceiverStream::new(stream)).await;
        let answers = answers.map_err(|status| End::Status(Box::new(status)))?.into_inner();
        outbox.rewind();
        Ok(Self { desk, outbox, requests, answers, patience: None, has_heard: false })
    }

    /// Until the stream ends. True when a policy has come.
    async fn run(mut self) -> (End, bool) {
        let end = self.exchange().await;
        (end, self.has_heard)
    }

    async fn exchange(&mut self) -> End {
        let requests = self.requests.clone();
        let mut may_send = true;
        loop {
            let (patience, deadline) = self.patience.unzip();
            tokio::select! {
                biased;
                answer = self.answers.message() => match answer {
                    Ok(Some(policy)) => if let Err(end) = self.take(policy) { return end },
                    Ok(None) => return End::Closed,
                    Err(status) => return End::Status(Box::new(status)),
                },
                permit = requests.reserve(), if may_send => match (permit, self.outbox.next()) {
                    (Ok(permit), Some(message)) => permit.send(message.into()),
                    // Either there is nothing, or the status comes by the other half.
                    _ => may_send = false,
                },
                () = self.outbox.changed(), if !may_send => may_send = true,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return End::Silent(patience.unwrap_or_default());
                }
            }
        }
    }

    fn take(&mut self, policy: v1::AgentPolicy) -> Result<(), End> {
        let policy = AgentPolicy::try_from(policy).map_err(|invalid| {
            tracing::error!(%invalid, "the collector has sent a policy that is none");
            End::Protocol("a policy that is none")
        })?;
        self.has_heard = true;
        self.patience = policy.renew.map(|renew| {
            let patience = (renew * SILENCES).max(SHORTEST_SILENCE);
            (patience, Instant::now() + patience)
        });
        self.desk.take(policy);
        Ok(())
    }
}
