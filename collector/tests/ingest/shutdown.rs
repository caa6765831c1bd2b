//! Stopping: no acknowledged sample is lost, and no stream is left hanging.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::agent::Recorder;
use crate::harness::{ClickHouse, Collector, now_ms};
use crate::proxy::Mode;

/// Longer than stopping without ClickHouse takes, of which six tenths are for what may yet be stored.
const GRACE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn every_frame_that_was_read_is_acknowledged_and_every_acknowledged_one_is_stored() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut agents = Vec::new();
    for number in 0..5 {
        let mut recorder = Recorder::new(&format!("web-{number}"), 50);
        let mut stream = recorder.connect(&collector, 0).await;
        stream.send_frames(&recorder.frames(40, now_ms())).await;
        stream.wait_for_ack(1).await;
        stream.send_frames(&recorder.frames(40, now_ms())).await;
        agents.push((recorder, stream));
    }
    collector.begin_to_stop();
    for (recorder, stream) in &mut agents {
        let status = stream.wait_for_status().await;
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("stopping"), "{status}");
        let acked = stream.acked.durable_seq;
        assert!(acked >= 1);
        assert_eq!(stream.acked.written, acked * 50);
        let stored = clickhouse.stored(&recorder.node).await;
        assert_eq!(stored.counted, acked * 50, "read, stored and acknowledged are the same");
    }
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn it_stops_in_time_while_clickhouse_is_away_and_the_agents_keep_what_is_not_stored() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        config.server.grace_ms = GRACE.as_millis() as u64;
    })
    .await;
    let mut recorder = Recorder::new("web-1", 50);
    let mut stream = recorder.connect(&collector, 0).await;
    clickhouse.proxy.set(Mode::Cut);
    let frames = recorder.frames(10, now_ms());
    stream.send_frames(&frames).await;
    stream.wait_for_credit(0).await;

    let start = Instant::now();
    collector.begin_to_stop();
    let status = stream.wait_for_status().await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(stream.acked.durable_seq, 0);
    collector.stopped().await;
    assert!(start.elapsed() < GRACE, "stopped after {:?}", start.elapsed());

    clickhouse.proxy.set(Mode::Pass);
    let collector = Collector::start(&clickhouse).await;
    let mut stream = recorder.connect(&collector, 0).await;
    stream.send_frames(&frames).await;
    stream.wait_for_ack(10).await;
    assert_eq!(clickhouse.stored("web-1").await.counted, 500);
    collector.stopped().await;
    clickhouse.stop().await;
}
