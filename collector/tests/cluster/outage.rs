//! A ClickHouse that is not there when the collector starts, comes, goes for a while and comes back. The collector waits, says why and since when, and recovers alone.

use flyball_collector::run;
use flyball_collector::store::Secret;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::agent::Recorder;
use crate::harness::{Collector, DEADLINE, now_ms, single, until};
use crate::server::Server;

/// Takes the place of a server until the collector has looked so many times whether it is back. Nothing is answered.
async fn until_looked(port: u16, times: usize) {
    let looks = async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let mut left = times;
        while left > 0 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).contains("SELECT") {
                if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                    break;
                }
            }
            left -= usize::from(String::from_utf8_lossy(&request).contains("SELECT 1"));
        }
    };
    timeout(DEADLINE, looks).await.expect("it looks without being asked");
}

#[tokio::test]
async fn a_collector_waits_for_clickhouse_says_so_and_recovers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path(), "late");
    let before_ms = now_ms();
    let collector = Collector::start(&single(server.http)).await;
    assert_eq!(collector.get("/healthz").await.status, 200);
    let ready = collector.get("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text);
    let since_ms = until("the reason", async || {
        let (status, detail, since_ms) = collector.check("clickhouse").await;
        assert_eq!(status, "failing");
        // Until the first attempt has ended it is being opened.
        detail.contains("cannot be reached").then_some(since_ms)
    })
    .await;
    assert!((before_ms..=now_ms()).contains(&since_ms), "{since_ms}");
    let other = collector.get("/api/performance/status").await;
    assert!(other.status == 503 && other.text.contains("urn:flyball:problem:starting"));
    let mut recorder = Recorder::new("web-1", 20);
    let lane = flyball_proto::v1::Lane::Live;
    let refused = recorder.connect_lane(&collector, 0, lane).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");

    server.start(&[server.tcp]).await;
    collector.until_ready().await;
    let mut stream = recorder.connect(&collector, 0).await;
    stream.send_frames(&recorder.frames(5, now_ms())).await;
    stream.wait_for_ack(5).await;

    let killed_ms = now_ms();
    server.kill().await;
    // Nobody asks and nothing is sent; then somebody does. Looks at what fails are a second apart, and what they find is told twice in that time.
    until_looked(server.http, 3).await;
    let asked_ms = now_ms();
    let (status, detail, since_ms) = collector.check("clickhouse").await;
    assert_eq!(status, "failing");
    assert!(detail.contains(&server.url()) && detail.contains("cannot be reached"), "{detail}");
    let known_ms = since_ms - killed_ms;
    assert!((0..asked_ms - killed_ms).contains(&known_ms), "known only when asked: {known_ms}");
    stream.send_frames(&recorder.frames(5, now_ms())).await;
    stream.wait_for_credit(0).await;
    until("ingest says so too", async || {
        let (status, detail, _) = collector.check("ingest").await;
        (status == "failing" && detail.contains("agents are paused")).then_some(())
    })
    .await;

    server.restart().await;
    stream.wait_for_ack(10).await;
    collector.until_ready().await;
    let (_, _, since_ms) = collector.check("clickhouse").await;
    assert!(since_ms > killed_ms, "since it answers again");
    assert_eq!(server.value::<u64>("SELECT count() FROM performance_metrics").await, 200);
    collector.stopped().await;
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_the_collector_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path(), "a");
    server.start(&[server.tcp]).await;
    let mut config = flyball_collector::config::Config::default();
    config.server.http = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.grpc = config.server.http;
    config.server.data_dir = dir.path().join("collector");
    config.clickhouse = single(server.http);
    config.clickhouse.password = Secret::new("wrong");
    let run = Box::pin(run::run(config, CancellationToken::new()));
    let error = run.await.unwrap_err().to_string();
    assert!(error.contains("clickhouse.password_file"), "{error}");
}

#[tokio::test]
async fn a_collector_that_waits_can_be_stopped() {
    let collector = Collector::start(&single(crate::server::free_port())).await;
    assert_eq!(collector.get("/readyz").await.status, 503);
    collector.stopped().await;
}
