//! Rollups on the real engine against [`fleet`]: every tier, late and repeated samples, two rollers, restarts.

mod fleet;

use std::collections::{BTreeMap, BTreeSet};

use flyball_collector::rollup::{
    Roller, RollupMetrics, RollupSettings, RollupTier, SPAN_MS, SPARSE_SCALE, Step,
};
use flyball_collector::store::{HOUR_MS, LateMark, Store};

use clickhouse::Row;
use serde::Deserialize;

use self::fleet::{Expected, Fleet, Key, Shape};
use crate::{Opened, config, kill, open_in, until};

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

#[tokio::test]
async fn late_samples_correct_every_tier_and_repeated_ones_change_nothing() {
    let opened = Opened::new().await;
    let (store, seed) = (opened.store(), 2);
    println!("seed {seed}");
    let (mut fleet, from_ms) = fleet(seed, 3);
    fleet.define(store, &opened.open.catalog).await;
    // One node misses half an hour over the edge of an hour, all of them every ninth second.
    let outage = from_ms + 50 * 60_000..from_ms + 80 * 60_000;
    let is_late =
        |node: &str, ts: i64| (node == "a" && outage.contains(&ts)) || (ts / 1_000) % 9 == 0;
    let rows = fleet.rows(|known, ts| !is_late(known.node, ts));
    fleet.store(store, &rows).await;
    let mut roller = roller(store, "one");
    roll(&mut roller).await;

    let late = fleet.rows(|known, ts| is_late(known.node, ts));
    let (first, second) = late.split_at(late.len() / 2);
    for late in [first, second] {
        fleet.store(store, late).await;
        fleet.mark(store, late).await;
        roll(&mut roller).await;
    }
    check(store, &fleet, store.rollups().get().fine_until_ms).await;
    assert_eq!(marks(store).await, 0);

    // All of it comes again, and every mark with it.
    let before = table(store, RollupTier::Hour).await;
    fleet.store(store, &rows).await;
    fleet.mark(store, &rows).await;
    roll(&mut roller).await;
    check(store, &fleet, store.rollups().get().fine_until_ms).await;
    assert_eq!(table(store, RollupTier::Hour).await.len(), before.len());
    opened.close().await;
}

#[tokio::test]
async fn two_rollers_at_once_give_what_one_gives() {
    let opened = Opened::new().await;
    let (store, seed) = (opened.store(), 3);
    println!("seed {seed}");
    let (mut fleet, _) = fleet(seed, 2);
    fleet.define(store, &opened.open.catalog).await;
    let rows = fleet.rows(|_, _| true);
    let (soon, late) = rows.split_at(rows.len() * 4 / 5);
    fleet.store(store, soon).await;
    fleet.store(store, late).await;
    fleet.mark(store, late).await;

    let (mut one, mut two) = (roller(store, "one"), roller(store, "two"));
    let mut worked = [0, 0];
    // Both start together; then one holds the lease, gives it back after each third step, and the other goes on where it stopped.
    loop {
        let (a, b) = tokio::join!(one.step(), two.step());
        let steps = [a.unwrap(), b.unwrap()];
        for (worked, step) in worked.iter_mut().zip(steps) {
            *worked += usize::from(step == Step::Worked);
        }
        if steps == [Step::Idle; 2] {
            break;
        }
        assert!(worked.iter().sum::<usize>() < 1_000, "never done");
        if worked.iter().sum::<usize>().is_multiple_of(3) {
            one.release().await.unwrap();
            two.release().await.unwrap();
        }
    }
    println!("steps of each: {worked:?}");
    check(store, &fleet, store.rollups().get().fine_until_ms).await;
    assert_eq!(marks(store).await, 0);
    opened.close().await;
}

#[tokio::test]
async fn a_lease_is_respected_until_it_is_over() {
    let opened = Opened::new().await;
    let store = opened.store();
    let (mut one, mut two) = (roller(store, "one"), roller(store, "two"));
    one.step().await.unwrap();
    let holder = async || {
        let sql = "SELECT splitByChar(' ', holder)[1] FROM rollup_state";
        store.client().query(sql).fetch_one::<String>().await.unwrap()
    };
    assert_eq!(holder().await, "one");
    two.step().await.unwrap();
    assert_eq!(holder().await, "one", "its lease is not over");
    // It dies, and its lease ends.
    drop(one);
    let sql = "INSERT INTO rollup_state SELECT name, sequence + 1, holder, now64(3) - 1, fine_until, hours_until, version FROM rollup_state";
    store.client().query(sql).execute().await.unwrap();
    two.step().await.unwrap();
    assert_eq!(holder().await, "two");
    opened.close().await;
}

