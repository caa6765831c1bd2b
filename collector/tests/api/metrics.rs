//! Every aggregation on the real engine against [`crate::reference`]: groups, resets, gaps, values that are not numbers, late and repeated samples.

use flyball_collector::live::now_ms;
use flyball_proto::series::{Kind, Scale, Series};
use serde_json::Value;

use crate::harness::{Server, series};
use crate::reference::{Buckets, Samples, aggregate};

const STEP_MS: i64 = 10_000;
const MINUTE_MS: i64 = 60_000;

/// A series of the test fleet: its node, definition, and every sample that the store must end up with.
struct Known {
    node: &'static str,
    series: Series,
    samples: Samples,
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> i64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n) as i64
    }
}

/// Times of samples from `start_ms` on: about one a second, uneven, with a gap of two minutes and one of ten.
fn times(numbers: &mut Numbers, start_ms: i64) -> Vec<i64> {
    let mut ts = start_ms;
    let mut times = Vec::new();
    for i in 0..900 {
        ts += match i {
            300 => 2 * MINUTE_MS,
            600 => 10 * MINUTE_MS,
            _ => 500 + numbers.below(1_000),
        };
        times.push(ts);
    }
    times
}

fn values(series: &Series, raws: &[(i64, i64)]) -> Samples {
    raws.iter().map(|(ts, raw)| (*ts, series.scale.value(*raw))).collect()
}

impl Server {
    /// Stores a series in three inserts: the even samples, then all of the first half again together with the odd ones, then the second half's odd ones, later than the rest.
    async fn fill(&self, node: &'static str, series: Series, raws: &[(i64, i64)]) -> Known {
        let half = raws.len() / 2;
        let even: Vec<_> = raws.iter().step_by(2).copied().collect();
        let late: Vec<_> = raws[half..].iter().copied().filter(|r| !even.contains(r)).collect();
        self.insert(node, &series, &even).await;
        self.insert(node, &series, &raws[..half]).await;
        self.insert(node, &series, &late).await;
        Known { node, samples: values(&series, raws), series }
    }

    async fn gauges(&self, numbers: &mut Numbers, start_ms: i64) -> Vec<Known> {
        let mut known = Vec::new();
        for (node, mode, scale) in [
            ("a", "user", Scale::decimal(2)),
            ("a", "idle", Scale::KIBI),
            ("b", "user", Scale::UNIT),
            ("b", "idle", Scale::FLOAT),
        ] {
            let series = series("test.gauge", Kind::Gauge, scale, &[("cpu.mode", mode)]);
            let mut raw = |i: usize| match (scale.is_float(), i) {
                (true, 10..30) => f64::NAN.to_bits() as i64,
                (true, 40) => f64::INFINITY.to_bits() as i64,
                (true, _) => (numbers.below(1_000_000) as f64 / 7.0 - 5_000.0).to_bits() as i64,
                (false, _) => numbers.below(100_000) - 50_000,
            };
            let raws: Vec<i64> = (0..900).map(&mut raw).collect();
            let raws: Vec<_> = times(numbers, start_ms).into_iter().zip(raws).collect();
            known.push(self.fill(node, series, &raws).await);
        }
        known
    }

    async fn counters(&self, numbers: &mut Numbers, start_ms: i64) -> Vec<Known> {
        let mut known = Vec::new();
        for (node, direction) in [("a", "read"), ("a", "write"), ("b", "read")] {
            let series =
                series("test.counter", Kind::Counter, Scale::UNIT, &[("direction", direction)]);
            let mut total = 5_000_000;
            let mut raws = Vec::new();
            for (i, ts) in times(numbers, start_ms).into_iter().enumerate() {
                total =
                    if i % 211 == 210 { numbers.below(500) } else { total + numbers.below(9_000) };
                raws.push((ts, total));
            }
            known.push(self.fill(node, series, &raws).await);
        }
        known
    }
}

/// Compares an answer's series, by one attribute of its groups, with the reference.
fn check(answer: &Value, expected: &[(Vec<(&str, &str)>, Buckets)], starts: &[i64], what: &str) {
    let series = answer["series"].as_array().unwrap();
    assert_eq!(series.len(), expected.len(), "{what}: {answer:#}");
    for (got, (attributes, buckets)) in series.iter().zip(expected) {
        let attributes: serde_json::Map<_, _> =
            attributes.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
        assert_eq!(got["attributes"], Value::Object(attributes), "{what}");
        let points = got["points"].as_array().unwrap();
        assert_eq!(points.len(), starts.len(), "{what}");
        for (point, start) in points.iter().zip(starts) {
            assert_eq!(point[0], *start, "{what}");
            match (point[1].as_f64(), buckets.get(start)) {
                (None, None) => assert!(point[1].is_null()),
                (Some(got), Some(want)) => {
                    let close = (got - want).abs() <= 1e-9 * want.abs().max(1.0);
                    assert!(close, "{what} at {start}: {got} is not {want}");
                }
                (got, want) => panic!("{what} at {start}: {got:?} is not {want:?}"),
            }
        }
    }
}

fn starts(from_ms: i64, to_ms: i64, step_ms: i64) -> Vec<i64> {
    (from_ms / step_ms..=(to_ms - 1) / step_ms).map(|i| i * step_ms).collect()
}

