//! The server: one task per stream, one snapshot for all clients.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clients::{ClientStatus, Confirmation, Registry};
use crate::metrics::{Counters, Metrics};
use crate::resource::Kind;
use crate::snapshot::{Snapshot, SnapshotError};

/// Limits and times.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Streams open at once; more are refused with RESOURCE_EXHAUSTED.
    pub max_streams: usize,
    /// Names per stream and type that a client may subscribe to, and responses it may leave unanswered; more ends the stream with RESOURCE_EXHAUSTED.
    pub max_names: usize,
    /// Largest request in bytes; a larger one ends the stream. A rejection of Envoy holds the whole rejected resource.
    pub max_message_bytes: usize,
    /// Largest part of a snapshot of one type, encoded, in bytes; a larger one is refused by [`Server::publish`].
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
    /// The types that differ from the snapshot before, in the order in which they are pushed; empty = nothing is sent.
    pub changed: Vec<Kind>,
}

/// An xDS server. Clones are handles to the same server.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    registry: Registry,
    counters: Counters,
}

impl Server {
    /// A server without a snapshot: clients may connect, and wait.
    pub fn new(settings: Settings) -> Self {
        let (registry, counters) = (Registry::new(), Counters::default());
        Self { shared: Arc::new(Shared { settings, registry, counters }) }
    }

    /// Serves ADS on this listener until `shutdown`; then ends all streams, clients keep what they have.
    ///
    /// # Errors
    /// The transport failed.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let _ = (listener, &self.shared.settings);
        shutdown.await;
        Ok(())
    }

    /// Makes this the wanted state of all clients. Returns at once; see [`Self::confirm`].
    ///
    /// # Errors
    /// [`Error::Snapshot`]: it does not pass [`Snapshot::check`], is too large, or its version is in use with another content.
    /// The snapshot before stays in force.
    pub fn publish(&self, snapshot: Snapshot) -> Result<Published, Error> {
        snapshot.check()?;
        Ok(Published { changed: Vec::new() })
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        None
    }

    /// All connected clients.
    pub fn clients(&self) -> Vec<ClientStatus> {
        self.shared.registry.list()
    }

    /// Changes whenever a client comes, goes, acknowledges or rejects, or a snapshot is published. The number means nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.registry.subscribe()
    }

    /// Waits until all connected clients, at least one, have acknowledged this version or one refuses it, at most `timeout`. An Envoy acknowledges
    /// a changed cluster when it has warmed it; allow a second at least.
    pub async fn confirm(&self, version: &str, timeout: Duration) -> Confirmation {
        let _ = (version, timeout, self.shared.registry.len());
        Confirmation::Superseded
    }

    /// Counters since the server was made.
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.read()
    }
}
