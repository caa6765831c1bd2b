//! Caps on series: above them samples are kept as sums, nothing is refused, the totals stay right and the offender is named. And series that ClickHouse
//! itself refuses: only their own samples are.

use flyball_proto::series::{Kind, Scale, Series};
use flyball_proto::v1::agent_message::Kind as Up;
use serde_json::{Value, json};

use crate::agent::{Recorder, gauge};
use crate::harness::{ClickHouse, Collector, now_ms, until};

fn counter(number: usize) -> Series {
    Series {
        metric: "test.counter".into(),
        kind: Kind::Counter,
        scale: Scale::UNIT,
        ..gauge(number)
    }
}

/// An agent with `gauges` gauges and then `counters` counters.
fn recorder(gauges: usize, counters: usize) -> Recorder {
    let mut recorder = Recorder::new("web-1", gauges);
    (0..counters).for_each(|number| recorder.define(counter(number)));
    recorder
}

/// The points of one answer of `metrics` that is a single line.
async fn line(collector: &Collector, question: &str) -> Vec<f64> {
    let (code, text) = collector.get(&format!("/api/performance/metrics?{question}")).await;
    assert_eq!(code, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let series = answer["series"].as_array().unwrap();
    assert_eq!(series.len(), 1, "{text}");
    let points = series[0]["points"].as_array().unwrap();
    points.iter().filter_map(|point| point[1].as_f64()).collect()
}

async fn firing(collector: &Collector, name: &str) -> Vec<Value> {
    let (_, text) = collector.get("/api/performance/alerts?state=firing").await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let alerts = answer["alerts"].as_array().unwrap();
    alerts.iter().filter(|alert| alert["name"] == name).cloned().collect()
}

#[tokio::test]
async fn an_agent_over_its_cap_keeps_its_totals_and_is_named() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        config.ingest.max_series_per_agent = 3;
    })
    .await;
    let mut recorder = recorder(5, 5);
    let mut stream = recorder.connect(&collector, 0).await;
    let start = now_ms() / 10_000 * 10_000 - 60_000;
    for second in 0..10 {
        stream.send(Up::Frame(recorder.frame(start + second * 1_000))).await;
    }
    stream.wait_for_ack(10).await;
    assert_eq!((stream.acked.written, stream.acked.rejected.len()), (100, 0));
    assert_eq!(collector.account("web-1").await, [100, 100, 0, 0]);
    // Three gauges of their own, a sum of two gauges and a sum of five counters.
    assert_eq!(clickhouse.stored("web-1").await.counted, 50);
    let range = format!("from={start}&to={}&step=1s", start + 10_000);
    let sums = line(&collector, &format!("metric=test.gauge&agg=sum&by=node&{range}")).await;
    // Each sample is one more than the one before, in hundredths: the k-th tick holds 10k + 1 to 10k + 5.
    let expected: Vec<_> = (0..10).map(|k| f64::from(50 * k + 15) / 100.0).collect();
    assert!(sums.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{sums:?}");
    assert_eq!(sums.len(), 10);
    let rates = line(&collector, &format!("metric=test.counter&agg=rate&by=node&{range}")).await;
    assert!(rates.iter().all(|rate| (rate - 50.0).abs() < 1e-9), "five of ten a second: {rates:?}");

    let overflow = format!("metric=test.gauge&agg=last&filter=otel.metric.overflow=true&{range}");
    assert_eq!(line(&collector, &overflow).await.len(), 10);
    let alerts = firing(&collector, "series.overflow").await;
    assert_eq!((alerts.len(), &alerts[0]["node"]), (1, &json!("web-1")));
    let text = alerts[0]["text"].as_str().unwrap();
    assert!(text.contains("7 series") && text.contains("test.counter (5)"), "{text}");
    assert!((collector.metric("flyball_ingest_samples_summed_total").await - 70.0).abs() < 0.5);

    drop(stream);
    until("the alert is over with the stream", async || {
        firing(&collector, "series.overflow").await.is_empty().then_some(())
    })
    .await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_stream_that_begins_again_counts_no_growth_twice() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        config.ingest.max_series_per_agent = 1;
    })
    .await;
    let mut recorder = recorder(1, 2);
    let start = now_ms() / 20_000 * 20_000 - 60_000;
    let frames: Vec<_> = (0..20).map(|n| recorder.frame(start + n * 1_000)).collect();
    let mut first = recorder.connect(&collector, 0).await;
    first.send_frames(&frames[..12]).await;
    first.wait_for_ack(12).await;
    drop(first);
    // The agent knows of ten acknowledged frames and sends all for the decoder's state.
    let mut second = recorder.connect(&collector, 10).await;
    second.send_frames(&frames).await;
    second.wait_for_ack(20).await;
    let range = format!("from={start}&to={}&step=20s", start + 20_000);
    let rates = line(&collector, &format!("metric=test.counter&agg=rate&by=node&{range}")).await;
    assert_eq!(rates.len(), 1);
    assert!((rates[0] - 6.0).abs() < 1e-9, "two counters that grow by three each: {rates:?}");
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn samples_over_the_collectors_cap_are_kept_as_sums_and_the_largest_nodes_are_named() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        config.clickhouse.max_series = 3;
    })
    .await;
    let mut recorder = recorder(5, 1);
    let mut stream = recorder.connect(&collector, 0).await;
    stream.send_frames(&recorder.frames(10, now_ms())).await;
    stream.wait_for_ack(10).await;
    // Three series, and room for one sum: the counter has none, its samples are refused by slot.
    assert_eq!(stream.acked.written, 50);
    let rejected: Vec<_> = stream.acked.rejected.iter().map(|r| (r.slot, r.samples)).collect();
    assert_eq!(rejected.iter().map(|r| r.1).sum::<u64>(), 10, "{rejected:?}");
    assert!(rejected.iter().all(|r| r.0 == 5), "{rejected:?}");
    assert_eq!(clickhouse.stored("web-1").await.counted, 40);
    assert_eq!(collector.account("web-1").await, [60, 50, 10, 0]);
    let full = until("the collector says that it is full", async || {
        firing(&collector, "catalog.full").await.pop()
    })
    .await;
    assert_eq!(full["node"], Value::Null);
    assert!(full["text"].as_str().unwrap().contains("web-1 (4)"), "{full}");
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_series_that_clickhouse_refuses_costs_no_other_series_a_sample() {
    let clickhouse = ClickHouse::start().await;
    let client = clickhouse.open.store.client();
    let forbid = "ALTER TABLE series ADD CONSTRAINT not_bad CHECK metric != 'test.counter'";
    client.query(forbid).execute().await.unwrap();
    let collector = Collector::start(&clickhouse).await;
    let mut good = Recorder::new("good", 20);
    let mut bad = recorder(2, 1);
    let mut stream = good.connect(&collector, 0).await;
    let mut of_bad = bad.connect(&collector, 0).await;
    for round in 1..=3 {
        stream.send(Up::Frame(good.frame(now_ms()))).await;
        of_bad.send(Up::Frame(bad.frame(now_ms()))).await;
        stream.wait_for_ack(round).await;
        of_bad.wait_for_ack(round).await;
    }
    assert_eq!((stream.acked.written, stream.acked.rejected.len()), (60, 0));
    assert_eq!(of_bad.acked.written, 6);
    assert_eq!(of_bad.acked.rejected.iter().map(|r| r.samples).sum::<u64>(), 3);
    assert_eq!(collector.account("web-1").await, [9, 6, 3, 0]);
    let counted = "SELECT count() FROM performance_metrics WHERE series_id NOT IN (SELECT series_id FROM series)";
    assert_eq!(client.query(counted).fetch_one::<u64>().await.unwrap(), 0, "without their series");
    let alerts = firing(&collector, "series.refused").await;
    assert!(alerts[0]["text"].as_str().unwrap().contains("test.counter of web-1"), "{alerts:?}");

    // Mended: the next stream that defines the series writes its row.
    client.query("ALTER TABLE series DROP CONSTRAINT not_bad").execute().await.unwrap();
    drop(of_bad);
    let mut again = bad.connect(&collector, 3).await;
    bad.encoder.request_keyframe();
    again.send(Up::Frame(bad.frame(now_ms()))).await;
    again.wait_for_ack(4).await;
    assert_eq!((again.acked.written, again.acked.rejected.len()), (3, 0));
    assert_eq!(firing(&collector, "series.refused").await, [Value::Null; 0]);
    collector.stopped().await;
    clickhouse.stop().await;
}
