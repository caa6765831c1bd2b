//! Two shards of plain tables under Distributed ones: each series on one of them, answers as those of a single server, and a shard or a way that is lost.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use flyball_collector::rollup::{Roller, RollupMetrics, RollupSettings, Step};
use flyball_collector::store::catalog::Selector;
use flyball_collector::store::{
    DAY_MS, ErrorClass, HOUR_MS, LateMark, OpenStore, SampleRow, SeriesId, SeriesRow, Store,
    StoreError,
};
use flyball_proto::series::{Kind, NodeName, Scale, Series};
use serde_json::Value;

use crate::agent::Recorder;
use crate::harness::{Collector, now_ms, open, sharded, single, until};
use crate::proxy::{Mode, Proxy};
use crate::server::Server;

const SERIES: usize = 40;
const TICKS: i64 = 120;

fn series(number: usize) -> Series {
    let counter = number.is_multiple_of(2);
    Series {
        metric: if counter { "test.counter" } else { "test.gauge" }.into(),
        unit: "By".into(),
        kind: if counter { Kind::Counter } else { Kind::Gauge },
        scale: Scale::decimal(1),
        attributes: vec![("number".into(), format!("{:02}", number / 2))],
    }
}

/// A sawtooth for each series: counters are reset once, gauges rise and fall.
fn raw(number: usize, tick: i64) -> i64 {
    (tick * (number as i64 + 3)) % 500
}

/// A full hour that has been over for a while; the same one as long as a test takes.
fn start_ms() -> i64 {
    static START_MS: LazyLock<i64> =
        LazyLock::new(|| (now_ms() - 2 * HOUR_MS).div_euclid(HOUR_MS) * HOUR_MS);
    *START_MS
}

/// Series of two nodes, and their samples a second apart, with every third tick sent twice in other blocks.
async fn fill(open: &OpenStore) {
    let (mut rows, mut samples) = (Vec::new(), Vec::new());
    for number in 0..SERIES {
        let node = NodeName::new(if number < SERIES / 2 { "web-1" } else { "web-2" }).unwrap();
        let series = series(number);
        let (id, _) = open.catalog.resolve(&node, &series).unwrap();
        rows.push(SeriesRow::new(id, &node, &series, now_ms()));
        samples.extend((0..TICKS).map(|tick| SampleRow {
            series_id: id.get(),
            ts_ms: start_ms() + tick * 1_000,
            raw: raw(number, tick),
            scale: series.scale.code(),
        }));
    }
    open.store.insert_series(&rows, "series").await.unwrap();
    open.store.insert_samples(&samples, "all").await.unwrap();
    samples.retain(|sample| sample.ts_ms / 1_000 % 3 == 0);
    open.store.insert_samples(&samples, "some again").await.unwrap();
}

/// The second after the last sample of [`fill`].
fn end_s() -> i64 {
    start_ms() / 1_000 + TICKS
}

/// A block with one more sample of every series of [`fill`].
fn next_tick(open: &OpenStore) -> Vec<SampleRow> {
    let ids = ["test.counter", "test.gauge"].map(|metric| {
        let selector = Selector { metric, ..Selector::default() };
        open.catalog.select(&selector).unwrap().series
    });
    let row =
        |id: SeriesId| SampleRow { series_id: id.get(), ts_ms: end_s() * 1_000, raw: 1, scale: 1 };
    ids.into_iter().flatten().map(|series| row(series.id)).collect()
}

/// Number of the server that is used.
fn used(store: &Store) -> Option<usize> {
    store.servers().health().iter().position(|server| server.in_use)
}

async fn count(store: &Store, is_final: bool) -> u64 {
    let query = store.client().query("SELECT count() FROM performance_metrics");
    query.with_setting("final", if is_final { "1" } else { "0" }).fetch_one().await.unwrap()
}

async fn ids(server: &Server, table: &str) -> BTreeSet<u64> {
    let ids = server.value(&format!("SELECT groupUniqArray(series_id) FROM {table}")).await;
    Vec::into_iter(ids).collect()
}

/// The same but for the last bits of sums, which depend on the order of their terms.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

fn parsed(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert!(answer["series"].as_array().is_some_and(|series| !series.is_empty()), "{answer}");
    answer
}

