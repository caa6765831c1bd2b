//! Answers questions: from what was answered before, from the recent samples in memory, from the caches, and last from ClickHouse.
//!
//! ```text
//! answers     whole answers, ready to be sent, in this process
//! memory      every sample of the recent past: nothing to ask and nothing out of date
//! parts       closed buckets for long, open ones for a moment, in this process and in Redis
//! ClickHouse  one query for each part that is nowhere
//! ```
//!
//! An answer is kept no longer than its parts; one that is closed until late samples come. Callers of one moment who ask the same wait for one answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, CacheLevel, Tier};
use super::explain::{Explain, ExplainPart};
use super::fetch::{Fetcher, OneTurn};
use super::kept::{Values, identity};
use super::memory::Recent;
use super::parts::{self, Part};
use super::plan::plan;
use super::slow::{SlowQueries, Spent};
use super::table::Table;
use super::validate::{check_range, validate};
use super::{
    MetricsAsk, MetricsQuery, QueryError, QueryLimits, QueryMetrics, Violations, sql, tags,
};
use crate::cache::{
    Cache, CacheSettings, Found, Heard, Key, Life, Loaded, Place, QueryCacheStats, Tag, WindowShare,
};
use crate::live::Live;
use crate::overload::Turns;
use crate::store::catalog::Catalog;
use crate::store::{LateMark, Store};

/// How long an answer from memory is good for all who ask the same.
const MEMORY_LIFE: Duration = Duration::from_millis(500);
/// Longest that it is kept that there is nothing.
const NOTHING_LIFE: Duration = Duration::from_secs(5);
/// Samples to compute above which this is done beside the threads that serve requests.
const BLOCKING_SAMPLES: usize = 50_000;

/// Long computations over samples in memory at once.
const COMPUTING: usize = 2;

type Parts = Cache<Arc<Values>, QueryError>;
type Answers = Cache<Arc<Answer>, QueryError>;

/// What answers are made of.
#[derive(Debug)]
pub struct QueryParts {
    /// The store.
    pub store: Store,
    /// Every series there is.
    pub catalog: Arc<Catalog>,
    /// Recent samples.
    pub live: Live,
    /// What queries may cost.
    pub limits: QueryLimits,
    /// How long answers are kept.
    pub cache: CacheSettings,
    /// Parts of answers; shared with other collectors through Redis or not.
    pub shared: SharedParts,
    /// No other collector stores samples.
    pub is_alone: bool,
}

/// The cache of parts of answers.
#[derive(Debug, Clone)]
pub struct SharedParts(pub(super) Parts);

/// Answers questions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Querier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    catalog: Arc<Catalog>,
    live: Live,
    fetcher: Fetcher,
    /// Of long computations over samples in memory.
    computing: Turns,
    answers: Answers,
    parts: Parts,
    settings: CacheSettings,
    is_alone: bool,
    metrics: QueryMetrics,
    slow: SlowQueries,
}

/// An answer and where it comes from.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The answer.
    pub answer: Arc<Answer>,
    /// Where it comes from.
    pub cache: CacheLevel,
    /// How it was made, when that was asked.
    pub explain: Option<Explain>,
}

/// An answer as it is made, and what it is good for.
struct Made {
    answer: Answer,
    cache: CacheLevel,
    life: Life,
    parts: Vec<ExplainPart>,
}

impl SharedParts {
    /// Parts in this process only.
    pub fn local(settings: &CacheSettings) -> Self {
        Self(Cache::local(settings.l1_bytes / 2))
    }

    /// Parts in this process and in Redis.
    ///
    /// # Errors
    /// What is wrong with the settings or their files.
    pub fn redis(
        settings: &CacheSettings,
        redis: &crate::cache::RedisSettings,
        secret: &[u8],
    ) -> Result<Self, String> {
        let (_, unheard, _) = settings.times();
        Cache::shared(settings.l1_bytes / 2, redis, secret, unheard).map(Self)
    }
}

