//! Answers that are kept: served again, never past an invalidation, and asked for once however many ask.

use flyball_collector::cache::CacheSettings;
use flyball_collector::live::now_ms;
use flyball_collector::store::LateMark;
use flyball_proto::series::{Kind, NodeName, Scale, Series};
use serde_json::{Value, json};

use crate::harness::{Server, Setup, series};

const HOUR_MS: i64 = 3_600_000;
const SPAN_MS: i64 = LateMark::SPAN_MS;

fn gauge() -> Series {
    series("kept", Kind::Gauge, Scale::UNIT, &[])
}

async fn server() -> Server {
    Server::start_as(Setup { cache: CacheSettings::default(), ..Setup::default() }).await
}

/// The start of ten minutes some hours ago: closed.
fn closed_ms() -> i64 {
    (now_ms() - 5 * HOUR_MS) / SPAN_MS * SPAN_MS
}

impl Server {
    async fn ask(&self, node: &str, from_ms: i64, to_ms: i64) -> Value {
        let (from, to) = (from_ms.to_string(), to_ms.to_string());
        let query =
            [("metric", "kept"), ("node", node), ("from", &from), ("to", &to), ("step", "1m")];
        self.metrics(&query).await
    }

    /// Stores a sample as ingest does when it is late.
    async fn insert_late(&self, node: &str, ts_ms: i64, raw: i64) {
        self.insert(node, &gauge(), &[(ts_ms, raw)]).await;
        let id = self.open.catalog.resolve(&NodeName::new(node).unwrap(), &gauge()).unwrap().0;
        let mark = LateMark { span_ms: ts_ms - ts_ms % SPAN_MS, node: id.node_hash() };
        self.open.store.insert_late_marks(&[mark], u64::try_from(ts_ms).unwrap()).await.unwrap();
    }

