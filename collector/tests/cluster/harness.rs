//! Settings for the servers of a test, and a collector in this process that uses them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use flyball_collector::config::Config;
use flyball_collector::run;
use flyball_collector::store::{
    self, ClickHouseSettings, OpenStore, StoreConfig, StoreError, StoreMetrics,
};
use flyball_service::endpoints;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::server::{CLUSTER, endpoint};

/// Longest that anything in these tests may take; above the lease of a migration.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// A collector in this process.
pub struct Collector {
    pub http: SocketAddr,
    grpc: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), run::Error>>,
    _dir: TempDir,
}

/// An answer of the API.
pub struct Answer {
    pub status: u16,
    pub text: String,
}

/// One server with plain tables.
pub fn single(port: u16) -> ClickHouseSettings {
    let endpoint = endpoint(port);
    ClickHouseSettings {
        url: vec![endpoint.url],
        user: endpoint.user,
        password: endpoint.password,
        timeout_ms: 10_000,
        ..ClickHouseSettings::default()
    }
}

/// The shards of plain tables behind these ports.
pub fn sharded(ports: &[u16]) -> ClickHouseSettings {
    ClickHouseSettings {
        url: ports.iter().map(|port| endpoint(*port).url).collect(),
        cluster: Some(CLUSTER.to_owned()),
        replicated: false,
        ..single(ports[0])
    }
}

/// Opens a store as a collector does.
pub async fn open(settings: &ClickHouseSettings) -> Result<OpenStore, StoreError> {
    let config = StoreConfig {
        clickhouse: settings.clone(),
        ..StoreConfig::embedded(Path::new("/nonexistent"))
    };
    store::open(&config, &StoreMetrics::default(), CancellationToken::new()).await
}

impl Collector {
    /// Starts one and waits until it listens.
    pub async fn start(settings: &ClickHouseSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { clickhouse: settings.clone(), ..Config::default() };
        config.server.http = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.grpc = config.server.http;
        config.server.data_dir = dir.path().to_owned();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run::run(config, shutdown.clone()));
        let endpoints = until("the collector listens", async || {
            assert!(!task.is_finished(), "the collector has ended");
            endpoints::read(dir.path()).ok()
        });
        let endpoints: BTreeMap<String, SocketAddr> = endpoints.await;
        let (http, grpc) = (endpoints["http"], endpoints["grpc"]);
        Self { http, grpc, shutdown, task, _dir: dir }
    }

    pub async fn start_ready(settings: &ClickHouseSettings) -> Self {
        let collector = Self::start(settings).await;
        collector.until_ready().await;
        collector
    }

    pub async fn until_ready(&self) {
        until("ready", async || {
            assert!(!self.task.is_finished(), "the collector has ended");
            // The server that says what is waited for gives way to the one that answers: a connection that it had just accepted is closed.
            let answer = reqwest::get(format!("http://{}/readyz", self.http)).await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        assert!(!self.task.is_finished(), "the collector has ended");
        let answer = reqwest::get(format!("http://{}{path}", self.http)).await.unwrap();
        Answer { status: answer.status().as_u16(), text: answer.text().await.unwrap() }
    }

    /// A check of `/readyz`: status, detail and since when in milliseconds.
    pub async fn check(&self, name: &str) -> (String, String, i64) {
        let ready: Value = serde_json::from_str(&self.get("/readyz").await.text).unwrap();
        let checks = ready["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        let text = |field: &str| check[field].as_str().unwrap().to_owned();
        (text("status"), text("detail"), check["since_ms"].as_i64().unwrap())
    }

    /// Waits for the end, which must come without an error.
    pub async fn stopped(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task).await.expect("stops in time").unwrap().unwrap();
    }
}

/// Looks again and again until there is something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(POLL).await;
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    flyball_collector::live::now_ms()
}
