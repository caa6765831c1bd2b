//! From what was asked to a [`MetricsQuery`], or to the list of everything that is wrong with it. The one place where queries are judged.

use std::collections::BTreeSet;
use std::sync::Arc;

use flyball_proto::series::Kind;

use super::bucket::default_step_ms;
use super::fold::Within;
use super::time::check_time_ms;
use super::{Agg, Buckets, Fold, MAX_POINTS, MetricsAsk, QueryError, Violations};
use crate::store::catalog::{Catalog, SelectedSeries, Selection, Selector, Unknown};

/// Length of the range when `from` is left out.
const DEFAULT_RANGE_MS: i64 = 3_600_000;
/// Widest bucket.
const MAX_STEP_MS: i64 = 366 * 86_400_000;
/// Most values of `node`, `by` and `filter` each.
const MAX_REPEATS: usize = 1_000;
/// Most groups that `top` may keep.
const MAX_TOP: usize = 1_000;
/// What `by` names instead of attributes to have one group.
const NOTHING: &str = "none";
/// The attribute that every series has.
pub(super) const NODE: &str = "node";

/// A question that can be answered: its metric and nodes exist, its range is sound, its aggregation fits the metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsQuery {
    /// Name of the metric.
    pub metric: String,
    /// Unit of the metric.
    pub unit: Arc<str>,
    /// Counter or gauge.
    pub kind: Kind,
    /// How samples become values.
    pub fold: Fold,
    /// The grid of the answer.
    pub buckets: Buckets,
    /// What groups are.
    pub by: By,
    /// Only so many groups, those with the largest mean.
    pub top: Option<usize>,
    /// The question names its nodes and each has a series of the metric: no other ones can come to count.
    pub names_nodes: bool,
    /// The series that are meant, by id.
    pub series: Vec<SelectedSeries>,
}

/// What groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Each series is one.
    Series,
    /// All series are one.
    Nothing,
    /// Series that agree in these attributes, sorted, each once.
    Attributes(Vec<String>),
}

/// A filter, split at its first `=`.
type Filter = (String, String);

/// Judges a question. `violations` holds what was already found wrong while it was read; `now_ms` is the present.
///
/// # Errors
/// With everything that is wrong: [`QueryError::NotFound`] when it only names what does not exist, else [`QueryError::Invalid`].
pub fn validate(
    ask: MetricsAsk,
    mut violations: Violations,
    catalog: &Catalog,
    now_ms: i64,
) -> Result<MetricsQuery, QueryError> {
    let buckets = check_range(&ask, now_ms, &mut violations);
    let agg = ask.agg.as_deref().and_then(|name| {
        name.parse::<Agg>().map_err(|reason| violations.invalid("agg", reason)).ok()
    });
    let within = ask.within.as_deref().and_then(|name| {
        name.parse::<Within>().map_err(|reason| violations.invalid("within", reason)).ok()
    });
    if ask.top.is_some_and(|top| !(1..=MAX_TOP).contains(&top)) {
        violations.invalid("top", format!("must be 1 to {MAX_TOP}"));
    }
    check_repeats(&ask, &mut violations);
    let filters = split_filters(&ask.filter, &mut violations);
    let metric = ask.metric.unwrap_or_default();
    if metric.is_empty() {
        violations.invalid("metric", "required");
        check_nodes(&ask.nodes, &filters, catalog, &mut violations);
        return Err(violations.check().expect_err("a metric is required"));
    }
    let (nodes, attributes): (Vec<_>, Vec<_>) =
        filters.into_iter().partition(|(key, _)| key == NODE);
    let names_nodes = !ask.nodes.is_empty() || !nodes.is_empty();
    let selector = Selector { metric: &metric, nodes: &ask.nodes, filters: &attributes };
    check_nodes(&ask.nodes, &nodes, catalog, &mut violations);
    let selection = select(catalog, &selector, &mut violations);
    let by = By::from(ask.by);
    let fold = selection.as_ref().and_then(|selection| {
        check_by(&by, selection, catalog, &metric, &mut violations);
        Fold::new(agg, within, selection.kind)
            .map_err(|(field, reason)| violations.invalid(field, reason))
            .ok()
    });
    violations.check()?;
    let (Some(selection), Some(buckets), Some(fold)) = (selection, buckets, fold) else {
        unreachable!("without a violation all are known");
    };
    let Selection { unit, kind, mut series } = selection;
    if !nodes.is_empty() {
        series.retain(|series| nodes.iter().any(|(_, node)| **node == *series.node));
    }
    let has_series = |name: &str| series.iter().any(|series| *series.node == *name);
    let mut names = ask.nodes.iter().chain(nodes.iter().map(|(_, node)| node));
    let names_nodes = names_nodes && names.all(|name| has_series(name));
    let top = ask.top;
    Ok(MetricsQuery { metric, unit, kind, fold, buckets, by, top, names_nodes, series })
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Series => f.write_str("each series"),
            Self::Nothing => f.write_str("all together"),
            Self::Attributes(keys) => write!(f, "by {}", keys.join(", ")),
        }
    }
}

impl From<Vec<String>> for By {
    fn from(keys: Vec<String>) -> Self {
        let keys: BTreeSet<_> = keys.into_iter().collect();
        match keys.first().map(String::as_str) {
            None => Self::Series,
            Some(NOTHING) if keys.len() == 1 => Self::Nothing,
            Some(_) => Self::Attributes(keys.into_iter().collect()),
        }
    }
}

