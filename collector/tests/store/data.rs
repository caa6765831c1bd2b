//! Samples and series: what is written is read, once, exactly.

use flyball_collector::store::catalog::Selector;
use flyball_collector::store::migrate::ALL;
use flyball_collector::store::{
    Catalog, DAY_MS, ErrorClass, SampleRow, SeriesRow, Store, StoreError,
};
use flyball_proto::series::{Kind, NodeName, Scale, Series};

use crate::{Opened, config, open_in, today_ms, until};

/// 10 November 2026, 12:00 UTC.
const NOON_MS: i64 = 1_794_312_000_000;

fn sample(series_id: u64, ts_ms: i64, raw: i64, scale: Scale) -> SampleRow {
    SampleRow { series_id, ts_ms, raw, scale: scale.code() }
}

fn series(mode: &str) -> Series {
    Series {
        metric: "system.cpu.time".into(),
        unit: "s".into(),
        kind: Kind::Counter,
        scale: Scale::decimal(2),
        attributes: vec![("cpu.mode".into(), mode.into()), ("quote".into(), "it's {x}\n\\".into())],
    }
}

async fn count(store: &Store, settings: &str) -> u64 {
    let sql = format!("SELECT count() FROM performance_metrics{settings}");
    store.client().query(&sql).fetch_one().await.unwrap()
}

#[tokio::test]
async fn every_scale_gives_the_same_value_in_sql_and_in_rust() {
    let opened = Opened::new().await;
    let mut rows = Vec::new();
    let raws = [0, 1, -1, 7, 12_345, -98_765_432_101, 1 << 53, i64::MAX, i64::MIN];
    for code in (-40..=9).filter(|code| *code != i32::from(Scale::FLOAT.code())) {
        let scale = Scale::from_code(code).unwrap();
        rows.extend(raws.map(|raw| (raw, scale)));
    }
    let floats = [0.0, -0.0, 0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e300];
    rows.extend(floats.map(|value| (Scale::FLOAT.raw(value).unwrap(), Scale::FLOAT)));
    let today = today_ms();
    let samples: Vec<_> =
        (0..).zip(&rows).map(|(i, &(raw, scale))| sample(9, today + i, raw, scale)).collect();
    opened.store().insert_samples(&samples, "t").await.unwrap();

    let sql = "SELECT reinterpretAsUInt64(value) FROM performance_metrics ORDER BY ts";
    let found: Vec<u64> = opened.store().client().query(sql).fetch_all().await.unwrap();
    let expected: Vec<_> = rows.iter().map(|&(raw, scale)| scale.value(raw).to_bits()).collect();
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "{:?}", rows[i]);
    }
    assert_eq!(found.len(), rows.len());
    opened.close().await;
}

#[tokio::test]
async fn samples_come_back_by_series_and_time_whatever_order_they_came_in() {
    let opened = Opened::new().await;
    let today = today_ms();
    let rows = [(2, 5, 50), (1, 9, 19), (2, 3, 30), (1, 1, 11)]
        .map(|(id, ts, raw)| sample(id, today + ts, raw, Scale::UNIT));
    opened.store().insert_samples(&rows, "t").await.unwrap();
    let sql = "SELECT series_id, toUnixTimestamp64Milli(ts), raw FROM performance_metrics";
    let found: Vec<(u64, i64, i64)> = opened.store().client().query(sql).fetch_all().await.unwrap();
    let expected =
        [(1, 1, 11), (1, 9, 19), (2, 3, 30), (2, 5, 50)].map(|(id, ts, raw)| (id, today + ts, raw));
    assert_eq!(found, expected);
    opened.close().await;
}

#[tokio::test]
async fn a_retried_block_is_written_once_and_a_resent_sample_is_read_once() {
    let opened = Opened::new().await;
    let store = opened.store();
    let today = today_ms();
    let rows: Vec<_> = (0..100).map(|i| sample(i, today, 1, Scale::UNIT)).collect();
    store.insert_samples(&rows, "block 1").await.unwrap();
    store.insert_samples(&rows, "block 1").await.unwrap();
    assert_eq!(count(store, " SETTINGS final = 0").await, 100);

    // After a crash the same samples come in other blocks.
    store.insert_samples(&rows[50..], "block 2").await.unwrap();
    assert_eq!(count(store, " SETTINGS final = 0").await, 150);
    assert_eq!(count(store, "").await, 100);
    opened.close().await;
}

