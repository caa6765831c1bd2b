//! A cache of several layers: this process, then Redis if there is one, then whatever loads the value.
//!
//! ```text
//! fetch(key, tags, load)
//!   L1, in this process      fresh -> served;  ending or just ended -> served, and loaded again meanwhile
//!   one flight for each key  callers of one moment wait together; when all have left, loading ends
//!   L2, in Redis             fresh -> served and kept in L1
//!   lease                    another collector is loading: wait a little for its value
//!   load                     the value is kept in L1 and L2; when it fails, what was kept is served for a stated while
//! ```
//!
//! **The bound.** A value is never served longer than its [`Life`] after its loading began, and not at all once one of its tags was invalidated, here at once and at other collectors as fast as
//! Redis brings the message. Who waits for a loading gets what it brings, however long it takes. When messages may not arrive, what is held is aged out and new values live
//! shortly ([`Cache::is_heard`] tells their makers).
//!
//! The public interface is [`Cache`], [`Key`], [`Tag`], [`Life`], [`Loaded`], [`Found`], the settings and the statistics; what is in the modules below is nobody else's affair.

mod flight;
mod key;
mod life;
mod loading;
mod local;
mod settings;
mod shared;
mod stamps;
mod stats;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use self::flight::{Flights, Seat};
pub use self::key::{Key, Tag};
pub use self::life::Life;
use self::life::Verdict;
use self::loading::Loading;
use self::local::{Entry, Local, Seen};
pub use self::settings::{CacheSettings, RedisSettings};
use self::shared::{News, Shared};
use self::stamps::Stamps;
use self::stats::Counters;
pub use self::stats::{LayerStats, QueryCacheStats, SharedStats, WindowShare};
use crate::live::now_ms;

/// Longest life of any entry: stamps older than this are of no use.
const LONGEST_MS: i64 = 2 * 86_400_000;

/// What a cache keeps.
pub trait Value: Clone + Send + Sync + 'static {
    /// About how many bytes it takes.
    fn bytes(&self) -> usize;

    /// As it is kept in Redis; `None`: it is not.
    fn encode(&self) -> Option<Vec<u8>> {
        None
    }

    /// From what [`Value::encode`] gave.
    fn decode(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// Why loading failed.
pub trait Failure: Clone + Send + Sync + 'static {
    /// How long nobody needs to try again, because the same would come out; zero: at once.
    fn keep_for(&self) -> Duration;

    /// True when the question is fine and whoever answers it is not: what is kept may be served instead.
    fn is_outage(&self) -> bool;
}

/// A value that was loaded, and how long it lives.
#[derive(Debug, Clone)]
pub struct Loaded<V> {
    /// The value.
    pub value: V,
    /// How long it lives.
    pub life: Life,
    /// It says that there is nothing.
    pub is_negative: bool,
}

/// A value that was found.
#[derive(Debug, Clone)]
pub struct Found<V> {
    /// The value.
    pub value: V,
    /// Where.
    pub place: Place,
    /// How long it will still be fresh, in milliseconds.
    pub left_ms: i64,
    /// How long it may be served after that while it is loaded again, or from now on when that is past; in milliseconds.
    pub refreshing_ms: i64,
}

/// What is heard of other collectors.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// These tags were invalidated.
    Invalidated(&'a [Tag]),
    /// A message that [`Cache::publish`] sent there.
    Message(&'a [u8]),
    /// Nothing is heard any more, or is again: what is held or being loaded is to end within so many milliseconds.
    Silence {
        /// Until its end.
        in_ms: i64,
    },
}

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this process, fresh.
    Local,
    /// In this process, past being fresh; it is being loaded again.
    LocalStale,
    /// In this process, past being fresh, and loading failed.
    LocalOnError,
    /// In Redis.
    Shared,
    /// It was loaded.
    Loaded,
}

/// See the module. Cheap to clone.
#[derive(Debug)]
pub struct Cache<V: Value, E: Failure>(Arc<Inner<V, E>>);

type Landing<V, E> = Result<Found<V>, E>;

struct Inner<V: Value, E: Failure> {
    local: Local<Result<V, E>>,
    shared: Option<Shared>,
    flights: Arc<Flights<Landing<V, E>>>,
    stamps: Stamps,
    counters: Arc<Counters>,
    clock: Clock,
    unheard_ms: i64,
}

/// Where the time comes from: the system, or a test.
#[derive(Debug, Default)]
struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    fn now_ms(&self) -> i64 {
        self.0.as_ref().map_or_else(now_ms, |ms| ms.load(Relaxed))
    }
}

impl<V: Value, E: Failure> Clone for Cache<V, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: Value, E: Failure> fmt::Debug for Inner<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl<V: Value, E: Failure> Cache<V, E> {
    /// A cache of so many bytes in this process, and nothing in Redis.
    pub fn local(max_bytes: u64) -> Self {
        Self::new(max_bytes, Arc::default(), None, Clock::default(), 0)
    }

