//! `Steering.Watch`: one task for each stream, one stream for each agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flyball_proto::steering::{AgentSteering, MAX_MESSAGE_BYTES, SteeringHello};
use flyball_proto::v1;
use flyball_proto::v1::steering_server::{Steering as Service, SteeringServer};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::agents::Agents;
use super::metrics::{Code, SteeringMetrics};
use super::policies::Policies;
use super::reports::{Balancers, Caches};
use super::session::{Message, Outbound, Session};
use crate::live::Live;

/// Messages to an agent that may wait for the connection.
const OUTBOUND: usize = 2;
/// How long an agent may take to say Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks for what is to be forgotten.
const SWEEP: Duration = Duration::from_mins(1);
/// Caches, and load balancers, of one agent, on average, that there is room for.
const TARGETS_PER_AGENT: usize = 4;

/// What steers the agents. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Steering {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What streams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policies: Arc<dyn Policies>,
    pub(super) agents: Agents,
    pub(super) caches: Caches,
    pub(super) balancers: Balancers,
    pub(super) live: Live,
    pub(super) metrics: SteeringMetrics,
    pub(super) shutdown: CancellationToken,
    max_agents: usize,
    last_stream: AtomicU64,
}

impl Steering {
    /// Steers at most `max_agents` agents by `policies`. Streams end on `shutdown`.
    pub fn new(
        policies: Arc<dyn Policies>,
        live: Live,
        max_agents: usize,
        shutdown: CancellationToken,
    ) -> Self {
        let shared = Shared {
            policies,
            agents: Agents::new(max_agents),
            caches: Caches::new(max_agents.saturating_mul(TARGETS_PER_AGENT)),
            balancers: Balancers::new(max_agents.saturating_mul(TARGETS_PER_AGENT)),
            live,
            metrics: SteeringMetrics::default(),
            shutdown,
            max_agents,
            last_stream: AtomicU64::new(1),
        };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new() }
    }

    /// The agents that watch or have watched.
    pub fn agents(&self) -> &Agents {
        &self.shared.agents
    }

    /// What agents know of load balancers.
    pub fn balancers(&self) -> &Balancers {
        &self.shared.balancers
    }

    /// What agents know of caches.
    pub fn caches(&self) -> &Caches {
        &self.shared.caches
    }

    /// What is wanted.
    pub fn policies(&self) -> &dyn Policies {
        &*self.shared.policies
    }

    /// Its metrics.
    pub fn metrics(&self) -> &SteeringMetrics {
        &self.shared.metrics
    }

    /// For a gRPC server.
    pub fn service(&self) -> SteeringServer<Self> {
        SteeringServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Forgets what is old until `ending`.
    pub async fn run(self, ending: CancellationToken) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ending.cancelled() => break,
            }
            let now = Instant::now();
            self.shared.metrics.agents.set(self.shared.agents.sweep(now) as i64);
            self.shared.metrics.caches.set(self.shared.caches.sweep(now) as i64);
            self.shared.metrics.balancers.set(self.shared.balancers.sweep(now) as i64);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn serve(
        &self,
        mut inbound: Streaming<v1::AgentSteering>,
        outbound: Outbound,
    ) -> Result<(), Status> {
        let shared = &self.shared;
        let hello = tokio::select! {
            hello = greet(&mut inbound) => hello?,
            () = shared.shutdown.cancelled() => {
                return Err(Status::unavailable("the collector is stopping"));
            }
        };
        let stream = shared.last_stream.fetch_add(1, Ordering::Relaxed);
        let was_connected = shared.agents.get(&hello.node).is_some_and(|state| state.is_connected);
        let place = shared.agents.connect(&hello, stream);
        let place = place.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        shared.metrics.streams_replaced.inc_by(u64::from(was_connected));
        shared.live.policy(&hello.node, hello.revision.0);
        let node = hello.node.clone();
        tracing::info!(%node, revision = %hello.revision, targets = hello.capabilities.len(), "agent watches");
        let shared = Arc::clone(shared);
        let session =
            Session { shared, place, inbound, outbound, acked: 0, sent: None, owes: false };
        let end = session.run().await;
        match &end {
            Ok(()) => tracing::info!(%node, "agent does not watch any more"),
            Err(status) => {
                tracing::info!(%node, code = ?status.code(), reason = status.message(), "agent does not watch any more");
            }
        }
        end
    }
}

#[tonic::async_trait]
impl Service for Steering {
    type WatchStream = ReceiverStream<Message>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::AgentSteering>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if self.shared.shutdown.is_cancelled() {
            return Err(Status::unavailable("the collector is stopping"));
        }
        // Twice, because a stream that has been replaced may take a moment to end.
        if self.tasks.len() >= self.shared.max_agents.saturating_mul(2) {
            return Err(Status::resource_exhausted("too many streams"));
        }
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let steering = self.clone();
        self.tasks.spawn(async move {
            let metrics = &steering.shared.metrics;
            metrics.streams.inc();
            let end = Box::pin(steering.serve(request.into_inner(), outbound.clone())).await;
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

async fn greet(inbound: &mut Streaming<v1::AgentSteering>) -> Result<SteeringHello, Status> {
    let late = |_| Status::deadline_exceeded("no hello in time");
    let message = timeout(HELLO_TIMEOUT, inbound.message()).await.map_err(late)??;
    let message = message.ok_or_else(|| Status::invalid_argument("ended without a hello"))?;
    match AgentSteering::try_from(message) {
        Ok(AgentSteering::Hello(hello)) => Ok(hello),
        Ok(_) => Err(Status::invalid_argument("the first message is not a hello")),
        Err(invalid) => Err(Status::invalid_argument(invalid.to_string())),
    }
}
