//! The opening of a stream, the same on both lanes.

use std::time::Duration;

use flyball_proto::v1;
use flyball_proto::v1::telemetry_client::TelemetryClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::verdict::End;

/// How long the collector may take to answer Hello.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the collector may take to end the stream after the agent has, when everything is stored.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Messages between a lane and the connection. More would only be memory: the credits bound what is under way.
const QUEUE: usize = 4;

/// A stream that the collector has welcomed.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) requests: mpsc::Sender<v1::AgentMessage>,
    pub(super) answers: Streaming<v1::CollectorMessage>,
    pub(super) welcome: v1::Welcome,
}

impl Greeted {
    /// Says Hello and waits for Welcome.
    pub(super) async fn open(channel: Channel, hello: v1::Hello) -> Result<Self, End> {
        let opened = timeout(ANSWER_TIMEOUT, Self::greet(channel, hello)).await;
        opened.map_err(|_| End::Silent(ANSWER_TIMEOUT))?
    }

    async fn greet(channel: Channel, hello: v1::Hello) -> Result<Self, End> {
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
            Some(v1::collector_message::Kind::Welcome(welcome)) => {
                Ok(Self { requests, answers, welcome })
            }
            Some(_) => Err(End::Protocol("the first answer is not Welcome")),
            None => Err(End::Closed),
        }
    }
}

/// Ends a stream in order and waits until the collector has ended its half, so that it sees an agent that left and not a connection that broke.
pub(super) async fn close(
    requests: mpsc::Sender<v1::AgentMessage>,
    mut answers: Streaming<v1::CollectorMessage>,
) {
    drop(requests);
    let ended = async { while let Ok(Some(_)) = answers.message().await {} };
    if timeout(CLOSE_TIMEOUT, ended).await.is_err() {
        tracing::debug!("the collector did not end the stream");
    }
}
