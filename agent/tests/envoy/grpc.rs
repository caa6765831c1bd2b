//! A client of the gRPC library of C++ and Python, which is served without any Envoy.

use std::io::{BufRead as _, BufReader, Write as _};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flyball_proto::orca::open_rca_service_server::{OpenRcaService, OpenRcaServiceServer};
use flyball_proto::orca::{OrcaLoadReport, OrcaLoadReportRequest};
use flyball_proto::steering::{BalancerReport, BalancerState, PolicyResult};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::collector::{Agent, Collector};
use crate::harness::free_port;
use crate::lab::{permanent, tool};

const METHOD: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";

/// Answers each call with one message, as a unary method does.
struct Counting(Arc<AtomicU64>);

#[tonic::async_trait]
impl OpenRcaService for Counting {
    type StreamCoreMetricsStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<OrcaLoadReport, Status>> + Send>>;

    async fn stream_core_metrics(
        &self,
        _: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let report = Ok(OrcaLoadReport::default());
        Ok(Response::new(Box::pin(tokio_stream::once(report))))
    }
}

/// A client that makes calls when it is told to. It ends with the value.
struct Client {
    child: Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
    _dir: tempfile::TempDir,
}

impl Client {
    fn start(xds: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bootstrap = dir.path().join("bootstrap.json");
        let config = serde_json::json!({
            "xds_servers": [{"server_uri": format!("127.0.0.1:{xds}"),
                "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
            "node": {"id": "client-1"},
        });
        std::fs::write(&bootstrap, config.to_string()).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xds/tests/conformance/client.py");
        let mut command = Command::new(tool("python"));
        command.arg(script).arg(METHOD).env("GRPC_XDS_BOOTSTRAP", bootstrap);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, answers, _dir: dir }
    }

    /// Makes calls, all of which must be answered.
    fn calls(&mut self, count: u64) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{count}").unwrap();
        let answer = self.answers.next().unwrap().unwrap();
        assert_eq!(answer.trim(), format!("{count} 0"));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_follows_weights_of_localities_and_confirms_them() {
    let mut collector = Collector::start();
    let (mut endpoints, mut counts, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (name, count) =
            (listener.local_addr().unwrap().to_string(), Arc::new(AtomicU64::new(0)));
        endpoints.push(format!("{{ address = '{name}', weight = 100 }}"));
        let service = OpenRcaServiceServer::new(Counting(Arc::clone(&count)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        counts.push(count);
        names.push(name);
    }
    let xds = free_port();
    let settings = format!(
        "[[envoy]]\nname = 'edge'\nxds_listen = '127.0.0.1:{xds}'\nsteer = true\n\
         [[envoy.clusters]]\nname = 'echo'\nlocality_per_endpoint = true\nhttp2 = true\nendpoints = [{}]\n\
         [[envoy.listeners]]\nname = 'echo'\ncluster = 'echo'\n",
        endpoints.join(", "),
    );
    let mut agent = Agent::of(&collector, &settings);
    agent.start();
    let is_alone = |report: &BalancerReport| report.reason == "no client is connected";
    collector.balancer("that nobody is connected", is_alone).await;
    let mut client = Client::start(xds);
    client.calls(1);
    let is_up = |report: &BalancerReport| report.state == BalancerState::Up;
    let report = collector.balancer("a client", is_up).await;
    assert_eq!(report.groups[0].backends.len(), 3);
    assert!(report.missing[0].contains("no admin interface"), "{:?}", report.missing);
    let weight = |name: &String, weight: u32| (format!("weight:echo/{name}"), weight.to_string());
    let wanted = [weight(&names[0], 200), weight(&names[1], 90), weight(&names[2], 10)];
    collector.want(permanent(1, &wanted));
    let applied = collector.outcome(1, PolicyResult::Applied).await;
    assert_eq!(applied.reason, "", "the client has acknowledged it");
    // Until each has a connection the others get its share.
    while counts.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
        client.calls(50);
    }
    let before: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    client.calls(900);
    let after = counts.iter().map(|count| count.load(Ordering::Relaxed));
    let shares: Vec<u64> = after.zip(before).map(|(after, before)| after - before).collect();
    // A draw: six standard deviations.
    for (share, wanted) in shares.iter().zip([600, 270, 30]) {
        assert!(share.abs_diff(wanted) <= 90, "{shares:?}");
    }
    let is_told = |report: &BalancerReport| {
        report.backend("echo", &names[0]).is_some_and(|(_, backend)| backend.weight == 200)
    };
    collector.balancer("weights", is_told).await;
    agent.stop();
}
