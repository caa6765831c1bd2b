//! Agents that do wrong: each stream ends with a status that says why, and nothing else notices.

use flyball_proto::v1;
use flyball_proto::v1::agent_message::Kind as Up;
use tonic::{Code, Status};

use crate::agent::{Recorder, Stream, gauge};
use crate::harness::{ClickHouse, Collector, Stored, now_ms, until};

/// The status of a stream that sends `bad` after its dictionary.
async fn status_after(collector: &Collector, recorder: &Recorder, bad: Up) -> Status {
    let mut stream = recorder.connect(collector, 0).await;
    stream.send(bad).await;
    stream.wait_for_status().await
}

fn frame(payload: Vec<u8>) -> Up {
    Up::Frame(v1::Frame { payload: payload.into() })
}

#[tokio::test]
async fn each_wrong_message_ends_its_own_stream_with_the_reason() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut good = Recorder::new("good", 5);
    let mut stream = good.connect(&collector, 0).await;
    stream.send_frames(&good.frames(5, now_ms())).await;

    let mut bad = Recorder::new("bad", 5);
    let intact = bad.frame(now_ms()).payload.to_vec();
    let mut corrupt = intact.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0x10;
    let unsent =
        Up::Define(v1::Define { dictionary_version: 1, series: vec![gauge(9).to_definition(17)] });
    let cases = [
        (frame(corrupt), Code::InvalidArgument, "checksum"),
        (frame(intact[..intact.len() - 5].to_vec()), Code::InvalidArgument, "frame: "),
        (frame(vec![0; 100_000]), Code::ResourceExhausted, "100000 bytes"),
        (unsent, Code::InvalidArgument, "slot"),
        (Up::Hello(bad.hello(0)), Code::InvalidArgument, "a second hello"),
    ];
    for (message, code, reason) in cases {
        let status = status_after(&collector, &bad, message).await;
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }

    stream.send_frames(&good.frames(5, now_ms() + 10)).await;
    stream.wait_for_ack(10).await;
    let all = Stored { rows: 50, samples: 50, counted: 50 };
    assert_eq!(clickhouse.stored("good").await, all);
    assert_eq!(clickhouse.stored("bad").await.rows, 0, "nothing is half stored");
    let line = "flyball_ingest_decode_errors_total{reason=\"checksum\"}";
    assert!(collector.metric(line).await >= 1.0);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_stream_that_begins_wrong_is_refused() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 1);
    let version = v1::Hello { protocol_version: 99, ..recorder.hello(0) };
    let nameless = v1::Hello { node: String::new(), ..recorder.hello(0) };
    let cases = [
        (Up::Hello(version), Code::FailedPrecondition, "version 99"),
        (Up::Hello(nameless), Code::InvalidArgument, "hello.node"),
        (Up::Frame(recorder.frame(now_ms())), Code::FailedPrecondition, "not hello"),
    ];
    for (first, code, reason) in cases {
        let Err(status) = Stream::open(&collector, first).await else { panic!("was welcome") };
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }
    assert_eq!(collector.status("web-1").await, serde_json::Value::Null);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn after_a_gap_nothing_is_acknowledged_unseen() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 5);
    let mut stream = recorder.connect(&collector, 0).await;
    let mut frames = recorder.frames(4, now_ms());
    recorder.encoder.request_keyframe();
    frames.extend(recorder.frames(2, now_ms() + 100));
    // Frame 3 is missing, and the keyframe 5 is on its way when the collector asks to turn back.
    let reordered = [&frames[..2], &frames[3..]].concat();
    stream.send_frames(&reordered).await;
    let reason = stream.wait_for_resync().await;
    assert!(reason.contains("frame 4 without frame 3"), "{reason}");
    stream.wait_for_ack(2).await;

    stream.send_frames(&frames).await;
    stream.wait_for_ack(6).await;
    assert_eq!(stream.acked.written, 30);
    assert_eq!(clickhouse.stored("web-1").await.rows, 30);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_newer_stream_of_a_node_replaces_the_older_one() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 5);
    let mut first = recorder.connect(&collector, 0).await;
    let frames = recorder.frames(4, now_ms());
    first.send_frames(&frames[..2]).await;
    first.wait_for_ack(2).await;

    let mut second = recorder.connect(&collector, 2).await;
    let status = first.wait_for_status().await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
    assert!(status.message().contains("newer stream"), "{status}");
    second.send_frames(&frames).await;
    second.wait_for_ack(4).await;
    until("the newer stream feeds the node", async || {
        let status = collector.status("web-1").await;
        (status["up"] == true && status["series"] == 5).then_some(())
    })
    .await;
    assert_eq!(clickhouse.stored("web-1").await.counted, 20);
    assert!((collector.metric("flyball_ingest_streams").await - 1.0).abs() < 0.5);
    collector.stopped().await;
    clickhouse.stop().await;
}