#[tokio::test]
async fn each_series_is_on_one_shard_and_answers_are_those_of_a_single_server() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = Server::shards(dir.path(), ["a", "b"]).await;
    let mut one = single(a.http);
    one.database = "one".to_owned();
    let two = sharded(&[a.http, b.http]);
    for settings in [&one, &two] {
        let open = open(settings).await.unwrap();
        fill(&open).await;
        let expected = SERIES as u64 * TICKS as u64;
        assert_eq!(count(&open.store, true).await, expected);
        assert_eq!(count(&open.store, false).await, expected + expected / 3);
        roll(&open.store).await;
    }
    for table in ["series_local", "performance_metrics_local"] {
        let (on_a, on_b) = (ids(&a, table).await, ids(&b, table).await);
        assert_eq!(on_a.len() + on_b.len(), SERIES, "{table}: {on_a:?} {on_b:?}");
        assert!(on_a.is_disjoint(&on_b) && !on_a.is_empty() && !on_b.is_empty(), "{table}");
    }

    let (one, two) = (Collector::start_ready(&one).await, Collector::start_ready(&two).await);
    let (from, to) = (start_ms(), start_ms() + TICKS * 1_000);
    let mut tiers = BTreeSet::new();
    let aggregations =
        ["avg", "min", "max", "sum", "last", "p50", "p99"].map(|a| (a, "test.gauge"));
    for (agg, metric) in aggregations.into_iter().chain([("rate", "test.counter")]) {
        for rest in ["5000&by=node", "10000&by=number", "60000&node=web-2", "1000&filter=number=03"]
        {
            let path = format!(
                "/api/performance/metrics?metric={metric}&agg={agg}&from={from}&to={to}&step={rest}"
            );
            let answers = (one.get(&path).await, two.get(&path).await);
            assert_eq!((answers.0.status, answers.1.status), (200, 200), "{}", answers.1.text);
            let (left, right) = (parsed(&answers.0.text), parsed(&answers.1.text));
            assert!(same(&left["series"], &right["series"]), "{path}: {left} {right}");
            assert_eq!(left["tier"], right["tier"], "{path}");
            tiers.insert(left["tier"].as_str().unwrap().to_owned());
        }
    }
    assert!(["raw", "10s", "1m"].iter().all(|tier| tiers.contains(*tier)), "{tiers:?}");
    for path in ["/api/performance/catalog", "/api/performance/status"] {
        let answers = (one.get(path).await.text, two.get(path).await.text);
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parse(&answers.0)["metrics"], parse(&answers.1)["metrics"]);
        let nodes = |value: &Value| value["nodes"].as_array().map(Vec::len);
        assert_eq!(nodes(&parse(&answers.0)), nodes(&parse(&answers.1)), "{path}");
    }
    one.stopped().await;
    two.stopped().await;
}

/// Computes all rollups that are due, late marks too.
async fn roll(store: &Store) {
    let (settings, metrics) = (RollupSettings::default(), RollupMetrics::default());
    let mut roller = Roller::new(store, settings, metrics, "test").impatient();
    let mut idle = 0;
    while idle < 2 {
        idle = if roller.step().await.unwrap() == Step::Idle { idle + 1 } else { 0 };
    }
    roller.release().await.unwrap();
}

/// Rows and a fingerprint of a tier's content.
async fn tier(store: &Store, table: &str) -> (u64, u64) {
    let sql = format!(
        "SELECT count(), groupBitXor(cityHash64(series_id, ts, scale, count, first_ms, last_ms, first, change, below, above, sum, if(isNaN(lost), 0, lost))) FROM {table}"
    );
    store.client().query(&sql).fetch_one().await.unwrap()
}

