//! One stream: its task reads requests and snapshots, and writes responses.
//!
//! Snapshots reach it by a watch channel, so a stream that is slow or waits for an answer sees the
//! newest alone. Responses go through a channel of [`RESPONSES`]; while it is full nothing more is
//! read from the client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::clients::{
    ClientId, ClientStatus, KindStatus, MAX_MESSAGE_BYTES, MAX_TEXT_BYTES, Nack, cut,
};
use crate::resource::Kind;
use crate::server::Shared;
use crate::session::{Answered, Outcome, OverLimit, Session};
use crate::snapshot::MAX_NAME_BYTES;
use crate::wire::{self, Variant};

/// Responses ready to be written: more than the types, so that one pass of pushes fits.
const RESPONSES: usize = 8;

type Responses<V> = Sender<Result<<V as Variant>::Response, Status>>;

pub(crate) struct Stream<V: Variant> {
    shared: Arc<Shared>,
    session: Session,
    status: ClientStatus,
    nacks: HashMap<Kind, Nack>,
    /// Count of snapshots published when the last one was read.
    published: u64,
    responses: Responses<V>,
}

impl<V: Variant + 'static> Stream<V> {
    /// Starts the task of a stream; returns the responses.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: too many streams.
    pub(crate) fn start(
        shared: Arc<Shared>,
        requests: Streaming<V::Request>,
        peer: Option<SocketAddr>,
        stop: CancellationToken,
    ) -> Result<Receiver<Result<V::Response, Status>>, Status> {
        let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
            shared.counters.streams_refused.add(1);
            return Err(Status::resource_exhausted("too many streams"));
        };
        shared.counters.streams_opened.add(1);
        let id = shared.next_stream();
        let (responses, receiver) = mpsc::channel(RESPONSES);
        let stream = Self {
            session: Session::new(V::PROTOCOL, id, shared.settings.max_names),
            status: ClientStatus {
                id: ClientId(id),
                node_id: String::new(),
                user_agent: String::new(),
                peer,
                protocol: V::PROTOCOL,
                connected_at: SystemTime::now(),
                snapshot: None,
                kinds: Vec::new(),
            },
            nacks: HashMap::new(),
            published: 0,
            responses,
            shared,
        };
        tokio::spawn(async move {
            let (shared, id) = (Arc::clone(&stream.shared), stream.status.id);
            stream.run(requests, stop).await;
            shared.registry.remove(id);
            shared.counters.streams_closed.add(1);
            drop(permit);
        });
        Ok(receiver)
    }

    async fn run(mut self, mut requests: Streaming<V::Request>, stop: CancellationToken) {
        let mut snapshots = self.shared.catalogue.subscribe();
        let closed = self.responses.clone();
        let end = loop {
            tokio::select! {
                () = stop.cancelled() => break Some(Status::unavailable("server stops")),
                () = closed.closed() => break None,
                changed = snapshots.changed() => if changed.is_err() { break None },
                request = requests.message() => match request {
                    Ok(Some(request)) => if let Err(status) = self.request(&request) {
                        break Some(status);
                    },
                    Ok(None) => break None,
                    Err(status) => {
                        if status.code() == tonic::Code::OutOfRange || status.code() == tonic::Code::Internal {
                            self.shared.counters.requests_unreadable.add(1);
                        }
                        break Some(status);
                    }
                },
            }
            snapshots.mark_unchanged();
            let pushed = tokio::select! {
                () = stop.cancelled() => Err(Some(Status::unavailable("server stops"))),
                pushed = self.push() => pushed,
            };
            if let Err(end) = pushed {
                break end;
            }
        };
        if let Some(status) = end {
            // A client that does not read does not see why its stream ends.
            let _ = self.responses.try_send(Err(status));
        }
    }

    /// Takes in a request.
    fn request(&mut self, request: &V::Request) -> Result<(), Status> {
        let counters = &self.shared.counters;
        if let Some(node) = V::node(request) {
            self.status.node_id = cut(&node.id, MAX_TEXT_BYTES);
            self.status.user_agent = wire::user_agent(node);
        }
        let url = V::type_url(request);
        if url.is_empty() {
            counters.requests_untyped.add(1);
            return Err(Status::invalid_argument("type_url is empty"));
        }
        let Some(kind) = Kind::from_type_url(url) else {
            counters.requests_unknown_type.add(1);
            return Ok(());
        };
        match V::apply(&mut self.session, kind, request) {
            Ok(Outcome::Request) => {}
            Ok(Outcome::Stale) => counters.requests_stale.add(1),
            Ok(Outcome::Answered(Answered { rejected: false, .. })) => counters.acks.add(1),
            Ok(Outcome::Answered(Answered { version, .. })) => {
                counters.nacks.add(1);
                self.rejected(kind, version, request);
            }
            Err(limit) => return Err(self.over_limit(&limit)),
        }
        Ok(())
    }

    fn rejected(&mut self, kind: Kind, version: String, request: &V::Request) {
        let error = V::error(request);
        let message = error.map_or("", |error| error.message.as_str());
        let message = cut(message, MAX_MESSAGE_BYTES);
        let node = &self.status.node_id;
        tracing::warn!(%node, ?kind, %version, %message, "client rejects a response");
        let code = error.map_or(0, |error| error.code);
        self.nacks.insert(kind, Nack { version, code, message, at: SystemTime::now() });
    }

    fn over_limit(&self, limit: &OverLimit) -> Status {
        self.shared.counters.subscriptions_over_limit.add(1);
        let max = self.shared.settings.max_names;
        Status::resource_exhausted(match limit {
            OverLimit::Many => format!("more than {max} names, unanswered or rejected responses"),
            OverLimit::Long => format!("a name of more than {MAX_NAME_BYTES} bytes"),
        })
    }

    /// Sends what is due.
    async fn push(&mut self) -> Result<(), Option<Status>> {
        let newest = self.shared.catalogue.borrow().clone();
        let Some(newest) = newest else {
            self.publish_status();
            return Ok(());
        };
        if newest.number != self.published && self.published != 0 {
            let behind = self.status.snapshot.is_some() && !self.status.in_sync();
            let skipped = newest.number - self.published - 1;
            self.shared.counters.snapshots_overtaken.add(skipped + u64::from(behind));
        }
        self.published = newest.number;
        let due = self.session.due(&newest.catalogue);
        let due = due.map_err(|limit| Some(self.over_limit(&limit)))?;
        self.status.snapshot = Some(newest.catalogue.snapshot.version.clone());
        self.publish_status();
        for response in due {
            self.shared.counters.responses.add(1);
            let sent = self.responses.send(Ok(V::response(response))).await;
            sent.map_err(|_| None)?;
        }
        Ok(())
    }

    fn publish_status(&mut self) {
        let old = std::mem::take(&mut self.status.kinds);
        self.status.kinds = self
            .session
            .status()
            .map(|new| {
                let before = old.iter().find(|old| old.kind == new.kind);
                let mut status = KindStatus {
                    kind: new.kind,
                    sent: new.sent,
                    acked: new.acked,
                    in_sync: new.state.in_sync,
                    refuses: new.state.refuses,
                    nack: self.nacks.get(&new.kind).cloned(),
                    changed_at: before.map_or(SystemTime::UNIX_EPOCH, |old| old.changed_at),
                };
                if before != Some(&status) {
                    status.changed_at = SystemTime::now();
                }
                status
            })
            .collect();
        if !self.status.kinds.is_empty() {
            self.shared.registry.put(&self.status);
        }
    }
}
