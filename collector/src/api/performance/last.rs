//! The newest values of series, from memory.

use std::collections::{BTreeMap, HashSet};

use axum::Json;
use axum::extract::State;
use flyball_proto::series::{NodeName, Series};
use flyball_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::known_node;
use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::live::{LastValue, now_ms};
use crate::query::memory::percentile;
use crate::query::time::parse_duration_ms;
use crate::query::{Agg, QueryError, Violations};

/// Values older than this are not told, unless asked for otherwise.
const LOOKBACK_MS: i64 = 5 * 60_000;
/// Longest that may be asked for.
const MAX_LOOKBACK_MS: i64 = 86_400_000;
/// Most values of one answer.
const MAX_VALUES: usize = 20_000;
const MAX_TOP: usize = 1_000;

/// The newest values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastAnswer {
    /// By metric, node and attributes; with `top` the largest first.
    pub values: Vec<LastOf>,
}

/// The newest value of a series, or of a group of series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastOf {
    /// Name of the metric.
    pub metric: String,
    /// Unit of the value in UCUM.
    pub unit: String,
    /// What the series is, or what the group has in common; `node` is one of them.
    pub attributes: BTreeMap<String, String>,
    /// Time of the newest sample, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The value; null when it is not known.
    pub value: Option<f64>,
}

/// What is asked.
#[derive(Debug, Default)]
pub(in crate::api) struct LastAsk {
    metric: Option<String>,
    nodes: Vec<String>,
    filter: Vec<String>,
    by: Vec<String>,
    agg: Option<String>,
    top: Option<String>,
    lookback: Option<String>,
}

/// The newest value of each series, from the collector's memory; the store is asked only for nodes that are connected to another collector. A counter's value is its running total.
///
/// Either `metric` or `node` is needed. With `by` the series of a group are joined by `agg`: avg, min, max, sum or p1 to p99. Values that are older than `lookback` are left out.
#[utoipa::path(get, path = "/api/performance/last", tag = "performance",
    params(
        ("metric" = Option<String>, Query, description = "name of the metric; all metrics of the nodes when left out"),
        ("node" = Option<Vec<String>>, Query, description = "only these nodes"),
        ("filter" = Option<Vec<String>>, Query, description = "attribute=value"),
        ("by" = Option<Vec<String>>, Query, description = "attributes to group by, `node` among them; `none`: all series together; needs `metric`"),
        ("agg" = Option<String>, Query, description = "how the series of a group are joined: avg (default), min, max, sum, p1 to p99"),
        ("top" = Option<u32>, Query, description = "only so many, 1 to 1000: the largest, the largest first; needs `metric`"),
        ("lookback" = Option<String>, Query, description = "age from which on a value is left out: milliseconds or with a unit; 5m when left out"),
    ),
    responses((status = 200, body = LastAnswer)),
)]
pub(in crate::api) async fn last(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<LastAnswer>, ApiError> {
    let ask = LastAsk {
        metric: params.one("metric"),
        nodes: params.many("node"),
        filter: params.many("filter"),
        by: params.many("by"),
        agg: params.one("agg"),
        top: params.one("top"),
        lookback: params.one("lookback"),
    };
    Ok(Json(answer(&state, &ask, params.finish()).await?))
}

/// Answers a question, whoever asks.
///
/// # Errors
/// With every field that is wrong.
pub(in crate::api) async fn answer(
    state: &AppState,
    ask: &LastAsk,
    mut violations: Violations,
) -> Result<LastAnswer, QueryError> {
    let live = &state.0.live;
    let nodes: Vec<NodeName> =
        ask.nodes.iter().filter_map(|node| known_node(live, node, &mut violations)).collect();
    let filters = filters(&ask.filter, &mut violations);
    let agg = agg(ask.agg.as_deref(), &mut violations);
    let top = top(ask.top.as_deref(), &mut violations);
    let lookback_ms = lookback(ask.lookback.as_deref(), &mut violations);
    if ask.metric.is_none() {
        if ask.nodes.is_empty() {
            violations.invalid("metric", "required, unless nodes are named");
        }
        for (field, is_given) in [("by", !ask.by.is_empty()), ("top", top.is_some())] {
            if is_given {
                violations
                    .invalid(field, "needs `metric`: values of several metrics are not compared");
            }
        }
    }
    if let Some(metric) = &ask.metric
        && !state.0.catalog.has_metric(metric)
    {
        violations.unknown("metric", format!("no such metric: {metric:?}"));
    }
    violations.check()?;
    let wanted = |series: &Series| {
        ask.metric.as_ref().is_none_or(|metric| *metric == series.metric)
            && filters.iter().all(|(key, values)| {
                series.attribute(key).is_some_and(|value| values.iter().any(|v| v == value))
            })
    };
    let mut found = live.last(&nodes, now_ms() - lookback_ms, wanted);
    let elsewhere = live.elsewhere(&nodes);
    // What is known here of a node that has moved is from before.
    let moved: HashSet<&NodeName> = elsewhere.iter().collect();
    found.retain(|last| !moved.contains(&last.node));
    let metric = ask.metric.as_deref();
    found.extend(state.0.querier.last_elsewhere(&elsewhere, metric, lookback_ms, wanted).await?);
    let mut values = if ask.by.is_empty() { each(found) } else { grouped(found, &ask.by, agg) };
    if let Some(top) = top {
        let value = |last: &LastOf| last.value.unwrap_or(f64::NEG_INFINITY);
        values.sort_by(|a, b| value(b).total_cmp(&value(a)));
        values.truncate(top);
    }
    if values.len() > MAX_VALUES {
        let count = values.len();
        return Err(QueryError::TooExpensive(format!(
            "the answer would hold {count} values, over {MAX_VALUES}: name nodes, a filter, `by` or `top`"
        )));
    }
    Ok(LastAnswer { values })
}

fn each(found: Vec<LastValue>) -> Vec<LastOf> {
    let mut values: Vec<_> = found
        .into_iter()
        .map(|LastValue { node, series, ts_ms, value }| {
            let own = series.attributes.iter().cloned();
            let node = ("node".to_owned(), node.as_str().to_owned());
            LastOf {
                metric: series.metric.clone(),
                unit: series.unit.clone(),
                attributes: own.chain([node]).collect(),
                ts_ms,
                value: Some(value).filter(|value| value.is_finite()),
            }
        })
        .collect();
    values.sort_by(|a, b| (&a.metric, &a.attributes).cmp(&(&b.metric, &b.attributes)));
    values
}

fn grouped(found: Vec<LastValue>, by: &[String], agg: Agg) -> Vec<LastOf> {
    type Group = (String, String, i64, Vec<f64>);
    let mut groups: BTreeMap<BTreeMap<String, String>, Group> = BTreeMap::new();
    for LastValue { node, series, ts_ms, value } in found {
        let attribute = |key: &String| {
            let value = if key == "node" { Some(node.as_str()) } else { series.attribute(key) };
            value.map(|value| (key.clone(), value.to_owned()))
        };
        let key = by.iter().filter_map(attribute).collect();
        let new = || (series.metric.clone(), series.unit.clone(), ts_ms, Vec::new());
        let group = groups.entry(key).or_insert_with(new);
        group.2 = group.2.max(ts_ms);
        group.3.extend(Some(value).filter(|value| value.is_finite()));
    }
    let one = |(attributes, (metric, unit, ts_ms, values))| LastOf {
        metric,
        unit,
        attributes,
        ts_ms,
        value: join(agg, values),
    };
    groups.into_iter().map(one).collect()
}

/// One value of those of a group; nothing of none.
fn join(agg: Agg, mut values: Vec<f64>) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    Some(match agg {
        Agg::Min => values.into_iter().fold(f64::INFINITY, f64::min),
        Agg::Max => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
        Agg::Sum => values.into_iter().sum(),
        Agg::Percentile(p) => percentile(&mut values, p),
        Agg::Avg | Agg::Last | Agg::Rate => values.iter().sum::<f64>() / (last + 1) as f64,
    })
}

