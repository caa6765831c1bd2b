//! Migrations up and down on a real database.

use std::collections::BTreeMap;
use std::time::Duration;

use flyball_collector::store::migrate::{ALL, MigrationState};
use flyball_collector::store::{HOUR_MS, SampleRow, Store, StoreError, StoreMetrics};

use crate::{Opened, config, open_in, until};

async fn schema(store: &Store) -> BTreeMap<String, String> {
    let sql = "SELECT name, create_table_query FROM system.tables \
               WHERE database = currentDatabase() AND name != 'migrations'";
    let rows: Vec<(String, String)> = store.client().query(sql).fetch_all().await.unwrap();
    rows.into_iter().collect()
}

fn versions() -> Vec<u32> {
    ALL.iter().map(|migration| migration.version).collect()
}

async fn run(store: &Store, sql: &str) {
    store.client().query_raw(sql).execute().await.unwrap();
}

#[tokio::test]
async fn down_undoes_what_up_did_and_up_again_gives_the_same_schema() {
    let opened = Opened::new().await;
    let (store, migrator) = (opened.store(), opened.store().migrator());
    let before = schema(store).await;
    let tables: Vec<_> = before.keys().map(String::as_str).collect();
    let (rollups, others): (Vec<_>, Vec<_>) =
        tables.into_iter().partition(|name| name.starts_with("rollup_"));
    assert_eq!(
        others,
        ["balancer_stats", "cache_stats", "optimization_logs", "performance_metrics", "series"]
    );
    assert_eq!(rollups.len(), 5);
    // Each second brings them a part: merged by the half-dozen, whole partitions would be written anew every few seconds.
    for table in ["balancer_stats", "cache_stats", "performance_metrics"] {
        for setting in [
            "min_parts_to_merge_at_once = 30",
            "merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0",
        ] {
            assert!(before[table].contains(setting), "{}", before[table]);
        }
    }
    let row = SampleRow { series_id: 1, ts_ms: crate::today_ms(), raw: 1, scale: 0 };
    store.insert_samples(&[row], "t").await.unwrap();

    let newest = versions().last().copied().unwrap();
    assert_eq!(migrator.down(None).await.unwrap(), [newest]);
    migrator.down(Some(2)).await.unwrap();
    assert!(!schema(store).await.contains_key("optimization_logs"));
    assert_eq!(migrator.down(Some(0)).await.unwrap(), [2, 1]);
    assert_eq!(schema(store).await, BTreeMap::new());
    assert!(migrator.status().await.unwrap().iter().all(|s| s.state == MigrationState::Pending));

    assert_eq!(migrator.up().await.unwrap(), versions());
    assert_eq!(schema(store).await, before);
    assert_eq!(migrator.up().await.unwrap(), [0_u32; 0]);
    let count = store.client().query("SELECT count() FROM performance_metrics");
    assert_eq!(count.fetch_one::<u64>().await.unwrap(), 0);
    store.insert_samples(&[row], "t").await.unwrap();
    opened.close().await;
}

#[tokio::test]
async fn samples_survive_the_change_of_their_partitions_in_both_directions() {
    let opened = Opened::new().await;
    let (store, migrator) = (opened.store(), opened.store().migrator());
    let hours = 0..40;
    let row = |hour: i64| SampleRow {
        series_id: 7,
        ts_ms: crate::today_ms() - hour * HOUR_MS,
        raw: hour,
        scale: 2,
    };
    for hour in hours.clone() {
        store.insert_samples(&[row(hour)], &format!("{hour}")).await.unwrap();
    }
    let content = async || {
        let sql = "SELECT series_id, toUnixTimestamp64Milli(ts), raw, scale FROM performance_metrics ORDER BY ts DESC";
        let rows: Vec<(u64, i64, i64, i8)> = store.client().query(sql).fetch_all().await.unwrap();
        rows
    };
    let expected: Vec<_> = hours.map(|hour| (7, row(hour).ts_ms, hour, 2)).collect();
    let partitions = async || {
        let sql = "SELECT uniqExact(partition) FROM system.parts WHERE active AND table = 'performance_metrics'";
        store.client().query(sql).fetch_one::<u64>().await.unwrap()
    };
    assert_eq!((content().await, partitions().await), (expected.clone(), 40));
    migrator.down(Some(3)).await.unwrap();
    assert_eq!((content().await, partitions().await), (expected.clone(), 3));
    migrator.up().await.unwrap();
    assert_eq!((content().await, partitions().await), (expected.clone(), 40));
    // Cut off before it was recorded, the step runs again.
    run(store, "INSERT INTO migrations SELECT 1000, 4, 'hours', '', 'down', now64(3)").await;
    assert_eq!(migrator.up().await.unwrap(), [4]);
    assert_eq!((content().await, partitions().await), (expected, 40));
    opened.close().await;
}

#[tokio::test]
async fn a_step_whose_files_changed_and_one_that_is_unknown_are_refused() {
    let opened = Opened::new().await;
    let (store, migrator) = (opened.store(), opened.store().migrator());
    run(store, "INSERT INTO migrations SELECT 100, 2, 'cache_stats', 'other', 'up', now64(3)")
        .await;
    let error = migrator.up().await.unwrap_err();
    assert!(matches!(error, StoreError::MigrationChanged { version: 2, .. }), "{error}");
    let status = migrator.status().await.unwrap();
    assert_eq!(status[1].state, MigrationState::Changed);

    let checksum = ALL[1].checksum();
    run(
        store,
        &format!(
            "INSERT INTO migrations SELECT 101, 2, 'cache_stats', '{checksum}', 'up', now64(3)"
        ),
    )
    .await;
    assert_eq!(migrator.pending().await.unwrap(), 0);
    run(store, "INSERT INTO migrations SELECT 102, 900, 'later', 'x', 'up', now64(3)").await;
    let error = migrator.down(None).await.unwrap_err();
    assert!(matches!(error, StoreError::MigrationUnknown { version: 900, .. }), "{error}");
    assert!(matches!(
        migrator.down(Some(800)).await,
        Err(StoreError::NoSuchMigration { version: 800 })
    ));
    opened.close().await;
}

