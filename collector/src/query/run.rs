//! Asks ClickHouse what a plan says and lays the rows out on the grid.
//!
//! Some queries run at once, some wait for their turn, and more are refused ([`QueryLimits`], [`Turns`]). Each is bounded in rows, bytes, memory and time by ClickHouse,
//! and in points of its answer here. A caller that goes away takes its query with it: the future is dropped, the connection closes, ClickHouse stops.
//! Measured on two cores over HTTP for an hour at one sample a second: one series 5 ms, 200 series in ten groups 35 ms (avg) and 110 ms (rate).

use std::sync::Arc;
use std::time::{Duration, Instant};

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::answer::{CacheLevel, Point};
use super::plan::{GroupKey, Plan, plan};
use super::{
    Agg, Buckets, MAX_ANSWER_POINTS, MetricsAnswer, MetricsQuery, QueryError, QueryLimits,
    SeriesAnswer,
};
use crate::overload::Turns;
use crate::rollup::RollupProgress;
use crate::store::{Servers, Store, StoreError};

/// Time beyond that of one query that a query may wait for its turn and its rows.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way of queries to the store.
#[derive(Debug)]
pub struct Querier {
    servers: Servers,
    rollups: Arc<RollupProgress>,
    turns: Turns,
    /// Longest that a query may wait and run.
    timeout: Duration,
}

/// A row as every SQL of [`super::sql`] gives it.
#[derive(Debug, Clone, Copy, Row, Deserialize)]
struct ValueRow {
    group: u32,
    bucket: i64,
    result: f64,
}

/// The answer's series while rows arrive, ordered by group and bucket.
struct Grid {
    buckets: Buckets,
    keys: Vec<Option<GroupKey>>,
    current: Option<u32>,
    series: Vec<SeriesAnswer>,
}

impl Querier {
    /// Queries to this store.
    pub fn new(store: &Store, limits: &QueryLimits) -> Self {
        let settings = limits.settings().into_iter();
        let servers = settings.fold(store.servers().clone(), |servers, (name, value)| {
            servers.with_setting(name, &value)
        });
        Self {
            servers,
            rollups: Arc::clone(store.rollups()),
            turns: Turns::new(limits.running, limits.waiting),
            timeout: Duration::from_millis(limits.time_ms) + PATIENCE,
        }
    }

    /// Who runs and waits.
    pub const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Answers a valid query.
    ///
    /// # Errors
    /// When it asks for too much, too many queries run, or the store fails.
    pub async fn metrics(&self, query: &MetricsQuery) -> Result<MetricsAnswer, QueryError> {
        let started = Instant::now();
        let answer = async {
            let _turn = self.turns.enter().await.map_err(|_| QueryError::Busy)?;
            let plan = plan(query, self.rollups.get())?;
            let series = if plan.ids.is_empty() { Vec::new() } else { self.fetch(&plan).await? };
            Ok::<_, QueryError>((plan.tier, series))
        };
        let (tier, series) = tokio::time::timeout(self.timeout, answer).await.map_err(|_| {
            QueryError::Unavailable(format!("no answer within {} ms", self.timeout.as_millis()))
        })??;
        let (metric, agg) = (query.metric.as_str(), query.agg);
        let elapsed_ms = started.elapsed().as_millis() as u64;
        tracing::debug!(metric, %agg, tier = tier.as_str(), series = series.len(), elapsed_ms, "queried");
        Ok(MetricsAnswer {
            metric: query.metric.clone(),
            unit: unit(&query.unit, query.agg),
            step_ms: query.buckets.step_ms(),
            tier,
            cache: CacheLevel::Miss,
            series,
        })
    }

    async fn fetch(&self, plan: &Plan) -> Result<Vec<SeriesAnswer>, QueryError> {
        self.servers.ask(|client| read(client, plan)).await?
    }
}

