//! The store against the real engine. Each test has an engine and a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod balancers;
mod catalog;
mod data;
mod engine;
mod migrations;
mod rollups;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flyball_collector::store::engine::Engine;
use flyball_collector::store::{DAY_MS, OpenStore, Store, StoreConfig, StoreMetrics, open};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longest that anything here may take.
const DEADLINE: Duration = Duration::from_mins(2);

fn collector() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_flyball-collector"))
}

fn config(dir: &Path) -> StoreConfig {
    StoreConfig { program: Some(collector()), ..StoreConfig::embedded(dir) }
}

/// An open store and the directory that it works in.
struct Opened {
    open: OpenStore,
    dir: TempDir,
}

impl Opened {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = open_in(&config(dir.path())).await;
        Self { open, dir }
    }

    fn store(&self) -> &Store {
        &self.open.store
    }

    fn engine(&self) -> &Engine {
        self.open.engine.as_ref().unwrap()
    }

    async fn close(self) -> TempDir {
        self.open.engine.unwrap().stop().await;
        self.dir
    }
}

async fn open_in(config: &StoreConfig) -> OpenStore {
    match open(config, &StoreMetrics::default(), CancellationToken::new()).await {
        Ok(open) => open,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until `holds` or fails after [`DEADLINE`].
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "not within {DEADLINE:?}: {what}");
}

/// True while a process with this id runs; a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A time of today, which no retention drops; the same one also where a test runs over midnight.
fn today_ms() -> i64 {
    static TODAY_MS: LazyLock<i64> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_millis() as i64 / DAY_MS * DAY_MS
    });
    *TODAY_MS
}
