//! The HTTP API against the rows: for every metric and node the answer of a collector, one bucket for each tick, equals the samples that are stored.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};

use super::stored::Stored;
use super::world::AgentSide;
use crate::http::Api;
use crate::journal::{Journal, Value};

/// Values by start of the bucket.
pub type Points = BTreeMap<i64, f64>;

/// Compares what `api` answers of a node with what is stored. Gives the points that were compared.
///
/// # Errors
/// When an answer is not right.
pub async fn check(
    api: &Api,
    side: &AgentSide,
    journal: &Journal,
    stored: &Stored,
) -> Result<usize> {
    let step_ms = side.interval.as_millis() as i64;
    let expected = expected(step_ms, journal, stored);
    let times = || stored.samples.keys().map(|(_, ts_ms)| *ts_ms);
    let (first, last) = (times().min().context("samples")?, times().max().context("samples")?);
    let mut compared = 0;
    for (metric, series) in &expected {
        let path = format!(
            "/api/performance/metrics?metric={metric}&node={}&agg=last&step={step_ms}&from={first}&to={}",
            side.node,
            last + 1
        );
        let answer = api.json(&path).await?;
        ensure!(answer["tier"] == "raw", "GET {path}: tier {}", answer["tier"]);
        let answered = points(&answer).with_context(|| format!("GET {path}"))?;
        for (key, wanted) in series {
            let found = answered.get(key).with_context(|| format!("GET {path}: no {key:?}"))?;
            let differs = first_difference(wanted, found);
            ensure!(differs.is_none(), "GET {path}: {key:?}: {differs:?}");
            compared += wanted.len();
        }
        let more =
            answered.iter().find(|(key, found)| !found.is_empty() && !series.contains_key(*key));
        ensure!(more.is_none(), "GET {path}: answers of more than is stored: {more:?}");
    }
    Ok(compared)
}

/// The last value of each bucket, by metric and series.
fn expected(
    step_ms: i64,
    journal: &Journal,
    stored: &Stored,
) -> HashMap<String, BTreeMap<BTreeMap<String, String>, Points>> {
    let mut newest: HashMap<(u32, i64), (i64, Value)> = HashMap::new();
    for ((number, ts_ms), value) in &stored.samples {
        let bucket = ts_ms - ts_ms % step_ms;
        let last = newest.entry((*number, bucket)).or_insert((*ts_ms, *value));
        if last.0 <= *ts_ms {
            *last = (*ts_ms, *value);
        }
    }
    let mut expected: HashMap<_, BTreeMap<_, Points>> = HashMap::new();
    for ((number, bucket), (_, value)) in newest {
        let (metric, attributes) = stored.key(number, journal);
        if value.number().is_finite() {
            let series = expected.entry(metric.clone()).or_default();
            series.entry(attributes.clone()).or_default().insert(bucket, value.number());
        }
    }
    expected
}

/// Known points by attributes, the node left out.
pub(super) fn points(
    answer: &serde_json::Value,
) -> Result<BTreeMap<BTreeMap<String, String>, Points>> {
    let mut all = BTreeMap::new();
    for series in answer["series"].as_array().context("series")? {
        let mut attributes: BTreeMap<String, String> =
            serde_json::from_value(series["attributes"].clone())?;
        attributes.remove("node");
        let points: Vec<(i64, Option<f64>)> = serde_json::from_value(series["points"].clone())?;
        let known: Points = points.into_iter().filter_map(|(t, v)| Some((t, v?))).collect();
        ensure!(all.insert(attributes, known).is_none(), "a series is there twice: {series}");
    }
    Ok(all)
}

/// The first bucket that is not the same: its start, what was wanted, what was found.
fn first_difference(wanted: &Points, found: &Points) -> Option<(i64, Option<f64>, Option<f64>)> {
    let starts = wanted.keys().chain(found.keys());
    let mut pairs = starts.map(|t| (*t, wanted.get(t).copied(), found.get(t).copied()));
    pairs.find(|(_, wanted, found)| wanted.map(f64::to_bits) != found.map(f64::to_bits))
}