    async fn store_queries(&self) -> u64 {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find(|line| line.starts_with("flyball_query_store_queries_total"));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn values(answer: &Value) -> Vec<f64> {
    let points = answer["series"][0]["points"].as_array().unwrap();
    points.iter().filter_map(|point| point[1].as_f64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_is_kept_until_a_late_sample_comes() {
    let server = server().await;
    let at_ms = closed_ms();
    server.insert("a", &gauge(), &[(at_ms, 1), (at_ms + 60_000, 2)]).await;
    server.insert("b", &gauge(), &[(at_ms, 5)]).await;
    let (from, to) = (at_ms, at_ms + SPAN_MS);
    let first = server.ask("a", from, to).await;
    assert_eq!((&first["cache"], values(&first)), (&"miss".into(), vec![1.0, 2.0]));
    assert_eq!(server.ask("a", from, to).await["cache"], "l1");
    assert_eq!(server.ask("b", from, to).await["cache"], "miss");

    // Nobody is told: it may still be as it was.
    server.insert("a", &gauge(), &[(at_ms + 120_000, 3)]).await;
    assert_eq!(values(&server.ask("a", from, to).await).len(), 2);
    server.insert_late("a", at_ms + 180_000, 4).await;
    let again = server.ask("a", from, to).await;
    assert_eq!((&again["cache"], values(&again).len()), (&"miss".into(), 4));
    assert_eq!(server.ask("b", from, to).await["cache"], "l1", "another node's");
    let stats = server.get("/api/performance/cache").await.json()["query_cache"].clone();
    assert_eq!(stats["answers"]["misses"]["invalidated"], 1, "{stats}");
    assert_eq!(stats["l2"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_range_is_kept_while_its_tail_is_asked_for_again() {
    let server = server().await;
    let from = closed_ms() - 4 * HOUR_MS;
    // Up to now and beyond: the tail begins at ten minutes that are not closed yet, and has samples too.
    let minutes: Vec<_> = (0..9 * 60 + 15).map(|i| (from + i * 60_000, i)).collect();
    server.insert("a", &gauge(), &minutes).await;
    let explain = async |to_ms: i64| {
        let (from, to) = (from.to_string(), to_ms.to_string());
        let query =
            [("metric", "kept"), ("from", &from), ("to", &to), ("step", "1m"), ("explain", "true")];
        server.metrics(&query).await
    };
    let now_ms = now_ms();
    let first = explain(now_ms).await;
    let parts = first["explain"]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2, "{parts:#?}");
    assert!(
        parts.iter().all(|part| part["cache"] == "miss" && part["rows_read"].as_u64() > Some(0))
    );
    assert!(parts[0]["sql"].as_str().unwrap().contains("SELECT"));
    assert_eq!(parts[0]["to_ms"], parts[1]["from_ms"]);
    // A minute later, as it were.
    let second = explain(now_ms + 60_000).await;
    let parts = second["explain"]["parts"].as_array().unwrap();
    assert_eq!((&parts[0]["cache"], &parts[1]["cache"]), (&"l1".into(), &"miss".into()));
    let whole = second["series"][0]["points"].as_array().unwrap();
    let known = whole.iter().filter(|point| !point[1].is_null());
    assert_eq!(known.count(), minutes.len().min(whole.len()), "nothing is lost between the parts");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_ask_at_once_are_one_query() {
    let server = std::sync::Arc::new(server().await);
    let at_ms = closed_ms();
    server.insert("a", &gauge(), &[(at_ms, 1)]).await;
    let before = server.store_queries().await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let server = std::sync::Arc::clone(&server);
        callers.spawn(async move { values(&server.ask("a", at_ms, at_ms + SPAN_MS).await) });
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.unwrap(), [1.0]);
    }
    assert_eq!(server.store_queries().await - before, 1);
    let Ok(server) = std::sync::Arc::try_unwrap(server).map_err(|_| ()) else { panic!("shared") };
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_served_when_the_store_is_gone_and_cleared_by_name() {
    let mut server = server().await;
    let at_ms = closed_ms();
    server.insert("a", &gauge(), &[(at_ms, 1)]).await;
    let (from, to) = (at_ms, at_ms + SPAN_MS);
    server.ask("a", from, to).await;
    server.stop_engine().await;
    assert_eq!(server.ask("a", from, to).await["cache"], "l1");
    let clear = async |tag: &str| {
        let url = server.url("/api/performance/cache/clear");
        server.send(server.client.post(url).json(&json!({ "tag": tag }))).await
    };
    assert_eq!(clear("metric:other").await.status, 200);
    assert_eq!(server.ask("a", from, to).await["cache"], "l1");
    assert_eq!(clear("node:a").await.json()["tag"], "node:a");
    let (from, to) = (from.to_string(), to.to_string());
    let query = [("metric", "kept"), ("node", "a"), ("from", &from), ("to", &to), ("step", "1m")];
    let url = server.url("/api/performance/metrics");
    let gone = server.send(server.client.get(url).query(&query)).await;
    assert_eq!(gone.status, 503, "refused rather than wrong: {}", gone.text());
    assert_eq!(clear("nodes").await.problem_fields(), ["tag"]);
    let url = server.url("/api/performance/cache/clear");
    let stranger = server.client.post(url).header("host", "evil.example");
    assert_eq!(server.send(stranger.json(&json!({"tag": "all"}))).await.status, 421);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_too_much_is_refused_again_without_the_store() {
    let server = server().await;
    let at_ms = closed_ms();
    for number in 0..101 {
        let many = series("many", Kind::Gauge, Scale::UNIT, &[("n", &number.to_string())]);
        server.insert("a", &many, &[(at_ms, 1)]).await;
    }
    let ask = async || {
        let path = format!(
            "/api/performance/metrics?metric=many&from={}&to={}&step=1s",
            at_ms - 10_000_000,
            at_ms + 1_000
        );
        server.get(&path).await.status
    };
    let before = server.store_queries().await;
    assert_eq!((ask().await, ask().await), (422, 422));
    assert_eq!(server.store_queries().await - before, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_questions_are_answered_each_for_itself_and_the_top_first() {
    let server = server().await;
    let at_ms = closed_ms();
    for (node, raw) in [("a", 1), ("b", 9), ("c", 5)] {
        server.insert(node, &gauge(), &[(at_ms, raw)]).await;
    }
    let (from, to) = (at_ms, at_ms + SPAN_MS);
    let body = json!({"queries": [
        {"metric": "kept", "from": from, "to": to, "step": "1m", "top": 2},
        {"metric": "nope"},
        {"metric": "kept", "from": from, "to": to, "agg": "p50", "within": "avg", "by": ["none"]},
    ]});
    let url = server.url("/api/performance/metrics/batch");
    let answer = server.send(server.client.post(&url).json(&body)).await;
    assert_eq!(answer.status, 200);
    let answers = answer.json()["answers"].clone();
    let nodes: Vec<_> = answers[0]["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["attributes"]["node"].clone())
        .collect();
    assert_eq!(nodes, ["b", "c"]);
    assert_eq!(answers[1]["status"], 404);
    assert_eq!(values(&answers[2]), [5.0]);
    assert_eq!(answers[2]["series"][0]["attributes"], json!({}));
    // All answers together are no larger than one may be: 30 times 3 series of 11,000 points.
    let long = json!({"metric": "kept", "from": to - 11_000_000, "to": to, "step": "1s"});
    let many = json!({"queries": vec![long; 32]});
    let answer = server.send(server.client.post(&url).json(&many)).await.json();
    let statuses: Vec<_> = (0..32).map(|n| answer["answers"][n]["status"].as_u64()).collect();
    assert_eq!(statuses.iter().filter(|status| status.is_none()).count(), 30);
    assert_eq!(statuses.iter().filter(|status| **status == Some(422)).count(), 2);
    let none = server.send(server.client.post(&url).json(&json!({"queries": []}))).await;
    assert_eq!(none.problem_fields(), ["queries"]);
    server.stop().await;
}
