//! What backends say of themselves: by a header, and by a stream.

use std::pin::Pin;

use flyball_proto::orca::open_rca_service_server::{OpenRcaService, OpenRcaServiceServer};
use flyball_proto::orca::{OrcaLoadReport, OrcaLoadReportRequest};
use flyball_proto::steering::{BalancerReport, UtilizationSource};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

use crate::collector::{Agent, Collector};
use crate::lab::{Backend, Lab};

struct Busy(f64);

#[tonic::async_trait]
impl OpenRcaService for Busy {
    type StreamCoreMetricsStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<OrcaLoadReport, Status>> + Send>>;

    async fn stream_core_metrics(
        &self,
        request: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        let interval = request.into_inner().report_interval.expect("it is asked for");
        assert_eq!((interval.seconds, interval.nanos), (1, 0));
        let report = OrcaLoadReport { cpu_utilization: self.0, ..OrcaLoadReport::default() };
        let (reports, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
            while reports.send(Ok(report.clone())).await.is_ok() {
                ticks.tick().await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_say_how_busy_they_are() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(OpenRcaServiceServer::new(Busy(0.25)))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let names: Vec<String> = lab.backends.iter().map(Backend::name).collect();
    *lab.backends[0].load.lock() =
        "TEXT application_utilization=0.5,cpu_utilization=0.1".to_owned();
    *lab.backends[1].load.lock() = r#"JSON {"cpu_utilization": 0.75}"#.to_owned();
    let more = format!(
        "[[orca]]\nname = 'a'\naddress = '{0}'\nurl = 'http://{0}/load'\n\
         [[orca]]\nname = 'b'\naddress = '{1}'\nurl = 'http://{1}/load'\n\
         [[orca]]\nname = 'c'\naddress = '{2}'\ngrpc = 'http://{grpc}'\n",
        names[0], names[1], names[2],
    );
    let mut agent = Agent::of(&collector, &lab.settings(&more));
    agent.start();
    lab.start_envoy();
    let of = |report: &BalancerReport, name: &str| report.backend("web", name)?.1.utilization;
    let all = |report: &BalancerReport| {
        let told: Vec<_> = names.iter().map(|name| of(report, name)).collect();
        told == [0.5, 0.75, 0.25].map(|share| Some((share, UtilizationSource::Orca)))
    };
    collector.balancer("what they say", all).await;
    // One that falls silent is not known for long.
    lab.backends[0].load.lock().clear();
    let is_silent = |report: &BalancerReport| of(report, &names[0]).is_none();
    let report = collector.balancer("silence", is_silent).await;
    assert_eq!(of(&report, &names[1]), Some((0.75, UtilizationSource::Orca)));
}
