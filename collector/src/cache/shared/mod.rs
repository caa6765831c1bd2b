//! The second layer: values in Redis, shared by all collectors of one database, and the way in which they tell each other of invalidations.
//!
//! Nothing here may hold up a request for longer than `redis.timeout_ms`, and a request never waits for a connection: it is there or it is not. What fails or is slow is
//! counted by a circuit breaker; while that is open requests go on without Redis, and its probes find out when that is over.
//!
//! A value counts only when its loading began after the last invalidation of each of its tags. *After* is by a number in Redis that each invalidation raises, read before
//! loading begins; the stamps of the tags are read together with the value. Names of keys hold the id of the Redis process: one that was started again, or took
//! over from another, may have lost stamps, and begins empty. What one and the same process forgets is dealt with in [`scripts`].

mod envelope;
mod lease;
mod link;
mod order;
mod scripts;
mod slot;

use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_model::breaker::{Breaker, Permit, Settings, State, Ticket};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, RedisError, RedisResult};
use tokio::sync::Notify;

pub(super) use self::envelope::Envelope;
use self::envelope::Sealer;
pub(super) use self::lease::{Held, Lease};
pub(super) use self::link::News;
use self::order::Order;
use self::slot::Slot;
use super::RedisSettings;
use super::key::{Key, Tag};
use super::stats::Counters;

/// Largest value that is written, as it is stored.
const MAX_STORED_BYTES: usize = 4 << 20;
/// How long stamps are kept: longer than any value lives.
const STAMPS: Duration = Duration::from_hours(72);
/// Most tags that wait to be sent; above it everything is invalidated instead.
const MAX_UNSENT: usize = 10_000;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    prefix: String,
    timeout: Duration,
    sealer: Sealer,
    connection: Slot<Connected>,
    breaker: Mutex<Breaker>,
    counters: Arc<Counters>,
    unsent: Mutex<Unsent>,
    /// The newest message that is to be sent.
    message: Mutex<Option<Vec<u8>>>,
    /// Something is to be sent.
    sending: Notify,
    order: Mutex<Order>,
    /// Tells this collector's messages from those of others.
    origin: u64,
}

#[derive(Debug, Clone)]
struct Connected {
    connection: MultiplexedConnection,
    /// What all names begin with at this Redis process.
    names: Arc<str>,
}

/// Tags that were invalidated here and that Redis does not know of yet: what it has of them is not believed.
#[derive(Debug, Default)]
struct Unsent {
    waiting: Vec<Tag>,
    /// On their way.
    sending: Vec<Tag>,
}

/// How the connection is.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkState {
    pub(super) breaker: &'static str,
    pub(super) opened: u64,
    pub(super) connected: bool,
    pub(super) heard: bool,
    pub(super) unsent: u64,
}

/// What Redis has.
#[derive(Debug)]
pub(super) enum Looked {
    /// A value, past its life or not.
    Found {
        envelope: Envelope,
        /// Milliseconds since its loading began.
        age_ms: i64,
        /// A value whose loading begins now began at this number.
        count: u64,
    },
    /// Nothing that counts. A value whose loading begins now began at this number.
    Absent(u64),
    /// Redis was not asked, or did not answer.
    Unknown,
}

/// Value, number of invalidations and stamps; and the milliseconds that are left of the value.
type Stored = (Vec<Option<Vec<u8>>>, i64);