#[tokio::test]
async fn of_many_runners_one_migrates_and_the_others_wait_for_it() {
    let opened = Opened::new().await;
    opened.store().migrator().down(Some(0)).await.unwrap();
    let endpoint = opened.engine().endpoint().clone();
    let settings = config(opened.dir.path()).clickhouse;
    let runners: Vec<_> = (0..8)
        .map(|_| {
            let (endpoint, settings) = (endpoint.clone(), settings.clone());
            tokio::spawn(async move {
                let metrics = StoreMetrics::default();
                let store = Store::connect(&[endpoint], &settings, &metrics).await.unwrap();
                store.migrator().up().await
            })
        })
        .collect();
    let mut applied = Vec::new();
    for runner in runners {
        applied.extend(runner.await.unwrap().unwrap());
    }
    assert_eq!(applied, versions());
    let sql = "SELECT version FROM migrations WHERE direction = 'up' ORDER BY sequence";
    let ups: Vec<u32> = opened.store().client().query(sql).fetch_all().await.unwrap();
    assert_eq!(ups, versions().repeat(2));
    opened.close().await;
}

fn lock(generation: u32, until_s: &str) -> String {
    format!(
        "CREATE TABLE migration_lock_{generation} (nothing UInt8) ENGINE = Null COMMENT 'host x|abc|{until_s}'"
    )
}

#[tokio::test]
async fn a_held_lock_is_respected_until_its_lease_is_over() {
    let opened = Opened::new().await;
    let (store, migrator) = (opened.store(), opened.store().migrator());
    run(store, &lock(1, "4102444800")).await;
    let error = migrator.clone().with_patience(Duration::ZERO).down(None).await.unwrap_err();
    assert!(error.is_passing());
    assert_eq!(
        error.to_string(),
        "the database is being migrated by host x: try again when it is done"
    );
    // Nobody else can be there: it was left behind.
    let newest = ALL.last().unwrap().version;
    assert_eq!(migrator.clone().alone().down(None).await.unwrap(), [newest]);
    assert!(!schema(store).await.keys().any(|name| name.starts_with("migration_lock")));

    run(store, &lock(3, "1000")).await;
    assert_eq!(migrator.up().await.unwrap(), [newest]);
    assert!(!schema(store).await.keys().any(|name| name.starts_with("migration_lock")));
    opened.close().await;
}

#[tokio::test]
async fn a_lock_is_waited_for_and_its_lease_is_renewed_meanwhile() {
    let opened = Opened::new().await;
    let (store, migrator) = (opened.store(), opened.store().migrator());
    let held = migrator.lock().await.unwrap();
    let waiting = tokio::spawn({
        let migrator = migrator.clone();
        async move { migrator.down(None).await }
    });
    let comment = "SELECT comment FROM system.tables WHERE name = 'migration_lock_1'";
    let first: String = store.client().query(comment).fetch_one().await.unwrap();
    until("the lease is renewed", async || {
        store.client().query(comment).fetch_one::<String>().await.unwrap() != first
    })
    .await;
    assert!(!waiting.is_finished());
    for lease in held {
        lease.release().await.unwrap();
    }
    assert_eq!(waiting.await.unwrap().unwrap(), [ALL.last().unwrap().version]);
    opened.close().await;
}

#[tokio::test]
async fn a_runner_that_slept_past_its_lease_cannot_go_on() {
    let opened = Opened::new().await;
    let (store, migrator) = (opened.store(), opened.store().migrator());
    let slept = migrator.lock().await.unwrap().pop().unwrap();
    slept.renew().await.unwrap();
    run(store, &lock(2, "4102444800")).await;
    assert!(matches!(slept.renew().await, Err(StoreError::MigrationLocked { .. })));
    slept.release().await.unwrap();
    let locks: Vec<_> = schema(store).await.into_keys().filter(|n| n.contains("lock")).collect();
    assert_eq!(locks, ["migration_lock_1", "migration_lock_2"], "it gives back nothing");
    opened.close().await;
}

#[tokio::test]
async fn a_run_that_was_cut_off_is_completed_by_the_next_start() {
    let opened = Opened::new().await;
    let before = schema(opened.store()).await;
    opened.store().migrator().down(Some(2)).await.unwrap();
    // The statement was executed, and nothing was recorded.
    run(opened.store(), &before["optimization_logs"]).await;
    let dir = opened.close().await;
    let again = open_in(&config(dir.path())).await;
    assert_eq!(schema(&again.store).await, before);
    assert_eq!(again.store.migrator().pending().await.unwrap(), 0);
    again.engine.unwrap().stop().await;
}

#[tokio::test]
async fn a_statement_that_fails_names_its_migration_and_frees_the_lock() {
    let opened = Opened::new().await;
    let (store, migrator) = (opened.store(), opened.store().migrator());
    migrator.down(Some(1)).await.unwrap();
    run(store, "CREATE VIEW cache_stats AS SELECT 1").await;
    // IF NOT EXISTS lets the view stand; a view has no settings of merges.
    let error = migrator.up().await.unwrap_err().to_string();
    assert!(error.starts_with("migration 0008 (merges) failed: ClickHouse: Code: "), "{error}");
    assert!(!schema(store).await.keys().any(|name| name.starts_with("migration_lock")));
    opened.close().await;
}
