//! Computes rollups step by step: one span or hour at a time, one statement at a time, on one thread of ClickHouse.
//!
//! A step that was cut off anywhere is done again from its start, with the same result: rows are whole buckets, the newest version counts, and the row of
//! [`super::state`] that says how far they are is written last.

use std::time::Instant;

use clickhouse::Client;

use super::late::{self, LateHour};
use super::metrics::RollupMetrics;
use super::progress::Progress;
use super::settings::RollupSettings;
use super::sql::{self, Falls, Scope};
use super::state::{self, Halt, Held};
use super::tier::{RollupTier, SPAN_MS};
use crate::store::{DAY_MS, HOUR_MS, Servers, Store, StoreError};

/// Buckets that one statement computes at most, about 200 bytes of ClickHouse's memory each. Of 75,000 to 1,200,000 this was the fastest.
const MAX_BUCKETS: i64 = 300_000;
/// Series of which one statement computes an hour from minutes.
const MAX_SERIES_OF_AN_HOUR: usize = 20_000;
/// Longest that one statement may take, in seconds.
const STATEMENT_SECONDS: u32 = 300;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was computed, and there may be more.
    Worked,
    /// There is nothing to do now, or another collector does it.
    Idle,
}

/// Computes rollups.
#[derive(Debug)]
pub struct Roller {
    store: Store,
    servers: Servers,
    settings: RollupSettings,
    metrics: RollupMetrics,
    holder: String,
    held: Option<Held>,
    /// Late marks wait a little.
    patient: bool,
}

/// Ids from the first to the last one.
type Range = (u64, u64);

impl Roller {
    /// A roller of the collector `name`. Nothing happens before [`Roller::step`].
    pub fn new(
        store: &Store,
        settings: RollupSettings,
        metrics: RollupMetrics,
        name: &str,
    ) -> Self {
        let bytes = settings.memory_bytes;
        let servers = [
            ("max_threads", "1".to_owned()),
            ("max_insert_threads", "1".to_owned()),
            ("max_memory_usage", bytes.to_string()),
            // Statements are small enough, and only to be ready for it costs a half more.
            ("max_bytes_before_external_group_by", "0".to_owned()),
            ("max_bytes_before_external_sort", (bytes / 2).to_string()),
            ("max_execution_time", STATEMENT_SECONDS.to_string()),
            ("max_query_size", "2000000".to_owned()),
            ("optimize_on_insert", "0".to_owned()),
            ("async_insert", "0".to_owned()),
            // A bucket that is computed again may be as it was.
            ("insert_deduplicate", "0".to_owned()),
            // Rows of a series in the order of their times, whatever is merged: see `sql`.
            ("split_parts_ranges_into_intersecting_and_non_intersecting_final", "0".to_owned()),
            ("split_intersecting_parts_ranges_into_layers_final", "0".to_owned()),
            ("distributed_foreground_insert", "1".to_owned()),
            // The shards would get statements whose subqueries name tables of our database without it.
            ("parallel_distributed_insert_select", "0".to_owned()),
            // A replica that lags would leave rows out for good.
            ("fallback_to_stale_replicas_for_distributed_queries", "0".to_owned()),
            ("wait_end_of_query", "1".to_owned()),
        ]
        .into_iter()
        .fold(store.servers().clone(), |servers, (name, value)| servers.with_setting(name, &value));
        let holder = format!("{name} {:016x}", rand::random::<u64>());
        Self { store: store.clone(), servers, settings, metrics, holder, held: None, patient: true }
    }

    /// Settles late marks at once, for tests and tools that do not want to wait.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Computes the next span or hour that is due, and one hour's late marks.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked. The step is done again by the next one.
    pub async fn step(&mut self) -> Result<Step, StoreError> {
        let started = Instant::now();
        let result = self.try_step().await;
        self.metrics.holder.set(i64::from(self.held.is_some()));
        match result {
            Ok(step) => {
                if step == Step::Worked {
                    self.metrics.seconds.inc_by(started.elapsed().as_secs_f64());
                }
                Ok(step)
            }
            Err(Halt::Lost) => {
                tracing::info!("another collector computes rollups now");
                self.held = None;
                Ok(Step::Idle)
            }
            Err(Halt::Store(error)) => {
                self.metrics.failures.inc();
                // What was written of it is read back by the next step.
                self.held = None;
                Err(error)
            }
        }
    }

