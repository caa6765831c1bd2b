//! Asks ClickHouse what a plan says and lays the rows out on the grid.
//!
//! Some queries run at once, some wait for their turn, and more are refused ([`QueryLimits`], [`Turns`]). Each is bounded in rows, bytes, memory and time by ClickHouse,
//! and in points of its answer here. A caller that goes away takes its query with it: the future is dropped, the connection closes, ClickHouse stops.

use std::time::{Duration, Instant};

use clickhouse::{Client, Row};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::plan::Plan;
use super::slow::{SlowQueries, Spent};
use super::table::{self, Table};
use super::{MAX_PART_POINTS, QueryError, QueryLimits, QueryMetrics};
use crate::overload::{Turn, Turns};
use crate::store::{Servers, Store, StoreError};

/// Time beyond that of one query that a query may wait for its turn and its rows.
const PATIENCE: Duration = Duration::from_secs(5);

const NEWEST: &str = "\
SELECT series_id, toUnixTimestamp64Milli(max(ts)), argMax(value, ts) FROM performance_metrics
WHERE series_id IN ? AND ts >= now64(3) - toIntervalMillisecond(?)
GROUP BY series_id";

/// The way of queries to the store.
#[derive(Debug)]
pub(super) struct Fetcher {
    servers: Servers,
    turns: Turns,
    /// Longest that a query may wait and run.
    timeout: Duration,
    metrics: QueryMetrics,
    slow: SlowQueries,
}

/// The turn that all parts of a question share: one of them alone would be of no use to anybody.
#[derive(Debug, Default)]
pub(super) struct OneTurn(OnceCell<Turn>);

/// What ClickHouse answered.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) table: Table,
    pub(super) spent: Spent,
}

/// A row as every SQL of [`super::sql`] gives it.
#[derive(Debug, Clone, Row, Deserialize)]
struct GroupRow {
    group: u32,
    /// Counted from the first one of the grid.
    buckets: Vec<u32>,
    results: Vec<f64>,
    /// 1: they may be wrong.
    mixed: u8,
}

/// Why an answer was not read to its end.
#[derive(Debug)]
enum Unread {
    /// Rows of several scales, of which some may belong together.
    Mixed,
    Failed(QueryError),
}

/// The values of each group while rows arrive, in whatever order.
struct Grid<'a> {
    plan: &'a Plan,
    groups: Vec<Option<Box<[f64]>>>,
    points: usize,
}

impl Fetcher {
    /// Queries to this store.
    pub(super) fn new(
        store: &Store,
        limits: &QueryLimits,
        metrics: QueryMetrics,
        slow: SlowQueries,
    ) -> Self {
        let settings = limits.settings().into_iter();
        let servers = settings.fold(store.servers().clone(), |servers, (name, value)| {
            servers.with_setting(name, &value)
        });
        Self {
            servers,
            turns: Turns::new(limits.running, limits.waiting),
            timeout: Duration::from_millis(limits.time_ms) + PATIENCE,
            metrics,
            slow,
        }
    }

    /// Who runs and waits.
    pub(super) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Id, time and value of the newest sample of each series within `lookback_ms`.
    ///
    /// # Errors
    /// When too many queries run, or the store fails.
    pub(super) async fn newest(
        &self,
        ids: &[u64],
        lookback_ms: i64,
    ) -> Result<Vec<(u64, i64, f64)>, QueryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.turns.enter().await.map_err(|_| QueryError::Busy)?;
        self.metrics.store_queries.inc();
        let newest = |client: Client| async move {
            let query = client.query(NEWEST).bind(ids).bind(lookback_ms);
            Ok(query.fetch_all::<(u64, i64, f64)>().await?)
        };
        let asking = tokio::time::timeout(self.timeout, self.servers.ask(newest));
        let late = |_| QueryError::Unavailable("no answer in time".to_owned());
        Ok(asking.await.map_err(late)??)
    }

    /// Asks for what a plan says.
    ///
    /// # Errors
    /// When it asks for too much, too many queries run, or the store fails.
    pub(super) async fn fetch(&self, plan: &Plan, turn: &OneTurn) -> Result<Fetched, QueryError> {
        if plan.ids.is_empty() {
            return Ok(Fetched { table: Table::new(plan.buckets), spent: Spent::default() });
        }
        let answer = async {
            turn.0.get_or_try_init(|| self.turns.enter()).await.map_err(|_| QueryError::Busy)?;
            let started = Instant::now();
            self.metrics.store_queries.inc();
            let answer = self.servers.ask(|client| read_exact(client, plan)).await;
            let answer = answer.map_err(QueryError::from).flatten();
            let elapsed = started.elapsed();
            self.metrics.store_seconds.observe(elapsed.as_secs_f64());
            self.slow.note(plan, elapsed, answer.as_ref().ok().map(|(_, spent)| *spent));
            answer.map(|(table, spent)| Fetched { table, spent: Spent { elapsed, ..spent } })
        };
        tokio::time::timeout(self.timeout, answer).await.map_err(|_| {
            QueryError::Unavailable(format!("no answer within {} ms", self.timeout.as_millis()))
        })?
    }
}

