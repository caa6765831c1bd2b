//! `Telemetry.Stream`: one task for each stream, one stream for each node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flyball_proto::series::NodeName;
use flyball_proto::v1;
use flyball_proto::v1::telemetry_server::{Telemetry, TelemetryServer};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::intake::Intake;
use super::ledger::Ledger;
use super::metrics::Code;
use super::session::{Outbound, Session, greet};

/// Messages to an agent that may wait for the connection.
const OUTBOUND: usize = 4;

/// The service; see [`super::Ingest::service`].
#[derive(Debug, Clone)]
pub struct Streams {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    current: Arc<Current>,
}

/// The newest stream of each node.
#[derive(Debug, Default)]
struct Current {
    streams: Mutex<HashMap<NodeName, (u64, CancellationToken)>>,
    last: AtomicU64,
}

/// A node's entry in [`Current`] for as long as it is held.
struct Place {
    current: Arc<Current>,
    node: NodeName,
    number: u64,
    replaced: CancellationToken,
}

impl Streams {
    pub(super) fn new(shared: Arc<Shared>, tasks: TaskTracker) -> Self {
        Self { shared, tasks, current: Arc::default() }
    }

    /// For a gRPC server.
    pub fn into_server(self) -> TelemetryServer<Self> {
        TelemetryServer::new(self)
    }

    async fn serve(
        &self,
        mut inbound: Streaming<v1::AgentMessage>,
        outbound: Outbound,
    ) -> Result<(), Status> {
        let shared = &self.shared;
        let hello = tokio::select! {
            hello = greet(&mut inbound) => hello?,
            () = shared.stop.drain.cancelled() => {
                return Err(Status::unavailable("the collector is stopping"));
            }
        };
        let node = hello.info.node.clone();
        let place = self.current.take(&node);
        if place.has_replaced {
            shared.metrics.streams_replaced.inc();
        }
        let feed = shared
            .live
            .connect(&hello.info)
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        tracing::info!(%node, agent_version = hello.info.agent_version, acked_seq = hello.acked_seq, "agent connected");
        let account = shared.metrics.account(node.as_str());
        let ledger = Arc::new(Ledger::new(account, hello.acked_seq));
        let intake = Intake::new(Arc::clone(shared), &hello, feed, Arc::clone(&ledger));
        let replaced = place.place.replaced.clone();
        let session =
            Session { shared: Arc::clone(shared), inbound, outbound, ledger, intake, replaced };
        let end = session.run().await;
        match &end {
            Ok(()) => tracing::info!(%node, "agent disconnected"),
            Err(status) if status.code() == tonic::Code::Cancelled => {
                tracing::info!(%node, reason = status.message(), "agent disconnected");
            }
            Err(status) => {
                tracing::warn!(%node, code = ?status.code(), reason = status.message(), "stream ended");
            }
        }
        end
    }
}

#[tonic::async_trait]
impl Telemetry for Streams {
    type StreamStream = ReceiverStream<Result<v1::CollectorMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let max_streams = self.shared.settings.max_streams;
        if self.tasks.is_closed() {
            return Err(Status::unavailable("the collector is stopping"));
        }
        if self.tasks.len() >= max_streams {
            let text = format!("the collector already serves {max_streams} streams, its limit");
            return Err(Status::resource_exhausted(text));
        }
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let streams = self.clone();
        self.tasks.spawn(async move {
            let metrics = &streams.shared.metrics;
            metrics.streams.inc();
            let end = streams.serve(request.into_inner(), outbound.clone()).await;
            metrics.streams.dec();
            let code = end.as_ref().err().map_or(tonic::Code::Ok, Status::code);
            metrics.streams_ended.get_or_create(&Code { code: format!("{code:?}") }).inc();
            if let Err(status) = end {
                // The agent may be gone or not reading; then nobody is there to be told.
                let _ = outbound.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// What [`Current::take`] gives.
struct TakenPlace {
    place: Place,
    has_replaced: bool,
}

impl Current {
    /// Makes a stream the current one of its node; an older one is told to end.
    fn take(self: &Arc<Self>, node: &NodeName) -> TakenPlace {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let replaced = CancellationToken::new();
        let older = self.streams.lock().insert(node.clone(), (number, replaced.clone()));
        let has_replaced = older.is_some();
        if let Some((_, older)) = older {
            older.cancel();
        }
        let place = Place { current: Arc::clone(self), node: node.clone(), number, replaced };
        TakenPlace { place, has_replaced }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.current.streams.lock();
        if streams.get(&self.node).is_some_and(|(number, _)| *number == self.number) {
            streams.remove(&self.node);
        }
    }
}