    /// A cache of so many bytes in this process, and the same values in Redis. `secret` authenticates them.
    ///
    /// # Errors
    /// What is wrong with the settings or their files.
    pub fn shared(
        max_bytes: u64,
        redis: &RedisSettings,
        secret: &[u8],
        unheard: Duration,
    ) -> Result<Self, String> {
        let counters = Arc::<Counters>::default();
        let shared = Shared::new(redis, secret, Arc::clone(&counters))?;
        let unheard_ms = unheard.as_millis() as i64;
        Ok(Self::new(max_bytes, counters, Some(shared), Clock::default(), unheard_ms))
    }

    fn new(
        max_bytes: u64,
        counters: Arc<Counters>,
        shared: Option<Shared>,
        clock: Clock,
        unheard_ms: i64,
    ) -> Self {
        Self(Arc::new(Inner {
            local: Local::new(max_bytes, &counters),
            shared,
            flights: Arc::new(Flights::new()),
            stamps: Stamps::default(),
            counters,
            clock,
            unheard_ms,
        }))
    }

    /// Makes the counters part of what a registry prints.
    pub fn register(&self, registry: &mut Registry) {
        self.0.counters.register(registry);
    }

    /// Keeps the connections to Redis until `shutdown`, and hears what other collectors invalidate, as `heard` does too. Without Redis it only waits.
    pub async fn run(&self, heard: impl Fn(Heard<'_>), shutdown: CancellationToken) {
        let Some(shared) = self.0.shared.clone() else { return shutdown.cancelled().await };
        let tell = |news: News<'_>| match news {
            News::Invalidated(tags) => {
                self.0.invalidate(tags);
                heard(Heard::Invalidated(tags));
            }
            News::Message(message) => heard(Heard::Message(message)),
            News::Gap => {
                self.0.invalidate(&[Tag::ALL]);
                heard(Heard::Invalidated(&[Tag::ALL]));
            }
            News::Silence => {
                self.age_out(self.0.unheard_ms);
                heard(Heard::Silence { in_ms: self.0.unheard_ms });
            }
        };
        shared.run(tell, shutdown).await;
    }

    /// Sends a message to all other collectors that are connected to the same Redis, once, as soon as that is possible; a newer one takes its place.
    pub fn publish(&self, message: Vec<u8>) {
        if let Some(shared) = &self.0.shared {
            shared.publish(message);
        }
    }

    /// Everything that is held ends in so many milliseconds.
    pub fn age_out(&self, in_ms: i64) {
        let now_ms = self.0.clock.now_ms();
        self.0.stamps.age_out(now_ms, now_ms + in_ms);
    }

    /// True while invalidations of other collectors are heard at once.
    pub fn is_heard(&self) -> bool {
        self.0.shared.as_ref().is_some_and(Shared::is_heard)
    }

    /// True when values are shared through Redis.
    pub fn is_shared(&self) -> bool {
        self.0.shared.is_some()
    }

    /// From now on no value counts that has one of these tags and whose loading began before, here and, as soon as Redis brings it, everywhere.
    pub fn invalidate(&self, tags: &[Tag]) {
        // First: who begins once it counts here must not believe what Redis has from before.
        if let Some(shared) = &self.0.shared {
            shared.invalidate(tags);
        }
        self.0.invalidate(tags);
    }

    /// The value of a key when it is in this process and fresh, without waiting for anything. Counted only when it is.
    ///
    /// # Errors
    /// When loading failed a moment ago, and would again.
    pub fn peek(&self, key: Key) -> Option<Result<Found<V>, E>> {
        let inner = &self.0;
        let now_ms = inner.clock.now_ms();
        match inner.local.get(key, &inner.stamps, now_ms) {
            Seen::Entry(entry, Verdict::Fresh) => Some(inner.hit(&entry, now_ms)),
            _ => None,
        }
    }

    /// The value of a key: from this process, from Redis, or from `load`, which is called once however many ask.
    ///
    /// # Errors
    /// When loading fails and nothing is kept that may be served.
    pub async fn fetch<F>(
        &self,
        key: Key,
        tags: &Arc<[Tag]>,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Found<V>, E>
    where
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let inner = &self.0;
        let now_ms = inner.clock.now_ms();
        let begin = || self.0.take_off(key, tags, load);
        let kept = match inner.local.get(key, &inner.stamps, now_ms) {
            Seen::Entry(entry, Verdict::Fresh) => return inner.hit(&entry, now_ms),
            Seen::Entry(entry, Verdict::Early) => {
                self.refresh(key, tags, begin);
                return inner.hit(&entry, now_ms);
            }
            Seen::Entry(entry, Verdict::Stale) => {
                inner.counters.l1_stale.inc();
                self.refresh(key, tags, begin);
                return found(&entry, Place::LocalStale, now_ms);
            }
            Seen::Entry(entry, _) => Some(entry),
            seen => {
                inner.miss(&seen);
                None
            }
        };
        if kept.is_some() {
            inner.counters.l1_miss_expired.inc();
        }
        let seat = inner.board(key, tags, begin);
        if !seat.is_first {
            inner.counters.coalesced.inc();
        }
        match (seat.landed().await, kept) {
            (Err(error), Some(entry)) if error.is_outage() && inner.may_serve(&entry) => {
                inner.counters.l1_stale_on_error.inc();
                found(&entry, Place::LocalOnError, inner.clock.now_ms())
            }
            (landing, _) => landing,
        }
    }

