//! What is created on the servers of a cluster, and what is refused before anything is.

use crate::harness::{open, sharded};
use crate::server::Server;
use flyball_collector::store::migrate::{down_sql, up_sql};
use flyball_collector::store::{ClickHouseSettings, StoreError};

async fn refused(settings: &ClickHouseSettings) -> String {
    let error = open(settings).await.unwrap_err();
    assert!(matches!(error, StoreError::Config { key: "cluster", .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn what_a_cluster_lacks_is_said_before_anything_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = Server::shards(dir.path(), ["a", "b"]).await;
    let both = sharded(&[a.http, b.http]);
    let error = refused(&ClickHouseSettings { cluster: Some("no".into()), ..both.clone() }).await;
    assert!(error.contains("knows no cluster no"), "{error}");
    let error = refused(&sharded(&[a.http])).await;
    assert!(error.contains("has 2 servers"), "{error}");
    // These servers have neither macros nor Keeper.
    let error = refused(&ClickHouseSettings { replicated: true, ..both.clone() }).await;
    assert!(error.contains("lack shard and replica"), "{error}");
    assert!(!a.has_database().await);
}

/// Replication itself needs a server with Keeper. What can be known without it: the statements are ones that ClickHouse understands, and it knows the settings.
#[tokio::test]
async fn clickhouse_understands_the_statements_for_a_replicated_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let [a] = Server::shards(dir.path(), ["a"]).await;
    let settings = ClickHouseSettings { replicated: true, ..sharded(&[a.http]) };
    for text in [up_sql(&settings), down_sql(&settings)] {
        for section in text.split(";\n\n").filter(|section| !section.trim().is_empty()) {
            let code: Vec<_> = section.lines().filter(|line| !line.starts_with("--")).collect();
            let statement = code.join("\n");
            assert!(statement.contains(" ON CLUSTER two"), "{statement}");
            a.ask(&format!("EXPLAIN AST {statement}")).await;
        }
    }
    for (name, value) in settings.query_settings().into_iter().chain(settings.insert_settings()) {
        a.ask(&format!("SELECT 1 SETTINGS {name} = '{value}'")).await;
    }
    let known = "SELECT count() FROM system.merge_tree_settings WHERE name IN ('replicated_deduplication_window', 'replicated_deduplication_window_seconds')";
    a.ask(&format!("SELECT throwIf(({known}) != 2)")).await;
}

#[tokio::test]
async fn retention_and_settings_are_those_of_every_server_and_a_new_disk_gets_its_tables() {
    let dir = tempfile::tempdir().unwrap();
    let [a, mut b] = Server::shards(dir.path(), ["a", "b"]).await;
    let mut settings = sharded(&[a.http, b.http]);
    open(&settings).await.unwrap();
    let ttl = "SELECT extract(engine_full, 'toIntervalDay\\\\((\\\\d+)') FROM system.tables WHERE name = 'performance_metrics_local'";
    assert_eq!(
        (a.value::<String>(ttl).await, b.value::<String>(ttl).await),
        ("30".into(), "30".into())
    );
    // Changed by hand on one server only.
    b.execute("ALTER TABLE performance_metrics_local MODIFY TTL toDateTime(ts) + toIntervalDay(5)")
        .await;
    open(&settings).await.unwrap();
    assert_eq!(b.value::<String>(ttl).await, "30");
    settings.retention_days = 7;
    open(&settings).await.unwrap();
    assert_eq!(
        (a.value::<String>(ttl).await, b.value::<String>(ttl).await),
        ("7".into(), "7".into())
    );

    b.execute("ALTER TABLE series_local MODIFY SETTING non_replicated_deduplication_window = 0")
        .await;
    let error = open(&settings).await.unwrap_err();
    assert!(matches!(error, StoreError::SettingNotInForce { table: "series", .. }), "{error}");

    b.kill().await;
    b.lose_data();
    b.restart().await;
    let open = open(&settings).await.unwrap();
    assert_eq!(open.store.migrator().pending().await.unwrap(), 0);
    assert_eq!(b.value::<String>(ttl).await, "7");
}
