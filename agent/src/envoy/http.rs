//! GET over HTTP/1.1 on a connection that is kept: bounded in time and in size.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Uri;

use crate::redis::State;

/// An answer of 200.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// What it holds.
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Nobody takes the connection, or it broke off.
    #[error("{0}")]
    Unreachable(String),
    /// Not in time.
    #[error("no answer within {0:?}")]
    Slow(Duration),
    /// Another status than 200.
    #[error("answers {0}")]
    Status(StatusCode),
    /// More than is taken.
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
}

/// One server.
pub(crate) struct Http {
    place: Uri,
    deadline: Duration,
    max_bytes: usize,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl HttpError {
    /// The state of a server that answers so.
    pub(crate) const fn state(&self) -> State {
        match self {
            Self::Unreachable(_) | Self::TooLarge(_) => State::Unreachable,
            Self::Slow(_) => State::Slow,
            Self::Status(_) => State::Denied,
        }
    }
}

impl Http {
    /// A server at `place`, which is asked for answers of `max_bytes` at most within `deadline` each.
    pub(crate) const fn new(place: Uri, deadline: Duration, max_bytes: usize) -> Self {
        Self { place, deadline, max_bytes, sender: None }
    }

    /// True when the next question needs a new connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.as_ref().is_none_or(SendRequest::is_closed)
    }

    /// Asks for `path`, which begins with a slash.
    ///
    /// # Errors
    /// When there is no answer of 200 in time.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, HttpError> {
        let until = Instant::now() + self.deadline;
        let answer = match timeout_at(until, self.exchange(path)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Slow(self.deadline)),
        };
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn exchange(&mut self, path: &str) -> Result<Answer, HttpError> {
        if self.is_closed() {
            self.sender = Some(self.connect().await?);
        }
        let sender = self.sender.as_mut().expect("it has just been connected");
        sender.ready().await.map_err(unreachable)?;
        let host = self.place.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path).header(HOST, host).body(Empty::new());
        let request = request.map_err(unreachable)?;
        let response = sender.send_request(request).await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(HttpError::Status(response.status()));
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.max_bytes).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                HttpError::TooLarge(self.max_bytes)
            } else {
                HttpError::Unreachable(error.to_string())
            }
        })?;
        Ok(Answer { headers: head.headers, body: body.to_bytes() })
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, HttpError> {
        let host = self.place.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.place.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        // It ends with the sender, or with the server.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn unreachable(error: impl std::error::Error) -> HttpError {
    HttpError::Unreachable(error.to_string())
}
