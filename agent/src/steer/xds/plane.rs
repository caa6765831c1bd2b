//! The xDS server of one `[[envoy]]`: serves until it is dropped, and keeps the board up to date.

use std::sync::Arc;
use std::time::Duration;

use flyball_model::backoff::Backoff;
use flyball_xds::{Server, Settings};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::envoy::{Envoy, Served, Task};

/// Pauses between two attempts to listen.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Most clients at once: each costs some ten kilobytes.
const MAX_STREAMS: usize = 256;
/// Changes of clients are taken note of so often, at most.
const CALM: Duration = Duration::from_millis(20);

/// See the module. Clones are the same.
#[derive(Clone)]
pub(super) struct Plane {
    envoy: Envoy,
    server: Server,
    /// Why nobody can connect; empty: they can.
    trouble: Arc<Mutex<String>>,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("name", &self.envoy.name()).finish_non_exhaustive()
    }
}

impl Plane {
    pub(super) fn new(envoy: Envoy) -> Self {
        let server = Server::new(Settings { max_streams: MAX_STREAMS, ..Settings::default() });
        let trouble = Arc::new(Mutex::new("it does not listen yet".to_owned()));
        Self { envoy, server, trouble }
    }

    pub(super) const fn server(&self) -> &Server {
        &self.server
    }

    /// Why nobody can connect.
    pub(super) fn trouble(&self) -> Option<String> {
        Some(self.trouble.lock().clone()).filter(|trouble| !trouble.is_empty())
    }

    /// The work of serving.
    pub(super) fn task(self) -> Task {
        Box::pin(async move {
            tokio::join!(self.serve(), self.note());
        })
    }

    async fn serve(&self) {
        let Some(address) = self.envoy.config().listen() else { return };
        let mut backoff = Backoff::new(RETRY.0, RETRY.1).expect("0 < floor <= cap");
        let balancer = self.envoy.name();
        loop {
            let reason = match TcpListener::bind(address).await {
                Ok(listener) => {
                    tracing::info!(balancer, %address, "serving xds");
                    self.trouble.lock().clear();
                    self.server.changes().mark_changed();
                    backoff.reset();
                    let served = self.server.serve(listener, std::future::pending()).await;
                    served.err().map_or_else(|| "it has ended".to_owned(), |e| e.to_string())
                }
                Err(error) => error.to_string(),
            };
            tracing::error!(balancer, %address, reason, "cannot serve xds");
            *self.trouble.lock() = format!("cannot serve xds on {address}: {reason}");
            self.board();
            sleep(backoff.next_delay(rand::random())).await;
        }
    }

    /// Takes note of clients that come, go and answer.
    async fn note(&self) {
        let mut changes = self.server.changes();
        loop {
            self.board();
            sleep(CALM).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Puts on the board what is served.
    pub(super) fn board(&self) {
        if let Some(snapshot) = self.server.snapshot() {
            self.envoy.set_served(Served {
                snapshot,
                clients: self.server.clients(),
                nacks: self.server.metrics().nacks,
                trouble: self.trouble().unwrap_or_default(),
            });
        }
    }
}
