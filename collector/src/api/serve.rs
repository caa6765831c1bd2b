//! The HTTP server: accepts connections, as many as it may, and closes them when it is told to.
//!
//! A connection above the bound is still answered, on one of [`SPARE`] places: health checks as ever, everything else with 503, and then it is closed.
//! Those above that are closed without a word. When the system refuses a connection (no more files) accepting pauses and goes on. HTTP/1 only: browsers
//! speak HTTP/2 with TLS alone, and programs have gRPC.

mod connection;
mod io;
mod patience;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flyball_model::backoff::Backoff;
use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Connection;
use super::AppState;
use super::edge::{Edge, Limits};
use super::telemetry::{ApiMetrics, Refusal};

/// Connections above the bound that are answered all the same.
pub const SPARE: usize = 16;
/// Pauses after connections that the system refused.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What all connections share.
struct Server {
    edge: Edge,
    limits: Limits,
    metrics: ApiMetrics,
    protocol: http1::Builder,
    stopping: Stopping,
}

/// Tells every connection to close when it has answered.
#[derive(Debug, Default)]
struct Stopping {
    begun: AtomicBool,
    told: Arc<Notify>,
}

/// Serves the API and the dashboard until `shutdown`, and returns when all connections are closed.
pub async fn serve(listener: TcpListener, state: AppState, shutdown: CancellationToken) {
    let edge = super::edge(&state);
    let (limits, metrics) = (state.0.limits, state.0.metrics.clone());
    let mut protocol = http1::Builder::new();
    // Time is kept for all phases of a connection in one place: `patience`.
    protocol.header_read_timeout(None).max_header_size(limits.url_bytes + MAX_HEADER_BYTES);
    let stopping = Stopping::default();
    let server = Arc::new(Server { edge, limits, metrics, protocol, stopping });
    let connections = TaskTracker::new();
    let watch = Arc::clone(server.edge.admission()).watch(shutdown.clone());
    let watch = tokio::spawn(watch);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = accept(&listener, &server, &connections) => {}
    }
    drop(listener);
    server.stopping.begin();
    connections.close();
    connections.wait().await;
    watch.abort();
}

/// Room for headers beside the address.
const MAX_HEADER_BYTES: usize = 32 * 1024;

async fn accept(listener: &TcpListener, server: &Arc<Server>, connections: &TaskTracker) {
    let mut pause = Backoff::new(PAUSE.0, PAUSE.1).expect("the bounds are in order");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause.reset();
                server.begin(stream, peer, connections);
            }
            // The client was gone before it was accepted.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                server.metrics.accept_failures.inc();
                let delay = pause.next_delay(rand::random());
                tracing::warn!(%error, delay_ms = delay.as_millis() as u64, "cannot accept");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused)
}

impl Server {
    fn begin(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, connections: &TaskTracker) {
        let open = Open::new(&self.metrics);
        let most = self.limits.connections;
        let spare = open.before >= most;
        if spare {
            self.metrics.refused(Refusal::Connections);
        }
        if open.before >= most + SPARE {
            return;
        }
        let _ = stream.set_nodelay(true);
        connections.spawn(Connection::new(stream, self, canonical(peer), spare, open));
    }
}

fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

/// A connection that is open; counted while it lives.
struct Open {
    metrics: ApiMetrics,
    before: usize,
}

impl Open {
    fn new(metrics: &ApiMetrics) -> Self {
        let before = metrics.connections.inc().max(0) as usize;
        Self { metrics: metrics.clone(), before }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Stopping {
    fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}