#[tokio::test]
async fn a_large_part_is_not_written_anew_for_each_few_small_ones() {
    const SMALL: u64 = 90;
    let opened = Opened::new().await;
    let store = opened.store();
    let today = today_ms();
    // Values that do not compress: small parts are less than 1 % of it.
    let rows: Vec<_> = (0..100_000_u64)
        .map(|i| sample(i, today, i.wrapping_mul(0x9E37_79B9_7F4A_7C15).cast_signed(), Scale::UNIT))
        .collect();
    store.insert_samples(&rows, "large").await.unwrap();
    for number in 0..SMALL {
        let row = sample(number, today + 1, 1, Scale::UNIT);
        store.insert_samples(&[row], &format!("small {number}")).await.unwrap();
    }
    let parts = async || {
        let sql = "SELECT count(), max(level) FROM system.parts WHERE active AND table = 'performance_metrics'";
        store.client().query(sql).fetch_one::<(u64, u32)>().await.unwrap()
    };
    until("small parts are merged", async || parts().await.0 < 30).await;
    let (_, merges) = parts().await;
    assert!(u64::from(merges) <= SMALL / 29, "{merges} merges of {SMALL} small parts");
    opened.close().await;
}

#[tokio::test]
async fn a_block_of_two_hours_is_refused_for_good() {
    let opened = Opened::new().await;
    let today = today_ms();
    let rows = [sample(1, today, 1, Scale::UNIT), sample(1, today - 1, 1, Scale::UNIT)];
    let error = opened.store().insert_samples(&rows, "t").await.unwrap_err();
    assert!(matches!(error, StoreError::MixedHours { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent);
    assert_eq!(count(opened.store(), "").await, 0);
    opened.close().await;
}

#[tokio::test]
async fn refusals_of_the_server_are_told_apart() {
    let opened = Opened::new().await;
    let store = opened.store();
    let row = |i| [sample(1, today_ms() + i, 1, Scale::UNIT)];
    let run = async |sql: &str| store.client().query(sql).execute().await.unwrap();

    run("SYSTEM STOP MERGES performance_metrics").await;
    run("ALTER TABLE performance_metrics MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1").await;
    store.insert_samples(&row(1), "1").await.unwrap();
    let error = store.insert_samples(&row(2), "2").await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::TooManyParts, "{error}");
    run("ALTER TABLE performance_metrics RESET SETTING parts_to_throw_insert, parts_to_delay_insert").await;
    store.insert_samples(&row(2), "2").await.unwrap();

    run("RENAME TABLE performance_metrics TO elsewhere").await;
    let error = store.insert_samples(&row(3), "3").await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retryable, "{error}");
    run("RENAME TABLE elsewhere TO performance_metrics").await;
    store.insert_samples(&row(3), "3").await.unwrap();
    assert_eq!(count(store, "").await, 3);
    opened.close().await;
}

#[tokio::test]
async fn the_catalog_is_what_the_series_table_says_after_a_restart() {
    let opened = Opened::new().await;
    let node = NodeName::new("web-1").unwrap();
    let catalog = &opened.open.catalog;
    let mut rows = Vec::new();
    for mode in ["user", "system"] {
        let (id, unwritten) = catalog.resolve(&node, &series(mode)).unwrap();
        assert!(unwritten);
        rows.push(SeriesRow::new(id, &node, &series(mode), NOON_MS));
    }
    opened.store().insert_series(&rows, "s1").await.unwrap();
    // The agent was upgraded: the same series at another scale.
    let changed = Series { scale: Scale::decimal(3), ..series("user") };
    let (id, unwritten) = catalog.resolve(&node, &changed).unwrap();
    assert!(unwritten);
    let changed_row = SeriesRow::new(id, &node, &changed, NOON_MS);
    opened.store().insert_series(std::slice::from_ref(&changed_row), "s2").await.unwrap();

    let mut expected = vec![changed_row, rows[1].clone()];
    expected.sort_by_key(|row| row.series_id);
    assert_eq!(opened.store().load_series().await.unwrap(), expected);

    let dir = opened.close().await;
    let again = open_in(&config(dir.path())).await;
    let loaded: &Catalog = &again.catalog;
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded.resolve(&node, &changed).unwrap(), (id, false));
    assert_eq!(loaded.resolve(&node, &series("system")).unwrap().0.get(), rows[1].series_id);
    let filters = [("quote".to_owned(), "it's {x}\n\\".to_owned())];
    let selector = Selector { metric: "system.cpu.time", nodes: &[], filters: &filters };
    assert_eq!(loaded.select(&selector).unwrap().series.len(), 2);
    again.engine.unwrap().stop().await;
}

