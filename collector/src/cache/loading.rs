//! One loading of one key: what Redis has, or else a lease there and whatever loads the value, which is then kept here and there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::key::{Key, Tag};
use super::life::{Life, Verdict};
use super::local::Entry;
use super::shared::{Envelope, Held, Lease, Looked, Shared};
use super::{Failure, Found, Inner, Landing, Loaded, Place, Value, found};

/// Longest that a loading waits for the value of another collector, and the time between two looks.
const LEASE_PATIENCE: Duration = Duration::from_millis(500);
const LEASE_LOOK: Duration = Duration::from_millis(25);

/// See the module.
pub(super) struct Loading<V: Value, E: Failure> {
    pub(super) inner: Arc<Inner<V, E>>,
    pub(super) key: Key,
    pub(super) tags: Arc<[Tag]>,
}

/// What Redis said.
enum There<V> {
    Found(Found<V>),
    /// Nothing. Invalidations so far, here and in Redis; `None`: the value is not to be written there.
    Absent {
        began: u64,
        count: Option<u64>,
        lease: Option<Held>,
    },
}

impl<V> There<V> {
    const fn absent(began: u64, count: Option<u64>) -> Self {
        Self::Absent { began, count, lease: None }
    }
}

impl<V: Value, E: Failure> Loading<V, E> {
    /// Finds the value in Redis, or loads it.
    pub(super) async fn run<F>(self, load: impl FnOnce() -> F + Send + 'static) -> Landing<V, E>
    where
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let (began, began_there, lease) = match self.shared().await {
            There::Found(found) => return Ok(found),
            There::Absent { began, count, lease } => (began, count, lease),
        };
        self.load(began, began_there, lease, load()).await
    }

    /// Looks into Redis, and waits for another collector that is loading the same.
    async fn shared(&self) -> There<V> {
        let began = self.inner.stamps.now();
        let Some(shared) = &self.inner.shared else { return There::absent(began, None) };
        let count = match self.look(shared, began).await {
            There::Absent { count: Some(count), .. } => count,
            there => return there,
        };
        let count = match shared.lease(self.key, &self.tags).await {
            Lease::Taken(count) => count,
            Lease::Unknown(lease) => {
                return There::Absent { began, count: Some(count), lease: Some(lease) };
            }
            Lease::Ours(count, lease) => {
                // Whoever had it may have written the value since we looked.
                return match self.look(shared, self.inner.stamps.now()).await {
                    found @ There::Found(_) => found,
                    There::Absent { .. } => {
                        There::Absent { began, count: Some(count), lease: Some(lease) }
                    }
                };
            }
        };
        self.inner.counters.lease_taken.inc();
        let until = Instant::now() + LEASE_PATIENCE;
        while Instant::now() < until {
            sleep(LEASE_LOOK).await;
            match self.look(shared, self.inner.stamps.now()).await {
                There::Found(found) => {
                    self.inner.counters.lease_waited.inc();
                    return There::Found(found);
                }
                There::Absent { count: None, .. } => break,
                There::Absent { .. } => {}
            }
        }
        There::absent(began, Some(count))
    }

    async fn look(&self, shared: &Shared, began: u64) -> There<V> {
        let counters = &self.inner.counters;
        let (envelope, age_ms, count) = match shared.look(self.key, &self.tags).await {
            Looked::Found { envelope, age_ms, count } => (envelope, age_ms, count),
            Looked::Absent(count) => return There::absent(began, Some(count)),
            Looked::Unknown => return There::absent(began, None),
        };
        let life = self.inner.heard_life(envelope.life);
        let random = 1.0 - rand::random::<f64>();
        if life.verdict(age_ms, envelope.cost_ms, random) != Verdict::Fresh {
            counters.l2_miss_expired.inc();
            return There::absent(began, Some(count));
        }
        let Some(value) = V::decode(&envelope.value) else {
            counters.l2_refused.inc();
            return There::absent(began, Some(count));
        };
        counters.l2_hit.inc();
        let now_ms = self.inner.clock.now_ms();
        let entry = Entry {
            bytes: value.bytes(),
            value: Ok(value),
            tags: Arc::clone(&self.tags),
            created_ms: now_ms - age_ms,
            began,
            cost_ms: envelope.cost_ms,
            life,
            is_negative: false,
        };
        let entry = self.inner.local.put(self.key, entry);
        match found(&entry, Place::Shared, now_ms) {
            Ok(found) => There::Found(found),
            Err(_) => There::absent(began, None),
        }
    }

    async fn load(
        &self,
        began: u64,
        began_there: Option<u64>,
        lease: Option<Held>,
        loading: impl Future<Output = Result<Loaded<V>, E>>,
    ) -> Landing<V, E> {
        let inner = &self.inner;
        let (created_ms, started) = (inner.clock.now_ms(), Instant::now());
        let result = loading.await;
        let cost = started.elapsed();
        let keep = |value: Result<V, E>, bytes: usize, life: Life, is_negative: bool| Entry {
            value,
            bytes,
            tags: Arc::clone(&self.tags),
            created_ms,
            began,
            cost_ms: cost.as_secs_f64() * 1_000.0,
            life,
            is_negative,
        };
        match result {
            Ok(Loaded { value, life, is_negative }) => {
                inner.counters.loads.inc();
                let life = life.jittered(rand::random());
                self.share(&value, life, cost, began_there, lease);
                let entry = inner.local.put(
                    self.key,
                    keep(Ok(value), 0, inner.heard_life(life), is_negative).weighed(),
                );
                found(&entry, Place::Loaded, inner.clock.now_ms())
            }
            Err(error) => {
                inner.counters.load_errors.inc();
                let keep_for = error.keep_for();
                if !keep_for.is_zero() {
                    let life = Life::new(keep_for, Duration::ZERO, Duration::ZERO);
                    inner.local.put(self.key, keep(Err(error.clone()), 0, life, true));
                }
                Err(error)
            }
        }
    }

    /// Writes to Redis, without keeping the caller waiting.
    fn share(
        &self,
        value: &V,
        life: Life,
        cost: Duration,
        began_there: Option<u64>,
        lease: Option<Held>,
    ) {
        let (Some(shared), Some(began)) = (&self.inner.shared, began_there) else { return };
        let Some(value) = value.encode() else { return };
        let spent_ms = u32::try_from(cost.as_millis()).unwrap_or(u32::MAX);
        let cost_ms = cost.as_secs_f64() * 1_000.0;
        let (shared, key) = (shared.clone(), self.key);
        let envelope = Envelope { began, spent_ms, cost_ms, life, value };
        tokio::spawn(async move { shared.put(key, &envelope, lease).await });
    }
}

impl<V: Value, E> Entry<Result<V, E>> {
    fn weighed(mut self) -> Self {
        self.bytes = self.value.as_ref().map_or(0, Value::bytes);
        self
    }
}
