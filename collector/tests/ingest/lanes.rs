//! Two lanes for each node: what is measured now, and what was not stored in its time.

use flyball_proto::v1;
use flyball_proto::v1::Lane;
use flyball_proto::v1::agent_message::Kind as Up;
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::Code;

use crate::agent::Recorder;
use crate::harness::{ClickHouse, Collector, Stored, now_ms, until};

/// The same node as it was in an earlier process: other series, another epoch.
fn earlier(node: &str) -> Recorder {
    let mut recorder = Recorder::new(node, 3);
    recorder.epoch = vec![9; 16];
    recorder
}

#[tokio::test]
async fn a_backlog_is_stored_beside_the_live_lane_and_changes_nothing_that_is_shown() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let (mut now, mut past) = (Recorder::new("web-1", 5), earlier("web-1"));
    let mut live = now.connect(&collector, 0).await;
    let ts_ms = now_ms();
    live.send_frames(&now.frames(2, ts_ms)).await;
    live.wait_for_ack(2).await;

    let mut backlog = past.connect_lane(&collector, 4, Lane::Backlog).await.unwrap();
    assert!(backlog.welcome.credits < live.welcome.credits);
    backlog.send_frames(&past.frames(10, ts_ms - 3_600_000)).await;
    backlog.wait_for_ack(10).await;
    assert_eq!(backlog.acked.written, 18, "frames 5 to 10, the others are known to be stored");
    let status = collector.status("web-1").await;
    assert_eq!((&status["last_seen_ms"], &status["series"]), (&ts_ms.into(), &Value::from(5)));

    live.send_frames(&now.frames(1, ts_ms + 1)).await;
    live.wait_for_ack(3).await;
    drop(backlog);
    live.send_frames(&now.frames(1, ts_ms + 2)).await;
    live.wait_for_ack(4).await;
    assert_eq!(
        collector.status("web-1").await["up"],
        true,
        "the end of a backlog is not the node's"
    );
    let all = Stored { rows: 38, samples: 38, counted: 38 };
    assert_eq!(clickhouse.stored("web-1").await, all);
    assert_eq!(collector.account("web-1").await, [38, 38, 0, 0]);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_backlog_of_a_node_that_is_not_connected_shows_no_node() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut past = earlier("web-1");
    let mut backlog = past.connect_lane(&collector, 0, Lane::Backlog).await.unwrap();
    backlog.send_frames(&past.frames(2, now_ms())).await;
    backlog.wait_for_ack(2).await;
    assert_eq!(collector.status("web-1").await, Value::Null);
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn a_lane_holds_one_stream_of_a_node_and_a_bounded_number_in_all() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        config.ingest.max_streams = 2;
        config.ingest.max_backlog_streams = 1;
    })
    .await;
    let (first, second) = (earlier("web-1"), earlier("web-2"));
    let live = first.connect(&collector, 0).await;
    let mut older = first.connect_lane(&collector, 0, Lane::Backlog).await.unwrap();
    let status = second.connect_lane(&collector, 0, Lane::Backlog).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");

    let newer = first.connect_lane(&collector, 0, Lane::Backlog).await.unwrap();
    let status = older.wait_for_status().await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
    drop((newer, live));
    until("the places are free", async || {
        (collector.metric("flyball_ingest_streams").await < 0.5).then_some(())
    })
    .await;
    second.connect_lane(&collector, 0, Lane::Backlog).await.unwrap();
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn only_the_live_lane_reports() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = Recorder::new("web-1", 1);
    let report = || Up::Report(v1::Report { produced: 7, in_flight: 7, ..v1::Report::default() });
    let mut backlog = recorder.connect_lane(&collector, 0, Lane::Backlog).await.unwrap();
    backlog.send(report()).await;
    let status = backlog.wait_for_status().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let mut live = recorder.connect(&collector, 0).await;
    live.send(report()).await;
    live.send_frames(&recorder.frames(1, now_ms())).await;
    live.wait_for_ack(1).await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_streams_that_race_the_one_that_stays_is_the_one_that_is_shown() {
    let clickhouse = ClickHouse::start().await;
    let collector = std::sync::Arc::new(Collector::start(&clickhouse).await);
    let ts_ms = now_ms();
    for round in 0..10_i64 {
        let mut racers = JoinSet::new();
        for racer in 0..6 {
            let collector = std::sync::Arc::clone(&collector);
            racers.spawn(async move {
                let mut recorder = Recorder::new("web-1", 1);
                recorder.epoch = vec![racer; 16];
                let mut stream = recorder.connect(&collector, 0).await;
                // The one that stays is acknowledged; the others are told that they were replaced.
                stream.send_frames(&recorder.frames(1, ts_ms + round * 10)).await;
                loop {
                    match stream.next().await {
                        Ok(_) if stream.acked.durable_seq > 0 => {
                            stream.send_frames(&recorder.frames(1, ts_ms + round * 10 + 1)).await;
                            stream.acked.durable_seq = 0;
                        }
                        Ok(_) => {}
                        Err(status) => return status.code(),
                    }
                }
            });
        }
        for _ in 0..5 {
            assert_eq!(racers.join_next().await.unwrap().unwrap(), Code::Aborted);
        }
        until("the stream that stayed is shown", async || {
            let status = collector.status("web-1").await;
            (status["last_seen_ms"] == ts_ms + round * 10 + 1 && status["up"] == true).then_some(())
        })
        .await;
        racers.abort_all();
        while racers.join_next().await.is_some() {}
    }
    std::sync::Arc::into_inner(collector).unwrap().stopped().await;
    clickhouse.stop().await;
}