impl Querier {
    /// Answers from these parts.
    pub fn new(parts: QueryParts) -> Self {
        let QueryParts { store, catalog, live, limits, cache, shared, is_alone } = parts;
        let metrics = QueryMetrics::default();
        let slow = SlowQueries::new(Duration::from_millis(limits.slow_ms));
        let fetcher = Fetcher::new(&store, &limits, metrics.clone(), slow.clone());
        let querier = Self(Arc::new(Inner {
            fetcher,
            computing: Turns::new(COMPUTING, limits.waiting),
            answers: Cache::local(cache.l1_bytes / 2),
            parts: shared.0,
            settings: cache,
            is_alone,
            metrics,
            slow,
            catalog,
            live,
            store,
        }));
        let weak = Arc::downgrade(&querier.0);
        querier.0.store.on_late(move |marks: &[LateMark]| {
            if let Some(inner) = weak.upgrade() {
                inner.invalidate(&tags::of_marks(marks));
            }
        });
        querier
    }

    /// Makes the metrics part of what a registry prints; its prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        self.0.metrics.register(registry);
        self.0.fetcher.turns().register(registry);
        self.0.computing.register(registry.sub_registry_with_prefix("memory"));
        self.0.answers.register(registry.sub_registry_with_prefix("cache_answers"));
        self.0.parts.register(registry.sub_registry_with_prefix("cache"));
    }

    /// Keeps the connections to Redis, if there are any, until `shutdown`. `message` hears what other collectors [publish](Self::publish).
    pub async fn run(&self, message: impl Fn(&[u8]), shutdown: CancellationToken) {
        let heard = |heard: Heard<'_>| match heard {
            Heard::Invalidated(tags) => self.0.answers.invalidate(tags),
            Heard::Message(bytes) => message(bytes),
            Heard::Silence { in_ms } => self.0.answers.age_out(in_ms),
        };
        self.0.parts.run(heard, shutdown).await;
    }

    /// Sends a message to the other collectors, if Redis is there.
    pub fn publish(&self, message: Vec<u8>) {
        self.0.parts.publish(message);
    }

    /// True when other collectors may be reached.
    pub fn is_shared(&self) -> bool {
        self.0.parts.is_shared()
    }

    /// Answers a question. `violations` holds what was already found wrong while it was read; `now_ms` is the present.
    ///
    /// # Errors
    /// When something is wrong with it, it asks for too much, too many queries run, or the store fails.
    pub async fn answer(
        &self,
        ask: MetricsAsk,
        violations: Violations,
        now_ms: i64,
    ) -> Result<Answered, QueryError> {
        let key = if violations.is_empty() { Self::key(&ask, now_ms) } else { None };
        if !ask.explain
            && let Some(found) = key.and_then(|key| self.0.answers.peek(key))
        {
            return Ok(Answered { answer: found?.value, cache: CacheLevel::L1, explain: None });
        }
        let (asked, explain) = (ask.clone(), ask.explain);
        let query = Arc::new(validate(ask, violations, &self.0.catalog, now_ms)?);
        let Some(key) = key.filter(|_| !explain) else {
            return self.explained(&asked, &query).await;
        };
        let tags: Arc<[Tag]> = tags::of_query(&query, query.buckets).into();
        let level = Arc::new(std::sync::OnceLock::new());
        let (inner, told) = (Arc::clone(&self.0), Arc::clone(&level));
        let load = move || async move {
            let made = inner.make(&asked, &query).await?;
            let _ = told.set(made.cache);
            let is_negative = made.answer.is_empty();
            Ok(Loaded { value: Arc::new(made.answer), life: made.life, is_negative })
        };
        let Found { value: answer, place, .. } = self.0.answers.fetch(key, &tags, load).await?;
        // Who waited for somebody else's loading got what it got from the store, or wherever.
        let cache = match place {
            Place::Loaded => level.get().copied().unwrap_or(CacheLevel::L1),
            _ => CacheLevel::L1,
        };
        Ok(Answered { answer, cache, explain: None })
    }

    /// The key of a question as it is asked now; `None` when its range is wrong.
    fn key(ask: &MetricsAsk, now_ms: i64) -> Option<Key> {
        let mut violations = Violations::default();
        let buckets = check_range(ask, now_ms, &mut violations)?;
        violations.is_empty().then(|| identity("answer", ask, buckets))
    }

    async fn explained(
        &self,
        ask: &MetricsAsk,
        query: &Arc<MetricsQuery>,
    ) -> Result<Answered, QueryError> {
        let started = Instant::now();
        let Made { answer, cache, parts, .. } = self.0.make(ask, query).await?;
        let nodes: std::collections::BTreeSet<_> = query.series.iter().map(|s| &s.node).collect();
        let explain = Explain {
            fold: query.fold.to_string(),
            series: query.series.len(),
            nodes: nodes.len(),
            parts,
            elapsed_ms: started.elapsed().as_secs_f64() * 1_000.0,
        };
        Ok(Answered { answer: Arc::new(answer), cache, explain: Some(explain) })
    }

    /// From now on nothing counts that was kept for these tags, here and at other collectors.
    pub fn invalidate(&self, tags: &[Tag]) {
        self.0.invalidate(tags);
    }

    /// What the caches tell of themselves.
    pub fn cache_stats(&self) -> QueryCacheStats {
        let window = self.0.live.window();
        QueryCacheStats {
            answers: self.0.answers.layer_stats(),
            l1: self.0.parts.layer_stats(),
            l2: self.0.parts.shared_stats(),
            window: WindowShare {
                span_ms: window.span_ms,
                configured_ms: window.configured_ms,
                bytes: window.bytes as u64,
                max_bytes: window.max_bytes as u64,
                answers: self.0.metrics.from_memory.get(),
            },
        }
    }

    /// Every series there is.
    pub(super) fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// True when no other collector stores samples.
    pub(super) fn is_alone(&self) -> bool {
        self.0.is_alone
    }

    /// Id, time and value of the newest sample of each series within `lookback_ms`.
    pub(super) async fn newest(
        &self,
        ids: &[u64],
        lookback_ms: i64,
    ) -> Result<Vec<(u64, i64, f64)>, QueryError> {
        self.0.fetcher.newest(ids, lookback_ms).await
    }

    /// What queries cost the store.
    pub fn slow(&self) -> &SlowQueries {
        &self.0.slow
    }
}

