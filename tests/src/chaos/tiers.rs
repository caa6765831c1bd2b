//! Answers with wide buckets, which come from rollups, against the same aggregations computed here from every sample (docs/adr/004-query-semantics.md).
//!
//! Each series is asked for alone, so that the answer is what one series comes to in each bucket.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::answer::{Points, points};
use super::check::Node;
use super::stored::Stored;
use super::world::AgentSide;
use crate::http::Api;
use crate::journal::Journal;
use crate::wait::until;

/// Samples of a counter further apart than this, or than one step, say nothing about the time between them.
const LONGEST_GAP_MS: i64 = 5 * 60_000;
/// Longest time until the rollups of late samples are computed again: marks wait 15 s, and other work may come first.
const CORRECTED: Duration = Duration::from_mins(3);
/// Sums of doubles depend on the order; more than this is an error.
const TOLERANCE: f64 = 1e-9;

/// Metrics that are compared: a counter with decimals, gauges, a counter of integers, series that come and go.
const METRICS: [&str; 5] = [
    "system.cpu.time",
    "system.memory.usage",
    "system.cpu.load_average.1m",
    "flyball.agent.samples.produced",
    "process.memory.usage",
];
/// What may be asked of counters and of gauges.
const COUNTER: &[&str] = &["rate", "last", "min", "max"];
const GAUGE: &[&str] = &["avg", "min", "max", "sum", "last"];
/// A step for each tier that a short run can have.
const STEPS_MS: [i64; 2] = [10_000, 60_000];

/// Samples of each series of one metric and node, by attributes.
pub type Samples = BTreeMap<BTreeMap<String, String>, BTreeMap<i64, f64>>;

/// Waits until wide buckets of one node are right, and come from rollups where all its samples are late: rollups are corrected soon, not at once. Gives
/// the points by tier.
///
/// # Errors
/// When they do not become right.
pub async fn wait_node(
    api: &Api,
    side: &AgentSide,
    node: &Node,
) -> Result<BTreeMap<String, usize>> {
    until("the rollups to be what the samples come to", CORRECTED, || async {
        let tiers = check_node(api, &side.node, &node.journal, &node.stored).await?;
        let is_rolled = tiers.contains_key("10s") && tiers.contains_key("1m");
        ensure!(is_rolled || !side.is_late, "{} has no rollups yet: {tiers:?}", side.node);
        Ok(tiers)
    })
    .await
}

/// Compares wide buckets of [`METRICS`] for one node. Gives the points by tier.
///
/// # Errors
/// When an answer is not right.
pub async fn check_node(
    api: &Api,
    node: &str,
    journal: &Journal,
    stored: &Stored,
) -> Result<BTreeMap<String, usize>> {
    let mut tiers = BTreeMap::new();
    for metric in METRICS {
        let samples = stored.of_metric(metric, journal);
        let aggregations = if journal.is_counter(metric) { COUNTER } else { GAUGE };
        for step_ms in STEPS_MS {
            for (tier, points) in
                check(api, metric, node, (&samples, aggregations), step_ms).await?
            {
                *tiers.entry(tier).or_default() += points;
            }
        }
    }
    Ok(tiers)
}

/// Compares what `api` answers with steps of `step_ms` with what the samples come to. Gives the tiers that answered and the number of points.
///
/// # Errors
/// When an answer is not right.
pub async fn check(
    api: &Api,
    metric: &str,
    node: &str,
    (samples, aggregations): (&Samples, &[&str]),
    step_ms: i64,
) -> Result<BTreeMap<String, usize>> {
    let times = || samples.values().flat_map(|series| series.keys().copied());
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Ok(BTreeMap::new());
    };
    let mut tiers = BTreeMap::new();
    for agg in aggregations {
        let path = format!(
            "/api/performance/metrics?metric={metric}&node={node}&agg={agg}&step={step_ms}&from={}&to={}",
            first - first % step_ms,
            last - last % step_ms + step_ms
        );
        let answer = api.json(&path).await?;
        let found = points(&answer).with_context(|| format!("GET {path}"))?;
        let mut compared = 0;
        for (attributes, series) in samples {
            let wanted = aggregate(agg, series, step_ms);
            let found = found.get(attributes).cloned().unwrap_or_default();
            let differs = difference(&wanted, &found);
            ensure!(differs.is_none(), "GET {path}: {attributes:?}: {differs:?}");
            compared += wanted.len();
        }
        let tier = answer["tier"].as_str().context("an answer names its tier")?;
        *tiers.entry(tier.to_owned()).or_default() += compared;
    }
    Ok(tiers)
}