#[tokio::test]
async fn rollups_of_shards_are_those_of_a_single_server_and_late_samples_correct_them() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = Server::shards(dir.path(), ["a", "b"]).await;
    let mut one = single(a.http);
    one.database = "one".to_owned();
    let (one, two) = (open(&one).await.unwrap(), open(&sharded(&[a.http, b.http])).await.unwrap());
    let tiers = ["rollup_10s", "rollup_1m", "rollup_1h"];
    let mut before = Vec::new();
    for open in [&one, &two] {
        fill(open).await;
        roll(&open.store).await;
    }
    for table in tiers {
        let (single, shards) = (tier(&one.store, table).await, tier(&two.store, table).await);
        assert!(single.0 >= SERIES as u64, "{table}: {single:?}");
        assert_eq!(single, shards, "{table}");
        let local = format!("{table}_local");
        assert!(ids(&a, &local).await.is_disjoint(&ids(&b, &local).await), "{table}");
        before.push(single);
    }

    for (number, open) in [&one, &two].into_iter().enumerate() {
        let mut late = next_tick(open);
        late.extend(late.clone().iter().map(|row| SampleRow { ts_ms: row.ts_ms + 1_000, ..*row }));
        let span = end_s() * 1_000 - (end_s() * 1_000).rem_euclid(LateMark::SPAN_MS);
        let marks: BTreeSet<_> = late.iter().map(LateMark::of).collect();
        assert!(marks.iter().all(|mark| mark.span_ms == span), "{marks:?}");
        let marks: Vec<_> = marks.into_iter().collect();
        open.store.insert_late_marks(&marks, number as u64 + 1).await.unwrap();
        open.store.insert_samples(&late, "late").await.unwrap();
        roll(&open.store).await;
    }
    for (table, before) in tiers.into_iter().zip(before) {
        let (single, shards) = (tier(&one.store, table).await, tier(&two.store, table).await);
        assert_ne!(single.1, before.1, "{table}: the late samples are in it");
        assert_eq!(single, shards, "{table}");
    }
}

#[tokio::test]
async fn a_shard_that_is_killed_refuses_inserts_and_nothing_is_lost_or_doubled_when_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let [mut a, mut b] = Server::shards(dir.path(), ["a", "b"]).await;
    let settings = sharded(&[a.http, b.http]);
    let collector = Collector::start_ready(&settings).await;
    let mut recorder = Recorder::new("web-1", 50);
    let mut stream = recorder.connect(&collector, 0).await;
    stream.send_frames(&recorder.frames(5, now_ms())).await;
    stream.wait_for_ack(5).await;

    // The one that is not asked: an engine of the library that has lost whom it was answering aborts now and then.
    let (_, detail, _) = collector.check("clickhouse").await;
    if !detail.starts_with(&a.url()) {
        std::mem::swap(&mut a, &mut b);
    }
    assert!(detail.starts_with(&a.url()), "{detail}");
    b.kill().await;
    stream.send_frames(&recorder.frames(5, now_ms() + 50)).await;
    stream.wait_for_credit(0).await;
    let shard = format!("127.0.0.1:{}", b.tcp);
    until(&format!("/readyz says that {shard} fails"), async || {
        let (status, detail, _) = collector.check("ingest").await;
        let says_why = status == "failing" && detail.contains(&shard);
        if !says_why {
            eprintln!("ingest is {status}: {detail}");
        }
        says_why.then_some(())
    })
    .await;
    let (_, detail, _) = collector.check("clickhouse").await;
    assert!(detail.contains(&a.url()) && detail.contains(&format!("{} fails for", b.url())));
    assert_eq!(stream.acked.durable_seq, 5, "what one shard cannot take is not acknowledged");

    b.restart().await;
    stream.wait_for_ack(10).await;
    let store = open(&settings).await.unwrap().store;
    assert_eq!((count(&store, true).await, count(&store, false).await), (500, 500));
    assert_eq!(b.value::<u64>("SELECT uniqExact(ts) FROM performance_metrics_local").await, 10);
    collector.until_ready().await;
    collector.stopped().await;
}

