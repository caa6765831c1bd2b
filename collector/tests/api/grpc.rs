//! The same calls over gRPC: the same answers and the same errors.

use flyball_collector::live::now_ms;
use flyball_proto::series::{Kind, Scale};
use flyball_proto::v1;
use flyball_proto::v1::performance_client::PerformanceClient;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Server, live_sample, series};

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().expect("field errors");
    details.field_violations.into_iter().map(|v| v.field).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_answers_as_http_does() {
    let mut server = Server::start().await;
    let gauge = series("system.cpu.load_average.1m", Kind::Gauge, Scale::decimal(2), &[("k", "v")]);
    let now = now_ms();
    server.insert("a", &gauge, &[(now - 5_000, 125)]).await;
    let feed = server.connect("a", gauge);
    feed.update(now, &[live_sample(150)]);
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.grpc));
    let mut client = PerformanceClient::new(endpoint.unwrap().connect().await.unwrap());

    let status = client.status(v1::StatusRequest::default()).await.unwrap().into_inner();
    assert_eq!((status.nodes[0].load_1m, status.nodes[0].cpu_utilization), (Some(1.5), None));
    assert_eq!(status.totals.unwrap().nodes_up, 1);
    assert_eq!(status.nodes[0].accounting, None);
    assert_eq!(client.alerts(v1::AlertsRequest::default()).await.unwrap().into_inner().firing, 0);
    server.report_shed("a", &feed);
    let status = client.status(v1::StatusRequest::default()).await.unwrap().into_inner();
    let account = status.nodes[0].accounting.clone().unwrap();
    assert_eq!((account.produced, account.shed[0].samples, account.gap), (10, 3, 0));
    assert_eq!(status.accounting.unwrap().shed, 3);
    let firing = v1::AlertsRequest { nodes: vec!["a".into()], state: "firing".into() };
    let alerts = client.alerts(firing.clone()).await.unwrap().into_inner().alerts;
    assert_eq!((alerts.len(), alerts[0].name.as_str()), (1, "samples.shed"));
    let wrong = v1::AlertsRequest { state: "nope".into(), ..firing };
    assert_eq!(fields(&client.alerts(wrong).await.unwrap_err()), ["state"]);
    let catalog = client.catalog(v1::CatalogRequest {}).await.unwrap().into_inner();
    assert_eq!((catalog.metrics[0].kind.as_str(), catalog.metrics[0].series), ("gauge", 1));
    let request = v1::MetricsRequest {
        metric: "system.cpu.load_average.1m".into(),
        nodes: vec!["a".into()],
        from_ms: now - 10_000,
        to_ms: now,
        step_ms: 1_000,
        ..Default::default()
    };
    let answer = client.metrics(request.clone()).await.unwrap().into_inner();
    let points = &answer.series[0].points;
    let known: Vec<_> = points.iter().filter_map(|p| p.value.map(|v| (p.ts_ms, v))).collect();
    assert_eq!(known, [((now - 5_000) / 1_000 * 1_000, 1.25)]);
    assert!((10..=11).contains(&points.len()));
    assert_eq!((answer.tier.as_str(), answer.cache.as_str()), ("raw", "miss"));

    let unknown = v1::MetricsRequest { nodes: vec!["x".into()], ..request.clone() };
    let error = client.metrics(unknown).await.unwrap_err();
    assert_eq!((error.code(), fields(&error)), (Code::NotFound, vec!["node".to_owned()]));
    let wrong = v1::MetricsRequest { step_ms: -1, agg: "mean".into(), ..request.clone() };
    let error = client.metrics(wrong).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(fields(&error), ["step", "agg"]);
    let nodes = v1::StatusRequest { nodes: vec!["x".into()] };
    assert_eq!(client.status(nodes).await.unwrap_err().code(), Code::NotFound);

    server.stop_engine().await;
    let error = client.metrics(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.get_details_retry_info().is_some());
    drop(client);
    server.stop().await;
}
