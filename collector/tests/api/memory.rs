//! Answers from the recent samples in memory: right, and only when every sample is there.

use flyball_collector::live::now_ms;
use flyball_proto::frame::{Sample, Slot};
use flyball_proto::series::{Kind, NodeName, Scale, Series};
use serde_json::{Value, json};

use crate::harness::{Server, series};
use crate::reference::{Samples, aggregate};

const MINUTE_MS: i64 = 60_000;

/// A series whose samples go to the store and, as if an agent sent them, into memory.
struct Told {
    node: &'static str,
    series: Series,
    samples: Vec<(i64, i64)>,
}

impl Told {
    fn values(&self) -> Samples {
        self.samples.iter().map(|(ts, raw)| (*ts, self.series.scale.value(*raw))).collect()
    }
}

/// Two nodes with a gauge of fractions and a counter that is reset, every two seconds or so for
/// twenty minutes, with gaps, none of them where the samples begin.
fn fleet(start_ms: i64) -> Vec<Told> {
    let times: Vec<i64> = (0..600)
        .map(|i| start_ms + i * 2_000 + (i * 37) % 900)
        .filter(|t| ((t - start_ms) / 100_000) % 7 != 3)
        .collect();
    let mut all = Vec::new();
    for (number, node) in ["a", "b"].into_iter().enumerate() {
        let number = number as i64;
        for mode in ["user", "idle"] {
            let gauge = series("mem.gauge", Kind::Gauge, Scale::decimal(2), &[("mode", mode)]);
            let raw = |i: i64| (i * i * (7 + number) + mode.len() as i64 * 31) % 5_000 - 900;
            let samples = times.iter().enumerate().map(|(i, t)| (*t, raw(i as i64))).collect();
            all.push(Told { node, series: gauge, samples });
        }
        let counter = series("mem.counter", Kind::Counter, Scale::UNIT, &[]);
        let mut total = 1_000_000;
        let samples = times.iter().enumerate().map(|(i, t)| {
            total = if i % 97 == 96 { 5 } else { total + (i as i64 * 13 + number) % 400 };
            (*t, total)
        });
        all.push(Told { node, series: counter, samples: samples.collect() });
    }
    all
}

impl Server {
    /// Has the agents of these nodes send these samples, tick by tick.
    fn tell(&self, all: &[Told]) -> Vec<flyball_collector::live::NodeFeed> {
        let mut feeds = Vec::new();
        for node in ["a", "b"] {
            let of_node: Vec<&Told> = all.iter().filter(|told| told.node == node).collect();
            let feed = self.connect(node, of_node[0].series.clone());
            let name = NodeName::new(node).unwrap();
            for (slot, told) in of_node.iter().enumerate() {
                let id = self.open.catalog.resolve(&name, &told.series).unwrap().0;
                let series = std::sync::Arc::new(told.series.clone());
                feed.define([(slot as u32, Some(id), &series)].into_iter());
            }
            for tick in 0..of_node[0].samples.len() {
                let sample = |(slot, told): (usize, &&Told)| Sample {
                    slot: Slot(slot as u32),
                    raw: told.samples[tick].1,
                    reset: false,
                };
                let samples: Vec<_> = of_node.iter().enumerate().map(sample).collect();
                feed.update(of_node[0].samples[tick].0, &samples);
            }
            feeds.push(feed);
        }
        feeds
    }
}

/// Attributes and points of each series.
type Shown = Vec<(Value, Vec<(i64, Option<f64>)>)>;

