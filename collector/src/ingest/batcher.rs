//! The one task that writes samples: gathers frames into batches by rows, bytes and period, and settles them when ClickHouse has accepted their blocks.
//!
//! Up to [`WRITES`] batches are written at the same time, while the next one is gathered. They settle in the order in which they were gathered, whichever
//! is through first: within a stream what comes later never settles first.
//!
//! A flush is one insert of new series, then one insert for each hour that has samples (one, but for the full hour and catching up), then one for what they say of
//! caches. A block that
//! fails is tried again as it is, under the same token, until it is accepted or refused for good; meanwhile the gate is closed and what arrives waits, bounded,
//! in the queue. Frames settle only when all blocks of their batch are through.

mod gather;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flyball_model::backoff::Backoff;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::gather::{Gathered, Gatherer};
use super::IngestSettings;
use super::batch::{Batch, Submission, series_token};
use super::exiles::{Exiles, SPLITS};
use super::gate::Gate;
use super::metrics::IngestMetrics;
use crate::account::{Accounts, Kind};
use crate::store::{
    CacheRow, Catalog, ErrorClass, LateMark, SampleRow, SeriesId, SeriesRow, StoreError,
};

/// Batches that are written at the same time: while ClickHouse writes one part to the disk, the next one is encoded, sent and sorted in.
const WRITES: usize = 2;
/// Samples that are stored later than this after the end of their ten minutes are marked as late. Half of the least delay of the rollups, so that what is not
/// marked was stored well before they were computed.
const LATE_MS: i64 = 30_000;
/// Longest reason that is told to an agent, in characters.
const REASON_CHARS: usize = 200;

/// Where batches go: the store, or in tests one that fails as a real one cannot be made to.
pub trait Sink: Send + Sync + 'static {
    /// Inserts a block of series.
    fn insert_series(
        &self,
        rows: &[SeriesRow],
        token: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts a block of samples, all of one hour.
    fn insert_samples(
        &self,
        rows: &[SampleRow],
        token: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts a block of rows of caches, all of one day.
    fn insert_cache_stats(
        &self,
        _rows: &[CacheRow],
        _token: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Notes durably that these marks have to be rolled up again, once for each `id`.
    fn insert_late_marks(
        &self,
        _marks: &[LateMark],
        _id: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// The present by the clock that says when something is rolled up.
    fn server_now_ms(&self) -> i64 {
        crate::live::now_ms()
    }
}

/// How the batcher is told to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Flush what comes at once: streams wait for their last acknowledgements.
    pub(super) drain: CancellationToken,
    /// No more frames come.
    pub(super) close: CancellationToken,
    /// Give up what ClickHouse does not accept: the agents still have it.
    pub(super) give_up: CancellationToken,
}

/// See the module.
pub(super) struct Batcher<S> {
    pub(super) sink: S,
    pub(super) catalog: Arc<Catalog>,
    pub(super) queue: mpsc::Receiver<Submission>,
    pub(super) gate: Arc<Gate>,
    pub(super) settings: IngestSettings,
    pub(super) metrics: IngestMetrics,
    /// Hears of series that are refused.
    pub(super) accounts: Accounts,
    pub(super) stop: Stop,
}

/// What became of a block.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Refused(String),
    GivenUp,
}

/// What a refusal for good means for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It stays out, and its agents are told.
    Final,
    /// Everything else depends on it: it is tried again until somebody has mended the table, and the gate is closed meanwhile.
    Passing,
}

/// A batch whose blocks are through, and the hours that were refused for good; `None`: given up.
type Written = (Gathered, Option<BTreeMap<i64, String>>);

impl<S: Sink> Batcher<S> {
    /// Runs until it is closed and empty, or told to give up.
    pub(super) async fn run(self) {
        let Self { sink, catalog, queue, gate, settings, metrics, accounts, stop } = self;
        let (batches, gathered) = mpsc::channel(WRITES);
        let places = Arc::new(Semaphore::new(WRITES));
        let gatherer = Gatherer { queue, settings, stop: stop.clone(), places, batches };
        let exiles = Mutex::default();
        let writer = Writer { sink, catalog, gate, metrics, accounts, stop, exiles };
        let gathering = gatherer.run();
        let writing = writer.run(gathered);
        tokio::pin!(writing);
        tokio::select! {
            () = &mut writing => return,
            () = gathering => {}
        }
        writing.await;
    }
}

