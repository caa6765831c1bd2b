//! Starting, supervising and stopping the engine.

use std::process::Stdio;
use std::time::Instant;

use flyball_collector::store::engine::Engine;
use flyball_collector::store::{EngineSettings, SampleRow, StoreConfig, StoreError, StoreMetrics};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::{DEADLINE, Opened, collector, config, kill, open_in, runs, until};

async fn refused(config: &StoreConfig) -> StoreError {
    Engine::start(config, &StoreMetrics::default(), CancellationToken::new()).await.unwrap_err()
}

fn sample(ts_ms: i64) -> SampleRow {
    let ts_ms = crate::today_ms() + ts_ms;
    SampleRow { series_id: 1, ts_ms, raw: 5, scale: 0 }
}

#[tokio::test]
async fn a_killed_engine_is_started_again_with_all_that_it_had_accepted() {
    let opened = Opened::new().await;
    opened.store().insert_samples(&[sample(1_000)], "1").await.unwrap();
    let before = opened.engine().state().borrow().clone();
    let start = Instant::now();
    kill(before.pid.unwrap());

    let mut state = opened.engine().state();
    let up = state.wait_for(|state| state.up && state.restarts == 1);
    let after = tokio::time::timeout(DEADLINE, up).await.unwrap().unwrap().clone();
    println!("answers again after {:?}", start.elapsed());
    assert_ne!(after.pid, before.pid);
    assert!(after.reason.contains("SIGKILL") || after.reason.contains("signal: 9"), "{after:?}");

    // The same client goes on working.
    opened.store().insert_samples(&[sample(2)], "2").await.unwrap();
    let count = opened.store().client().query("SELECT count() FROM performance_metrics");
    assert_eq!(count.fetch_one::<u64>().await.unwrap(), 2);
    opened.close().await;
}

#[tokio::test]
async fn an_engine_does_not_outlive_a_collector_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Command::new(collector())
        .args(["engine", "serve", "--data-dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let reach: serde_json::Value = serde_json::from_str(&line).unwrap();
    let pid = u32::try_from(reach["pid"].as_u64().unwrap()).unwrap();
    assert!(runs(pid));
    kill(parent.id().unwrap());
    parent.wait().await.unwrap();

    // The next collector waits for the engine to leave, then has the directory for itself.
    let open = open_in(&config(dir.path())).await;
    assert!(!runs(pid));
    open.engine.unwrap().stop().await;
}

#[tokio::test]
async fn stopping_leaves_nothing_running_and_dropping_neither() {
    let opened = Opened::new().await;
    let pid = opened.engine().state().borrow().pid.unwrap();
    let dir = opened.close().await;
    assert!(!runs(pid));

    let open = open_in(&config(dir.path())).await;
    let pid = open.engine.as_ref().unwrap().state().borrow().pid.unwrap();
    assert!(runs(pid));
    drop(open);
    until("the engine is gone", async || !runs(pid)).await;
}

#[tokio::test]
async fn an_engine_that_ignores_the_pipe_is_stopped_all_the_same() {
    let opened = Opened::new().await;
    let pid = opened.engine().state().borrow().pid.unwrap();
    let raw = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::STOP).unwrap();
    opened.close().await;
    assert!(!runs(pid));
}

#[tokio::test]
async fn one_directory_serves_one_collector() {
    let opened = Opened::new().await;
    let error = refused(&config(opened.dir.path())).await.to_string();
    assert!(error.contains("in use by another collector (pid "), "{error}");
    assert!(error.contains("--data-dir"), "{error}");
    opened.close().await;
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let opened = Opened::new().await;
    let url = &opened.engine().endpoint().url;
    let refused = async |client: clickhouse::Client| {
        client.with_url(url).query("SELECT 1").fetch_one::<u8>().await.unwrap_err().to_string()
    };
    let wrong = clickhouse::Client::default().with_user("flyball").with_password("wrong");
    assert!(refused(wrong).await.contains("Code: 516"));
    let internal = clickhouse::Client::default().with_user("default");
    let answer = refused(internal).await;
    assert!(answer.contains("There is no handle"), "{answer}");
    let answer = refused(clickhouse::Client::default()).await;
    assert!(answer.contains("There is no handle"), "{answer}");
    opened.close().await;
}

#[tokio::test]
async fn the_configured_limits_are_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.engine.memory_bytes = 512_000_000;
    let open = open_in(&config).await;
    let setting = async |name: &str| {
        let sql = "SELECT value FROM system.server_settings WHERE name = ?";
        open.store.client().query(sql).bind(name).fetch_one::<String>().await.unwrap()
    };
    assert_eq!(setting("max_server_memory_usage").await, "512000000");
    assert_eq!(setting("mark_cache_size").await, "25600000");
    assert_eq!(setting("background_pool_size").await, "2");
    let memory = std::fs::read_to_string(format!(
        "/proc/{}/status",
        open.engine.as_ref().unwrap().state().borrow().pid.unwrap()
    ));
    println!("{:?}", memory.unwrap().lines().find(|line| line.starts_with("VmRSS")));
    open.engine.unwrap().stop().await;
}

#[tokio::test]
async fn what_is_missing_or_taken_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let with = |engine| StoreConfig { engine, ..config(dir.path()) };

    let empty = EngineSettings {
        cache_dir: Some(dir.path().join("cache")),
        prefer_installed: false,
        ..EngineSettings::default()
    };
    let error = refused(&with(empty)).await.to_string();
    assert!(error.contains("`flyball-collector engine fetch`"), "{error}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = refused(&with(EngineSettings { port, ..EngineSettings::default() })).await;
    let error = error.to_string();
    assert!(error.contains("in use") && error.contains("choose another engine.port"), "{error}");

    let error = refused(&config(std::path::Path::new("/dev/null"))).await.to_string();
    assert!(error.contains("cannot create /dev/null/clickhouse"), "{error}");
}

#[tokio::test]
async fn an_engine_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("clickhouse")).unwrap();
    std::fs::write(dir.path().join("clickhouse/data"), "not a directory").unwrap();
    let error = refused(&config(dir.path())).await.to_string();
    assert!(error.contains("did not start: exit status: 1: "), "{error}");
    assert!(error.contains("File exists") && !error.contains('\n'), "{error}");
}