    /// Lets another collector go on at once.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked; then the lease ends by itself.
    pub async fn release(&mut self) -> Result<(), StoreError> {
        match self.held.take() {
            None => Ok(()),
            Some(held) => match held.release(&self.servers).await {
                Ok(()) | Err(Halt::Lost) => Ok(()),
                Err(Halt::Store(error)) => Err(error),
            },
        }
    }

    async fn try_step(&mut self) -> Result<Step, Halt> {
        let seen = state::read(&self.servers).await?;
        self.publish(&seen);
        if !self.settings.enabled || !seen.is_free_for(&self.holder) {
            self.held = None;
            return Ok(Step::Idle);
        }
        let now_ms = seen.now_ms;
        let mut held = match self.held.take() {
            Some(held) if seen.state.as_ref() == Some(&held.state) => held,
            _ => {
                let first_ms = if seen.state.is_some() { 0 } else { self.first_ms(now_ms).await? };
                match Held::take(&self.servers, seen, &self.holder, first_ms).await? {
                    Some(held) => held,
                    None => return Ok(Step::Idle),
                }
            }
        };
        held.keep(&self.servers).await?;
        let advanced = self.advance(&mut held, now_ms).await?;
        let settled = self.settle_late(&mut held, now_ms).await?;
        self.publish(&state::read(&self.servers).await?);
        self.held = Some(held);
        Ok(if advanced || settled { Step::Worked } else { Step::Idle })
    }

    /// Makes known how far the rollups are, whoever computes them.
    fn publish(&self, seen: &state::Seen) {
        self.store.note_server_time(seen.now_ms);
        let late_marks = self.store.rollups().get().late_marks;
        let progress = seen.state.as_ref().map_or(Progress::default(), |state| Progress {
            fine_until_ms: state.fine_until,
            hours_until_ms: state.hours_until,
            ..Progress::default()
        });
        let progress = Progress { seen_at_ms: seen.now_ms, late_marks, ..progress };
        self.metrics.lag_seconds.set(progress.lag_ms() / 1_000);
        self.store.rollups().set(progress);
    }

    /// Where rollups begin in a database that has none: with the first sample, or else now.
    async fn first_ms(&self, now_ms: i64) -> Result<i64, StoreError> {
        let ask = |client: Client| async move {
            let sql =
                "SELECT count() > 0, toUnixTimestamp64Milli(min(ts)) FROM performance_metrics";
            Ok(client.query(sql).with_setting("final", "0").fetch_one::<(bool, i64)>().await?)
        };
        let (any, first_ms) = self.servers.ask(ask).await?;
        let first_ms = if any { first_ms.min(now_ms) } else { now_ms };
        Ok(first_ms - first_ms.rem_euclid(HOUR_MS))
    }

    /// The first hour whose samples are all there: those before are being deleted.
    fn oldest_ms(&self, now_ms: i64) -> i64 {
        let edge_ms = now_ms - i64::from(self.store.retention_days()) * DAY_MS;
        edge_ms - edge_ms.rem_euclid(HOUR_MS) + HOUR_MS
    }