/// Writes batches and settles their frames.
struct Writer<S> {
    sink: S,
    catalog: Arc<Catalog>,
    gate: Arc<Gate>,
    metrics: IngestMetrics,
    accounts: Accounts,
    stop: Stop,
    exiles: Mutex<Exiles>,
}

impl<S: Sink> Writer<S> {
    /// Runs until no more batches come, or until it is told to give up.
    async fn run(&self, mut gathered: mpsc::Receiver<Gathered>) {
        // At most one: samples never go before the series that an earlier batch has brought.
        let mut defining = FuturesOrdered::new();
        let mut writing = FuturesOrdered::new();
        let mut is_open = true;
        while is_open || !defining.is_empty() || !writing.is_empty() {
            tokio::select! {
                biased;
                Some((Gathered { batch, place }, refused)) = writing.next() => {
                    let Some(refused) = refused else { return give_up(&batch) };
                    self.settle(batch, &refused);
                    drop(place);
                }
                Some((next, is_through)) = defining.next() => {
                    let (next, is_through): (Gathered, bool) = (next, is_through);
                    if !is_through {
                        return give_up(&next.batch);
                    }
                    writing.push_back(self.write(next));
                }
                next = gathered.recv(), if is_open && defining.is_empty() => match next {
                    Some(next) => defining.push_back(self.define(next)),
                    None => is_open = false,
                },
            }
        }
    }

    /// Writes the series of a batch, and leaves out the samples of those that are refused. False: given up.
    async fn define(&self, mut gathered: Gathered) -> (Gathered, bool) {
        let series = gathered.batch.series();
        let is_through = self.write_series(series).await;
        let exiles = self.exiles.lock();
        if !exiles.is_empty() {
            gathered.batch.reject_series(|id| exiles.has(id), exiles.reason());
        }
        drop(exiles);
        (gathered, is_through)
    }

    async fn write(&self, gathered: Gathered) -> Written {
        let refused = self.write_blocks(&gathered.batch).await;
        (gathered, refused)
    }

    /// Writes the blocks of a batch whose series are through. Gives the hours that were refused for good; `None`: given up.
    async fn write_blocks(&self, batch: &Batch) -> Option<BTreeMap<i64, String>> {
        let mut refused = BTreeMap::new();
        for (hour, rows) in batch.hours() {
            let token = batch.hour_token(hour);
            let insert = || self.sink.insert_samples(rows, &token);
            match self.insert(insert, Refusal::Final).await {
                Outcome::Accepted => {}
                Outcome::GivenUp => return None,
                Outcome::Refused(reason) => {
                    tracing::error!(hour, rows = rows.len(), reason, "samples refused for good");
                    refused.insert(hour, reason);
                }
            }
        }
        if !self.write_caches(batch).await {
            return None;
        }
        match self.mark_late(batch).await {
            Outcome::GivenUp => None,
            _ => Some(refused),
        }
    }

    /// Writes what a batch says of caches. What is refused for good is left out: its samples are stored. False: given up.
    async fn write_caches(&self, batch: &Batch) -> bool {
        for (day, rows) in batch.cache_days() {
            let token = batch.cache_day_token(day);
            let insert = || self.sink.insert_cache_stats(rows, &token);
            match self.insert(insert, Refusal::Final).await {
                Outcome::Accepted => {}
                Outcome::GivenUp => return false,
                Outcome::Refused(reason) => {
                    tracing::error!(
                        day,
                        rows = rows.len(),
                        reason,
                        "rows of caches refused for good"
                    );
                }
            }
        }
        true
    }

    fn settle(&self, batch: Batch, refused: &BTreeMap<i64, String>) {
        self.metrics.batch_rows.observe(batch.rows() as f64);
        if let Some(first_at) = batch.first_at() {
            self.metrics.flush_seconds.observe(first_at.elapsed().as_secs_f64());
        }
        batch.settle(refused);
        self.gate.update();
    }

    /// Marks what is late, after it was stored and before it is acknowledged: rollups that were computed before it are computed again.
    async fn mark_late(&self, batch: &Batch) -> Outcome {
        let marks = batch.late_marks(self.sink.server_now_ms() - LATE_MS);
        if marks.is_empty() {
            return Outcome::Accepted;
        }
        self.metrics.late_marks.inc_by(marks.len() as u64);
        let id = rand::random();
        self.insert(|| self.sink.insert_late_marks(&marks, id), Refusal::Passing).await
    }

