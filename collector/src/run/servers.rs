//! The two servers, each a future that ends when it has been told to and its connections are closed.

use std::time::Duration;

use flyball_proto::FILE_DESCRIPTOR_SET;
use flyball_proto::v1::performance_server::PerformanceServer;
use flyball_proto::v1::steering_server::SteeringServer;
use flyball_proto::v1::telemetry_server::TelemetryServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::api::grpc::PerformanceService;
use crate::api::{self, ApiError, AppState, Readiness};
use crate::ingest::{Ingest, Streams};
use crate::steer::watch::Steering;

/// Time between two pings of a silent connection, and the time an answer may take: a host that vanished is noticed within both together.
/// Agents that send every 10 s are not pinged, and a host that is busy for some seconds is not cut off: coming back would only add to its work.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that one connection may hold open.
const STREAMS_OF_CONNECTION: u32 = 128;

/// Bytes that a stream may send ahead of being read: some five frames of two hundred samples. Two buffers of each connection grow to it and stay so, and a
/// stream that is not read, because there is no room for its frames, holds no more.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024;

/// The settings that every gRPC connection is served with.
pub fn grpc_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_OF_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
}

/// Serves gRPC: Telemetry, Steering, Performance, health and reflection.
pub(super) async fn grpc(
    listener: TcpListener,
    ingest: &Ingest,
    state: AppState,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<TelemetryServer<Streams>>().await;
    health.set_serving::<SteeringServer<Steering>>().await;
    health.set_serving::<PerformanceServer<PerformanceService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were compiled with this program");
    let router = grpc_server()
        .add_service(ingest.service().into_server())
        .add_service(state.steering().service())
        .add_service(api::grpc::service(state))
        .add_service(health_service)
        .add_service(reflection);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    async move {
        let stop = async move {
            shutdown.cancelled().await;
            health.set_not_serving::<TelemetryServer<Streams>>().await;
            health.set_not_serving::<SteeringServer<Steering>>().await;
            health.set_not_serving::<PerformanceServer<PerformanceService>>().await;
        };
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, stop).await {
            tracing::error!(%error, "the gRPC server failed");
        }
    }
}

/// Serves what can be answered while the store is not open.
pub(super) async fn waiting_http(
    listener: TcpListener,
    readiness: Readiness,
    end: CancellationToken,
) {
    let server = axum::serve(listener, api::waiting::router(readiness));
    if let Err(error) = server.with_graceful_shutdown(end.cancelled_owned()).await {
        tracing::error!(%error, "the HTTP server failed");
    }
}

/// Tells agents and programs that the store is not open.
pub(super) async fn waiting_grpc(listener: TcpListener, end: CancellationToken) {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_not_serving::<TelemetryServer<Streams>>().await;
    let mut routes = Routes::new(health_service);
    let refuse = || async { Status::from(ApiError::NotOpen).into_http::<Body>() };
    let router = routes.axum_router_mut();
    *router = std::mem::take(router).fallback(refuse);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = grpc_server().add_routes(routes);
    if let Err(error) = server.serve_with_incoming_shutdown(incoming, end.cancelled_owned()).await {
        tracing::error!(%error, "the gRPC server failed");
    }
}
