//! An HTTP client that costs little: requests without a body over connections that stay open,
//! bodies of answers counted and thrown away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, RETRY_AFTER};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client as Inner;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Longest wait for an answer. A server that takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// One connection's worth of a client: its pool keeps one.
#[derive(Debug, Clone)]
pub(super) struct Client {
    inner: Inner<HttpConnector, Empty<Bytes>>,
    base: String,
}

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ask {
    /// Path and query.
    pub(super) path: String,
    /// Whether the answer may be compressed.
    pub(super) gzip: bool,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Of the body, as it came.
    pub(super) bytes: usize,
    /// From the sending to the last byte.
    pub(super) took: Duration,
    /// The server's own account, from `Server-Timing: total;dur=MS`.
    pub(super) server_ms: Option<f64>,
    /// The answer says when to come again.
    pub(super) has_retry_after: bool,
}

impl Ask {
    pub(super) fn of(path: impl Into<String>) -> Self {
        Self { path: path.into(), gzip: false }
    }
}

impl Answer {
    /// What is asked for does not exist in this server.
    pub(super) const fn is_not_there(&self) -> bool {
        matches!(self.status, 400 | 404 | 405)
    }
}

impl Client {
    /// A client of `http://host:port`. It connects with its first request.
    pub(super) fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let inner = Inner::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Self { inner, base: base.to_owned() }
    }

    /// Asks and reads the whole answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub(super) async fn get(&self, ask: &Ask) -> Result<Answer> {
        tokio::time::timeout(PATIENCE, self.send(ask)).await.context("no answer")?
    }

    async fn send(&self, ask: &Ask) -> Result<Answer> {
        let mut request = Request::get(format!("{}{}", self.base, ask.path));
        if ask.gzip {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        let request = request.body(Empty::new())?;
        let started = Instant::now();
        let (head, mut body) = self.inner.request(request).await.map(Response::into_parts)?;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(Answer {
            status: head.status.as_u16(),
            bytes,
            took: started.elapsed(),
            server_ms: server_ms(&head.headers),
            has_retry_after: head.headers.contains_key(RETRY_AFTER),
        })
    }
}

/// Milliseconds of `total` in the header `Server-Timing`.
fn server_ms(headers: &HeaderMap) -> Option<f64> {
    let lines = headers.get_all("server-timing").iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).find_map(total_ms)
}

/// Milliseconds of one metric when it is `total`.
fn total_ms(metric: &str) -> Option<f64> {
    let mut parts = metric.split(';').map(str::trim);
    if parts.next()? != "total" {
        return None;
    }
    parts.find_map(|part| part.strip_prefix("dur=")?.trim_matches('"').parse().ok())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_servers_time_is_found_among_others() {
        let ms = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("server-timing", HeaderValue::from_static(text));
            server_ms(&headers)
        };
        assert_eq!(ms("total;dur=1.25"), Some(1.25));
        assert_eq!(ms("store;dur=1, total;desc=\"all\";dur=2.5"), Some(2.5));
        assert_eq!((ms("store;dur=1"), ms("total"), ms("")), (None, None, None));
        assert_eq!(server_ms(&HeaderMap::new()), None);
    }
}