    /// Writes new series, and again those that were refused when it is time. False: given up.
    async fn write_series(&self, new: Vec<SeriesRow>) -> bool {
        let again = self.exiles.lock().due(Instant::now());
        if new.is_empty() && again.is_empty() {
            return true;
        }
        for rows in [new, again] {
            if !self.write_or_split(rows).await {
                return false;
            }
        }
        let text = self.exiles.lock().text();
        self.accounts.set(Kind::SeriesRefused, None, text);
        true
    }

    /// Writes a block of series. One that is refused is split, so that only the rows at fault are left. False: given up.
    async fn write_or_split(&self, rows: Vec<SeriesRow>) -> bool {
        let mut parts = vec![rows];
        let mut splits = 0;
        while let Some(mut rows) = parts.pop() {
            if rows.is_empty() {
                continue;
            }
            let token = series_token(&rows);
            let insert = || self.sink.insert_series(&rows, &token);
            match self.insert(insert, Refusal::Final).await {
                Outcome::GivenUp => return false,
                Outcome::Accepted => {
                    let ids: Vec<_> =
                        rows.iter().map(|row| SeriesId::from(row.series_id)).collect();
                    self.catalog.mark_written(&ids);
                    self.exiles.lock().remove(&rows);
                }
                Outcome::Refused(_) if rows.len() > 1 && splits < SPLITS => {
                    splits += 1;
                    let half = rows.split_off(rows.len() / 2);
                    parts.extend([half, rows]);
                }
                Outcome::Refused(reason) => {
                    tracing::error!(series = rows.len(), reason, "series refused for good");
                    self.exiles.lock().add(&rows, reason, Instant::now());
                }
            }
        }
        true
    }

    /// Inserts a block, again and again until there is an answer that stays.
    async fn insert<F: Future<Output = Result<(), StoreError>>>(
        &self,
        attempt: impl Fn() -> F,
        refusal: Refusal,
    ) -> Outcome {
        let mut backoff = backoff(Duration::from_millis(100), Duration::from_secs(5));
        let mut merges = backoff_for_merges();
        loop {
            let result = tokio::select! {
                biased;
                result = attempt() => result,
                () = self.stop.give_up.cancelled() => return Outcome::GivenUp,
            };
            let Err(error) = result else {
                self.recovered();
                return Outcome::Accepted;
            };
            let random = rand::random();
            let delay = match error.class() {
                ErrorClass::Permanent if refusal == Refusal::Final => {
                    // The server answers: a failure before this one is over.
                    self.recovered();
                    return Outcome::Refused(
                        error.to_string().chars().take(REASON_CHARS).collect(),
                    );
                }
                ErrorClass::TooManyParts => merges.next_delay(random),
                ErrorClass::Retryable | ErrorClass::Permanent => backoff.next_delay(random),
            };
            self.failed(&error, delay);
            tokio::select! {
                () = sleep(delay) => {}
                () = self.stop.give_up.cancelled() => return Outcome::GivenUp,
            }
        }
    }

    fn failed(&self, error: &StoreError, delay: Duration) {
        self.metrics.write_retries.inc();
        if self.gate.health().failure.is_none() {
            let delay_ms = delay.as_millis() as u64;
            tracing::warn!(%error, delay_ms, "clickhouse does not accept samples, agents are told to pause");
        }
        self.gate.failed(&error.to_string());
    }

    fn recovered(&self) {
        if let Some(failure) = self.gate.succeeded() {
            let outage_ms = crate::live::now_ms() - failure.since_ms;
            tracing::info!(outage_ms, "clickhouse accepts samples again");
        }
    }
}

fn give_up(batch: &Batch) {
    let rows = batch.rows();
    tracing::warn!(rows, "stopping without an answer from clickhouse, the agents keep these rows");
}

fn backoff(floor: Duration, cap: Duration) -> Backoff {
    Backoff::new(floor, cap).expect("0 < floor <= cap")
}

/// Merges need seconds to catch up.
fn backoff_for_merges() -> Backoff {
    backoff(Duration::from_secs(1), Duration::from_secs(30))
}

#[cfg(test)]
mod tests;
