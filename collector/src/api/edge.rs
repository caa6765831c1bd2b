//! What every request passes through: refused or let in ([`admission`]), named ([`name`]), answered in time and whatever panics, counted, logged when it failed,
//! compressed when that was asked for and pays, and given its headers.
//!
//! One service does all of it rather than a stack of layers: each layer of axum boxes the service and its future and moves the request once more. What most
//! requests do not need costs them nothing: the timer and the span begin when a request first waits, labels of metrics are made once, and an answer
//! that nobody wants compressed does not meet the compressor. Measured: 8 us of CPU for `/healthz` and 10 us for the status of a node, most of it the system's.

pub(super) mod admission;
mod body;
mod limits;
mod name;
mod routes;

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, HeaderName, HeaderValue, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tower::Service;
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

pub(super) use self::admission::Peer;
use self::admission::{Admission, Caller, InFlight};
use self::body::Paced;
pub use self::body::read_json;
pub(super) use self::body::request_body;
pub use self::limits::Limits;
pub use self::name::REQUEST_ID;
pub(crate) use self::name::named;
use self::name::{Name, Named};
use self::routes::{Class, Route, Routes};
use super::error::ApiError;
use super::telemetry::ApiMetrics;

/// W3C Server Timing.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The API and the dashboard, with all of it around them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Inner>);

struct Inner {
    router: Router,
    routes: Routes,
    limits: Limits,
    admission: Arc<Admission>,
}

/// An answer that is worked on.
pub(crate) struct Answering {
    edge: Edge,
    started: Instant,
    method: Method,
    class: Class,
    named: Named,
    work: Work,
    /// From when the request first waits.
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    _in_flight: Option<InFlight>,
}

type Plain = <Router as Service<Request>>::Future;
type Boxed = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

#[allow(clippy::large_enum_variant, reason = "most are the large one, and a box would cost them")]
enum Work {
    Refused(Option<ApiError>),
    Plain(Plain),
    Compressed(Boxed),
}

impl Edge {
    /// All of it around `router`, which answers `paths` (as the description of the API has them).
    pub(super) fn new<'a>(
        router: Router,
        paths: impl IntoIterator<Item = &'a str>,
        limits: Limits,
        admission: Arc<Admission>,
        metrics: &ApiMetrics,
    ) -> Self {
        Self(Arc::new(Inner { router, routes: Routes::new(paths, metrics), limits, admission }))
    }

    /// Who decides whom to let in.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.0.admission
    }

    /// Answers a request of `caller`. `spare`: on one of the connections that are there to tell so.
    pub(crate) fn answer(&self, mut request: Request, caller: &Caller, spare: bool) -> Answering {
        if let Some(peer) = caller.peer().filter(|_| request.method() == Method::POST) {
            request.extensions_mut().insert(peer);
        }
        let started = Instant::now();
        let class = self.route(request.uri().path()).class;
        let name = Name::of(request.headers(), request.method(), request.uri());
        let method = name.method.clone();
        let admitted = if spare && class != Class::Operation {
            Err(ApiError::Overloaded("too many connections (http.max_connections)"))
        } else {
            self.admit(&request, class, caller, started)
        };
        let (work, in_flight) = match admitted {
            Ok(in_flight) => (self.begin(request), in_flight),
            Err(error) => (Work::Refused(Some(error)), None),
        };
        let (edge, named) = (self.clone(), Named::Unlogged(Some(name)));
        Answering {
            edge,
            started,
            method,
            class,
            named,
            work,
            deadline: None,
            _in_flight: in_flight,
        }
    }

    fn admit(
        &self,
        request: &Request,
        class: Class,
        caller: &Caller,
        now: Instant,
    ) -> Result<Option<InFlight>, ApiError> {
        let in_flight = self.0.admission.admit(class, caller, now)?;
        let length = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
        if length > self.0.limits.url_bytes {
            return Err(ApiError::UrlTooLong(self.0.limits.url_bytes));
        }
        Ok(in_flight)
    }

    fn begin(&self, request: Request) -> Work {
        let mut router = self.0.router.clone();
        if !request.headers().contains_key(ACCEPT_ENCODING) {
            return Work::Plain(router.call(request));
        }
        let large = SizeAbove::new(self.0.limits.compress_bytes);
        let suits = large.and(NotForContentType::IMAGES).and(NotForContentType::SSE);
        let compression = Compression::new(router).gzip(true).quality(CompressionLevel::Fastest);
        let answer = compression.compress_when(suits).call(request);
        Work::Compressed(Box::pin(async move {
            Ok(answer.await?.map(|body| Body::new(Paced::new(Body::new(body)))))
        }))
    }

    fn route(&self, path: &str) -> &Route {
        self.0.routes.find(path)
    }
}