impl Shared {
    /// A client of the server of the settings, which is not connected before [`Shared::run`].
    ///
    /// # Errors
    /// What is wrong with the settings or their files.
    pub(super) fn new(
        settings: &RedisSettings,
        secret: &[u8],
        counters: Arc<Counters>,
    ) -> Result<Self, String> {
        let rules = Settings {
            slow: Duration::from_millis(settings.timeout_ms),
            probe_timeout: Duration::from_secs(1),
            ..Settings::default()
        };
        let breaker = Breaker::new(rules, rand::random()).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Inner {
            client: link::client(settings)?,
            prefix: settings.prefix.clone(),
            timeout: Duration::from_millis(settings.timeout_ms),
            sealer: Sealer::new(secret),
            connection: Slot::default(),
            breaker: Mutex::new(breaker),
            counters,
            unsent: Mutex::default(),
            message: Mutex::default(),
            sending: Notify::new(),
            order: Mutex::default(),
            origin: rand::random(),
        })))
    }

    /// What Redis has under a key.
    pub(super) async fn look(&self, key: Key, tags: &[Tag]) -> Looked {
        let counters = &self.0.counters;
        if self.0.unsent.lock().has_any(tags) {
            counters.l2_skipped.inc();
            return Looked::Unknown;
        }
        let answer = self.call(async |mut to: Connected| {
            let name = to.value(key);
            let mut command = redis::cmd("MGET");
            command.arg(&name).arg(to.count()).arg(to.stamp(Tag::ALL));
            for tag in tags {
                command.arg(to.stamp(*tag));
            }
            let (values, left_ms): Stored = redis::pipe()
                .add_command(command)
                .cmd("PTTL")
                .arg(&name)
                .query_async(&mut to.connection)
                .await?;
            Ok((name, values, left_ms))
        });
        let Some((name, values, left_ms)) = answer.await else { return Looked::Unknown };
        let mut values = values.into_iter();
        let value = values.next().flatten();
        let number = |bytes: Option<Vec<u8>>| -> Option<u64> {
            String::from_utf8(bytes?).ok()?.parse().ok()
        };
        let count = values.next().and_then(number).unwrap_or_default();
        // One that is missing may have been of any number.
        let newest = values.map(number).try_fold(0, |newest, stamp| Some(stamp?.max(newest)));
        let Some(value) = value else {
            counters.l2_miss_absent.inc();
            return Looked::Absent(count);
        };
        let Ok(envelope) = self.0.sealer.open(&name, &value) else {
            counters.l2_refused.inc();
            return Looked::Absent(count);
        };
        if newest.is_none_or(|newest| envelope.began < newest) {
            counters.l2_miss_invalidated.inc();
            return Looked::Absent(count);
        }
        // By the clock of Redis alone: it was set to end with its life.
        let age_ms = envelope.life.longest_ms() - left_ms + i64::from(envelope.spent_ms);
        Looked::Found { envelope, age_ms, count }
    }

    /// Writes a value and ends the lease.
    pub(super) async fn put(&self, key: Key, envelope: &Envelope, lease: Option<Held>) {
        let counters = &self.0.counters;
        let left_ms = envelope.life.longest_ms() - i64::from(envelope.spent_ms);
        let written = self.call(async |mut to: Connected| {
            let name = to.value(key);
            let bytes = self.0.sealer.seal(&name, envelope);
            let mut pipe = redis::pipe();
            let fits = bytes.len() <= MAX_STORED_BYTES && left_ms > 0;
            if fits {
                pipe.cmd("SET").arg(&name).arg(bytes).arg("PX").arg(envelope.life.longest_ms());
                pipe.ignore();
            }
            if let Some(ending) = lease.and_then(|lease| lease.ending(&to)) {
                pipe.add_command(ending).ignore();
            }
            pipe.exec_async(&mut to.connection).await?;
            Ok(fits)
        });
        match written.await {
            Some(true) => counters.l2_written.inc(),
            _ => counters.l2_not_written.inc(),
        };
    }

    /// Tells all collectors, as soon as Redis can be reached.
    pub(super) fn invalidate(&self, tags: &[Tag]) {
        self.0.unsent.lock().add(tags);
        self.0.sending.notify_one();
    }

    /// Sends a message to all other collectors. One that could not be sent yet makes room for it; none is sent twice.
    pub(super) fn publish(&self, message: Vec<u8>) {
        *self.0.message.lock() = Some(message);
        self.0.sending.notify_one();
    }

    /// True while invalidations of other collectors are heard.
    pub(super) fn is_heard(&self) -> bool {
        self.0.order.lock().is_heard(Instant::now())
    }

    /// How the connection is.
    pub(super) fn state(&self) -> LinkState {
        let breaker = self.0.breaker.lock();
        LinkState {
            breaker: match breaker.state() {
                State::Closed => "closed",
                State::Open { .. } => "open",
                State::HalfOpen { .. } => "half_open",
            },
            opened: breaker.counters().opened,
            connected: self.0.connection.is_full(),
            heard: self.is_heard(),
            unsent: self.0.unsent.lock().len() as u64,
        }
    }

    /// A request, if the breaker and the connection allow it. `None` when they do not, or it failed.
    async fn call<T>(&self, request: impl AsyncFnOnce(Connected) -> RedisResult<T>) -> Option<T> {
        let inner = &self.0;
        let Some((number, connected)) = inner.connection.get() else {
            inner.counters.l2_skipped.inc();
            return None;
        };
        let permit = inner.breaker.lock().permit(Instant::now());
        let (Permit::Yes(ticket) | Permit::Probe(ticket)) = permit else {
            inner.counters.l2_skipped.inc();
            return None;
        };
        let mut passage = Passage { inner, ticket: Some(ticket) };
        let started = Instant::now();
        let result = tokio::time::timeout(inner.timeout, request(connected)).await;
        let now = Instant::now();
        let ticket = passage.ticket.take()?;
        let mut breaker = inner.breaker.lock();
        match result {
            Ok(Ok(value)) => {
                breaker.succeeded(ticket, now, now - started);
                Some(value)
            }
            Ok(Err(error)) => {
                breaker.failed(ticket, now);
                drop(breaker);
                inner.counters.l2_error.inc();
                tracing::debug!(%error, "redis refused a request");
                if is_broken(&error) {
                    inner.connection.broke(number);
                }
                None
            }
            Err(_) => {
                breaker.failed(ticket, now);
                inner.counters.l2_timeout.inc();
                None
            }
        }
    }
}

