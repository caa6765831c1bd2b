//! What each connected client has been told, has acknowledged and has refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::resource::Kind;

/// The longest text of a client (node id, user agent) that is kept, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;
/// The longest message of a rejection that is kept, in bytes. Envoy puts the whole resource into
/// it.
pub const MAX_MESSAGE_BYTES: usize = 512;

/// One stream of one client. A client that connects again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// The variant of the protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Each response of a type holds all that is wanted.
    StateOfTheWorld,
    /// Responses hold what changed.
    Delta,
}

/// A connected client.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientStatus {
    /// Number of its stream.
    pub id: ClientId,
    /// The id of its node, cut to [`MAX_TEXT_BYTES`]; empty until its first request.
    pub node_id: String,
    /// Program and version as it says, cut to [`MAX_TEXT_BYTES`], such as `envoy 1.40.0`.
    pub user_agent: String,
    /// Where it connects from, if by TCP.
    pub peer: Option<SocketAddr>,
    /// How it speaks.
    pub protocol: Protocol,
    /// When its stream began.
    pub connected_at: SystemTime,
    /// The newest snapshot's version when this status was taken; [`KindStatus::in_sync`] and
    /// [`KindStatus::refuses`] speak of it.
    pub snapshot: Option<String>,
    /// The types it has asked for, in the order in which they are pushed.
    pub kinds: Vec<KindStatus>,
}

impl ClientStatus {
    /// Whether it has acknowledged all that [`Self::snapshot`] wants of it.
    pub fn in_sync(&self) -> bool {
        self.snapshot.is_some()
            && !self.kinds.is_empty()
            && self.kinds.iter().all(|kind| kind.in_sync)
    }

    /// What it refuses of [`Self::snapshot`].
    pub fn refuses(&self) -> Option<(Kind, &Nack)> {
        self.kinds
            .iter()
            .filter(|kind| kind.refuses)
            .find_map(|kind| Some((kind.kind, kind.nack.as_ref()?)))
    }
}

/// One type of resources at one client.
#[derive(Clone, Debug, PartialEq)]
pub struct KindStatus {
    /// The type.
    pub kind: Kind,
    /// Version of the newest response; a snapshot's version in which this type's part changed last.
    pub sent: Option<String>,
    /// Version of the newest response that was acknowledged.
    pub acked: Option<String>,
    /// It has acknowledged all that the newest snapshot wants of it, for this type.
    pub in_sync: bool,
    /// It has refused what the newest snapshot wants of it, and works on with what it acknowledged
    /// before.
    pub refuses: bool,
    /// The newest rejection, kept after later responses were acknowledged.
    pub nack: Option<Nack>,
    /// When this changed last.
    pub changed_at: SystemTime,
}

/// A rejected response.
#[derive(Clone, Debug, PartialEq)]
pub struct Nack {
    /// Version of the response.
    pub version: String,
    /// Code of `google.rpc.Status`: Envoy says 13 (internal), gRPC 3 (invalid argument).
    pub code: i32,
    /// What the client says, cut to [`MAX_MESSAGE_BYTES`]. Envoy varies its prefixes at random:
    /// never compare it exactly.
    pub message: String,
    /// When it came.
    pub at: SystemTime,
}

/// What became of a published version.
#[derive(Clone, Debug, PartialEq)]
pub enum Confirmation {
    /// All connected clients, at least one, have acknowledged it.
    Acknowledged {
        /// How many.
        clients: usize,
    },
    /// A client refuses a part of it.
    Rejected {
        /// Who.
        client: ClientId,
        /// The id of its node.
        node_id: String,
        /// Which type.
        kind: Kind,
        /// Its words.
        nack: Nack,
    },
    /// Not all clients answered in time, or none was connected.
    TimedOut {
        /// How many acknowledged it.
        acknowledged: usize,
        /// Who did not; empty = no client was connected.
        missing: Vec<ClientId>,
    },
    /// It is not the newest version, or no longer.
    Superseded,
}

pub(crate) struct Registry {
    clients: Mutex<BTreeMap<ClientId, ClientStatus>>,
    changes: watch::Sender<u64>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { clients: Mutex::new(BTreeMap::new()), changes: watch::Sender::new(0) }
    }

    pub(crate) fn list(&self) -> Vec<ClientStatus> {
        self.clients.lock().values().cloned().collect()
    }

    pub(crate) fn put(&self, status: &ClientStatus) {
        let old = self.clients.lock().insert(status.id, status.clone());
        if old.as_ref() != Some(status) {
            self.changed();
        }
    }

    /// What became of the newest version, if that is decided.
    pub(crate) fn verdict(&self, version: &str) -> Option<Confirmation> {
        let clients = self.clients.lock();
        let current = |client: &&ClientStatus| client.snapshot.as_deref() == Some(version);
        for client in clients.values().filter(current) {
            if let Some((kind, nack)) = client.refuses() {
                let (client, node_id, nack) = (client.id, client.node_id.clone(), nack.clone());
                return Some(Confirmation::Rejected { client, node_id, kind, nack });
            }
        }
        let all = clients.values().all(|client| current(&client) && client.in_sync());
        (all && !clients.is_empty()).then(|| Confirmation::Acknowledged { clients: clients.len() })
    }

    /// Who has not acknowledged the newest version.
    pub(crate) fn timed_out(&self, version: &str) -> Confirmation {
        let clients = self.clients.lock();
        let done =
            |client: &ClientStatus| client.snapshot.as_deref() == Some(version) && client.in_sync();
        let missing: Vec<ClientId> =
            clients.values().filter(|client| !done(client)).map(|client| client.id).collect();
        Confirmation::TimedOut { acknowledged: clients.len() - missing.len(), missing }
    }

    pub(crate) fn remove(&self, id: ClientId) {
        self.clients.lock().remove(&id);
        self.changed();
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// At most `bytes` of a text, cut between characters.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}
