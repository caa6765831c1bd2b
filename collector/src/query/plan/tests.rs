use std::sync::Arc;

use flyball_proto::series::Kind;

use super::*;
use crate::query::Agg;
use crate::store::HOUR_MS;

fn series(id: u64, node: &str, attributes: &[(&str, &str)]) -> SelectedSeries {
    let pair = |(k, v): &(&str, &str)| (Arc::from(*k), Arc::from(*v));
    SelectedSeries {
        id: id.into(),
        node: node.into(),
        attributes: attributes.iter().map(pair).collect(),
    }
}

fn query(agg: Agg, by: &[&str], series: Vec<SelectedSeries>) -> MetricsQuery {
    MetricsQuery {
        metric: "m".into(),
        unit: "1".into(),
        kind: Kind::Gauge,
        fold: agg.into(),
        top: None,
        names_nodes: false,
        buckets: Buckets::covering(1_000_005, 1_000_025, 10),
        by: if by.is_empty() { By::Series } else { By::Attributes(owned(by)) },
        series,
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn plan(query: &MetricsQuery, progress: Progress) -> Result<Plan, QueryError> {
    super::plan(query, query.buckets, progress)
}

fn key(pairs: &[(&str, &str)]) -> GroupKey {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// The plan of a query for so many series.
pub(in crate::query) fn sample_plan(count: u64) -> Plan {
    let all = (0..count).map(|id| series(id, &format!("n{id}"), &[])).collect();
    plan(&query(Agg::Avg, &[], all), Progress::default()).unwrap()
}

fn fleet() -> Vec<SelectedSeries> {
    vec![
        series(40, "b", &[("mode", "user")]),
        series(30, "b", &[("mode", "idle")]),
        series(20, "a", &[("mode", "user")]),
        series(10, "a", &[]),
    ]
}

#[test]
fn without_by_each_series_is_a_group_of_its_own() {
    let plan = plan(&query(Agg::Avg, &[], fleet()), Progress::default()).unwrap();
    assert_eq!(plan.ids, [10, 20, 30, 40]);
    assert_eq!(plan.keys.len(), 4);
    let keys: Vec<_> = plan.groups.iter().map(|g| plan.keys[*g as usize].clone()).collect();
    assert_eq!(keys[0], key(&[("node", "a")]));
    assert_eq!(keys[3], key(&[("node", "b"), ("mode", "user")]));
}

#[test]
fn by_joins_series_and_one_without_the_attribute_is_apart() {
    let by_node = plan(&query(Agg::Sum, &["node"], fleet()), Progress::default()).unwrap();
    assert_eq!(by_node.keys, [key(&[("node", "a")]), key(&[("node", "b")])]);
    assert_eq!(by_node.groups, [0, 0, 1, 1]);
    let by_mode = plan(&query(Agg::Sum, &["mode"], fleet()), Progress::default()).unwrap();
    assert_eq!(by_mode.keys, [key(&[]), key(&[("mode", "idle")]), key(&[("mode", "user")])]);
    assert_eq!(by_mode.groups, [0, 2, 1, 2]);
}

#[test]
fn two_series_that_differ_in_nothing_shown_share_a_group() {
    let twins = vec![series(1, "a", &[("node", "x")]), series(2, "a", &[])];
    let plan = plan(&query(Agg::Avg, &[], twins), Progress::default()).unwrap();
    assert_eq!((plan.keys, plan.groups), (vec![key(&[("node", "a")])], vec![0, 0]));
}

#[test]
fn only_rates_read_beyond_the_grid() {
    let avg = plan(&query(Agg::Avg, &[], fleet()), Progress::default()).unwrap();
    assert_eq!((avg.read_from_ms, avg.read_to_ms), (1_000_000, 1_000_030));
    assert_eq!(avg.tier, Tier::Raw);
    let rate = plan(&query(Agg::Rate, &[], fleet()), Progress::default()).unwrap();
    assert_eq!((rate.read_from_ms, rate.read_to_ms), (700_000, 1_300_030));
    assert_eq!(rate.gap_ms, sql::LONGEST_GAP_MS);
}

#[test]
fn too_many_series_are_refused_before_the_store_is_asked() {
    let many = (0..=MAX_SERIES_READ as u64).map(|id| series(id, "a", &[])).collect();
    assert!(matches!(
        plan(&query(Agg::Avg, &[], many), Progress::default()),
        Err(QueryError::TooExpensive(_))
    ));
}

#[test]
fn a_level_is_taken_of_each_series_before_the_group() {
    let alone = plan(&query(Agg::Sum, &[], fleet()), Progress::default()).unwrap().sql;
    assert!(alone.contains("bucket, level AS result") && alone.matches("GROUP BY").count() == 2);
    let sql = plan(&query(Agg::Sum, &["node"], fleet()), Progress::default()).unwrap().sql;
    let expected = "\
WITH ? AS ids, ? AS groups, toInt64(?) AS step_ms, toInt64(?) AS read_from_ms, toInt64(?) AS read_to_ms,
    toInt64(?) AS first_ms, toInt64(?) AS end_ms, toInt64(?) AS gap_ms
SELECT group, groupArray(toUInt32(intDiv(bucket - first_ms, step_ms))) AS buckets, groupArray(result) AS results, toUInt8(0) AS mixed
FROM (
SELECT toUInt32(transform(series_id, ids, groups, 0)) AS group, bucket, sum(level) AS result
FROM (
    SELECT series_id, toUnixTimestamp64Milli(ts) - toUnixTimestamp64Milli(ts) % step_ms AS bucket, avg(value) AS level
    FROM performance_metrics FINAL
    WHERE series_id IN ids
      AND ts >= fromUnixTimestamp64Milli(read_from_ms) AND ts < fromUnixTimestamp64Milli(read_to_ms)
      AND isFinite(value)
    GROUP BY series_id, bucket
)
GROUP BY group, bucket
)
GROUP BY group";
    assert_eq!(sql, expected);
}

#[test]
fn rollups_and_samples_are_made_alike_with_the_same_parameters() {
    let mut query = query(Agg::Rate, &[], fleet());
    query.buckets = Buckets::covering(0, 10 * HOUR_MS, 60_000);
    let progress = Progress { fine_until_ms: 5 * HOUR_MS, ..Progress::default() };
    for agg in [Agg::Avg, Agg::Min, Agg::Max, Agg::Sum, Agg::Last, Agg::Rate] {
        query.fold = agg.into();
        let plan = plan(&query, progress).unwrap();
        assert_eq!(plan.tier, Tier::Minute, "{agg}");
        assert_eq!(plan.sql.matches('?').count(), 8, "{agg}");
        assert_eq!(plan.sql.matches("FROM rollup_1m FINAL").count(), 1, "{agg}");
        // Rows as wide as a bucket are not grouped at first.
        assert_eq!(plan.exact.is_some(), agg != Agg::Rate, "{agg}");
        assert_eq!(plan.sql.matches("FROM performance_metrics FINAL").count(), 1, "{agg}");
    }
    query.fold = Agg::Percentile(99).into();
    assert_eq!(plan(&query, progress).unwrap().tier, Tier::Raw);
}

#[test]
fn every_aggregation_reads_once_free_of_duplicates_with_the_same_parameters() {
    let all = [Agg::Avg, Agg::Min, Agg::Max, Agg::Sum, Agg::Last, Agg::Rate, Agg::Percentile(5)];
    for agg in all {
        let sql = plan(&query(agg, &[], fleet()), Progress::default()).unwrap().sql;
        assert_eq!(sql.matches('?').count(), 8, "{agg}");
        assert_eq!(sql.matches("FROM performance_metrics FINAL").count(), 1, "{agg}");
        assert!(sql.contains("isFinite(value)"), "{agg}");
    }
    let sql = plan(&query(Agg::Percentile(5), &[], fleet()), Progress::default()).unwrap().sql;
    assert!(sql.contains("quantileExactInclusive(0.05)(value)"));
}