#[tokio::test]
async fn a_block_that_one_shard_refused_is_completed_by_the_retry() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = Server::shards(dir.path(), ["a", "b"]).await;
    let open = open(&sharded(&[a.http, b.http])).await.unwrap();
    fill(&open).await;
    let block = next_tick(&open);
    // Through the shard that accepts: one that refuses its own part sends nothing on.
    while used(&open.store) != Some(0) {
        let failure = Err::<(), _>(StoreError::Timeout { timeout_ms: 1 });
        open.store.servers().choose().settle(&failure);
    }
    let new = format!("SELECT count() FROM performance_metrics_local WHERE ts >= {}", end_s());
    b.execute("ALTER TABLE performance_metrics_local ADD CONSTRAINT not_now CHECK raw != 1").await;
    let on_a = until("the shard that accepts has its part", async || {
        let error = open.store.insert_samples(&block, "half").await.unwrap_err();
        assert!(error.to_string().contains("not_now"), "{error}");
        Some(a.value::<u64>(&new).await).filter(|rows| *rows > 0)
    })
    .await;
    open.store.insert_samples(&block, "half").await.unwrap_err();
    assert_eq!((a.value::<u64>(&new).await, b.value::<u64>(&new).await), (on_a, 0));
    assert!(on_a < block.len() as u64, "{on_a}");

    b.execute("ALTER TABLE performance_metrics_local DROP CONSTRAINT not_now").await;
    open.store.insert_samples(&block, "half").await.unwrap();
    assert_eq!(a.value::<u64>(&new).await, on_a);
    assert_eq!(b.value::<u64>(&new).await, block.len() as u64 - on_a);
}

#[tokio::test]
async fn a_block_whose_answer_is_lost_goes_to_the_other_server_and_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Server::shards(dir.path(), ["a", "b"]).await;
    let mut proxies = Vec::new();
    for server in &servers {
        proxies.push(Proxy::start(format!("127.0.0.1:{}", server.http)).await);
    }
    let ports: Vec<_> = proxies.iter().map(|proxy| proxy.address.port()).collect();
    let open = open(&sharded(&ports)).await.unwrap();
    fill(&open).await;
    let before = count(&open.store, false).await;
    let first = used(&open.store).unwrap();

    let rows = next_tick(&open);
    proxies[first].set(Mode::LoseAnswers);
    let error = open.store.insert_samples(&rows, "lost").await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retryable, "{error}");
    assert_ne!(used(&open.store), Some(first), "the next one is used");
    open.store.insert_samples(&rows, "lost").await.unwrap();
    assert_eq!(count(&open.store, false).await, before + rows.len() as u64);

    // Queries go elsewhere by themselves.
    proxies[first].set(Mode::Pass);
    let collector = Collector::start_ready(&sharded(&ports)).await;
    let (from, to) = (start_ms(), start_ms() + TICKS * 1_000);
    let path = format!(
        "/api/performance/metrics?metric=test.gauge&from={from}&to={to}&step=10000&by=node"
    );
    for failing in [1 - first, first] {
        proxies[failing].set(Mode::Cut);
        proxies[1 - failing].set(Mode::Pass);
        let answer = collector.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (status, detail, _) = collector.check("clickhouse").await;
        assert_eq!(status, "ok", "{detail}");
        let expected = format!("http://127.0.0.1:{} answers in", ports[1 - failing]);
        assert!(detail.starts_with(&expected), "{detail}");
        assert!(detail.contains(&format!("not in use: http://127.0.0.1:{}", ports[failing])));
    }
    collector.stopped().await;
}

#[tokio::test]
async fn series_without_samples_are_forgotten_on_every_shard_and_others_on_none() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = Server::shards(dir.path(), ["a", "b"]).await;
    let settings = sharded(&[a.http, b.http]);
    let first = open(&settings).await.unwrap();
    fill(&first).await;
    let node = NodeName::new("gone").unwrap();
    let old: Vec<_> = (0..20)
        .map(|number| {
            let (id, _) = first.catalog.resolve(&node, &series(number)).unwrap();
            SeriesRow::new(id, &node, &series(number), now_ms() - 3 * DAY_MS)
        })
        .collect();
    first.store.insert_series(&old, "old").await.unwrap();
    let rows = "SELECT count() FROM series_local WHERE node = 'gone'";
    assert!(a.value::<u64>(rows).await > 0 && b.value::<u64>(rows).await > 0);

    let again = open(&settings).await.unwrap();
    assert_eq!(again.catalog.len(), SERIES + 20);
    assert_eq!(again.store.prune_series(&again.catalog).await.unwrap(), 20);
    assert_eq!(again.catalog.len(), SERIES);
    assert_eq!((a.value::<u64>(rows).await, b.value::<u64>(rows).await), (0, 0));
    assert_eq!(again.store.load_series().await.unwrap().len(), SERIES);
}
