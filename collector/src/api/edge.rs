//! What every request passes through, from the outside in: request id, log line, metrics and security headers; panics become problem documents; compression;
//! bounds on the address and on the time to an answer. Bodies are bounded where they are read ([`read_json`]).

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tracing::Instrument as _;

use super::error::ApiError;
use super::params::Fields;
use super::{AppState, telemetry};

/// Header that carries the id of a request, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is honoured.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Bounds of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest path and query string, in bytes.
    pub url_bytes: usize,
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Longest time until the answer begins.
    pub timeout: Duration,
    /// Most readers of `/api/performance/events` at once.
    pub event_readers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            url_bytes: 16 * 1024,
            body_bytes: 256 * 1024,
            timeout: Duration::from_secs(30),
            event_readers: 256,
        }
    }
}

/// Puts all of it around `router`.
pub(super) fn wrap(router: Router, state: AppState) -> Router {
    router
        .layer(from_fn_with_state(state.clone(), bound))
        .layer(CompressionLayer::new().gzip(true))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| panicked(&*panic)))
        .layer(from_fn_with_state(state, observe))
}

/// Reads a JSON object.
///
/// # Errors
/// When the body is of another type, too large, or no JSON object.
pub async fn read_json(request: Request, limit_bytes: usize) -> Result<Fields, ApiError> {
    let (head, body) = request.into_parts();
    check_body_head(&head.headers, limit_bytes)?;
    let bytes = to_bytes(body, limit_bytes).await;
    Fields::parse(&bytes.map_err(|_| ApiError::BodyTooLarge(limit_bytes))?)
}

/// What the headers already say about the body.
fn check_body_head(headers: &HeaderMap, limit_bytes: usize) -> Result<(), ApiError> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let media_type = header(CONTENT_TYPE).and_then(|text| text.split(';').next());
    if !media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json")) {
        return Err(ApiError::UnsupportedMediaType);
    }
    match header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok()) {
        Some(announced) if announced > limit_bytes as u64 => {
            Err(ApiError::BodyTooLarge(limit_bytes))
        }
        _ => Ok(()),
    }
}

/// Names, logs and counts a request.
async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!(
        "request",
        request_id = id.to_str().unwrap_or_default(),
        %method,
        path
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    let (elapsed, status) = (started.elapsed(), response.status());
    let route = route.as_deref().unwrap_or(telemetry::OTHER_ROUTE);
    state.0.metrics.answered(route, &method, status, elapsed);
    span.in_scope(|| log(status, elapsed));
    add_headers(response.headers_mut(), id);
    response
}

/// What went wrong is worth a line; what went well is one of thousands a second.
fn log(status: StatusCode, elapsed: Duration) {
    let (status, elapsed_us) = (status.as_u16(), elapsed.as_micros() as u64);
    if status >= 500 {
        tracing::warn!(status, elapsed_us, "answered");
    } else if status >= 400 {
        tracing::info!(status, elapsed_us, "answered");
    } else {
        tracing::debug!(status, elapsed_us, "answered");
    }
}

fn add_headers(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The id that came with the request when it is short and printable, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(|| {
        let id = format!("{:032x}", rand::random::<u128>());
        HeaderValue::from_str(&id).expect("hexadecimal digits are a valid header")
    })
}

/// Bounds the address and the time to an answer.
async fn bound(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let limits = state.0.limits;
    let length = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if length > limits.url_bytes {
        return ApiError::UrlTooLong(limits.url_bytes).into_response();
    }
    match tokio::time::timeout(limits.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout(limits.timeout).into_response(),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    ApiError::Internal(format!("panic: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn id_of(given: &[u8]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        request_id(&headers)
    }

    #[test]
    fn a_request_id_is_honoured_or_made() {
        assert_eq!(id_of(b"trace-7/ok"), "trace-7/ok");
        for bad in [&b""[..], b"with space", b"caf\xe9", &[b'x'; 129]] {
            let made = id_of(bad);
            assert!(made.len() == 32 && made.as_bytes() != bad, "{bad:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    async fn read(media_type: &str, body: &'static str) -> Result<Fields, ApiError> {
        let request = Request::post("/").header(CONTENT_TYPE, media_type);
        read_json(request.body(Body::from(body)).unwrap(), 8).await
    }

    #[tokio::test]
    async fn a_body_is_json_and_bounded() {
        assert!(read("application/json; charset=utf-8", "{\"a\":1}").await.is_ok());
        assert!(matches!(read("text/plain", "{}").await, Err(ApiError::UnsupportedMediaType)));
        assert!(matches!(read("application/json", "{").await, Err(ApiError::MalformedBody(_))));
        let large = read("application/json", "{\"a\": 12}").await;
        assert!(matches!(large, Err(ApiError::BodyTooLarge(8))));
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_keeps_its_words_inside() {
        let response = panicked(&"index out of bounds");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[CONTENT_TYPE], super::super::problem::MEDIA_TYPE);
        let body = to_bytes(response.into_body(), 1_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("index"));
    }
}