/// A request whose caller may leave before its result.
struct Passage<'a> {
    inner: &'a Inner,
    ticket: Option<Ticket>,
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.inner.breaker.lock().abandoned(ticket);
        }
    }
}

impl Unsent {
    fn add(&mut self, tags: &[Tag]) {
        self.waiting.extend_from_slice(tags);
        if self.waiting.len() > MAX_UNSENT {
            self.waiting = vec![Tag::ALL];
        }
    }

    /// Takes what is to be sent now.
    fn take(&mut self) -> Vec<Tag> {
        self.sending = std::mem::take(&mut self.waiting);
        self.sending.sort_unstable();
        self.sending.dedup();
        self.sending.clone()
    }

    /// What was taken has arrived, or is to be sent again.
    fn settle(&mut self, arrived: bool) {
        let sent = std::mem::take(&mut self.sending);
        if !arrived {
            self.add(&sent);
        }
    }

    fn has_any(&self, tags: &[Tag]) -> bool {
        let mut all = self.waiting.iter().chain(&self.sending);
        all.any(|tag| *tag == Tag::ALL || tags.contains(tag))
    }

    const fn len(&self) -> usize {
        self.waiting.len() + self.sending.len()
    }
}

impl Connected {
    fn value(&self, key: Key) -> String {
        format!("{}v:{key}", self.names)
    }

    fn lease(&self, key: Key) -> String {
        format!("{}l:{key}", self.names)
    }

    fn stamp(&self, tag: Tag) -> String {
        format!("{}t:{:016x}", self.names, tag.raw())
    }

    /// Number of invalidations.
    fn count(&self) -> String {
        format!("{}n", self.names)
    }
}

/// True when the connection is of no use any more.
fn is_broken(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_io_error() || error.kind() == ErrorKind::Parse
}
