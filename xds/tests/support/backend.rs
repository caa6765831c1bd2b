//! Backends that count the requests they get: plain HTTP/1.1 for Envoy, gRPC for gRPC clients.
//!
//! The gRPC service is one whose messages are at hand (a rate limiter that is asked nothing); any
//! would do.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A server on a free port.
pub(crate) struct Backend {
    pub(crate) port: u16,
    hits: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn http() -> Self {
        let (listener, hits) = Self::listen().await;
        let (port, counted) =
            (listener.local_addr().expect("an address").port(), Arc::clone(&hits));
        let count = axum::routing::any(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            "ok"
        });
        let app = axum::Router::new().fallback_service(count);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") });
        Self { port, hits, task }
    }

    pub(crate) async fn grpc() -> Self {
        let (listener, hits) = Self::listen().await;
        let port = listener.local_addr().expect("an address").port();
        let service = RateLimitServiceServer::new(Counting(Arc::clone(&hits)));
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let task = tokio::spawn(async move { serving.await.expect("a server") });
        Self { port, hits, task }
    }

    async fn listen() -> (TcpListener, Arc<AtomicU64>) {
        (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port"), Arc::default())
    }

    /// Requests since the last call.
    pub(crate) fn take(&self) -> u64 {
        self.hits.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Counting(Arc<AtomicU64>);

#[tonic::async_trait]
impl RateLimitService for Counting {
    async fn should_rate_limit(
        &self,
        _: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(RateLimitResponse::default()))
    }
}

/// Whether each share of the requests is within five standard deviations of independent draws by
/// weight.
pub(crate) fn assert_shares(hits: &[u64], weights: &[u32]) {
    let (total, sum) = (hits.iter().sum::<u64>() as f64, weights.iter().sum::<u32>() as f64);
    for (hits_of_one, weight) in hits.iter().zip(weights) {
        let share = f64::from(*weight) / sum;
        let (expected, deviation) = (total * share, (total * share * (1.0 - share)).sqrt());
        let off = (*hits_of_one as f64 - expected).abs();
        assert!(off <= 5.0 * deviation, "{hits:?} for weights {weights:?}");
    }
}