impl Inner {
    fn invalidate(&self, tags: &[Tag]) {
        self.parts.invalidate(tags);
        self.answers.invalidate(tags);
    }

    /// Makes an answer.
    async fn make(
        self: &Arc<Self>,
        ask: &MetricsAsk,
        query: &Arc<MetricsQuery>,
    ) -> Result<Made, QueryError> {
        let gap_ms = sql::gap_ms(query.buckets.step_ms());
        let closed_ms =
            parts::closed_until_ms(self.store.server_now_ms(), query.fold.within, gap_ms);
        if let Some((table, part)) = self.remember(query).await? {
            let is_closed = query.buckets.end_ms() <= closed_ms;
            let life = if is_closed { self.closed_life() } else { memory_life() };
            return Ok(Self::made(query, table, Tier::Raw, CacheLevel::Memory, life, vec![part]));
        }
        let split = parts::split(query.buckets, closed_ms);
        let turn = Arc::new(OneTurn::default());
        let fetching = split.iter().map(|part| self.part(ask, query, *part, &turn));
        let fetched = try_join_all(fetching).await?;
        drop(turn);
        let (mut cache, mut life, mut explained) = (CacheLevel::L1, self.closed_life(), Vec::new());
        let mut values = Vec::with_capacity(fetched.len());
        for (part, found, told) in fetched {
            cache = cache.max(told.cache);
            let refreshing_ms = match (found.place, part.is_closed) {
                (Place::LocalOnError, _) => 0,
                // Open parts are not refreshed for themselves.
                (_, false) => parts::open_for(query.buckets.step_ms()).as_millis() as i64,
                (_, true) => found.refreshing_ms,
            };
            life.refreshing_ms = life.refreshing_ms.min(refreshing_ms);
            life.fresh_ms = life.fresh_ms.min(found.left_ms).max(0);
            explained.push(told);
            values.push(found.value);
        }
        // What is kept on errors is kept in parts.
        life.on_error_ms = 0;
        let tier = values.first().map_or(Tier::Raw, |values| values.tier);
        let tables: Vec<&Table> = values.iter().map(|values| &values.table).collect();
        let table = match tables[..] {
            [table] if table.buckets == query.buckets => table.clone(),
            _ => Table::join(&tables, query.buckets)?,
        };
        table.check_size()?;
        Ok(Self::made(query, table, tier, cache, life, explained))
    }

    fn made(
        query: &MetricsQuery,
        mut table: Table,
        tier: Tier,
        cache: CacheLevel,
        life: Life,
        parts: Vec<ExplainPart>,
    ) -> Made {
        if let Some(top) = query.top {
            table.keep_top(top);
        }
        let answer = Answer::new(query, tier, table);
        let nothing_ms = NOTHING_LIFE.as_millis() as i64;
        let fresh_ms =
            if answer.is_empty() { life.fresh_ms.min(nothing_ms) } else { life.fresh_ms };
        Made { answer, cache, life: Life { fresh_ms, ..life }, parts }
    }

