//! Bad input over HTTP: each case gets its status, a problem document, and every field that is wrong.

use std::time::Duration;

use flyball_collector::api::edge::Limits;
use flyball_collector::live::now_ms;
use flyball_collector::query::QueryLimits;
use flyball_proto::series::{Kind, Scale};
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Server, Setup, series};

const METRICS: &str = "/api/performance/metrics";

impl Server {
    /// Stores one sample each of a gauge `m` with the attribute `k` and of a counter `c`, both on node `a`, which is also known live.
    async fn with_samples(self) -> Self {
        let gauge = series("m", Kind::Gauge, Scale::UNIT, &[("k", "v")]);
        self.insert("a", &gauge, &[(now_ms(), 1)]).await;
        self.insert("a", &series("c", Kind::Counter, Scale::UNIT, &[]), &[(now_ms(), 1)]).await;
        drop(self.connect("a", gauge));
        self
    }

    async fn post(&self, content_type: &str, body: &str) -> Answer {
        let request = self.client.post(self.url(METRICS)).header("content-type", content_type);
        self.send(request.body(body.to_owned())).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_is_named() {
    let server = Server::start().await.with_samples().await;
    let cases: &[(&str, u16, &[&str])] = &[
        ("/api/performance/metrics", 400, &["metric"]),
        ("/api/performance/metrics?metric=", 400, &["metric"]),
        ("/api/performance/metrics?metric=nope", 404, &["metric"]),
        ("/api/performance/metrics?metric=m&node=nope", 404, &["node"]),
        ("/api/performance/metrics?metric=nope&node=nope", 404, &["node", "metric"]),
        ("/api/performance/metrics?metric=nope&zap=1&zip=2", 400, &["zap", "zip", "metric"]),
        ("/api/performance/metrics?metric=m&metric=c", 400, &["metric"]),
        ("/api/performance/metrics?metric=m&from=2000&to=1000", 400, &["from"]),
        ("/api/performance/metrics?metric=m&from=1000&to=1000", 400, &["from"]),
        (
            "/api/performance/metrics?metric=m&from=soon&to=later&step=1w",
            400,
            &["from", "to", "step"],
        ),
        ("/api/performance/metrics?metric=m&step=0", 400, &["step"]),
        ("/api/performance/metrics?metric=m&step=-5s", 400, &["step"]),
        ("/api/performance/metrics?metric=m&from=0&to=11001&step=1", 400, &["step"]),
        ("/api/performance/metrics?metric=m&agg=mean", 400, &["agg"]),
        ("/api/performance/metrics?metric=m&agg=rate", 400, &["agg"]),
        ("/api/performance/metrics?metric=c&agg=p99", 400, &["agg"]),
        ("/api/performance/metrics?metric=m&by=zone", 400, &["by"]),
        ("/api/performance/metrics?metric=m&filter=k", 400, &["filter"]),
        ("/api/performance/metrics?metric=m&filter=zone=1", 400, &["filter"]),
        ("/api/performance/metrics?metric=m&node=%FF%00&by=x", 400, &["node", "by"]),
        ("/api/performance/status?node=nope", 404, &["node"]),
        ("/api/performance/status?node=", 400, &["node"]),
        ("/api/performance/status?nodes=a&x=", 400, &["nodes", "x"]),
        ("/api/performance/catalog?metric=m", 400, &["metric"]),
        ("/api/performance/events?metric=m", 400, &["metric"]),
        ("/api/performance/events?node=a&metric=m*x&metric=", 400, &["metric", "metric"]),
        ("/api/performance/events?node=nope&last=1", 400, &["last", "node"]),
        ("/healthz?x=1", 400, &["x"]),
        ("/readyz?x=1", 400, &["x"]),
        ("/metrics?x=1", 400, &["x"]),
        ("/openapi.json?x=1", 400, &["x"]),
    ];
    for (path, status, fields) in cases {
        let answer = server.get(path).await;
        assert_eq!(answer.status, *status, "{path}: {}", answer.text());
        assert_eq!(answer.problem_fields(), *fields, "{path}");
    }
    let events = server.client.get(server.url("/api/performance/events"));
    let answer = server.send(events.header("Last-Event-ID", "x")).await;
    assert_eq!((answer.status, answer.problem_fields()), (400, vec!["Last-Event-ID".to_owned()]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_body_is_refused() {
    let limits = Limits { body_bytes: 1_000, url_bytes: 500, ..Limits::default() };
    let server = Server::start_with(limits).await.with_samples().await;
    let fields = json!({"metric": 1, "node": "a", "from": true, "to": 2.5, "by": [1], "zap": 0});
    let wrong = server.post("application/json", &fields.to_string()).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    let named = ["metric", "node", "from", "to", "by", "zap"];
    let mut got = wrong.problem_fields();
    got.sort_by_key(|field| named.iter().position(|name| name == field));
    got.dedup();
    assert_eq!(got, named);
    let unknown = server.post("application/json", r#"{"metric":"nope"}"#).await;
    assert_eq!((unknown.status, unknown.problem_fields()), (404, vec!["metric".to_owned()]));
    for (content_type, body, status) in [
        ("application/json", "", 400),
        ("application/json", "[1]", 400),
        ("application/json", r#"{"metric":"#, 400),
        ("text/plain", r#"{"metric":"m"}"#, 415),
        ("application/json", &format!(r#"{{"metric":"{}"}}"#, "m".repeat(1_000)), 413),
    ] {
        let answer = server.post(content_type, body).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.problem_fields(), Vec::<String>::new());
    }
    let chunks =
        futures_util::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>("x".repeat(200))));
    let chunked =
        server.client.post(server.url(METRICS)).header("content-type", "application/json");
    let answer = server.send(chunked.body(reqwest::Body::wrap_stream(chunks))).await;
    assert_eq!((answer.status, answer.problem_fields()), (413, Vec::new()));
    let query = server.client.post(server.url(&format!("{METRICS}?metric=m"))).json(&json!({}));
    assert_eq!(server.send(query).await.problem_fields(), ["metric"]);
    let long = server.get(&format!("{METRICS}?metric={}", "m".repeat(500))).await;
    assert_eq!((long.status, long.problem_fields()), (414, Vec::new()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_do_not_exist_are_problems_too() {
    let server = Server::start().await;
    for path in ["/api", "/api/performance", "/api/performance/metrics/", "/api/x?y=1", "/x.js"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem_fields()), (404, Vec::new()), "{path}");
    }
    for (method, path, allowed) in [
        (Method::POST, "/api/performance/status", "GET,HEAD"),
        (Method::DELETE, METRICS, "GET,HEAD,POST"),
        (Method::PUT, "/healthz", "GET,HEAD"),
    ] {
        let answer = server.send(server.client.request(method, server.url(path))).await;
        assert_eq!((answer.status, answer.problem_fields()), (405, Vec::new()), "{path}");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    let answer = server.send(server.client.post(server.url("/"))).await;
    assert_eq!((answer.status, answer.problem_fields()), (405, Vec::new()));
    let head = server.send(server.client.head(server.url("/healthz"))).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_id_and_an_answer_that_takes_too_long_ends() {
    let limits = Limits { timeout: Duration::ZERO, ..Limits::default() };
    let server = Server::start_with(limits).await.with_samples().await;
    let request = server.client.get(server.url("/api/performance/metrics?metric=m"));
    let answer = server.send(request.header("X-Request-Id", "mine-1")).await;
    assert_eq!((answer.status, answer.problem_fields()), (504, Vec::new()));
    assert_eq!(answer.header("x-request-id"), "mine-1");
    let made = server.get("/nowhere.txt").await;
    assert_eq!(made.header("x-request-id").len(), 32);
    assert_eq!(made.header("x-content-type-options"), "nosniff");
    assert_eq!(made.header("cache-control"), "no-store");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_too_much_is_refused_and_says_so() {
    let queries = QueryLimits { rows: 10, ..QueryLimits::default() };
    let server = Server::start_as(Setup { queries, ..Setup::default() }).await;
    let gauge = series("m", Kind::Gauge, Scale::UNIT, &[]);
    let samples: Vec<_> = (0..100).map(|i| (now_ms() - i * 1_000, i)).collect();
    server.insert("a", &gauge, &samples).await;
    let answer = server.get("/api/performance/metrics?metric=m").await;
    assert_eq!((answer.status, answer.problem_fields()), (422, Vec::new()), "{}", answer.text());
    assert!(answer.json()["detail"].as_str().unwrap().contains("ask for a shorter time"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_queries_than_may_wait_are_told_to_come_again() {
    let queries = QueryLimits { running: 0, waiting: 0, ..QueryLimits::default() };
    let server = Server::start_as(Setup { queries, ..Setup::default() }).await.with_samples().await;
    let answer = server.get("/api/performance/metrics?metric=m").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{}", answer.text());
    assert_eq!(answer.problem_fields(), Vec::<String>::new());
    server.stop().await;
}