    /// Loads behind the caller's back, unless somebody already does.
    fn refresh(
        &self,
        key: Key,
        tags: &[Tag],
        begin: impl FnOnce() -> BoxFuture<'static, Landing<V, E>>,
    ) {
        let seat = self.0.board(key, tags, begin);
        if seat.is_first {
            self.0.counters.refreshes.inc();
            tokio::spawn(async move {
                // What came of it is in the cache, and counted.
                let _ = seat.landed().await;
            });
        }
    }

    /// What the layer in this process tells of itself.
    pub fn layer_stats(&self) -> LayerStats {
        self.0.local.stats(&self.0.counters)
    }

    /// What the layer in Redis tells of itself.
    pub fn shared_stats(&self) -> Option<SharedStats> {
        let shared = self.0.shared.as_ref()?;
        Some(SharedStats::of(&self.0.counters, shared.state()))
    }
}

impl<V: Value, E: Failure> Inner<V, E> {
    fn invalidate(&self, tags: &[Tag]) {
        self.counters.invalidations.inc();
        let now_ms = self.clock.now_ms();
        self.stamps.invalidate(tags, now_ms, now_ms - LONGEST_MS);
    }

    fn hit(&self, entry: &Entry<Result<V, E>>, now_ms: i64) -> Landing<V, E> {
        let counters = &self.counters;
        let counter = if entry.is_negative { &counters.l1_negative } else { &counters.l1_hit };
        counter.inc();
        found(entry, Place::Local, now_ms)
    }

    fn miss(&self, seen: &Seen<Result<V, E>>) {
        match seen {
            Seen::Absent => self.counters.l1_miss_absent.inc(),
            Seen::Invalidated => self.counters.l1_miss_invalidated.inc(),
            Seen::Expired | Seen::Entry(..) => self.counters.l1_miss_expired.inc(),
        };
    }

    /// True while an entry may be served instead of an error.
    fn may_serve(&self, entry: &Entry<Result<V, E>>) -> bool {
        let now_ms = self.clock.now_ms();
        let verdict = entry.life.verdict(now_ms - entry.created_ms, 0.0, 1.0);
        verdict != Verdict::Dead && self.stamps.is_valid(entry.began, &entry.tags, now_ms)
    }

    /// A seat on a flight that no invalidation came after.
    fn board(
        &self,
        key: Key,
        tags: &[Tag],
        begin: impl FnOnce() -> BoxFuture<'static, Landing<V, E>>,
    ) -> Seat<Landing<V, E>> {
        let (began, now_ms) = (self.stamps.now(), self.clock.now_ms());
        let is_valid = |began| self.stamps.is_valid(began, tags, now_ms);
        self.flights.board(key, began, is_valid, begin)
    }

    /// A flight: Redis, then loading.
    fn take_off<F>(
        self: &Arc<Self>,
        key: Key,
        tags: &Arc<[Tag]>,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> BoxFuture<'static, Landing<V, E>>
    where
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        Loading { inner: Arc::clone(self), key, tags: Arc::clone(tags) }.run(load).boxed()
    }
}

impl<V: Value, E: Failure> Inner<V, E> {
    /// The life of an entry here: shorter while invalidations of others are not heard. Redis may not know of them either: what is from there lives no longer than what is loaded.
    fn heard_life(&self, life: Life) -> Life {
        match &self.shared {
            Some(shared) if !shared.is_heard() => {
                Life { fresh_ms: life.fresh_ms.min(self.unheard_ms), refreshing_ms: 0, ..life }
            }
            _ => life,
        }
    }
}

/// What an entry gives.
fn found<V: Value, E: Failure>(
    entry: &Entry<Result<V, E>>,
    place: Place,
    now_ms: i64,
) -> Result<Found<V>, E> {
    let left_ms = entry.life.fresh_ms - (now_ms - entry.created_ms);
    let refreshing_ms = (entry.life.refreshing_ms + left_ms.min(0)).max(0);
    entry.value.clone().map(|value| Found { value, place, left_ms, refreshing_ms })
}