    /// All buckets from the recent samples; `None` when some of these are not in memory.
    async fn remember(
        &self,
        query: &Arc<MetricsQuery>,
    ) -> Result<Option<(Table, ExplainPart)>, QueryError> {
        let plan = plan(query, query.buckets, crate::rollup::Progress::default())?;
        let Some(recent) = Recent::of(query, &plan, &self.live) else { return Ok(None) };
        self.metrics.from_memory.inc();
        let part = ExplainPart::of(&plan, CacheLevel::Memory, "recent samples in memory");
        let fold = query.fold;
        let table = if recent.samples_at_most() > BLOCKING_SAMPLES {
            let turn = self.computing.enter().await.map_err(|_| QueryError::Busy)?;
            let computing = tokio::task::spawn_blocking(move || {
                // It ends for nobody, so the turn is over when it is.
                let _turn = turn;
                recent.table(fold, &plan)
            });
            computing.await.map_err(|error| QueryError::Store(error.to_string()))??
        } else {
            recent.table(fold, &plan)?
        };
        table.check_size()?;
        Ok(Some((table, part)))
    }

    /// The values of one part, from where they are.
    async fn part(
        self: &Arc<Self>,
        ask: &MetricsAsk,
        query: &Arc<MetricsQuery>,
        part: Part,
        turn: &Arc<OneTurn>,
    ) -> Result<(Part, Found<Arc<Values>>, ExplainPart), QueryError> {
        let key = identity("part", &MetricsAsk { top: None, ..ask.clone() }, part.buckets);
        let tags: Arc<[Tag]> = tags::of_query(query, part.buckets).into();
        let plan = Arc::new(plan(query, part.buckets, self.store.rollups().get())?);
        let life = if part.is_closed { self.closed_life() } else { self.open_life(query) };
        let (inner, asked, turn) = (Arc::clone(self), Arc::clone(&plan), Arc::clone(turn));
        let load = move || async move {
            let fetched = inner.fetcher.fetch(&asked, &turn).await?;
            let is_negative = fetched.table.rows.is_empty();
            let nothing_ms = NOTHING_LIFE.as_millis() as i64;
            let fresh_ms = if is_negative { life.fresh_ms.min(nothing_ms) } else { life.fresh_ms };
            let values =
                Values { tier: asked.tier, table: fetched.table, spent: Some(fetched.spent) };
            Ok(Loaded { value: Arc::new(values), life: Life { fresh_ms, ..life }, is_negative })
        };
        let found = self.parts.fetch(key, &tags, load).await?;
        let (cache, outcome) = match found.place {
            Place::Local => (CacheLevel::L1, "kept in this process"),
            Place::LocalStale => (CacheLevel::L1, "kept in this process, being loaded again"),
            Place::LocalOnError => (CacheLevel::L1, "kept in this process, the store fails"),
            Place::Shared => (CacheLevel::L2, "kept in redis"),
            Place::Loaded => (CacheLevel::Miss, "asked of clickhouse"),
        };
        let mut told = ExplainPart::of(&plan, cache, outcome);
        if part.is_closed {
            told.outcome.push_str(", closed");
        }
        if let (CacheLevel::Miss, Some(spent)) = (cache, found.value.spent) {
            let Spent { rows, bytes, elapsed } = spent;
            (told.rows_read, told.bytes_read) = (Some(rows), Some(bytes));
            told.store_ms = Some(elapsed.as_secs_f64() * 1_000.0);
        }
        told.sql = Some(plan.sql.clone());
        Ok((part, found, told))
    }

    /// Life of what only late samples change.
    fn closed_life(&self) -> Life {
        let (closed, unheard, on_error) = self.settings.times();
        if self.is_alone || self.parts.is_shared() {
            return Life::new(closed, closed, on_error);
        }
        // Nobody tells of late samples that others store.
        Life::new(unheard, Duration::ZERO, on_error)
    }

    /// Life of buckets that samples still come for.
    fn open_life(&self, query: &MetricsQuery) -> Life {
        let (_, _, on_error) = self.settings.times();
        Life::new(parts::open_for(query.buckets.step_ms()), Duration::ZERO, on_error)
    }
}

fn memory_life() -> Life {
    Life::new(MEMORY_LIFE, Duration::ZERO, Duration::ZERO)
}
