//! The edge around a small router: panics, headers, compression and refusals.

use axum::body::to_bytes;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::routing::get;
use prometheus_client::registry::Registry;

use super::*;
use crate::overload::Rate;

fn edge(limits: Limits) -> Edge {
    async fn explode() -> &'static str {
        panic!("index out of bounds")
    }
    let metrics = ApiMetrics::register(&mut Registry::default());
    let router = Router::new()
        .route("/api/explode", get(explode))
        .route(
            "/api/text/{bytes}",
            get(async |request: Request| {
                let bytes = request.uri().path().rsplit('/').next().unwrap().parse().unwrap();
                "x".repeat(bytes)
            }),
        )
        .route("/api/never", get(std::future::pending::<()>))
        .route("/healthz", get(async || "ok"));
    let paths = ["/api/explode", "/api/text/{bytes}", "/api/never", "/healthz"];
    let admission = Arc::new(Admission::new(limits, metrics.clone()));
    Edge::new(router, paths, limits, admission, &metrics)
}

async fn ask(edge: &Edge, path: &str, spare: bool) -> Response {
    let request = Request::get(path).body(Body::empty()).unwrap();
    edge.answer(request, &Caller::default(), spare).await
}

#[tokio::test]
async fn a_panic_is_a_problem_that_keeps_its_words_inside() {
    let response = ask(&edge(Limits::default()), "/api/explode", false).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers()[CONTENT_TYPE], super::super::problem::MEDIA_TYPE);
    assert_eq!(response.headers()[REQUEST_ID].len(), 32);
    let body = to_bytes(response.into_body(), 1_000).await.unwrap();
    assert!(!String::from_utf8_lossy(&body).contains("index"));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_ends() {
    let edge = edge(Limits { timeout: Duration::from_millis(1), ..Limits::default() });
    assert_eq!(ask(&edge, "/api/never", false).await.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn an_answer_has_its_headers() {
    let edge = edge(Limits::default());
    let response = ask(&edge, "/api/text/5", false).await;
    let headers = response.headers();
    assert!(headers[SERVER_TIMING].to_str().unwrap().starts_with("total;dur="));
    assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[CACHE_CONTROL], "no-store");
    let health = ask(&edge, "/healthz", false).await;
    assert!(!health.headers().contains_key(SERVER_TIMING));
}

#[tokio::test]
async fn only_a_large_answer_that_is_wanted_so_is_compressed() {
    let edge = edge(Limits { compress_bytes: 100, ..Limits::default() });
    for (path, wanted, compressed) in [
        ("/api/text/100", "gzip", true),
        ("/api/text/99", "gzip", false),
        ("/api/text/100", "br", false),
        ("/api/text/100", "gzip;q=0", false),
    ] {
        let request = Request::get(path).header(ACCEPT_ENCODING, wanted);
        let request = request.body(Body::empty()).unwrap();
        let response = edge.answer(request, &Caller::default(), false).await;
        let got = response.headers().contains_key(CONTENT_ENCODING);
        assert_eq!(got, compressed, "{path} {wanted}");
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_again() {
    let rate = Some(Rate { per_second: 1, burst: 1 });
    let edge = edge(Limits { rate, rate_of_loopback: true, ..Limits::default() });
    let caller = edge.admission().caller("127.0.0.1".parse().unwrap());
    let request = || Request::get("/api/text/5").body(Body::empty()).unwrap();
    assert_eq!(edge.answer(request(), &caller, false).await.status(), StatusCode::OK);
    let refused = edge.answer(request(), &caller, false).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[RETRY_AFTER], "1");
    let spare = ask(&edge, "/api/text/5", true).await;
    assert_eq!(spare.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(spare.headers()[RETRY_AFTER], "1");
    assert_eq!(ask(&edge, "/healthz", true).await.status(), StatusCode::OK);
}

#[test]
fn times_are_milliseconds_with_three_decimals() {
    for (micros, text) in [
        (0, "total;dur=0.000"),
        (7, "total;dur=0.007"),
        (1_234, "total;dur=1.234"),
        (10_000_000, "total;dur=10000.000"),
        (u64::MAX, "total;dur=18446744073709551.615"),
    ] {
        assert_eq!(timing(Duration::from_micros(micros)), text);
    }
}
