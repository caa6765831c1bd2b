//! ClickHouse away, slow or losing its answers: nothing is acknowledged, nothing is lost, nothing is there twice.

use std::time::Duration;

use crate::agent::Recorder;
use crate::harness::{ClickHouse, Collector, Stored, now_ms, until};
use crate::proxy::Mode;

#[tokio::test]
async fn while_clickhouse_is_away_agents_pause_and_afterwards_everything_is_stored_once() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 20);
    let mut stream = recorder.connect(&collector, 0).await;
    let credits = stream.welcome.credits;
    stream.send_frames(&recorder.frames(5, now_ms())).await;
    stream.wait_for_ack(5).await;

    clickhouse.proxy.set(Mode::Cut);
    let last_ms = now_ms() + 50;
    stream.send_frames(&recorder.frames(5, last_ms)).await;
    stream.wait_for_credit(0).await;
    stream.expect_no_ack(Duration::from_millis(1_500)).await;
    let (code, text) = collector.get("/readyz").await;
    assert_eq!(code, 503, "{text}");
    assert!(text.contains("agents are paused"), "{text}");
    // Last values do not need ClickHouse, and an agent that comes now is told to wait from the start.
    assert_eq!(collector.status("web-1").await["last_seen_ms"], last_ms);
    let other = Recorder::new("web-2", 1).connect(&collector, 0).await;
    assert_eq!(other.welcome.credits, 0);
    assert_eq!(collector.account("web-1").await, [200, 100, 0, 100]);

    clickhouse.proxy.set(Mode::Pass);
    stream.wait_for_credit(credits).await;
    stream.wait_for_ack(10).await;
    let all = Stored { rows: 200, samples: 200, counted: 200 };
    assert_eq!(clickhouse.stored("web-1").await, all);
    assert_eq!(collector.account("web-1").await, [200, 200, 0, 0]);
    until("ready again", async || (collector.get("/readyz").await.0 == 200).then_some(())).await;
    drop(other);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_block_whose_answer_is_lost_is_stored_once() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 20);
    let mut stream = recorder.connect(&collector, 0).await;
    // The series are written before, so that it is a block of samples whose answer is lost.
    stream.send_frames(&recorder.frames(5, now_ms())).await;
    stream.wait_for_ack(5).await;
    clickhouse.proxy.set(Mode::LoseAnswers);
    stream.send_frames(&recorder.frames(5, now_ms() + 10)).await;
    stream.wait_for_credit(0).await;
    clickhouse.proxy.set(Mode::Pass);
    stream.wait_for_ack(10).await;
    let all = Stored { rows: 200, samples: 200, counted: 200 };
    assert_eq!(clickhouse.stored("web-1").await, all, "the token makes the second block none");
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn rows_in_flight_are_bounded_while_agents_go_on_sending() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        config.ingest.max_rows_in_flight = 40_000;
    })
    .await;
    clickhouse.proxy.set(Mode::Cut);
    let mut recorder = Recorder::new("web-1", 1_000);
    let mut stream = recorder.connect(&collector, 0).await;
    let frames = recorder.frames(200, now_ms());
    stream.send_frames(&frames).await;
    until("the bound is reached", async || {
        (collector.metric("flyball_ingest_queue_rows").await >= 40_000.0).then_some(())
    })
    .await;
    let [received, ..] = collector.account("web-1").await;
    assert!(received <= 41_000, "{received} samples were read with room for 40,000");
    clickhouse.proxy.set(Mode::Pass);
    stream.wait_for_ack(200).await;
    let all = Stored { rows: 200_000, samples: 200_000, counted: 200_000 };
    assert_eq!(clickhouse.stored("web-1").await, all);
    collector.stopped().await;
    clickhouse.stop().await;
}