#[tokio::test]
async fn a_roller_that_was_cut_off_anywhere_is_made_good_by_the_next_one() {
    let opened = Opened::new().await;
    let seed = 4;
    println!("seed {seed}");
    let (mut fleet, _) = fleet(seed, 3);
    let store = opened.store().clone();
    fleet.define(&store, &opened.open.catalog).await;
    let rows = fleet.rows(|_, _| true);
    let (soon, late) = rows.split_at(rows.len() * 9 / 10);
    fleet.store(&store, soon).await;
    // Each roller is dropped in the middle of a statement, later and later.
    let mut cut = 0;
    // The first ones are cut off in any case: one statement alone takes longer.
    for patience_us in std::iter::successors(Some(500), |us| Some(us * 3 / 2)) {
        let mut roller = roller(&store, "one");
        take_over(&store).await;
        let patience = std::time::Duration::from_micros(patience_us);
        match tokio::time::timeout(patience, roll(&mut roller)).await {
            // Idle also where the statement of one that was cut off took the lease back.
            Ok(_) if store.rollups().get().lag_ms() < SPAN_MS + 61_000 => break,
            Ok(_) => {}
            Err(_) => cut += 1,
        }
        assert!(patience_us < 60_000_000, "never done");
    }
    println!("cut off {cut} times");
    assert!(cut > 3);
    // Killed between the mark and the computation: the marks are there, the samples are not in the rollups.
    fleet.store(&store, late).await;
    fleet.mark(&store, late).await;
    assert!(marks(&store).await > 0);
    let dir = opened.close().await;
    let again = open_in(&config(dir.path())).await;
    assert_eq!(again.store.rollups().get().fine_until_ms, 0, "nothing is known yet");
    let mut roller = roller(&again.store, "two");
    take_over(&again.store).await;
    roll(&mut roller).await;
    check(&again.store, &fleet, again.store.rollups().get().fine_until_ms).await;
    assert_eq!(marks(&again.store).await, 0);
    again.engine.unwrap().stop().await;
}

#[tokio::test]
async fn an_engine_that_is_killed_in_the_middle_costs_a_failure_and_nothing_else() {
    let opened = Opened::new().await;
    let (store, seed) = (opened.store(), 5);
    println!("seed {seed}");
    let (mut fleet, _) = fleet(seed, 2);
    fleet.define(store, &opened.open.catalog).await;
    let rows = fleet.rows(|_, _| true);
    fleet.store(store, &rows).await;
    let mut roller = roller(store, "one");
    assert_eq!(roller.step().await.unwrap(), Step::Worked);
    kill(opened.engine().state().borrow().pid.unwrap());
    let mut failures = 0;
    until("the rollups go on", async || match roller.step().await {
        Ok(Step::Worked) => true,
        Ok(Step::Idle) => false,
        Err(error) => {
            println!("{error}");
            failures += 1;
            false
        }
    })
    .await;
    assert!(failures > 0, "the engine was away");
    roll(&mut roller).await;
    check(store, &fleet, store.rollups().get().fine_until_ms).await;
    opened.close().await;
}

#[tokio::test]
async fn a_mark_that_comes_while_it_is_settled_stays() {
    let opened = Opened::new().await;
    let store = opened.store();
    let span_ms = hours_ago(2);
    let mark = [LateMark { span_ms, node: 7 }];
    store.insert_late_marks(&mark, 1).await.unwrap();
    store.insert_late_marks(&mark, 1).await.unwrap();
    assert_eq!(marks(store).await, 1, "a retry is the same mark");
    store.insert_late_marks(&mark, 2).await.unwrap();
    assert_eq!(marks(store).await, 2);
    // Only the first one was read when the rollups were computed.
    let sql = format!(
        "INSERT INTO rollup_marks (span, node, id, sign) VALUES ({}, 7, 1, -1)",
        span_ms / 1_000
    );
    store.client().query(&sql).execute().await.unwrap();
    assert_eq!(marks(store).await, 1);
    store.client().query("OPTIMIZE TABLE rollup_marks FINAL").execute().await.unwrap();
    assert_eq!(marks(store).await, 1);
    opened.close().await;
}

#[tokio::test]
async fn without_samples_the_rollups_go_on_and_old_marks_are_dropped() {
    let opened = Opened::new().await;
    let store = opened.store();
    let mut one = roller(store, "one");
    roll(&mut one).await;
    let progress = store.rollups().get();
    assert!(progress.lag_ms() <= SPAN_MS + 61_000, "{progress:?}");
    assert_eq!(progress.describe(), format!("complete up to {} s ago", progress.lag_ms() / 1_000));
    let old = LateMark { span_ms: hours_ago(31 * 24), node: 7 };
    store.insert_late_marks(&[old], 1).await.unwrap();
    roll(&mut one).await;
    assert_eq!(marks(store).await, 0);
    // After a long stop it begins where the samples begin that are not about to be deleted.
    one.release().await.unwrap();
    let sql = "INSERT INTO rollup_state SELECT name, sequence + 1, holder, lease_until, fine_until - toIntervalDay(40), hours_until - toIntervalDay(40), version FROM rollup_state";
    store.client().query(sql).execute().await.unwrap();
    let steps = roll(&mut roller(store, "two")).await;
    println!("{steps} steps for a stop of 40 days without samples");
    assert!(steps <= 100, "a time without samples is passed over");
    assert!(store.rollups().get().lag_ms() <= SPAN_MS + 61_000);
    opened.close().await;
}

/// Marks that wait.
async fn marks(store: &Store) -> u64 {
    let sql = "SELECT count() FROM rollup_marks WHERE sign = 1";
    store.client().query(sql).fetch_one().await.unwrap()
}

/// Ends the lease of a roller that is gone.
async fn take_over(store: &Store) {
    let sql = "INSERT INTO rollup_state SELECT name, sequence + 1, holder, now64(3) - 1, fine_until, hours_until, version FROM rollup_state";
    store.client().query(sql).execute().await.unwrap();
}
