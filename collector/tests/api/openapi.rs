//! The description fits what the API does: every call in it exists, and real answers follow their schemas.

use flyball_collector::live::now_ms;
use flyball_proto::series::{Kind, Scale};
use serde_json::{Value, json};

use crate::harness::{Server, live_sample, series};

/// Checks `value` against the schema of a `content` of the description.
fn errors(document: &Value, content: &Value, value: &Value) -> Vec<String> {
    let (_, media) = content.as_object().unwrap().iter().next().unwrap();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [media["schema"]],
        "components": document["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|e| format!("{e} at {}", e.instance_path())).collect()
}

/// Every path, by name.
const PATHS: &[&str] = &[
    "/api/performance/alerts",
    "/api/performance/audit",
    "/api/performance/balancers",
    "/api/performance/balancers/pools",
    "/api/performance/balancers/pools/{name}",
    "/api/performance/balancers/pools/{name}/freeze",
    "/api/performance/balancers/pools/{name}/kill",
    "/api/performance/balancers/pools/{name}/unfreeze",
    "/api/performance/cache",
    "/api/performance/cache/clear",
    "/api/performance/catalog",
    "/api/performance/control",
    "/api/performance/events",
    "/api/performance/last",
    "/api/performance/metrics",
    "/api/performance/metrics/batch",
    "/api/performance/optimize",
    "/api/performance/policies",
    "/api/performance/queries",
    "/api/performance/rollouts",
    "/api/performance/rollouts/{id}",
    "/api/performance/rollouts/{id}/pause",
    "/api/performance/rollouts/{id}/resume",
    "/api/performance/rollouts/{id}/rollback",
    "/api/performance/status",
    "/api/performance/suggestions",
    "/api/performance/suggestions/{id}",
    "/api/performance/suggestions/{id}/confirm",
    "/api/performance/suggestions/{id}/reject",
    "/api/performance/targets/{id}/unlock",
    "/docs",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/readyz",
];

/// Checks `answer` against the schema of the description's answer to `method path` with this status.
pub fn check(document: &Value, method: &str, path: &str, status: &str, answer: &Value) {
    let content = &document["paths"][path][method]["responses"][status]["content"];
    let errors = errors(document, content, answer);
    assert!(errors.is_empty(), "{method} {path} {status}: {errors:?}\n{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_fits_the_answers() {
    let server = Server::start().await;
    let gauge = series("m", Kind::Gauge, Scale::UNIT, &[("k", "v")]);
    server.insert("a", &gauge, &[(now_ms() - 30_000, 1), (now_ms(), 2)]).await;
    let feed = server.connect("a", gauge);
    feed.update(now_ms(), &[live_sample(1)]);
    server.report_shed("a", &feed);
    let document = server.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), PATHS);
    for path in [
        "/healthz",
        "/readyz",
        "/api/performance/status",
        "/api/performance/catalog",
        "/api/performance/alerts",
        "/api/performance/cache",
    ] {
        check(&document, "get", path, "200", &server.get(path).await.json());
    }
    let last = server.get("/api/performance/last?metric=m").await.json();
    assert_eq!(last["values"].as_array().unwrap().len(), 1);
    check(&document, "get", "/api/performance/last", "200", &last);
    let answer = server.metrics(&[("metric", "m"), ("step", "10s")]).await;
    assert!(answer["series"][0]["points"].as_array().unwrap().iter().any(|p| p[1].is_null()));
    check(&document, "get", "/api/performance/metrics", "200", &answer);
    check(&document, "post", "/api/performance/metrics", "200", &answer);
    let explained = server.metrics(&[("metric", "m"), ("from", "0"), ("explain", "true")]).await;
    assert!(!explained["explain"]["parts"].as_array().unwrap().is_empty());
    check(&document, "get", "/api/performance/metrics", "200", &explained);
    let queries = server.get("/api/performance/queries").await.json();
    assert!(!queries["shapes"].as_array().unwrap().is_empty());
    check(&document, "get", "/api/performance/queries", "200", &queries);
    let batch = json!({"queries": [{"metric": "m"}, {"metric": "nope"}]});
    let post = server.client.post(server.url("/api/performance/metrics/batch")).json(&batch);
    let batch = server.send(post).await.json();
    check(&document, "post", "/api/performance/metrics/batch", "200", &batch);
    let clear = server.client.post(server.url("/api/performance/cache/clear"));
    let cleared = server.send(clear.json(&json!({"tag": "all"}))).await.json();
    check(&document, "post", "/api/performance/cache/clear", "200", &cleared);
    let content = &document["paths"]["/api/performance/metrics"]["post"]["requestBody"]["content"];
    let body = json!({"metric": "m", "node": ["a"], "from": 0, "to": "2026-08-01T00:00:00Z"});
    assert_eq!(errors(&document, content, &body), Vec::<String>::new());
    for wrong in [json!({}), json!({"metric": "m", "zap": 1}), json!({"metric": "m", "node": "a"})]
    {
        assert_ne!(errors(&document, content, &wrong), Vec::<String>::new(), "{wrong}");
    }
    let problem = server.get("/api/performance/metrics?metric=nope").await.json();
    for (path, item) in paths {
        for method in item.as_object().unwrap().keys() {
            check(&document, method, path, "default", &problem);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_that_is_described_is_known() {
    let server = Server::start().await;
    let gauge = series("m", Kind::Gauge, Scale::UNIT, &[("k", "v")]);
    server.insert("a", &gauge, &[(now_ms(), 1)]).await;
    let document = server.get("/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method != "get" || path == "/docs" {
                continue;
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let query: Vec<_> = parameters
                .iter()
                .filter(|p| p["in"] == "query")
                .map(|p| (p["name"].as_str().unwrap().to_owned(), "nope"))
                .collect();
            let unknown = server.client.get(server.url(path)).query(&query).query(&[("zap", "1")]);
            let problem = server.send(unknown).await;
            assert_eq!(problem.status, 400, "{path}");
            let reasons: Vec<_> = problem.json()["errors"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|e| e["reason"].as_str().unwrap().starts_with("unknown parameter"))
                .map(|e| e["field"].clone())
                .collect();
            assert_eq!(reasons, ["zap"], "{path}");
            let known = problem.json()["errors"]
                .as_array()
                .unwrap()
                .iter()
                .find(|e| e["field"] == "zap")
                .unwrap()["reason"]
                .as_str()
                .unwrap()
                .to_owned();
            for (name, _) in &query {
                assert!(known.contains(name.as_str()), "{path}: {known} lacks {name}");
            }
            let listed = known.rsplit_once(": ").map_or(0, |(_, names)| names.split(", ").count());
            assert_eq!(listed, query.len(), "{path}: {known}");
        }
    }
    server.stop().await;
}
