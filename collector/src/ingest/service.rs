//! `Telemetry.Stream`: one task for each stream, one stream for each node and lane.
//!
//! The newest stream of a node's lane is the current one; the one before it is told to end. Its place and its hold on the node's last values are
//! taken under one lock, so of two streams that race the one that is current is also the one that is shown.

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
use super::hello::{Hello, Lane};
use super::intake::Intake;
use super::ledger::Ledger;
use super::metrics::Code;
use super::session::{Outbound, Session, greet};
use crate::live::{FleetFull, Live, NodeFeed};

/// Messages to an agent that may wait for the connection.
const OUTBOUND: usize = 4;

/// The service; see [`super::Ingest::service`].
#[derive(Debug, Clone)]
pub struct Streams {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    current: Arc<Current>,
}

/// What there is at most one stream of.
type Key = (NodeName, Lane);

/// The newest stream of each node and lane.
#[derive(Debug, Default)]
struct Current {
    streams: Mutex<HashMap<Key, (u64, CancellationToken)>>,
    last: AtomicU64,
}

/// A stream's entry in [`Current`] for as long as it is held.
struct Place {
    current: Arc<Current>,
    key: Key,
    number: u64,
    /// A newer stream has taken the place.
    replaced: CancellationToken,
    /// It took the place of an older stream.
    has_replaced: bool,
    /// The node's last values; `None` on the backlog lane.
    feed: Option<NodeFeed>,
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
        let (node, lane) = (hello.info.node.clone(), hello.lane);
        let mut place = self
            .current
            .take(&hello, &shared.live)
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        shared.metrics.streams_replaced.inc_by(u64::from(place.has_replaced));
        tracing::info!(%node, ?lane, agent_version = hello.info.agent_version, acked_seq = hello.acked_seq, "agent connected");
        let account = shared.metrics.account(node.as_str());
        let ledger = Arc::new(Ledger::new(account, hello.acked_seq));
        let intake =
            Intake::new(Arc::clone(shared), &hello, place.feed.take(), Arc::clone(&ledger));
        let replaced = place.replaced.clone();
        let session =
            Session { shared: Arc::clone(shared), inbound, outbound, ledger, intake, replaced };
        let end = session.run().await;
        match &end {
            Ok(()) => tracing::info!(%node, ?lane, "agent disconnected"),
            Err(status) if status.code() == tonic::Code::Cancelled => {
                tracing::info!(%node, ?lane, reason = status.message(), "agent disconnected");
            }
            Err(status) => {
                tracing::warn!(%node, ?lane, code = ?status.code(), reason = status.message(), "stream ended");
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

impl Current {
    /// Makes a stream the current one of its node and lane; an older one is told to end.
    fn take(self: &Arc<Self>, hello: &Hello, live: &Live) -> Result<Place, FleetFull> {
        let key = (hello.info.node.clone(), hello.lane);
        let replaced = CancellationToken::new();
        let mut streams = self.streams.lock();
        let feed = match hello.lane {
            Lane::Live => Some(live.connect(&hello.info)?),
            Lane::Backlog => None,
        };
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let older = streams.insert(key.clone(), (number, replaced.clone()));
        drop(streams);
        let has_replaced = older.is_some();
        if let Some((_, older)) = older {
            older.cancel();
        }
        Ok(Place { current: Arc::clone(self), key, number, replaced, has_replaced, feed })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.current.streams.lock();
        if streams.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            streams.remove(&self.key);
        }
    }
}
