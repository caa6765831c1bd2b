//! Bodies: those of requests are bounded in size where they are read, and in time from when one first waits for a part; compressed ones of answers let others
//! have the processor now and then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::super::error::ApiError;
use super::super::params::Fields;

/// A body that must arrive in time.
#[derive(Debug)]
pub(crate) struct TimedBody<B> {
    body: B,
    timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Why reading a body fails.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body did not arrive in time")]
    Slow(Duration),
    #[error("the connection failed: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

/// A body whose parts take time to make: after some of them it waits until other tasks had their turn. Without it, ten megabytes would be compressed in one
/// go, and everything else on that thread would wait for it.
#[derive(Debug)]
pub(super) struct Paced {
    body: Body,
    parts: u32,
}

/// Compressed parts of 4 kB in a row: one or two milliseconds of work.
const PARTS: u32 = 4;

impl Paced {
    pub(super) const fn new(body: Body) -> Self {
        Self { body, parts: 0 }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.parts == PARTS {
            self.parts = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.parts += 1;
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> TimedBody<B> {
    /// All of `body` within `timeout`.
    pub(crate) const fn new(body: B, timeout: Duration) -> Self {
        Self { body, timeout, deadline: None }
    }
}

impl<B> HttpBody for TimedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|f| f.map_err(|e| BodyError::Broken(e.into()).into())));
        }
        let timeout = this.timeout;
        let begin = || Box::pin(tokio::time::sleep(timeout));
        let deadline = this.deadline.get_or_insert_with(begin);
        deadline.as_mut().poll(cx).map(|()| Some(Err(BodyError::Slow(timeout).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request as the API reads it.
pub(crate) fn request_body(body: Incoming, timeout: Duration) -> Body {
    if body.is_end_stream() { Body::empty() } else { Body::new(TimedBody::new(body, timeout)) }
}

/// Reads a JSON object.
///
/// # Errors
/// When the body is of another type, too large, too slow, or no JSON object.
pub async fn read_json(request: Request, limit_bytes: usize) -> Result<Fields, ApiError> {
    let (head, body) = request.into_parts();
    check_head(&head.headers, limit_bytes)?;
    let bytes = to_bytes(body, limit_bytes).await.map_err(|error| failure(&error, limit_bytes))?;
    Fields::parse(&bytes)
}

/// What the headers already say about the body.
fn check_head(headers: &HeaderMap, limit_bytes: usize) -> Result<(), ApiError> {
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

/// Why a body could not be read: slow, broken, or else larger than it may be.
fn failure(error: &axum::Error, limit_bytes: usize) -> ApiError {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(BodyError::Slow(timeout)) => return ApiError::SlowBody(*timeout),
            Some(broken) => return ApiError::MalformedBody(broken.to_string()),
            None => cause = error.source(),
        }
    }
    ApiError::BodyTooLarge(limit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(media_type: &str, body: Body) -> Result<Fields, ApiError> {
        let request = Request::post("/").header(CONTENT_TYPE, media_type);
        read_json(request.body(body).unwrap(), 8).await
    }

    #[tokio::test]
    async fn a_body_is_json_and_bounded() {
        assert!(read("application/json; charset=utf-8", "{\"a\":1}".into()).await.is_ok());
        let text = read("text/plain", "{}".into()).await;
        assert!(matches!(text, Err(ApiError::UnsupportedMediaType)));
        let half = read("application/json", "{".into()).await;
        assert!(matches!(half, Err(ApiError::MalformedBody(_))));
        let large = read("application/json", "{\"a\": 12}".into()).await;
        assert!(matches!(large, Err(ApiError::BodyTooLarge(8))));
    }

    #[tokio::test]
    async fn a_paced_body_is_whole_and_lets_others_run() {
        let parts = (0..PARTS * 3).map(|i| Ok::<_, std::io::Error>(Bytes::from(i.to_string())));
        let body = Body::from_stream(futures_util::stream::iter(parts));
        let mut whole = Box::pin(to_bytes(Body::new(Paced::new(body)), 1_000));
        let mut waits = 0;
        let bytes = loop {
            match futures_util::poll!(&mut whole) {
                Poll::Ready(bytes) => break bytes.unwrap(),
                Poll::Pending => waits += 1,
            }
        };
        assert_eq!((waits, &bytes[..]), (3, &b"01234567891011"[..]));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_slow_and_one_that_breaks_is_malformed() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let body = TimedBody::new(Body::from_stream(never), Duration::from_millis(1));
        let slow = read("application/json", Body::new(body)).await;
        assert!(matches!(slow, Err(ApiError::SlowBody(_))), "{slow:?}");
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        let body = TimedBody::new(Body::from_stream(broken), Duration::from_secs(9));
        let broken = read("application/json", Body::new(body)).await;
        assert!(matches!(broken, Err(ApiError::MalformedBody(_))), "{broken:?}");
    }
}