/// What one server answers. A failure of the server is apart from one of the query: another server may answer.
async fn read(
    client: Client,
    plan: &Plan,
) -> Result<Result<Vec<SeriesAnswer>, QueryError>, StoreError> {
    let mut cursor = client
        .query(&plan.sql)
        .bind(&plan.ids)
        .bind(&plan.groups)
        .bind(plan.buckets.step_ms())
        .bind(plan.read_from_ms)
        .bind(plan.read_to_ms)
        .bind(plan.buckets.first_ms())
        .bind(plan.buckets.end_ms())
        .bind(plan.gap_ms)
        .fetch::<ValueRow>()?;
    let mut grid = Grid::new(plan.buckets, plan.keys.clone());
    while let Some(row) = cursor.next().await? {
        if let Err(error) = grid.put(row) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(grid.series))
}

impl Grid {
    fn new(buckets: Buckets, keys: Vec<GroupKey>) -> Self {
        let keys = keys.into_iter().map(Some).collect();
        Self { buckets, keys, current: None, series: Vec::new() }
    }

    /// Puts a value into its place. Groups without any row do not appear in the answer.
    fn put(&mut self, row: ValueRow) -> Result<(), QueryError> {
        if self.current != Some(row.group) {
            self.begin(row.group)?;
        }
        let index = self.buckets.index_of_start(row.bucket);
        let series = self.series.last_mut();
        if let (Some(index), Some(series)) = (index, series) {
            series.points[index].1 = Some(row.result).filter(|value| value.is_finite());
        }
        Ok(())
    }

    fn begin(&mut self, group: u32) -> Result<(), QueryError> {
        let width = self.buckets.count() as usize;
        if (self.series.len() + 1) * width > MAX_ANSWER_POINTS {
            return Err(QueryError::TooExpensive(format!(
                "the answer would hold more than {MAX_ANSWER_POINTS} points: use a larger step, group by fewer attributes, or name nodes or a filter"
            )));
        }
        let key = self.keys.get_mut(group as usize).and_then(Option::take);
        let attributes =
            key.ok_or_else(|| QueryError::Store(format!("rows of group {group} out of order")))?;
        let points: Vec<Point> = self.buckets.starts().map(|start_ms| (start_ms, None)).collect();
        self.series.push(SeriesAnswer { attributes, points });
        self.current = Some(group);
        Ok(())
    }
}

/// Unit of the answer's values: a rate is per second, and seconds per second are a share.
fn unit(unit: &str, agg: Agg) -> String {
    match (agg, unit) {
        (Agg::Rate, "s") => "1".to_owned(),
        (Agg::Rate, unit) => format!("{unit}/s"),
        (_, unit) => unit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(node: &str) -> GroupKey {
        GroupKey::from([("node".to_owned(), node.to_owned())])
    }

    fn row(group: u32, bucket: i64, result: f64) -> ValueRow {
        ValueRow { group, bucket, result }
    }

    #[test]
    fn gaps_are_null_and_groups_without_rows_are_absent() {
        let mut grid = Grid::new(Buckets::covering(0, 30, 10), vec![key("a"), key("b"), key("c")]);
        for row in [row(0, 0, 1.0), row(0, 20, 0.0), row(2, 10, f64::INFINITY)] {
            grid.put(row).unwrap();
        }
        let [a, c] = &grid.series[..] else { panic!("two groups have rows") };
        assert_eq!((&a.attributes, &c.attributes), (&key("a"), &key("c")));
        assert_eq!(a.points, [(0, Some(1.0)), (10, None), (20, Some(0.0))]);
        assert_eq!(c.points, [(0, None), (10, None), (20, None)]);
    }

    #[test]
    fn an_answer_has_a_bounded_number_of_points() {
        let buckets = Buckets::covering(0, 10_000, 1);
        let keys = (0..101).map(|i| key(&i.to_string())).collect();
        let mut grid = Grid::new(buckets, keys);
        for group in 0..100 {
            grid.put(row(group, 0, 1.0)).unwrap();
        }
        assert!(matches!(grid.put(row(100, 0, 1.0)), Err(QueryError::TooExpensive(_))));
    }

    #[test]
    fn a_rate_is_per_second() {
        assert_eq!(unit("By", Agg::Rate), "By/s");
        assert_eq!(unit("s", Agg::Rate), "1");
        assert_eq!(unit("By", Agg::Avg), "By");
    }
}
