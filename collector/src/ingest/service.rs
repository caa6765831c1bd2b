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
use tokio_stream::StreamExt as _;
use tokio_stream::adapters::Map;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::hello::{Hello, Lane};
use super::intake::Intake;
use super::ledger::Ledger;
use super::metrics::Code;
use super::session::{Message, Outbound, Session, greet};
use crate::live::NodeFeed;

/// Messages to an agent that may wait for the connection.
const OUTBOUND: usize = 4;

/// The service; see [`super::Ingest::service`].
#[derive(Debug, Clone)]
pub struct Streams {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    current: Arc<Current>,
}

/// The newest stream of each node and lane.
#[derive(Debug, Default)]
struct Current {
    lanes: Mutex<Lanes>,
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Lanes {
    live: HashMap<NodeName, (u64, CancellationToken)>,
    backlog: HashMap<NodeName, (u64, CancellationToken)>,
}

/// A stream's entry in [`Current`] for as long as it is held.
struct Place {
    current: Arc<Current>,
    node: NodeName,
    lane: Lane,
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

    /// Serves a stream to its end. What it holds meanwhile, for each of thousands of agents, is kept small: what only its beginning needs is freed then.
    async fn serve(
        &self,
        inbound: Streaming<v1::AgentMessage>,
        outbound: Outbound,
    ) -> Result<(), Status> {
        let (session, place) = Box::pin(self.open(inbound, outbound)).await?;
        let end = session.run().await;
        log_end(&place.node, place.lane, &end);
        end
    }

    /// Waits for the agent's Hello and gives its stream a place.
    async fn open(
        &self,
        mut inbound: Streaming<v1::AgentMessage>,
        outbound: Outbound,
    ) -> Result<(Box<Session>, Place), Status> {
        let shared = &self.shared;
        let hello = tokio::select! {
            hello = greet(&mut inbound) => hello?,
            () = shared.stop.drain.cancelled() => {
                return Err(Status::unavailable("the collector is stopping"));
            }
        };
        let lane = hello.lane;
        let mut place = self.current.take(&hello, shared)?;
        shared.metrics.streams_replaced.inc_by(u64::from(place.has_replaced));
        log_begin(&hello);
        let account = shared.metrics.account(hello.info.node.as_str());
        let ledger = Arc::new(Ledger::new(account, hello.acked_seq));
        let intake =
            Intake::new(Arc::clone(shared), &hello, place.feed.take(), Arc::clone(&ledger));
        let replaced = place.replaced.clone();
        let shared = Arc::clone(shared);
        let session = Session { shared, inbound, outbound, ledger, intake, lane, replaced };
        Ok((Box::new(session), place))
    }
}

#[tonic::async_trait]
impl Telemetry for Streams {
    type StreamStream = Map<ReceiverStream<Box<Message>>, fn(Box<Message>) -> Message>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let settings = &self.shared.settings;
        // Which lane it is on is known after its Hello only.
        let max_streams = settings.max_streams + settings.max_backlog_streams;
        if self.tasks.is_closed() {
            return Err(Status::unavailable("the collector is stopping"));
        }
        if self.tasks.len() >= max_streams {
            return Err(full(max_streams));
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
                let _ = outbound.try_send(Box::new(Err(status)));
            }
        });
        let unboxed: fn(Box<Message>) -> Message = |message| *message;
        Ok(Response::new(ReceiverStream::new(messages).map(unboxed)))
    }
}

impl Current {
    /// Makes a stream the current one of its node and lane; an older one is told to end.
    fn take(self: &Arc<Self>, hello: &Hello, shared: &Shared) -> Result<Place, Status> {
        let (node, lane) = (hello.info.node.clone(), hello.lane);
        let max = shared.settings.max_streams_of(lane);
        let replaced = CancellationToken::new();
        let mut lanes = self.lanes.lock();
        let streams = lanes.of(lane);
        if streams.len() >= max && !streams.contains_key(&node) {
            return Err(full(max));
        }
        let connect = || shared.live.connect(&hello.info);
        let feed = (lane == Lane::Live)
            .then(connect)
            .transpose()
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let older = streams.insert(node.clone(), (number, replaced.clone()));
        drop(lanes);
        let has_replaced = older.is_some();
        if let Some((_, older)) = older {
            older.cancel();
        }
        let current = Arc::clone(self);
        Ok(Place { current, node, lane, number, replaced, has_replaced, feed })
    }
}

impl Lanes {
    fn of(&mut self, lane: Lane) -> &mut HashMap<NodeName, (u64, CancellationToken)> {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Backlog => &mut self.backlog,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = self.current.lanes.lock();
        let streams = lanes.of(self.lane);
        if streams.get(&self.node).is_some_and(|(number, _)| *number == self.number) {
            streams.remove(&self.node);
        }
    }
}

/// A backlog is one stream for each of its segments: what goes well there is not worth a line each.
fn log_begin(hello: &Hello) {
    let (node, acked_seq) = (&hello.info.node, hello.acked_seq);
    match hello.lane {
        Lane::Live => {
            tracing::info!(%node, agent_version = hello.info.agent_version, acked_seq, "agent connected");
        }
        Lane::Backlog => tracing::debug!(%node, acked_seq, "a segment of a backlog begins"),
    }
}

fn log_end(node: &NodeName, lane: Lane, end: &Result<(), Status>) {
    match end {
        Ok(()) if lane == Lane::Live => tracing::info!(%node, "agent disconnected"),
        Ok(()) => tracing::debug!(%node, "a segment of a backlog is stored"),
        Err(status) if status.code() == tonic::Code::Cancelled => {
            tracing::info!(%node, ?lane, reason = status.message(), "agent disconnected");
        }
        Err(status) => {
            tracing::warn!(%node, ?lane, code = ?status.code(), reason = status.message(), "stream ended");
        }
    }
}

fn full(max: usize) -> Status {
    let text = format!("the collector already serves {max} streams of this kind, its limit");
    Status::resource_exhausted(text)
}
