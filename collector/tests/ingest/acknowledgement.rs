//! What is acknowledged is stored, what is stored is there once, and it is there soon.

use flyball_proto::v1::agent_message::Kind as Up;
use serde_json::Value;

use crate::agent::Recorder;
use crate::harness::{ClickHouse, Collector, Stored, now_ms, until};
use crate::proxy::Mode;

#[tokio::test]
async fn samples_are_live_at_once_and_acknowledged_when_they_are_stored() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 50);
    let mut stream = recorder.connect(&collector, 0).await;
    assert!(stream.welcome.credits > 0 && stream.welcome.limits.unwrap().frame_bytes > 0);

    // What is live does not wait for the store, where nothing of this comes yet.
    clickhouse.proxy.set(Mode::Hold("INSERT"));
    let ts_ms = now_ms();
    let frames = recorder.frames(20, ts_ms);
    stream.send_frames(&frames).await;
    let status = until("the node is up with its newest frame", async || {
        let status = collector.status("web-1").await;
        (status["last_seen_ms"] == ts_ms).then_some(status)
    });
    let status = status.await;
    assert_eq!((&status["up"], &status["series"]), (&Value::from(true), &Value::from(50)));
    assert_eq!((stream.acked.durable_seq, clickhouse.stored("web-1").await.counted), (0, 0));

    clickhouse.proxy.set(Mode::Pass);
    stream.wait_for_ack(20).await;
    assert_eq!((stream.acked.written, stream.acked.rejected.len()), (1_000, 0));
    let all = Stored { rows: 1_000, samples: 1_000, counted: 1_000 };
    assert_eq!(clickhouse.stored("web-1").await, all);
    let (code, text) = collector
        .get("/api/performance/metrics?metric=test.gauge&filter=number=0003&agg=last&step=1h")
        .await;
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("9.54"), "the last of 20 values of the fourth series: {text}");
    assert_eq!(collector.account("web-1").await, [1_000, 1_000, 0, 0]);

    drop(stream);
    until("the node is down", async || {
        (collector.status("web-1").await["up"] == false).then_some(())
    })
    .await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn frames_that_come_again_on_a_new_stream_are_stored_once() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 10);
    let frames = recorder.frames(20, now_ms());
    let mut first = recorder.connect(&collector, 0).await;
    first.send_frames(&frames[..10]).await;
    first.wait_for_ack(10).await;
    drop(first);

    // The agent has seen the acknowledgement of frame 4 only; it sends all of them for the decoder's state.
    let mut second = recorder.connect(&collector, 4).await;
    second.send_frames(&frames).await;
    second.wait_for_ack(20).await;
    assert_eq!(second.acked.written, 160, "frames 5 to 20");
    let Stored { rows, samples, counted } = clickhouse.stored("web-1").await;
    assert_eq!((samples, counted), (200, 200));
    assert!(rows <= 260, "{rows} rows before merges");
    assert_eq!(collector.account("web-1").await, [260, 260, 0, 0]);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn times_that_cannot_be_meant_are_refused_for_good_and_the_rest_is_stored() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 5);
    let mut stream = recorder.connect(&collector, 0).await;
    let now = now_ms();
    let day_ms = 86_400_000;
    let times = [now - 31 * day_ms, now - day_ms, now + 11 * 60_000, now];
    for ts_ms in times {
        let frame = recorder.frame(ts_ms);
        stream.send(Up::Frame(frame)).await;
    }
    stream.wait_for_ack(4).await;
    assert_eq!(stream.acked.written, 10);
    let rejected = &stream.acked.rejected;
    assert_eq!(rejected.iter().map(|r| r.samples).sum::<u64>(), 10, "{rejected:?}");
    assert!(rejected.iter().any(|r| r.reason.contains("future")), "{rejected:?}");
    assert!(rejected.iter().any(|r| r.reason.contains("older")), "{rejected:?}");
    assert_eq!(clickhouse.times("web-1").await, [now - day_ms, now]);
    assert_eq!(collector.status("web-1").await["last_seen_ms"], now);
    assert_eq!(collector.account("web-1").await, [20, 10, 10, 0]);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_collector_that_starts_again_knows_the_nodes_of_the_store() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 1);
    // One of the metrics that stand for a node.
    recorder.define_pulse();
    let mut stream = recorder.connect(&collector, 0).await;
    let ts_ms = now_ms() - 7_200_000;
    stream.send_frames(&recorder.frames(3, ts_ms)).await;
    stream.wait_for_ack(3).await;
    collector.stopped().await;

    let collector = Collector::start(&clickhouse).await;
    let status = collector.status("web-1").await;
    assert_eq!((&status["up"], &status["last_seen_ms"]), (&Value::from(false), &ts_ms.into()));
    assert_eq!((&status["cpu_utilization"], &status["host"]), (&Value::Null, &Value::Null));
    collector.stopped().await;
    clickhouse.stop().await;
}