    /// Computes what is due next. False when nothing is.
    async fn advance(&mut self, held: &mut Held, now_ms: i64) -> Result<bool, Halt> {
        let (fine_ms, hour_ms) = (held.state.fine_until, held.state.hours_until);
        if hour_ms + HOUR_MS <= fine_ms {
            self.hour(held, hour_ms, &[]).await?;
            held.state.hours_until = hour_ms + HOUR_MS;
            held.save(&self.servers).await?;
            return Ok(true);
        }
        let oldest_ms = self.oldest_ms(now_ms);
        if fine_ms < oldest_ms {
            (held.state.fine_until, held.state.hours_until) = (oldest_ms, oldest_ms);
            held.save(&self.servers).await?;
            return Ok(true);
        }
        let due_ms = now_ms - self.settings.delay_ms.cast_signed();
        // After a long stop an hour at a time: it is one partition.
        let to_ms = match fine_ms {
            ms if ms % HOUR_MS == 0 && ms + HOUR_MS <= due_ms => ms + HOUR_MS,
            ms => ms + SPAN_MS,
        };
        if to_ms > due_ms {
            return Ok(false);
        }
        let scope = Scope { from_ms: fine_ms, to_ms, ids: (0, u64::MAX), nodes: &[], version: 0 };
        held.state.fine_until = if self.ask::<bool>(&sql::any_sample(&scope)).await? {
            self.spans(held, scope).await?;
            to_ms
        } else {
            self.end_of_gap(scope, due_ms).await?
        };
        if hour_ms == fine_ms && held.state.fine_until > to_ms {
            held.state.hours_until = held.state.fine_until;
        }
        let spans = (held.state.fine_until - fine_ms) / SPAN_MS;
        self.metrics.spans.inc_by(spans.cast_unsigned());
        held.save(&self.servers).await?;
        Ok(true)
    }

    /// The end of a time without samples, which is passed over at once: all that is due, a day, or just what is empty for certain.
    async fn end_of_gap(&self, empty: Scope<'_>, due_ms: i64) -> Result<i64, StoreError> {
        if empty.from_ms % HOUR_MS != 0 {
            return Ok(empty.to_ms);
        }
        for to_ms in [due_ms - due_ms % HOUR_MS, empty.from_ms + DAY_MS] {
            let gap = Scope { to_ms, ..empty };
            if to_ms > empty.to_ms
                && to_ms <= due_ms
                && !self.ask::<bool>(&sql::any_sample(&gap)).await?
            {
                return Ok(to_ms);
            }
        }
        Ok(empty.to_ms)
    }

    /// Settles the late marks of one hour. False when there are none that are due.
    async fn settle_late(&mut self, held: &mut Held, now_ms: i64) -> Result<bool, Halt> {
        let until_ms = held.state.fine_until;
        let (waiting, hour) = late::read(&self.servers, until_ms, self.patient).await?;
        self.metrics.late_marks_waiting.set(waiting.cast_signed());
        let progress = self.store.rollups().get();
        self.store.rollups().set(Progress { late_marks: waiting, ..progress });
        let Some(hour) = hour else { return Ok(false) };
        let marks = hour.marks.len() as u64;
        if hour.from_ms < self.oldest_ms(now_ms) {
            self.metrics.late_marks_expired.inc_by(marks);
        } else {
            self.recompute(held, &hour, until_ms).await?;
        }
        // Whoever took over meanwhile has read these marks as well, or will find them gone after they were settled here.
        held.keep(&self.servers).await?;
        late::settle(&self.servers, &hour.marks).await?;
        self.store.rolled_up_again(&hour.late_marks());
        self.metrics.late_marks_settled.inc_by(marks);
        Ok(true)
    }

    async fn recompute(
        &mut self,
        held: &mut Held,
        late: &LateHour,
        until_ms: i64,
    ) -> Result<(), Halt> {
        let LateHour { from_ms, to_ms, ref nodes, .. } = *late;
        let to_ms = to_ms.min(until_ms);
        self.spans(held, Scope { from_ms, to_ms, ids: (0, u64::MAX), nodes, version: 0 }).await?;
        if late.hour_ms() < held.state.hours_until {
            self.hour(held, late.hour_ms(), nodes).await?;
        }
        self.metrics.late_spans.inc_by(((to_ms - from_ms) / SPAN_MS).cast_unsigned());
        Ok(())
    }