/// The grid; `None` with a violation when the range or the step is wrong.
pub(super) fn check_range(
    ask: &MetricsAsk,
    now_ms: i64,
    violations: &mut Violations,
) -> Option<Buckets> {
    let to_ms = check_time(ask.to_ms.unwrap_or(now_ms), "to", violations);
    let default_from = || to_ms.unwrap_or(now_ms).saturating_sub(DEFAULT_RANGE_MS).max(0);
    let from_ms = check_time(ask.from_ms.unwrap_or_else(default_from), "from", violations);
    let step_ms = match ask.step_ms {
        Some(ms) if ms <= 0 => {
            violations.invalid("step", "must be positive");
            return None;
        }
        Some(ms) if ms > MAX_STEP_MS => {
            violations.invalid("step", "longer than 366 days");
            return None;
        }
        step_ms => step_ms,
    };
    let (from_ms, to_ms) = (from_ms?, to_ms?);
    if from_ms >= to_ms {
        let end = if ask.to_ms.is_some() { "`to`" } else { "the present, where `to` defaults to" };
        violations.invalid("from", format!("must be before {end} ({from_ms} >= {to_ms})"));
        return None;
    }
    let step_ms = step_ms.unwrap_or_else(|| default_step_ms(from_ms, to_ms));
    let buckets = Buckets::covering(from_ms, to_ms, step_ms);
    if buckets.count() > MAX_POINTS {
        let least_ms = (to_ms - from_ms) / (MAX_POINTS - 1) + 1;
        let count = buckets.count();
        violations.invalid(
            "step",
            format!("would give {count} points, over {MAX_POINTS}: use at least {least_ms} ms"),
        );
        return None;
    }
    Some(buckets)
}

fn check_time(ms: i64, field: &str, violations: &mut Violations) -> Option<i64> {
    check_time_ms(ms).map_err(|reason| violations.invalid(field, reason)).ok()
}

fn check_repeats(ask: &MetricsAsk, violations: &mut Violations) {
    let lists = [("node", ask.nodes.len()), ("by", ask.by.len()), ("filter", ask.filter.len())];
    for (field, len) in lists {
        if len > MAX_REPEATS {
            violations.invalid(field, format!("given {len} times, over {MAX_REPEATS}"));
        }
    }
}

fn split_filters(filters: &[String], violations: &mut Violations) -> Vec<Filter> {
    let mut split = Vec::with_capacity(filters.len());
    for filter in filters {
        match filter.split_once('=') {
            Some((key, value)) if !key.is_empty() => split.push((key.to_owned(), value.to_owned())),
            _ => violations.invalid("filter", format!("{filter:?} is not attribute=value")),
        }
    }
    split
}

/// Each node must have a series in the catalog.
fn check_nodes(
    nodes: &[String],
    filters: &[Filter],
    catalog: &Catalog,
    violations: &mut Violations,
) {
    if nodes.is_empty() && filters.is_empty() {
        return;
    }
    let known = catalog.nodes();
    let is_known = |name: &str| known.binary_search_by(|node| (**node).cmp(name)).is_ok();
    for node in nodes.iter().filter(|node| !is_known(node)) {
        violations.unknown(NODE, format!("no such node: {node:?}"));
    }
    for (_, node) in filters.iter().filter(|(key, node)| key == NODE && !is_known(node)) {
        violations.unknown("filter", format!("no such node: {node:?}"));
    }
}

/// The series of `selector`. The catalog tells the first thing that it does not know, and here all of them are told:
/// a part that is unknown is reported and left out of the next try.
fn select(
    catalog: &Catalog,
    selector: &Selector<'_>,
    violations: &mut Violations,
) -> Option<Selection> {
    let mut filters = selector.filters.to_vec();
    let mut nodes = selector.nodes;
    loop {
        match catalog.select(&Selector { metric: selector.metric, nodes, filters: &filters }) {
            Ok(selection) => return Some(selection),
            Err(Unknown::Metric(metric)) => {
                violations.unknown("metric", format!("no such metric: {metric:?}"));
                return None;
            }
            // `check_nodes` has told of it.
            Err(Unknown::Node(_)) => nodes = &[],
            Err(Unknown::Attribute(key)) => {
                violations.invalid("filter", format!("the metric has no attribute {key:?}"));
                filters.retain(|(k, _)| *k != key);
            }
        }
    }
}

fn check_by(
    by: &By,
    selection: &Selection,
    catalog: &Catalog,
    metric: &str,
    violations: &mut Violations,
) {
    let By::Attributes(by) = by else { return };
    let missing = |keys: Vec<String>, series: &[SelectedSeries]| -> Vec<String> {
        let has = |key: &str| series.iter().any(|s| s.attributes.iter().any(|(k, _)| **k == *key));
        keys.into_iter().filter(|key| !has(key)).collect()
    };
    let keys = by.iter().filter(|key| *key != NODE).cloned().collect();
    let mut unknown = missing(keys, &selection.series);
    if !unknown.is_empty() {
        // The filter may have left no series that has the key: ask the whole metric.
        let whole = catalog.select(&Selector { metric, ..Selector::default() });
        unknown = missing(unknown, &whole.map(|s| s.series).unwrap_or_default());
    }
    for key in unknown {
        violations.invalid("by", format!("the metric has no attribute {key:?}"));
    }
}

#[cfg(test)]
mod tests;