fn points(answer: &Value) -> Shown {
    let point = |point: &Value| (point[0].as_i64().unwrap(), point[1].as_f64());
    let series = answer["series"].as_array().unwrap().iter();
    series
        .map(|s| {
            let points = s["points"].as_array().unwrap().iter().map(point).collect();
            (s["attributes"].clone(), points)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_store_give_the_same_and_both_what_the_reference_says() {
    let server = Server::start().await;
    let start_ms = now_ms() - 25 * MINUTE_MS;
    let all = fleet(start_ms);
    let feeds = server.tell(&all);
    let (from_ms, to_ms) = (start_ms + 7 * MINUTE_MS, start_ms + 18 * MINUTE_MS);
    let mut told = Vec::new();
    for (metric, agg, within, by, step) in [
        ("mem.gauge", "avg", None, None, "30s"),
        ("mem.gauge", "sum", None, Some("node"), "1m"),
        ("mem.gauge", "min", None, Some("mode"), "7s"),
        ("mem.gauge", "max", None, Some("none"), "1m"),
        ("mem.gauge", "last", None, Some("node"), "45s"),
        ("mem.gauge", "p90", None, Some("none"), "1m"),
        ("mem.gauge", "p75", Some("avg"), Some("none"), "1m"),
        ("mem.gauge", "max", Some("last"), Some("mode"), "1m"),
        ("mem.counter", "rate", None, None, "10s"),
        ("mem.counter", "rate", None, Some("none"), "1m"),
        ("mem.counter", "max", Some("rate"), Some("none"), "1m"),
    ] {
        let (from, to) = (from_ms.to_string(), to_ms.to_string());
        let mut query = vec![("metric", metric), ("agg", agg), ("from", &from), ("to", &to)];
        query.push(("step", step));
        query.extend(within.map(|within| ("within", within)));
        query.extend(by.map(|by| ("by", by)));
        let query: Vec<(&str, String)> =
            query.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        let borrowed: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let answer = server.metrics(&borrowed).await;
        assert_eq!(answer["cache"], "memory", "{query:?}");
        assert_eq!(answer["tier"], "raw");
        told.push((query, answer));
    }
    // The reference knows one group of all.
    let gauges: Vec<Samples> =
        all.iter().filter(|t| t.series.metric == "mem.gauge").map(Told::values).collect();
    let starts: Vec<i64> =
        (from_ms / MINUTE_MS..=(to_ms - 1) / MINUTE_MS).map(|i| i * MINUTE_MS).collect();
    let expected = aggregate("p90", &gauges, &starts, MINUTE_MS);
    let got = points(&told[5].1).remove(0).1;
    for (start, value) in &got {
        let (got, want) =
            (value.unwrap_or(f64::NAN), expected.get(start).copied().unwrap_or(f64::NAN));
        assert!(
            (got - want).abs() < 1e-9 || got.is_nan() && want.is_nan(),
            "{start}: {got} {want}"
        );
    }
    // From now on memory does not have all of it, and the store does.
    drop(feeds);
    for told in &all {
        server.insert(told.node, &told.series, &told.samples).await;
        server.live.missed(&NodeName::new(told.node).unwrap(), to_ms);
    }
    for (query, from_memory) in &told {
        let borrowed: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let answer = server.metrics(&borrowed).await;
        assert_eq!(answer["cache"], "miss", "{query:?}");
        let (memory, store) = (points(from_memory), points(&answer));
        assert_eq!(memory.len(), store.len(), "{query:?}");
        for ((attributes, left), (same, right)) in memory.iter().zip(&store) {
            assert_eq!((attributes, left.len()), (same, right.len()), "{query:?}");
            for ((start, left), (_, right)) in left.iter().zip(right) {
                let close = match (left, right) {
                    (Some(left), Some(right)) => {
                        (left - right).abs() <= 1e-9 * right.abs().max(1.0)
                    }
                    (left, right) => left == right,
                };
                assert!(close, "{query:?} at {start}: {left:?} in memory, {right:?} in the store");
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_begins_before_memory_goes_to_the_store() {
    let server = Server::start().await;
    let all = fleet(now_ms() - 25 * MINUTE_MS);
    let _feeds = server.tell(&all);
    let cache = async |minutes: i64, nodes: &str| {
        let from = (now_ms() - minutes * MINUTE_MS).to_string();
        let query = [("metric", "mem.gauge"), ("node", nodes), ("from", &from)];
        server.metrics(&query).await["cache"].clone()
    };
    assert_eq!(cache(20, "a").await, "memory");
    assert_eq!(cache(30, "a").await, "miss");
    // A sample of the backlog, which memory does not have.
    server.live.missed(&NodeName::new("a").unwrap(), now_ms() - 10 * MINUTE_MS);
    assert_eq!(cache(20, "a").await, "miss");
    assert_eq!(cache(9, "a").await, "memory");
    assert_eq!(cache(20, "b").await, "memory");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_values_are_told_alone_joined_and_the_largest_first() {
    let server = Server::start().await;
    let mut all = fleet(now_ms() - 20 * MINUTE_MS + 500);
    for told in &mut all {
        told.samples.retain(|(ts, _)| *ts <= now_ms());
    }
    let _feeds = server.tell(&all);
    let newest = |node: &str, mode: &str| {
        let of =
            |t: &&Told| t.node == node && t.series.attributes == [("mode".into(), mode.into())];
        let told = all.iter().find(of).unwrap();
        told.series.scale.value(told.samples.last().unwrap().1)
    };
    let last = async |query: &str| server.get(&format!("/api/performance/last?{query}")).await;
    let one = last("metric=mem.gauge&node=a&filter=mode%3Duser").await.json();
    assert_eq!(one["values"].as_array().unwrap().len(), 1);
    assert_eq!(one["values"][0]["value"], newest("a", "user"));
    assert_eq!(one["values"][0]["attributes"], json!({"mode": "user", "node": "a"}));
    let node = last("node=b").await.json();
    assert_eq!(node["values"].as_array().unwrap().len(), 3, "all series of the node");
    let sums = last("metric=mem.gauge&by=node&agg=sum&top=1").await.json();
    let sum = |node| newest(node, "user") + newest(node, "idle");
    let best = if sum("a") > sum("b") { "a" } else { "b" };
    assert_eq!(sums["values"].as_array().unwrap().len(), 1);
    assert_eq!(sums["values"][0]["attributes"]["node"], best);
    assert!((sums["values"][0]["value"].as_f64().unwrap() - sum(best)).abs() < 1e-9);
    let wrong = last("top=0&agg=last&filter=x&lookback=2d&zap=1").await;
    assert_eq!(wrong.status, 400);
    let fields = ["zap", "filter", "agg", "top", "lookback", "metric"];
    assert_eq!(wrong.problem_fields(), fields);
    assert_eq!(last("metric=nope").await.status, 404);
    assert_eq!(last("node=a&top=3").await.problem_fields(), ["top"]);
    server.stop().await;
}