    /// Computes 1 min and 10 s of a scope. Nodes with late samples are computed with all falls of counters at once, because the rows are being read meanwhile.
    async fn spans(&mut self, held: &mut Held, scope: Scope<'_>) -> Result<(), Halt> {
        let falls: &[Falls] = if scope.nodes.is_empty() {
            &[Falls::Noticed, Falls::FoundWhereNoticed]
        } else {
            &[Falls::Found]
        };
        let minutes = (scope.to_ms - scope.from_ms) / RollupTier::Minute.width_ms();
        let every = (MAX_BUCKETS / minutes) as usize;
        for ids in self.ranges(&sql::series_bounds(&scope, every)).await? {
            for &falls in falls {
                let scope = Scope { ids, version: held.next_version(), ..scope };
                let statement = sql::from_samples(RollupTier::Minute, &scope, falls);
                self.run(held, RollupTier::Minute, &statement).await?;
            }
        }
        for from_ms in (scope.from_ms..scope.to_ms).step_by(SPAN_MS as usize) {
            let span = Scope { from_ms, to_ms: from_ms + SPAN_MS, ..scope };
            self.ten_seconds(held, span, falls).await?;
        }
        Ok(())
    }

    async fn ten_seconds(
        &mut self,
        held: &mut Held,
        span: Scope<'_>,
        falls: &[Falls],
    ) -> Result<(), Halt> {
        let tier = RollupTier::TenSeconds;
        let sparse = sql::sparse(&Scope { version: held.next_version(), ..span });
        self.run(held, tier, &sparse).await?;
        let every = (MAX_BUCKETS * tier.width_ms() / SPAN_MS) as usize;
        let bounds: Vec<u64> = self.ask(&sql::dense_bounds(&span, every)).await?;
        if bounds.is_empty() {
            return Ok(());
        }
        for ids in ranges(&bounds) {
            for &falls in falls {
                let scope = Scope { ids, version: held.next_version(), ..span };
                self.run(held, tier, &sql::from_samples(tier, &scope, falls)).await?;
            }
        }
        Ok(())
    }

    /// Computes an hour from its minutes.
    async fn hour(&mut self, held: &mut Held, from_ms: i64, nodes: &[u16]) -> Result<(), Halt> {
        let to_ms = from_ms + HOUR_MS;
        let scope = Scope { from_ms, to_ms, ids: (0, u64::MAX), nodes, version: 0 };
        for ids in self.ranges(&sql::series_bounds(&scope, MAX_SERIES_OF_AN_HOUR)).await? {
            let scope = Scope { ids, version: held.next_version(), ..scope };
            self.run(held, RollupTier::Hour, &sql::from_minutes(&scope)).await?;
        }
        Ok(())
    }

    async fn ranges(&self, bounds: &str) -> Result<Vec<Range>, StoreError> {
        Ok(ranges(&self.ask::<Vec<u64>>(bounds).await?))
    }

    /// Runs a statement that writes rows of `tier`. It must be idempotent.
    async fn run(&self, held: &mut Held, tier: RollupTier, statement: &str) -> Result<(), Halt> {
        held.keep(&self.servers).await?;
        let started = Instant::now();
        let run = |client: Client| async move {
            let mut cursor = client.query_raw(statement).fetch_bytes("TabSeparated")?;
            cursor.collect().await?;
            Ok(cursor.summary().and_then(clickhouse::QuerySummary::written_rows).unwrap_or(0))
        };
        let rows = self.servers.ask(run).await?;
        let elapsed_ms = started.elapsed().as_millis() as u64;
        tracing::debug!(table = tier.table(), rows, elapsed_ms, "rolled up");
        self.metrics.wrote(tier, rows);
        Ok(())
    }

    async fn ask<T>(&self, sql: &str) -> Result<T, StoreError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let ask = |client: Client| async move { Ok(client.query_raw(sql).fetch_one::<T>().await?) };
        self.servers.ask(ask).await
    }
}

/// Ranges between the bounds that cover all ids: series that came after the bounds were read are in one of them.
fn ranges(bounds: &[u64]) -> Vec<Range> {
    let mut starts = vec![0];
    starts.extend(bounds.iter().skip(1));
    let ends = starts[1..].iter().map(|start| start - 1).chain([u64::MAX]);
    starts.iter().copied().zip(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_ids_once() {
        assert_eq!(ranges(&[]), [(0, u64::MAX)]);
        assert_eq!(ranges(&[7]), [(0, u64::MAX)]);
        assert_eq!(ranges(&[7, 20, 30]), [(0, 19), (20, 29), (30, u64::MAX)]);
    }
}
