//! One connection: its requests go to the edge; it ends when the client leaves, is too slow, or the collector stops.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep};

use super::io::{NotedStream, Notes};
use super::patience::Patience;
use super::{Open, Server};
use crate::api::edge::admission::Caller;
use crate::api::edge::{Answering, close_after, request_body};

/// A connection until it is closed.
pub(super) struct Connection {
    protocol: http1::Connection<TokioIo<NotedStream>, Requests>,
    server: Arc<Server>,
    notes: Arc<Notes>,
    patience: Patience,
    looked_at: Instant,
    look: Pin<Box<Sleep>>,
    /// Until it has been polled once.
    stop: Option<Pin<Box<OwnedNotified>>>,
    waker_is_known: bool,
    _open: Open,
}

/// What answers the requests of one connection.
struct Requests {
    server: Arc<Server>,
    notes: Arc<Notes>,
    caller: Caller,
    spare: bool,
}

/// An answer that is worked on, on this connection.
struct Response {
    answering: Answering,
    notes: Arc<Notes>,
    spare: bool,
}

/// The body of an answer; tells when it was given to be written.
struct Sent {
    body: Body,
    notes: Arc<Notes>,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        server: &Arc<Server>,
        peer: IpAddr,
        spare: bool,
        open: Open,
    ) -> Self {
        let notes = Arc::new(Notes::default());
        let requests = Requests {
            server: Arc::clone(server),
            notes: Arc::clone(&notes),
            caller: server.edge.admission().caller(peer),
            spare,
        };
        let io = TokioIo::new(NotedStream::new(stream, Arc::clone(&notes)));
        let patience = Patience::new(&server.limits, spare);
        Self {
            protocol: server.protocol.serve_connection(io, requests),
            notes,
            looked_at: Instant::now(),
            look: Box::pin(sleep(patience.period())),
            patience,
            stop: Some(Box::pin(Arc::clone(&server.stopping.told).notified_owned())),
            waker_is_known: false,
            server: Arc::clone(server),
            _open: open,
        }
    }

    /// Closes the connection after the current answer, when the collector stops; true: it has just been told so.
    fn is_told_to_stop(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(stop) = &mut self.stop else { return false };
        if !self.waker_is_known {
            // Being woken is all that is wanted of it, and a task is always woken in the same way.
            let _ = stop.as_mut().poll(cx);
            self.waker_is_known = true;
        }
        if !self.server.stopping.has_begun() {
            return false;
        }
        self.stop = None;
        Pin::new(&mut self.protocol).graceful_shutdown();
        true
    }

    /// Whether the client has taken longer than it may.
    fn is_cut_off(&mut self, cx: &mut Context<'_>) -> bool {
        while self.look.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let since = now - std::mem::replace(&mut self.looked_at, now);
            if let Some(reason) = self.patience.look(self.notes.seen(), since) {
                tracing::debug!(?reason, "a client was cut off");
                self.server.metrics.cut(reason);
                self.notes.reset();
                return true;
            }
            let next = now + self.patience.period();
            self.look.as_mut().reset(next);
        }
        false
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(result) = Pin::new(&mut this.protocol).poll(cx) {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke");
                }
                return Poll::Ready(());
            }
            if !this.is_told_to_stop(cx) {
                break;
            }
        }
        if this.is_cut_off(cx) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = axum::http::Response<Sent>;
    type Error = Infallible;
    type Future = Response;

    fn call(&self, request: Request<Incoming>) -> Response {
        self.notes.request();
        let timeout = self.server.limits.body_timeout;
        let request = request.map(|body| request_body(body, timeout));
        let answering = self.server.edge.answer(request, &self.caller, self.spare);
        Response { answering, notes: Arc::clone(&self.notes), spare: self.spare }
    }
}

impl Future for Response {
    type Output = Result<axum::http::Response<Sent>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut response = ready!(Pin::new(&mut this.answering).poll(cx));
        if this.spare {
            close_after(&mut response);
        }
        let notes = Arc::clone(&this.notes);
        Poll::Ready(Ok(response.map(|body| Sent { body, notes })))
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.notes.answered();
    }
}