#[tokio::test]
async fn a_shorter_retention_drops_days_at_the_next_start() {
    let opened = Opened::new().await;
    let today = today_ms();
    for days_ago in [0, 3, 20] {
        let rows = [sample(1, today - days_ago * DAY_MS, 1, Scale::UNIT)];
        opened.store().insert_samples(&rows, &format!("{days_ago}")).await.unwrap();
    }
    assert_eq!(count(opened.store(), "").await, 3);
    let dir = opened.close().await;

    let mut shorter = config(dir.path());
    shorter.clickhouse.retention_days = 7;
    let again = open_in(&shorter).await;
    until("the old day is gone", async || count(&again.store, "").await == 2).await;
    let sql = "SELECT count() FROM system.mutations WHERE NOT is_done";
    assert_eq!(again.store.client().query(sql).fetch_one::<u64>().await.unwrap(), 0);
    again.engine.unwrap().stop().await;

    // With the same retention nothing is altered.
    let third = open_in(&shorter).await;
    let sql = "SELECT count() FROM system.mutations WHERE create_time > now() - 2 AND NOT is_done";
    assert_eq!(third.store.client().query(sql).fetch_one::<u64>().await.unwrap(), 0);
    assert_eq!(count(&third.store, "").await, 2);
    third.engine.unwrap().stop().await;
}

#[tokio::test]
async fn a_setting_that_was_changed_by_hand_is_found_at_the_next_start() {
    let opened = Opened::new().await;
    let sql = "ALTER TABLE series MODIFY SETTING non_replicated_deduplication_window = 0";
    opened.store().client().query(sql).execute().await.unwrap();
    let dir = opened.close().await;
    let metrics = flyball_collector::store::StoreMetrics::default();
    let token = tokio_util::sync::CancellationToken::new();
    let error = flyball_collector::store::open(&config(dir.path()), &metrics, token).await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("series has non_replicated_deduplication_window = 0"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_there_already_is_used_as_it_is() {
    let opened = Opened::new().await;
    let endpoint = opened.engine().endpoint().clone();
    let mut config = config(opened.dir.path());
    config.clickhouse.url = vec![endpoint.url];
    config.clickhouse.user = endpoint.user;
    config.clickhouse.database = "other".to_owned();
    let password = opened.dir.path().join("password");
    std::fs::write(&password, format!("{}\n", endpoint.password.expose())).unwrap();
    config.clickhouse.password_file = Some(password);

    config.clickhouse.migrate = false;
    let metrics = flyball_collector::store::StoreMetrics::default();
    let token = tokio_util::sync::CancellationToken::new();
    let error = flyball_collector::store::open(&config, &metrics, token).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the database lacks {} migrations: run `flyball-collector migrate up`", ALL.len())
    );

    config.clickhouse.migrate = true;
    let second = open_in(&config).await;
    assert!(second.engine.is_none());
    let rows = [sample(1, today_ms(), 1, Scale::UNIT)];
    second.store.insert_samples(&rows, "t").await.unwrap();
    assert_eq!(count(&second.store, "").await, 1);
    assert_eq!(count(opened.store(), "").await, 0);
    opened.close().await;

    let error = second.store.ping().await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn whether_inserts_wait_for_the_disk_follows_the_configuration() {
    let in_force = async |store: &Store| {
        let sql = "SELECT countIf(match(engine_full, 'fsync_after_insert = (1|true)') AND match(engine_full, 'fsync_part_directory = (1|true)')) \
                   FROM system.tables WHERE database = currentDatabase() AND name IN ('performance_metrics', 'series', 'rollup_1m', 'optimization_logs')";
        store.client().query(sql).fetch_one::<u64>().await.unwrap()
    };
    let opened = Opened::new().await;
    assert_eq!(in_force(opened.store()).await, 4);
    let dir = opened.close().await;

    let mut off = config(dir.path());
    off.clickhouse.fsync = false;
    // The log of decisions stays synced. The second start alters nothing and finds the same.
    for _ in 0..2 {
        let again = open_in(&off).await;
        assert_eq!(in_force(&again.store).await, 1);
        again.store.insert_samples(&[sample(1, today_ms(), 1, Scale::UNIT)], "t").await.unwrap();
        assert_eq!(count(&again.store, "").await, 1);
        again.engine.unwrap().stop().await;
    }
    let on = open_in(&config(dir.path())).await;
    assert_eq!(in_force(&on.store).await, 4);
    on.engine.unwrap().stop().await;
}
