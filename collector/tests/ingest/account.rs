//! Accounts of agents over real streams: what they report is shown everywhere, and what does not add up raises an alert.

use flyball_proto::v1;
use flyball_proto::v1::agent_message::Kind as Up;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tonic::Code;

use crate::agent::{Recorder, Stream};
use crate::harness::{ClickHouse, Collector, now_ms, until};

/// A report in which all is well, but for `shed`.
fn report(produced: u64, in_flight: u64, shed: u64) -> v1::Report {
    v1::Report {
        produced,
        stored: produced - in_flight - shed,
        in_flight,
        shed: vec![v1::Shed { reason: "full".into(), samples: shed }],
        spool_bytes: 1_000,
        spool_limit_bytes: 256_000_000,
        taken_at_ms: now_ms(),
        ..v1::Report::default()
    }
}

/// Waits until the node's account has `produced`.
async fn accounting(collector: &Collector, node: &str, produced: u64) -> Value {
    until("the report is shown", async || {
        let accounting = collector.status(node).await["accounting"].clone();
        (accounting["produced"] == produced).then_some(accounting)
    })
    .await
}

async fn alerts(collector: &Collector) -> Vec<(String, String, String)> {
    let (code, text) = collector.get("/api/performance/alerts").await;
    assert_eq!(code, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    let alerts = answer["alerts"].as_array().unwrap();
    alerts.iter().map(|a| (text(a, "name"), text(a, "node"), text(a, "state"))).collect()
}

fn alert(name: &str, node: &str, state: &str) -> (String, String, String) {
    (name.to_owned(), node.to_owned(), state.to_owned())
}

/// Reads events until one is an alert.
async fn next_alert(events: &mut (impl futures_util::Stream<Item = String> + Unpin)) -> Value {
    loop {
        let line = events.next().await.expect("events go on");
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data).unwrap();
        if event["type"] == "alert" {
            return event;
        }
    }
}

#[tokio::test]
async fn a_report_is_shown_in_status_and_metrics_and_survives_the_stream() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let recorder = Recorder::new("web-1", 5);
    let stream = recorder.connect(&collector, 0).await;
    stream.send(Up::Report(report(100, 20, 5))).await;
    let shown = accounting(&collector, "web-1", 100).await;
    assert_eq!((&shown["stored"], &shown["in_flight"]), (&json!(75), &json!(20)));
    assert_eq!((&shown["shed"], &shown["gap"]), (&json!({"full": 5}), &json!(0)));
    assert_eq!(
        (&shown["spool_bytes"], &shown["clock_steps"]["forward"]),
        (&json!(1_000), &json!(0))
    );
    for (line, value) in [
        ("flyball_agent_samples_produced_total{node=\"web-1\"}", 100.0),
        ("flyball_agent_samples_shed_total{node=\"web-1\",reason=\"full\"}", 5.0),
        ("flyball_agent_samples_gap{node=\"web-1\"}", 0.0),
        ("flyball_agent_spool_limit_bytes{node=\"web-1\"}", 256_000_000.0),
    ] {
        assert!((collector.metric(line).await - value).abs() < 0.5, "{line}");
    }
    let (_, text) = collector.get("/api/performance/status").await;
    let fleet: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fleet["accounting"]["produced"], 100);
    assert_eq!(fleet["accounting"]["nodes_with_gap"], 0);

    drop(stream);
    until("the node is down", async || {
        let status = collector.status("web-1").await;
        (status["up"] == false && status["accounting"]["produced"] == 100).then_some(())
    })
    .await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_gap_that_stays_raises_an_alert_on_the_event_stream_and_its_end_resolves_it() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut events = Box::pin(collector.lines("/api/performance/events").await);
    let recorder = Recorder::new("web-1", 5);
    let stream = recorder.connect(&collector, 0).await;
    let gap = |produced| v1::Report { produced, ..report(100, 0, 0) };
    stream.send(Up::Report(gap(103))).await;
    accounting(&collector, "web-1", 103).await;
    assert_eq!(alerts(&collector).await, [], "one report may be unlucky");
    stream.send(Up::Report(gap(104))).await;
    let raised = next_alert(&mut events).await;
    assert_eq!((&raised["name"], &raised["node"]), (&json!("accounting.gap"), &json!("web-1")));
    assert!(raised["text"].as_str().unwrap().starts_with("4 samples were produced"), "{raised}");
    assert_eq!(alerts(&collector).await, [alert("accounting.gap", "web-1", "firing")]);

    stream.send(Up::Report(report(104, 0, 0))).await;
    let resolved = next_alert(&mut events).await;
    assert_eq!((&resolved["id"], &resolved["state"]), (&raised["id"], &json!("resolved")));
    assert_eq!(alerts(&collector).await, [alert("accounting.gap", "web-1", "resolved")]);
    assert!(
        (collector.metric("flyball_alerts_raised_total{alert=\"accounting.gap\"}").await - 1.0)
            .abs()
            < 0.5
    );
    let (code, _) = collector.get("/api/performance/alerts?state=nope").await;
    assert_eq!(code, 400);
    let (_, none) = collector.get("/api/performance/alerts?state=firing&node=web-1").await;
    assert_eq!(serde_json::from_str::<Value>(&none).unwrap(), json!({"alerts": [], "firing": 0}));
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn trouble_of_a_spool_and_of_a_clock_is_told_by_name() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let recorder = Recorder::new("web-1", 5);
    let stream = recorder.connect(&collector, 0).await;
    stream.send(Up::Report(report(100, 0, 0))).await;
    let bad = v1::Report {
        corrupt_segments: 1,
        clock_steps_backward: 1,
        unspooled: 3,
        spool_bytes: 250_000_000,
        ..report(200, 20, 5)
    };
    stream.send(Up::Report(bad)).await;
    accounting(&collector, "web-1", 200).await;
    let mut names: Vec<_> = alerts(&collector).await.into_iter().map(|(name, ..)| name).collect();
    names.sort_unstable();
    let expected =
        ["clock.step", "samples.shed", "spool.corrupt", "spool.filling", "spool.unwritable"];
    assert_eq!(names, expected);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_backlog_stream_has_no_report_to_give() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let recorder = Recorder::new("web-1", 1);
    let hello = v1::Hello { lane: v1::Lane::Backlog as i32, ..recorder.hello(0) };
    let mut stream = Stream::open(&collector, Up::Hello(hello)).await.unwrap();
    stream.send(Up::Report(report(1, 0, 0))).await;
    assert_eq!(stream.wait_for_status().await.code(), Code::InvalidArgument);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn two_collectors_on_one_database_answer_for_all_nodes() {
    let clickhouse = ClickHouse::start().await;
    let (first, second) =
        (Collector::start(&clickhouse).await, Collector::start(&clickhouse).await);
    let mut recorder = Recorder::new("web-1", 3);
    recorder.define_pulse();
    let mut stream = recorder.connect(&first, 0).await;
    stream.send(Up::Frame(recorder.frame(now_ms()))).await;
    stream.wait_for_ack(1).await;
    let mut seq = 1;
    until("the other collector shows the node as up", async || {
        stream.send(Up::Frame(recorder.frame(now_ms()))).await;
        seq += 1;
        stream.wait_for_ack(seq).await;
        (second.status("web-1").await["up"] == true).then_some(())
    })
    .await;
    let question = "/api/performance/metrics?metric=test.gauge&agg=last&by=node&step=1h";
    let (code, text) = second.get(question).await;
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("web-1"), "{text}");
    assert!(second.metric("flyball_store_series_learned_total").await >= 4.0);
    first.stopped().await;
    second.stopped().await;
    clickhouse.stop().await;
}
