//! Health, readiness, the collector's own metrics, and what the API does without its store.

use flyball_collector::live::now_ms;
use flyball_proto::series::{Kind, Scale};
use serde_json::json;

use crate::harness::{Server, live_sample, series};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_last_values_are_answered_and_the_past_is_unavailable() {
    let mut server = Server::start().await;
    let gauge = series("system.cpu.load_average.1m", Kind::Gauge, Scale::decimal(2), &[]);
    server.insert("a", &gauge, &[(now_ms(), 125)]).await;
    let feed = server.connect("a", gauge);
    feed.update(now_ms(), &[live_sample(125)]);
    server.readiness.report("migrations", Ok("3 of 3".to_owned()));
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"ready".into()), "{}", ready.text());
    let names: Vec<_> =
        ready.json()["checks"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["clickhouse", "migrations"]);

    server.stop_engine().await;
    // That may have taken longer than a node may be silent.
    feed.update(now_ms(), &[live_sample(125)]);
    assert_eq!(server.get("/healthz").await.status, 200);
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (503, &"not_ready".into()));
    assert_eq!(ready.json()["checks"][0]["status"], "failing");
    let status = server.get("/api/performance/status?node=a").await.json();
    assert_eq!(status["nodes"][0]["load_1m"], 1.25);
    assert_eq!(status["nodes"][0]["cpu_utilization"], json!(null));
    assert_eq!(status["totals"]["nodes_up"], 1);
    let past = server.get("/api/performance/metrics?metric=system.cpu.load_average.1m").await;
    assert_eq!((past.status, past.header("retry-after")), (503, "2"), "{}", past.text());
    assert_eq!(past.problem_fields(), Vec::<String>::new());
    let catalog = server.get("/api/performance/catalog").await.json();
    assert_eq!(
        catalog["metrics"],
        json!([{"name": "system.cpu.load_average.1m", "unit": "By", "kind": "gauge", "nodes": ["a"], "attributes": [], "series": 1}])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_tells_of_itself() {
    let server = Server::start().await;
    let catalog = server.get("/api/performance/catalog").await;
    assert!(catalog.header("server-timing").starts_with("total;dur="));
    server.get("/api/performance/nothing").await;
    let answer = server.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = answer.text();
    for line in [
        "flyball_http_requests_total{route=\"/api/performance/catalog\",method=\"GET\",status=\"200\"} 1",
        "flyball_http_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 1",
        "flyball_http_request_duration_seconds_count{route=\"/api/performance/catalog\"} 1",
        "flyball_event_readers 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let zipped = server.client.get(server.url("/openapi.json")).header("accept-encoding", "gzip");
    let zipped = server.send(zipped).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert!(zipped.body.len() < server.get("/openapi.json").await.body.len() / 2);
    server.stop().await;
}