/// What one series comes to in each bucket.
fn aggregate(agg: &str, series: &BTreeMap<i64, f64>, step_ms: i64) -> Points {
    if agg == "rate" {
        return rate(series, step_ms);
    }
    let mut buckets: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (ts_ms, value) in series {
        buckets.entry(ts_ms - ts_ms % step_ms).or_default().push(*value);
    }
    let level = |values: &[f64]| match agg {
        "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "last" => values[values.len() - 1],
        // The sum is one over series; a series is in it with its average.
        _ => values.iter().sum::<f64>() / values.len() as f64,
    };
    buckets.into_iter().map(|(start, values)| (start, level(&values))).collect()
}

/// Rises of neighbouring samples, laid into their first and last bucket by time, over the time that is covered.
fn rate(series: &BTreeMap<i64, f64>, step_ms: i64) -> Points {
    let gap_ms = LONGEST_GAP_MS.max(step_ms);
    let start = |ts_ms: i64| ts_ms - ts_ms % step_ms;
    let mut buckets: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for ((t0, v0), (t1, v1)) in series.iter().zip(series.iter().skip(1)) {
        let span = t1 - t0;
        if span > gap_ms {
            continue;
        }
        let rise = if v1 < v0 { *v1 } else { v1 - v0 };
        let (first, last) = (start(*t0), start(t1 - 1));
        let parts = if first == last {
            vec![(first, span)]
        } else {
            vec![(first, first + step_ms - t0), (last, t1 - last)]
        };
        for (bucket, part) in parts {
            let (risen, covered) = buckets.entry(bucket).or_default();
            *risen += rise / span as f64 * part as f64;
            *covered += part as f64;
        }
    }
    buckets
        .into_iter()
        .map(|(start, (risen, covered))| (start, 1_000.0 * risen / covered))
        .collect()
}

/// The first bucket that differs by more than rounding.
fn difference(wanted: &Points, found: &Points) -> Option<(i64, Option<f64>, Option<f64>)> {
    let pair = |start: &i64| (*start, wanted.get(start).copied(), found.get(start).copied());
    let same = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-6),
        (a, b) => a.is_none() && b.is_none(),
    };
    wanted.keys().chain(found.keys()).map(pair).find(|(_, wanted, found)| !same(*wanted, *found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_laid_into_the_buckets_it_spans_and_a_reset_counts_from_nothing() {
        let series = BTreeMap::from([(500, 10.0), (1_500, 20.0), (1_900, 4.0)]);
        let rates = rate(&series, 1_000);
        // 5 in 500 ms; then 5 in 500 ms and 4 after the reset in 400 ms.
        assert!((rates[&0] - 10.0).abs() < 1e-12, "{rates:?}");
        assert!((rates[&1_000] - 10.0).abs() < 1e-12, "{rates:?}");
        assert_eq!(rates.len(), 2);
    }

    #[test]
    fn levels_are_of_the_samples_of_the_bucket() {
        let series = BTreeMap::from([(0, 4.0), (900, 2.0), (1_000, 7.0)]);
        let of = |agg| aggregate(agg, &series, 1_000)[&0].to_bits();
        assert_eq!(of("avg"), 3.0_f64.to_bits());
        assert_eq!(of("min"), 2.0_f64.to_bits());
        assert_eq!(of("max"), 4.0_f64.to_bits());
        assert_eq!(of("last"), 2.0_f64.to_bits());
    }

    #[test]
    fn rounding_is_no_difference_and_a_missing_bucket_is() {
        let wanted = Points::from([(0, 0.1 + 0.2)]);
        assert_eq!(difference(&wanted, &Points::from([(0, 0.3)])), None);
        assert!(difference(&wanted, &Points::from([(0, 0.300_001)])).is_some());
        assert!(difference(&wanted, &Points::new()).is_some());
        assert!(difference(&Points::new(), &wanted).is_some());
    }
}
