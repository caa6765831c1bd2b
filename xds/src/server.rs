//! The server: one task per stream, one snapshot for all clients.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3 as ads;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

use crate::clients::{ClientStatus, Confirmation, Registry};
use crate::metrics::{Counters, Metrics};
use crate::resource::{Catalogue, Kind};
use crate::snapshot::{Snapshot, SnapshotError};
use crate::stream;
use crate::wire::{self, Variant};

/// Longest time that [`Server::serve`] goes on after its shutdown.
pub const GRACE: Duration = Duration::from_secs(2);

/// Limits and times.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Streams open at once; more are refused with RESOURCE_EXHAUSTED.
    pub max_streams: usize,
    /// Names per stream and type that a client may subscribe to or reject something of, and
    /// responses it may leave unanswered; more ends the stream with RESOURCE_EXHAUSTED.
    pub max_names: usize,
    /// Largest request in bytes; a larger one ends the stream. A rejection of Envoy holds the whole
    /// rejected resource.
    pub max_message_bytes: usize,
    /// Largest part of a snapshot of one type, encoded, in bytes; a larger one is refused by
    /// [`Server::publish`].
    pub max_response_bytes: usize,
    /// A connection is probed after this time of silence.
    pub keepalive_interval: Duration,
    /// A connection that does not answer a probe within this time is closed.
    pub keepalive_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 1_024,
            max_names: 4_096,
            max_message_bytes: 4 << 20,
            max_response_bytes: 4 << 20,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a snapshot was not published or the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The snapshot does not pass its check.
    #[error("snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What a snapshot changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The types that differ from the snapshot before, in the order in which they are pushed; empty
    /// = nothing is sent.
    pub changed: Vec<Kind>,
}

/// An xDS server. Clones are handles to the same server.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) registry: Registry,
    pub(crate) counters: Counters,
    pub(crate) catalogue: watch::Sender<Option<Newest>>,
    pub(crate) streams: Arc<Semaphore>,
    numbers: AtomicU64,
}

/// The snapshot in force.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    /// 1 for the first one that was published.
    pub(crate) number: u64,
    pub(crate) catalogue: Arc<Catalogue>,
}

impl Shared {
    pub(crate) fn next_stream(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The snapshot after the newest, with the types that it changes; `None` = it is the newest
    /// already.
    fn next(
        &self,
        newest: Option<&Newest>,
        snapshot: Snapshot,
    ) -> Result<Option<(Newest, Vec<Kind>)>, SnapshotError> {
        let before = newest.map(|newest| newest.catalogue.as_ref());
        if let Some(before) = before.filter(|before| before.snapshot.version == snapshot.version) {
            if *before.snapshot == snapshot {
                return Ok(None);
            }
            let problem = "in use with another content".into();
            return Err(SnapshotError { field: "version".into(), problem });
        }
        let catalogue = Catalogue::after(before, snapshot, self.settings.max_response_bytes)?;
        let changed = catalogue.changed(before);
        let number = newest.map_or(0, |newest| newest.number) + 1;
        Ok(Some((Newest { number, catalogue: Arc::new(catalogue) }, changed)))
    }
}

impl Server {
    /// A server without a snapshot: clients may connect, and wait.
    pub fn new(settings: Settings) -> Self {
        let shared = Shared {
            streams: Arc::new(Semaphore::new(settings.max_streams.min(Semaphore::MAX_PERMITS))),
            settings,
            registry: Registry::new(),
            counters: Counters::default(),
            catalogue: watch::Sender::new(None),
            numbers: AtomicU64::new(1),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves ADS on this listener until `shutdown`; then ends all streams, clients keep what they
    /// have. At most [`GRACE`] after `shutdown` it returns.
    ///
    /// # Errors
    /// The transport failed.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        self.serve_incoming(incoming, shutdown).await
    }

    /// Like [`Self::serve`], on connections of any kind, such as those behind TLS.
    ///
    /// # Errors
    /// The transport failed.
    pub async fn serve_incoming<I, C, E>(
        &self,
        incoming: I,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error>
    where
        I: Stream<Item = Result<C, E>> + Send,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let settings = &self.shared.settings;
        let stop = CancellationToken::new();
        let service = Ads { shared: Arc::clone(&self.shared), stop: stop.clone() };
        let service = AggregatedDiscoveryServiceServer::new(service)
            .max_decoding_message_size(settings.max_message_bytes);
        let stopping = stop.clone();
        let signal = async move {
            shutdown.await;
            stopping.cancel();
        };
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(settings.keepalive_interval))
            .http2_keepalive_timeout(Some(settings.keepalive_timeout))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, signal);
        let grace = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            served = serving => Ok(served?),
            () = grace => Ok(()),
        }
    }

    /// Makes this the wanted state of all clients. Returns at once; see [`Self::confirm`].
    ///
    /// # Errors
    /// [`Error::Snapshot`]: it does not pass [`Snapshot::check`], is too large, or its version is
    /// in use with another content. The snapshot before stays in force.
    pub fn publish(&self, snapshot: Snapshot) -> Result<Published, Error> {
        let mut changed = Ok(Vec::new());
        self.shared.catalogue.send_if_modified(|newest| {
            match self.shared.next(newest.as_ref(), snapshot) {
                Ok(Some((next, kinds))) => {
                    *newest = Some(next);
                    changed = Ok(kinds);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    changed = Err(error);
                    false
                }
            }
        });
        match &changed {
            Ok(kinds) if !kinds.is_empty() => self.shared.counters.snapshots.add(1),
            Ok(_) => {}
            Err(_) => self.shared.counters.snapshots_refused.add(1),
        }
        self.shared.registry.changed();
        Ok(Published { changed: changed? })
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let newest = self.shared.catalogue.borrow();
        newest.as_ref().map(|newest| Arc::clone(&newest.catalogue.snapshot))
    }

    /// All connected clients that have asked for something.
    pub fn clients(&self) -> Vec<ClientStatus> {
        self.shared.registry.list()
    }

    /// Changes whenever a client comes, goes, acknowledges or rejects, or a snapshot is published.
    /// The number means nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.registry.subscribe()
    }

    /// Waits until all connected clients, at least one, have acknowledged this version or one
    /// refuses it, at most `timeout`. An Envoy acknowledges a changed cluster when it has warmed
    /// it; allow a second at least.
    pub async fn confirm(&self, version: &str, timeout: Duration) -> Confirmation {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if self.snapshot().is_none_or(|snapshot| snapshot.version != version) {
                return Confirmation::Superseded;
            }
            if let Some(decided) = self.shared.registry.verdict(version) {
                return decided;
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return self.shared.registry.timed_out(version);
            }
        }
    }

    /// Counters since the server was made.
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.read()
    }
}

type Responses<M> = Response<ReceiverStream<Result<M, Status>>>;

struct Ads {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<ads::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<ads::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<ads::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.start::<wire::State>(request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<ads::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.start::<wire::Delta>(request)
    }
}

impl Ads {
    fn start<V: Variant + 'static>(
        &self,
        request: Request<Streaming<V::Request>>,
    ) -> Result<Responses<V::Response>, Status> {
        let peer = request.remote_addr();
        let shared = Arc::clone(&self.shared);
        let responses =
            stream::Stream::<V>::start(shared, request.into_inner(), peer, self.stop.clone())?;
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}
