//! Real gRPC without any proxy: backends that note when each was called, and a client of the library of C++, Python and others (`grpcio`), which takes its endpoints and their weights from an xDS
//! server.
//!
//! The client runs in a process of its own. Who was picked, and when, is what backends note, so all times are of this process's clock; they are later than the client's pick by one way over loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use flyball_proto::orca::open_rca_service_server::{OpenRcaService, OpenRcaServiceServer};
use flyball_proto::orca::{OrcaLoadReport, OrcaLoadReportRequest};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::GROUP;
use super::tools::tool;
use crate::process::Process;
use crate::wait::{SOON, until};

const SCRIPT: &str = include_str!("grpc_client.py");
/// The method that is called: one whose messages are at hand, and that answers with one message as unary methods do. Any would do.
const METHOD: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";

/// Calls in the order they came: when, and the number of the backend.
type Calls = Arc<Mutex<Vec<(Instant, u16)>>>;

/// Backends that answer every call at once, served by this process until this is dropped.
#[derive(Debug)]
pub struct GrpcBackends {
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    calls: Calls,
    _stop: DropGuard,
}

/// A client. Dropping it kills it.
#[derive(Debug)]
pub struct GrpcClient {
    process: Process,
}

/// What a client has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that it made.
    pub calls: usize,
    /// Of them those without a good answer.
    pub failed: usize,
    /// What the first of those said; empty without any.
    pub first_error: String,
}

struct Noting {
    number: u16,
    calls: Calls,
}

#[tonic::async_trait]
impl OpenRcaService for Noting {
    type StreamCoreMetricsStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<OrcaLoadReport, Status>> + Send>>;

    async fn stream_core_metrics(
        &self,
        _: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        self.calls.lock().push((Instant::now(), self.number));
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(OrcaLoadReport::default())))))
    }
}

impl GrpcBackends {
    /// Starts so many on free ports.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(count: u16) -> Result<Self> {
        let (calls, stop) = (Calls::default(), CancellationToken::new());
        let mut addresses = Vec::new();
        for number in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let service = OpenRcaServiceServer::new(Noting { number, calls: Arc::clone(&calls) });
            let server = tonic::transport::Server::builder().add_service(service);
            let stopped = stop.clone().cancelled_owned();
            tokio::spawn(server.serve_with_incoming_shutdown(incoming, stopped));
        }
        Ok(Self { addresses, calls, _stop: stop.drop_guard() })
    }

    /// Calls that came from a moment on.
    pub fn calls(&self, from: Instant) -> Vec<(Instant, u16)> {
        let calls = self.calls.lock();
        calls[calls.partition_point(|call| call.0 < from)..].to_vec()
    }

    /// Tables of an agent's settings: a target of this name that serves these backends on `xds`. Each is a locality of its own, since this client ignores the weights of endpoints (gRFC A27).
    pub fn settings(&self, name: &str, xds: SocketAddr, weight: u32) -> String {
        let endpoint =
            |address: &SocketAddr| format!("{{ address = '{address}', weight = {weight} }}");
        let endpoints: Vec<_> = self.addresses.iter().map(endpoint).collect();
        format!(
            "[[envoy]]\nname = '{name}'\nxds_listen = '{xds}'\nsteer = true\n\
             [[envoy.clusters]]\nname = '{GROUP}'\nlocality_per_endpoint = true\nhttp2 = true\nendpoints = [{}]\n\
             [[envoy.listeners]]\nname = '{GROUP}'\ncluster = '{GROUP}'\n",
            endpoints.join(", ")
        )
    }
}

impl GrpcClient {
    /// Starts one with its files in `dir`, that makes so many calls a second and asks the xDS server at `xds`; waits for its first answer.
    ///
    /// # Errors
    /// When there is no `grpcio`, or no answer.
    pub async fn start(dir: &Path, xds: SocketAddr, per_second: f64) -> Result<Self> {
        let python = tool("python")?;
        ensure!(
            python.exists(),
            "{} is missing: scripts/need.sh pip:grpcio=1.85.3",
            python.display()
        );
        let (bootstrap, script) = (dir.join("bootstrap.json"), dir.join("grpc_client.py"));
        let config = json!({
            "xds_servers": [{
                "server_uri": xds.to_string(),
                "channel_creds": [{ "type": "insecure" }],
                "server_features": ["xds_v3"],
            }],
            "node": { "id": "grpc-0" },
        });
        std::fs::write(&bootstrap, config.to_string())?;
        std::fs::write(&script, SCRIPT)?;
        let mut command = Command::new(python);
        command.arg(script).arg(METHOD).arg(per_second.to_string());
        command.env("GRPC_XDS_BOOTSTRAP", bootstrap);
        let mut process = Process::start_held("grpc-client", command, dir)?;
        until("the first answer of a gRPC call", SOON, || {
            let (running, log) = (process.check_running(), process.log());
            async move {
                running?;
                ensure!(log.lines().any(|line| line == "ready"), "not yet");
                Ok(())
            }
        })
        .await
        .with_context(|| process.log())?;
        Ok(Self { process })
    }

    /// No more calls: waits for the answers of those under way.
    ///
    /// # Errors
    /// When it does not say what it has seen.
    pub async fn finish(&mut self) -> Result<Tally> {
        let status = self.process.wait(SOON).await?;
        ensure!(status.success(), "the gRPC client: {status}\n{}", self.process.log());
        let log = self.process.log();
        log.lines().rev().find_map(tally).with_context(|| log.clone())
    }
}

/// What the last line of a client says.
fn tally(line: &str) -> Option<Tally> {
    let (calls, rest) = line.strip_prefix("calls ")?.split_once(" failed ")?;
    let (failed, first_error) = rest.split_once(' ').unwrap_or((rest, ""));
    let (calls, failed) = (calls.parse().ok()?, failed.parse().ok()?);
    Some(Tally { calls, failed, first_error: first_error.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_what_it_has_seen() {
        let fine = Tally { calls: 12, failed: 0, first_error: String::new() };
        assert_eq!(tally("calls 12 failed 0"), Some(fine));
        let failed = Tally { calls: 12, failed: 2, first_error: "UNAVAILABLE: no".into() };
        assert_eq!(tally("calls 12 failed 2 UNAVAILABLE: no"), Some(failed));
        assert_eq!(tally("ready"), None);
    }

    #[tokio::test]
    async fn calls_are_noted_in_order_from_a_moment_on() -> Result<()> {
        use flyball_proto::orca::open_rca_service_client::OpenRcaServiceClient;
        use tonic::transport::Endpoint;

        let backends = GrpcBackends::start(2).await?;
        let mut moments = Vec::new();
        for number in [1, 0] {
            moments.push(Instant::now());
            let address = format!("http://{}", backends.addresses[number]);
            let channel = Endpoint::new(address)?.connect().await?;
            let mut client = OpenRcaServiceClient::new(channel);
            client.stream_core_metrics(OrcaLoadReportRequest::default()).await?;
        }
        let numbers = |from: Instant| -> Vec<u16> {
            backends.calls(from).iter().map(|call| call.1).collect()
        };
        assert_eq!((numbers(moments[0]), numbers(moments[1])), (vec![1, 0], vec![0]));
        Ok(())
    }
}
