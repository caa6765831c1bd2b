//! What frames say of caches is in `cache_stats` before they are acknowledged, and there once.

use flyball_collector::store::CacheRow;
use flyball_proto::series::Series;

use crate::agent::{Recorder, gauge};
use crate::harness::{ClickHouse, Collector, now_ms};

const METRICS: [&str; 3] = ["redis.keyspace.hits", "redis.keyspace.misses", "redis.memory.used"];

/// An agent with two caches.
fn recorder() -> Recorder {
    let mut recorder = Recorder::new("web-1", 3);
    for cache in ["a", "b"] {
        let of_cache = |metric: &str, more: &[(&str, &str)]| {
            let mut attributes = vec![("cache".to_owned(), cache.to_owned())];
            attributes.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            let scale = flyball_proto::series::Scale::UNIT;
            Series { metric: metric.to_owned(), attributes, scale, ..gauge(0) }
        };
        for metric in METRICS {
            recorder.define(of_cache(metric, &[]));
        }
        let info = [("eviction_policy", "allkeys-lru"), ("version", "7.0.15")];
        recorder.define(of_cache("flyball.redis.info", &info));
    }
    recorder
}

impl ClickHouse {
    async fn caches(&self) -> Vec<CacheRow> {
        let sql = "SELECT ?fields FROM cache_stats ORDER BY node, cache, ts";
        self.open.store.client().query(sql).fetch_all().await.unwrap()
    }
}

#[tokio::test]
async fn rows_of_caches_are_stored_with_their_samples_and_once() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = recorder();
    let ts_ms = now_ms();
    let frames = recorder.frames(10, ts_ms);
    let mut first = recorder.connect(&collector, 0).await;
    first.send_frames(&frames[..6]).await;
    first.wait_for_ack(6).await;
    let rows = clickhouse.caches().await;
    assert_eq!(rows.len(), 12, "acknowledged is stored");
    // Eleven series, of which the fourth to sixth are the first cache's; each value is one more.
    let row = &rows[0];
    assert_eq!((&*row.node, &*row.cache, row.ts, &*row.kind), ("web-1", "a", ts_ms - 9, "redis"));
    assert_eq!((row.hits, row.misses, row.requests, row.used_bytes), (4, 5, 9, 6));
    assert_eq!((&*row.version, &*row.eviction_policy), ("7.0.15", "allkeys-lru"));
    assert_eq!((&*rows[6].cache, rows[6].hits), ("b", 8));
    drop(first);

    // The agent has seen the acknowledgement of frame 3 only.
    let mut second = recorder.connect(&collector, 3).await;
    second.send_frames(&frames).await;
    second.wait_for_ack(10).await;
    let again = clickhouse.caches().await;
    assert_eq!(again.len(), 20);
    assert_eq!(again[..6], rows[..6]);
    assert_eq!(second.acked.written, 7 * 11, "rows of caches are in no account");
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test]
async fn frames_wait_for_their_rows_of_caches() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start(&clickhouse).await;
    let mut recorder = recorder();
    let mut stream = recorder.connect(&collector, 0).await;
    stream.send_frames(&recorder.frames(1, now_ms())).await;
    stream.wait_for_ack(1).await;

    let client = clickhouse.open.store.client();
    client.query("RENAME TABLE cache_stats TO away").execute().await.unwrap();
    stream.send_frames(&recorder.frames(1, now_ms() + 1)).await;
    stream.expect_no_ack(std::time::Duration::from_secs(1)).await;
    client.query("RENAME TABLE away TO cache_stats").execute().await.unwrap();
    stream.wait_for_ack(2).await;
    assert_eq!(clickhouse.caches().await.len(), 4);
    collector.stopped().await;
    clickhouse.stop().await;
}