fn samples_of(known: &[Known], wanted: impl Fn(&Known) -> bool) -> Vec<Samples> {
    known.iter().filter(|k| wanted(k)).map(|k| k.samples.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_aggregation_agrees_with_the_reference() {
    let server = Server::start().await;
    // Beyond midnight, somewhere: partitions are hours.
    let start_ms = now_ms() / 86_400_000 * 86_400_000 - 7 * MINUTE_MS;
    let mut numbers = Numbers(7);
    let gauges = server.gauges(&mut numbers, start_ms).await;
    let counters = server.counters(&mut numbers, start_ms).await;
    let (from_ms, to_ms) = (start_ms + 3_333, start_ms + 31 * MINUTE_MS);
    let range = [("from", from_ms.to_string()), ("to", to_ms.to_string())];
    for (metric, known, aggs) in [
        (
            "test.gauge",
            &gauges,
            &["avg", "min", "max", "sum", "last", "p1", "p50", "p95", "p99"][..],
        ),
        ("test.counter", &counters, &["rate", "min", "max", "last"][..]),
    ] {
        for (agg, step_ms) in
            aggs.iter().flat_map(|agg| [(agg, STEP_MS), (agg, 333), (agg, 7 * MINUTE_MS)])
        {
            let (step, starts) = (step_ms.to_string(), starts(from_ms, to_ms, step_ms));
            let ask = async |extra: &[(&str, &str)]| {
                let mut query = vec![("metric", metric), ("agg", agg), ("step", &step)];
                query.extend(range.iter().map(|(k, v)| (*k, v.as_str())));
                query.extend(extra);
                server.metrics(&query).await
            };
            let want = |wanted: &dyn Fn(&Known) -> bool| {
                aggregate(agg, &samples_of(known, wanted), &starts, step_ms)
            };
            let by_node = ask(&[("by", "node")]).await;
            let expected = ["a", "b"].map(|n| (vec![("node", n)], want(&|k: &Known| k.node == n)));
            check(&by_node, &expected, &starts, &format!("{metric} {agg} by node, {step_ms} ms"));
            let each = ask(&[("node", "a")]).await;
            let mut own: Vec<_> = known.iter().filter(|k| k.node == "a").collect();
            own.sort_by_key(|k| k.series.attributes.clone());
            let expected: Vec<_> = own
                .iter()
                .map(|k| {
                    let (key, value) = &k.series.attributes[0];
                    let attributes = vec![(key.as_str(), value.as_str()), ("node", k.node)];
                    (attributes, want(&|other: &Known| std::ptr::eq(*k, other)))
                })
                .collect();
            check(&each, &expected, &starts, &format!("{metric} {agg} each, {step_ms} ms"));
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_keeps_its_rate_over_resets_edges_and_sparse_samples() {
    let server = Server::start().await;
    let start_ms = (now_ms() - 30 * MINUTE_MS) / MINUTE_MS * MINUTE_MS;
    let counter = |name: &str| series(name, Kind::Counter, Scale::UNIT, &[]);
    // 7 a second on every second, restarted from nothing at second 25.
    let even: Vec<_> = (0..=60)
        .map(|s| (start_ms + s * 1_000, if s < 25 { 100 + 7 * s } else { 7 * (s - 24) }))
        .collect();
    server.insert("a", &counter("even"), &even).await;
    // 60 once a minute: with buckets of ten seconds only those beside a sample are known.
    let sparse: Vec<_> = (0..=3).map(|m| (start_ms + m * MINUTE_MS, 60 * m)).collect();
    server.insert("a", &counter("sparse"), &sparse).await;
    let ask = async |metric: &str, minutes: i64| {
        let (from, to) = (start_ms.to_string(), (start_ms + minutes * MINUTE_MS).to_string());
        let query = [("metric", metric), ("from", &from), ("to", &to), ("step", "10s")];
        let answer = server.metrics(&query).await;
        let points = answer["series"][0]["points"].as_array().unwrap().clone();
        (answer["unit"].clone(), points.into_iter().map(|p| p[1].as_f64()).collect::<Vec<_>>())
    };
    assert_eq!(ask("even", 1).await, ("By/s".into(), vec![Some(7.0); 6]));
    let (edge, gap) = (Some(1.0), None);
    assert_eq!(ask("sparse", 2).await.1, [edge, gap, gap, gap, gap, edge].repeat(2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_to_ask_give_the_same_answer() {
    let server = Server::start().await;
    let start_ms = now_ms() / MINUTE_MS * MINUTE_MS - 10 * MINUTE_MS;
    for (node, raw) in [("a", 1), ("b", 3)] {
        let gauge = series("m", Kind::Gauge, Scale::UNIT, &[("k", "v=1")]);
        server.insert(node, &gauge, &[(start_ms, raw)]).await;
    }
    let rfc3339 = jiff::Timestamp::from_millisecond(start_ms).unwrap().to_string();
    let query = [
        ("metric", "m"),
        ("from", &rfc3339),
        ("step", "1m"),
        ("by", "k"),
        ("agg", "sum"),
        ("filter", "k=v=1"),
    ];
    let by_get = server.metrics(&query).await;
    assert_eq!(by_get["series"][0]["points"][0], serde_json::json!([start_ms, 4.0]));
    assert_eq!(
        (&by_get["tier"], &by_get["cache"], &by_get["step_ms"]),
        (&"raw".into(), &"miss".into(), &60_000.into())
    );
    let body = serde_json::json!({
        "metric": "m", "from": start_ms, "step": "60s", "by": ["k"], "agg": "sum", "filter": ["k=v=1"], "to": null,
    });
    let post = server.client.post(server.url("/api/performance/metrics")).json(&body);
    let by_post = server.send(post).await.json();
    assert_eq!(by_post["series"][0]["points"][0], by_get["series"][0]["points"][0]);
    let none = server.metrics(&[("metric", "m"), ("filter", "k=other")]).await;
    assert_eq!(none["series"], serde_json::json!([]));
    let before = server.metrics(&[("metric", "m"), ("to", "1000000")]).await;
    assert_eq!(before["series"], serde_json::json!([]));
    server.stop().await;
}