impl Future for Answering {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let this = self.get_mut();
        let work = &mut this.work;
        let polled = this.named.run(|| catch_unwind(AssertUnwindSafe(|| work.poll(cx))));
        let response = match polled {
            Ok(Poll::Ready(response)) => response,
            Ok(Poll::Pending) => match this.poll_deadline(cx) {
                Poll::Ready(response) => response,
                Poll::Pending => return Poll::Pending,
            },
            Err(panic) => this.named.run(|| panicked(&*panic)),
        };
        Poll::Ready(this.finish(response))
    }
}

impl Work {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Response> {
        let polled = match self {
            Self::Refused(error) => {
                let error = error.take().expect("polled until it is ready");
                Poll::Ready(Ok(error.into_response()))
            }
            Self::Plain(answer) => Pin::new(answer).poll(cx),
            Self::Compressed(answer) => answer.as_mut().poll(cx),
        };
        polled.map(|result| result.unwrap_or_else(|never| match never {}))
    }
}

impl Answering {
    /// The request waits: what it logs from now on has its name, and its time is bounded.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Response> {
        self.named.log();
        let timeout = self.edge.0.limits.timeout;
        let deadline = self.deadline.get_or_insert_with(|| {
            let due = tokio::time::Instant::from_std(self.started + timeout);
            Box::pin(tokio::time::sleep_until(due))
        });
        deadline.as_mut().poll(cx).map(|()| ApiError::Timeout(timeout).into_response())
    }

    /// Counts, logs and completes an answer.
    fn finish(&mut self, mut response: Response) -> Response {
        let (elapsed, status) = (self.started.elapsed(), response.status());
        let refused = matches!(self.work, Work::Refused(_));
        if is_logged(status, refused) {
            self.named.log();
            self.named.run(|| log(status, elapsed, refused));
        }
        let headers = response.headers_mut();
        if let Some(name) = self.named.name() {
            let route = self.edge.route(name.uri.path());
            route.metrics.answered(&self.method, status, elapsed);
            headers.insert(REQUEST_ID, name.id.clone());
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        match self.class {
            Class::Call | Class::Events => {
                headers.insert(SERVER_TIMING, timing(elapsed));
            }
            Class::File => {
                headers.entry(VARY).or_insert(HeaderValue::from_static("accept-encoding"));
            }
            Class::Operation => {}
        }
        response
    }
}

/// What a spare connection is told: not to be used again.
pub(super) fn close_after(response: &mut Response) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// What went wrong is worth a line; what went well is one of thousands a second, and so is what was refused.
fn is_logged(status: StatusCode, refused: bool) -> bool {
    if status.as_u16() >= 400 && !refused {
        tracing::enabled!(tracing::Level::INFO)
    } else {
        tracing::enabled!(tracing::Level::DEBUG)
    }
}

fn log(status: StatusCode, elapsed: Duration, refused: bool) {
    let (status, elapsed_us) = (status.as_u16(), elapsed.as_micros() as u64);
    if status < 400 || refused {
        tracing::debug!(status, elapsed_us, "answered");
    } else if status < 500 {
        tracing::info!(status, elapsed_us, "answered");
    } else {
        tracing::warn!(status, elapsed_us, "answered");
    }
}

/// `total;dur=0.123`, in milliseconds.
fn timing(elapsed: Duration) -> HeaderValue {
    const START: &[u8] = b"total;dur=";
    // u64::MAX microseconds have 17 digits before the point.
    let mut text = [b'0'; 32];
    let (mut at, mut micros) = (text.len(), elapsed.as_micros() as u64);
    let end = at;
    while micros > 0 || end - at < 5 {
        at -= 1;
        if end - at == 4 {
            text[at] = b'.';
        } else {
            text[at] = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
    }
    at -= START.len();
    text[at..at + START.len()].copy_from_slice(START);
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text[at..])).expect("digits are text")
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    ApiError::Internal(format!("panic: {text}")).into_response()
}

#[cfg(test)]
mod tests;
