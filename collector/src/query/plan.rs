//! From a valid query to what ClickHouse is asked: pure, so that the text of the SQL is tested without it.
//!
//! The series were picked from the catalog in memory; the SQL gets their ids, and the number of each one's group in the answer beside it.
//! Everything that varies is a bound parameter and all of them are numbers: no text of a caller reaches the SQL.

use std::collections::BTreeMap;

use super::answer::Tier;
use super::fold::Within;
use super::source::Source;
use super::table::GroupKey;
use super::validate::{By, NODE};
use super::{Buckets, Fold, MAX_SERIES_READ, MetricsQuery, QueryError, source, sql};
use crate::rollup::Progress;
use crate::store::catalog::SelectedSeries;

/// What ClickHouse is asked, and what its rows mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Name of the metric.
    pub metric: String,
    /// How samples become values.
    pub fold: Fold,
    /// What groups are, in words.
    pub by: String,
    /// Which tables answer.
    pub tier: Tier,
    /// Which tables are read for which part of the time.
    pub sources: Vec<Source>,
    /// SQL with placeholders for ids, groups, step, begin and end of what is read, begin and end of the grid, and gap.
    pub sql: String,
    /// What is asked instead when the answer says that it may be wrong.
    pub exact: Option<String>,
    /// Ids of the series to read.
    pub ids: Vec<u64>,
    /// For each id the index of its group in `keys`.
    pub groups: Vec<u32>,
    /// Groups of the answer, in order.
    pub keys: Vec<GroupKey>,
    /// Grid of the answer.
    pub buckets: Buckets,
    /// First millisecond to read; before the grid for rates, which need the sample before.
    pub read_from_ms: i64,
    /// End of what is read, not included.
    pub read_to_ms: i64,
    /// Samples of a counter further apart than this say nothing about the time between them.
    pub gap_ms: i64,
}

/// Makes the plan of a query for the buckets of a grid of its step. `progress` says how far the rollups are complete.
///
/// # Errors
/// When it would read too many series.
pub fn plan(
    query: &MetricsQuery,
    buckets: Buckets,
    progress: Progress,
) -> Result<Plan, QueryError> {
    let count = query.series.len();
    if count > MAX_SERIES_READ {
        return Err(QueryError::TooExpensive(format!(
            "the query reads {count} series, over {MAX_SERIES_READ}: name nodes or a filter"
        )));
    }
    let mut members: BTreeMap<GroupKey, Vec<u64>> = BTreeMap::new();
    for series in &query.series {
        members.entry(group_key(series, &query.by)).or_default().push(series.id.get());
    }
    let mut pairs: Vec<(u64, u32)> = Vec::with_capacity(count);
    let mut keys = Vec::with_capacity(members.len());
    for (group, (key, ids)) in members.into_iter().enumerate() {
        keys.push(key);
        pairs.extend(ids.into_iter().map(|id| (id, group as u32)));
    }
    pairs.sort_unstable();
    let (ids, groups) = pairs.into_iter().unzip();
    let gap_ms = sql::gap_ms(buckets.step_ms());
    let around_ms = if query.fold.within == Within::Rate { gap_ms } else { 0 };
    let read_from_ms = (buckets.first_ms() - around_ms).max(0);
    let read_to_ms = buckets.end_ms() + around_ms;
    let sources = source::pick(query.fold, buckets.step_ms(), (read_from_ms, read_to_ms), progress);
    let sql::Text { sql, exact } =
        sql::text(query.fold, &sources, buckets.step_ms(), keys.len() == count);
    Ok(Plan {
        metric: query.metric.clone(),
        fold: query.fold,
        by: query.by.to_string(),
        sql,
        exact,
        tier: source::tier(&sources),
        sources,
        ids,
        groups,
        keys,
        buckets,
        read_from_ms,
        read_to_ms,
        gap_ms,
    })
}

/// The attributes that put a series into its group. An attribute that the series does not have is left out.
fn group_key(series: &SelectedSeries, by: &By) -> GroupKey {
    let wanted = |key: &str| match by {
        By::Series => true,
        By::Nothing => false,
        By::Attributes(keys) => keys.iter().any(|wanted| wanted == key),
    };
    let own = series.attributes.iter().map(|(key, value)| (&**key, &**value));
    own.chain([(NODE, &*series.node)])
        .filter(|(key, _)| wanted(key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