/// What one server answers, asked once more where the quick question gives no sure answer.
async fn read_exact(
    client: Client,
    plan: &Plan,
) -> Result<Result<(Table, Spent), QueryError>, StoreError> {
    match (read(client.clone(), plan, &plan.sql).await?, &plan.exact) {
        (Err(Unread::Mixed), Some(exact)) => read(client, plan, exact).await,
        (answer, _) => Ok(answer),
    }
    .map(|answer| answer.map_err(Unread::into))
}

/// What one server answers. A failure of the server is apart from one of the query: another server may answer.
async fn read(
    client: Client,
    plan: &Plan,
    sql: &str,
) -> Result<Result<(Table, Spent), Unread>, StoreError> {
    let mut cursor = client
        .query(sql)
        .bind(&plan.ids)
        .bind(&plan.groups)
        .bind(plan.buckets.step_ms())
        .bind(plan.read_from_ms)
        .bind(plan.read_to_ms)
        .bind(plan.buckets.first_ms())
        .bind(plan.buckets.end_ms())
        .bind(plan.gap_ms)
        .fetch::<GroupRow>()?;
    let mut grid = Grid::new(plan);
    let mut spent = Spent::default();
    while let Some(row) = cursor.next().await? {
        if let Err(error) = grid.put(&row) {
            return Ok(Err(error));
        }
    }
    if let Some(summary) = cursor.summary() {
        spent.rows = summary.read_rows().unwrap_or_default();
        spent.bytes = summary.read_bytes().unwrap_or_default();
    }
    Ok(Ok((grid.table(), spent)))
}

impl From<Unread> for QueryError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Mixed => Self::Store("rows of several scales where none can be".to_owned()),
            Unread::Failed(error) => error,
        }
    }
}

impl<'a> Grid<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self { plan, groups: vec![None; plan.keys.len()], points: 0 }
    }

    /// Puts the values of a group into their places.
    fn put(&mut self, row: &GroupRow) -> Result<(), Unread> {
        if row.mixed != 0 {
            return Err(Unread::Mixed);
        }
        let width = self.plan.buckets.count() as usize;
        let unknown = || QueryError::Store(format!("there is no group {}", row.group));
        let group = self.groups.get_mut(row.group as usize);
        let group = group.ok_or_else(|| Unread::Failed(unknown()))?;
        if group.is_none() {
            self.points += width;
        }
        if self.points > MAX_PART_POINTS {
            return Err(Unread::Failed(table::too_many_points()));
        }
        let values = group.get_or_insert_with(|| vec![f64::NAN; width].into());
        for (&index, &result) in row.buckets.iter().zip(&row.results) {
            if let Some(value) = values.get_mut(index as usize)
                && result.is_finite()
            {
                *value = result;
            }
        }
        Ok(())
    }

    /// The groups that have a row.
    fn table(self) -> Table {
        let rows = self.plan.keys.iter().zip(self.groups);
        let rows = rows.filter_map(|(key, values)| Some((key.clone(), values?)));
        Table { buckets: self.plan.buckets, rows: rows.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Buckets;
    use crate::query::plan::tests::sample_plan;

    fn row(group: u32, values: &[(u32, f64)]) -> GroupRow {
        let (buckets, results) = values.iter().copied().unzip();
        GroupRow { group, buckets, results, mixed: 0 }
    }

    #[test]
    fn gaps_are_unknown_groups_without_rows_are_absent_and_order_does_not_matter() {
        let plan = Plan { buckets: Buckets::covering(0, 30, 10), ..sample_plan(3) };
        let mut grid = Grid::new(&plan);
        for row in [row(2, &[(1, f64::INFINITY)]), row(0, &[(2, 0.0), (0, 1.0), (9, 5.0)])] {
            grid.put(&row).unwrap();
        }
        assert!(
            matches!(grid.put(&row(3, &[])), Err(Unread::Failed(QueryError::Store(_)))),
            "no such group"
        );
        let series: Vec<_> = grid.table().series().collect();
        let [first, third] = &series[..] else { panic!("two groups have rows") };
        assert_eq!((&first.attributes, &third.attributes), (&plan.keys[0], &plan.keys[2]));
        assert_eq!(first.points, [(0, Some(1.0)), (10, None), (20, Some(0.0))]);
        assert_eq!(third.points, [(0, None), (10, None), (20, None)]);
    }
}
