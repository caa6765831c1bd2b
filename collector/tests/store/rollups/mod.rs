//! Rollups on the real engine against [`fleet`]: every tier, late and repeated samples, two rollers, restarts.

mod fleet;

use std::collections::{BTreeMap, BTreeSet};

use flyball_collector::rollup::{
    Roller, RollupMetrics, RollupSettings, RollupTier, SPAN_MS, SPARSE_SCALE, Step,
};
use flyball_collector::store::{HOUR_MS, Store};

use clickhouse::Row;
use serde::Deserialize;

use self::fleet::{Expected, Fleet, Key, Shape};
use crate::Opened;

fn now_ms() -> i64 {
    flyball_collector::live::now_ms()
}

/// The full hour that lies `hours` hours back.
fn hours_ago(hours: i64) -> i64 {
    (now_ms() / HOUR_MS - hours) * HOUR_MS
}

fn roller(store: &Store, name: &str) -> Roller {
    Roller::new(store, RollupSettings::default(), RollupMetrics::default(), name).impatient()
}

/// Steps until there is nothing to do; gives the number of steps that did something.
async fn roll(roller: &mut Roller) -> usize {
    let mut worked = 0;
    while roller.step().await.unwrap() == Step::Worked {
        worked += 1;
        assert!(worked < 1_000, "never done");
    }
    worked
}

/// A fleet of all shapes over some hours that ended a while ago.
fn fleet(seed: u64, hours: i64) -> (Fleet, i64) {
    let mut fleet = Fleet::new(seed);
    let (from_ms, to_ms) = (hours_ago(hours + 1), hours_ago(1));
    for shape in [
        Shape::Counter,
        Shape::Wild,
        Shape::Scaled,
        Shape::Float,
        Shape::FloatCounter,
        Shape::Rescaled,
    ] {
        fleet.add("a", shape, 1_000, from_ms, to_ms);
        fleet.add("b", shape, 3_000, from_ms, to_ms);
        fleet.add("c", shape, 20_000, from_ms, to_ms);
    }
    (fleet, from_ms)
}

#[derive(Debug, Row, Deserialize)]
struct RollupRow {
    series_id: u64,
    bucket: i64,
    scale: i8,
    count: u32,
    first_ms: u32,
    last_ms: u32,
    first_value: f64,
    last_value: f64,
    min_value: f64,
    max_value: f64,
    sum: f64,
    lost: f64,
}

async fn table(store: &Store, tier: RollupTier) -> BTreeMap<Key, Expected> {
    let sql = format!(
        "SELECT series_id, toInt64(toUnixTimestamp(ts)) * 1000 AS bucket, scale, count, first_ms, last_ms, \
         first_value, last_value, min_value, max_value, sum, lost FROM {}",
        tier.table()
    );
    let rows: Vec<RollupRow> = store.client().query(&sql).fetch_all().await.unwrap();
    let mut table = BTreeMap::new();
    for row in rows {
        let expected = Expected {
            count: row.count,
            first_ms: row.bucket + i64::from(row.first_ms),
            last_ms: row.bucket + i64::from(row.last_ms),
            first: row.first_value,
            last: row.last_value,
            min: row.min_value,
            max: row.max_value,
            sum: row.sum,
            rise: row.last_value - row.first_value + row.lost,
        };
        assert_eq!(table.insert((row.series_id, row.bucket, row.scale), expected), None);
    }
    table
}

fn close(a: f64, b: f64, size: f64) -> bool {
    (a - b).abs() <= 1e-12 * size.abs().max(1.0)
}

/// Compares rows of a tier with what they must be; sums and rises up to rounding, all else to the bit.
fn compare(fleet: &Fleet, got: &BTreeMap<Key, Expected>, want: &BTreeMap<Key, Expected>) {
    let keys = |keys: BTreeSet<&Key>| keys.into_iter().copied().collect::<Vec<_>>();
    let (got_keys, want_keys): (BTreeSet<_>, BTreeSet<_>) =
        (got.keys().collect(), want.keys().collect());
    assert_eq!(keys(&want_keys - &got_keys), [], "missing");
    assert_eq!(keys(&got_keys - &want_keys), [], "too many");
    for (key, want) in want {
        let got = &got[key];
        let size = want.min.abs().max(want.max.abs()) * f64::from(want.count);
        assert!(close(got.sum, want.sum, size), "{key:?}: sum {} is not {}", got.sum, want.sum);
        if fleet.is_counter(key.0) {
            let what = format!("{key:?}: rise {} is not {}", got.rise, want.rise);
            assert!(close(got.rise, want.rise, want.max * 10.0), "{what}");
        }
        let exact = |row: &Expected| {
            let values = [row.first, row.last, row.min, row.max].map(|v| v + 0.0);
            (row.count, row.first_ms, row.last_ms, values.map(f64::to_bits))
        };
        assert_eq!(exact(got), exact(want), "{key:?}");
    }
}

/// Every tier against the samples.
async fn check(store: &Store, fleet: &Fleet, until_ms: i64) {
    let minutes = fleet.expected(60_000, until_ms, |_, _| true);
    compare(fleet, &table(store, RollupTier::Minute).await, &minutes);
    let hours_until_ms = until_ms / HOUR_MS * HOUR_MS;
    let hours = fleet.expected(HOUR_MS, hours_until_ms, |_, _| true);
    compare(fleet, &table(store, RollupTier::Hour).await, &hours);

    let mut of_span: BTreeMap<(u64, i64), (u32, u32)> = BTreeMap::new();
    for (&(id, bucket, _), row) in &minutes {
        let entry = of_span.entry((id, bucket / SPAN_MS)).or_default();
        *entry = (entry.0 + row.count, entry.1 + 1);
    }
    let sparse: BTreeSet<_> =
        of_span.iter().filter(|(_, (n, rows))| *n < 12 * rows).map(|(key, _)| *key).collect();
    let mut got = table(store, RollupTier::TenSeconds).await;
    let marked: BTreeSet<_> = got
        .extract_if(.., |key, _| key.2 == SPARSE_SCALE)
        .map(|((id, bucket, _), _)| (id, bucket / SPAN_MS))
        .collect();
    assert!(marked.is_superset(&sparse), "every sparse span is marked");
    // Rows beside a mark are not read.
    got.retain(|(id, bucket, _), _| !marked.contains(&(*id, bucket / SPAN_MS)));
    let dense =
        fleet.expected(10_000, until_ms, |known, ts| !marked.contains(&(known.id, ts / SPAN_MS)));
    assert!(!dense.is_empty() && !sparse.is_empty(), "both kinds are there");
    compare(fleet, &got, &dense);
}

#[tokio::test]
async fn every_tier_is_what_its_samples_say() {
    let opened = Opened::new().await;
    let (mut fleet, from_ms) = fleet(1, 3);
    fleet.define(opened.store(), &opened.open.catalog).await;
    let rows = fleet.rows(|_, _| true);
    fleet.store(opened.store(), &rows).await;
    let mut roller = roller(opened.store(), "one");
    let steps = roll(&mut roller).await;
    let progress = opened.store().rollups().get();
    println!("{} samples, {steps} steps, {progress:?}", rows.len());
    assert!(
        progress.fine_until_ms > now_ms() - SPAN_MS - 70_000 && progress.fine_until_ms <= now_ms()
    );
    assert_eq!(progress.hours_until_ms, progress.fine_until_ms / HOUR_MS * HOUR_MS);
    assert!(from_ms < progress.hours_until_ms);
    check(opened.store(), &fleet, progress.fine_until_ms).await;
    opened.close().await;
}
