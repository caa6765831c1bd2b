//! The same questions before and after rollups are computed: every tier gives the answer of the samples.

use flyball_collector::rollup::{Roller, RollupMetrics, RollupSettings, Step};
use flyball_collector::store::HOUR_MS;
use serde_json::Value;

use crate::fleet::{Fleet, Shape};
use crate::harness::Server;

const SHAPES: [(Shape, &str, &[&str]); 6] = [
    (Shape::Counter, "test.counter", &["rate", "min", "max", "last"]),
    (Shape::FloatCounter, "test.floatcounter", &["rate", "last"]),
    (Shape::Rescaled, "test.rescaled", &["rate", "min", "max", "last"]),
    (Shape::Wild, "test.wild", &["avg", "min", "max", "sum", "last"]),
    (Shape::Scaled, "test.scaled", &["avg", "min", "max", "sum", "last", "p90"]),
    (Shape::Float, "test.float", &["avg", "min", "max", "sum", "last"]),
];
/// A step and the tier that answers it.
const STEPS: [(i64, &str); 5] =
    [(10_000, "10s"), (60_000, "1m"), (7 * 60_000, "1m"), (HOUR_MS, "1h"), (15_000, "raw")];

/// All questions, in one order.
fn questions(from_ms: i64, to_ms: i64) -> Vec<([(&'static str, String); 6], &'static str)> {
    let mut all = Vec::new();
    for (_, metric, aggs) in SHAPES {
        for agg in aggs {
            for (step_ms, tier) in STEPS {
                let question = [
                    ("metric", metric.to_owned()),
                    ("agg", (*agg).to_owned()),
                    ("step", step_ms.to_string()),
                    // Several series together, or each for itself.
                    ("by", if all.len() % 3 == 0 { "kind" } else { "number" }.to_owned()),
                    ("from", from_ms.to_string()),
                    ("to", to_ms.to_string()),
                ];
                all.push((question, if agg.starts_with('p') { "raw" } else { tier }));
            }
        }
    }
    all
}

async fn ask(server: &Server, question: &[(&str, String)]) -> Value {
    let query: Vec<_> = question.iter().map(|(key, value)| (*key, value.as_str())).collect();
    server.metrics(&query).await
}

/// Points of all series, with their places.
fn points(answer: &Value) -> Vec<(String, i64, Option<f64>)> {
    let mut points = Vec::new();
    for series in answer["series"].as_array().unwrap() {
        for point in series["points"].as_array().unwrap() {
            let name = series["attributes"].to_string();
            points.push((name, point[0].as_i64().unwrap(), point[1].as_f64()));
        }
    }
    points
}

fn assert_same(before: &Value, after: &Value, what: &str) {
    let (before, after) = (points(before), points(after));
    assert_eq!(before.len(), after.len(), "{what}");
    // Sums of large numbers of both signs are rounded at their size.
    let largest = before.iter().filter_map(|p| p.2).fold(1.0_f64, |max, v| max.max(v.abs()));
    for (want, got) in before.iter().zip(&after) {
        assert_eq!((&want.0, want.1), (&got.0, got.1), "{what}");
        let same = match (want.2, got.2) {
            (None, None) => true,
            (Some(want), Some(got)) => (want - got).abs() <= 1e-9 * largest,
            _ => false,
        };
        assert!(same, "{what} of {} at {}: {:?} is not {:?}", want.0, want.1, got.2, want.2);
    }
}

async fn roll(server: &Server) {
    let (settings, metrics) = (RollupSettings::default(), RollupMetrics::default());
    let mut roller = Roller::new(&server.open.store, settings, metrics, "test").impatient();
    while roller.step().await.unwrap() == Step::Worked {}
    roller.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_gives_the_answer_of_the_samples() {
    let server = Server::start().await;
    let mut fleet = Fleet::new(20);
    let now_ms = flyball_collector::live::now_ms();
    // From the midst of an hour up to the present, beyond what is rolled up.
    let begin_ms = now_ms - 3 * HOUR_MS - 17 * 60_000;
    for (shape, ..) in SHAPES {
        for (node, every_ms) in [("a", 2_000), ("b", 4_000), ("c", 20_000)] {
            fleet.add(node, shape, every_ms, begin_ms, now_ms);
        }
    }
    fleet.define(&server.open.store, &server.open.catalog).await;
    let rows = fleet.rows(|_, _| true);
    fleet.store(&server.open.store, &rows).await;

    let questions = questions(begin_ms - HOUR_MS, now_ms);
    let mut before = Vec::new();
    for (question, _) in &questions {
        let answer = ask(&server, question).await;
        assert_eq!(answer["tier"], "raw", "nothing is rolled up yet");
        before.push(answer);
    }
    roll(&server).await;
    for ((question, tier), before) in questions.iter().zip(&before) {
        let after = ask(&server, question).await;
        assert_eq!(after["tier"], *tier, "{question:?}");
        assert_same(before, &after, &format!("{question:?}"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_sample_changes_the_answer_of_every_tier_once_its_mark_is_settled() {
    let server = Server::start().await;
    let mut fleet = Fleet::new(21);
    let end_ms = flyball_collector::live::now_ms() / HOUR_MS * HOUR_MS - HOUR_MS;
    for (node, every_ms) in [("a", 2_000), ("b", 20_000)] {
        fleet.add(node, Shape::Counter, every_ms, end_ms - 2 * HOUR_MS, end_ms);
        fleet.add(node, Shape::Scaled, every_ms, end_ms - 2 * HOUR_MS, end_ms);
    }
    fleet.define(&server.open.store, &server.open.catalog).await;
    // Twenty minutes of one node are missing, and every seventh sample of the rest.
    let outage = end_ms - 100 * 60_000..end_ms - 80 * 60_000;
    let is_late =
        |node: &str, ts: i64| (node == "a" && outage.contains(&ts)) || (ts / 1_000) % 7 == 0;
    let rows = fleet.rows(|known, ts| !is_late(known.node, ts));
    fleet.store(&server.open.store, &rows).await;
    roll(&server).await;
    let late = fleet.rows(|known, ts| is_late(known.node, ts));
    fleet.store(&server.open.store, &late).await;
    fleet.mark(&server.open.store, &late).await;

    let mut questions = questions(end_ms - 2 * HOUR_MS, end_ms);
    questions.retain(|(question, _)| ["test.counter", "test.scaled"].contains(&&*question[0].1));
    roll(&server).await;
    let progress = server.open.store.rollups().get();
    assert_eq!(progress.late_marks, 0);
    let mut after = Vec::new();
    for (question, tier) in &questions {
        after.push(ask(&server, question).await);
        assert_eq!(after.last().unwrap()["tier"], *tier);
    }
    server.open.store.rollups().set(flyball_collector::rollup::Progress::default());
    for ((question, _), after) in questions.iter().zip(&after) {
        let samples = ask(&server, question).await;
        assert_eq!(samples["tier"], "raw");
        assert_same(&samples, after, &format!("{question:?}"));
    }
    server.stop().await;
}