fn filters(texts: &[String], violations: &mut Violations) -> BTreeMap<String, Vec<String>> {
    let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in texts {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                filters.entry(key.to_owned()).or_default().push(value.to_owned());
            }
            _ => violations.invalid("filter", format!("{text:?} is not attribute=value")),
        }
    }
    filters
}

fn agg(text: Option<&str>, violations: &mut Violations) -> Agg {
    match text.map(str::parse) {
        None => Agg::Avg,
        Some(Ok(agg @ (Agg::Avg | Agg::Min | Agg::Max | Agg::Sum | Agg::Percentile(_)))) => agg,
        Some(_) => {
            violations.invalid("agg", "not one of avg, min, max, sum, p1 to p99");
            Agg::Avg
        }
    }
}

fn top(text: Option<&str>, violations: &mut Violations) -> Option<usize> {
    let top = text?.parse().ok().filter(|top| (1..=MAX_TOP).contains(top));
    if top.is_none() {
        violations.invalid("top", format!("must be 1 to {MAX_TOP}"));
    }
    top
}

fn lookback(text: Option<&str>, violations: &mut Violations) -> i64 {
    let Some(text) = text else { return LOOKBACK_MS };
    match parse_duration_ms(text) {
        Ok(ms) if ms <= MAX_LOOKBACK_MS => return ms,
        Ok(_) => violations.invalid("lookback", "longer than a day: the store has what is older"),
        Err(reason) => violations.invalid("lookback", reason),
    }
    LOOKBACK_MS
}

impl From<v1::LastRequest> for LastAsk {
    fn from(request: v1::LastRequest) -> Self {
        let text = |text: String| (!text.is_empty()).then_some(text);
        let number = |number: u64| (number > 0).then(|| number.to_string());
        Self {
            metric: text(request.metric),
            nodes: request.nodes,
            filter: request.filter,
            by: request.by,
            agg: text(request.agg),
            top: number(request.top.into()),
            lookback: number(request.lookback_ms),
        }
    }
}

impl From<LastAnswer> for v1::LastResponse {
    fn from(answer: LastAnswer) -> Self {
        let attribute = |(key, value)| v1::Attribute { key, value };
        let value = |last: LastOf| v1::LastValue {
            metric: last.metric,
            unit: last.unit,
            attributes: last.attributes.into_iter().map(attribute).collect(),
            ts_ms: last.ts_ms,
            value: last.value,
        };
        Self { values: answer.values.into_iter().map(value).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_group_are_joined() {
        let all = || vec![4.0, 1.0, 3.0, 2.0];
        let cases = [
            (Agg::Avg, 2.5),
            (Agg::Sum, 10.0),
            (Agg::Min, 1.0),
            (Agg::Max, 4.0),
            (Agg::Percentile(50), 2.5),
        ];
        for (agg, expected) in cases {
            assert_eq!(join(agg, all()), Some(expected), "{agg}");
        }
        assert_eq!(join(Agg::Sum, Vec::new()), None, "nothing is not zero");
    }
}
