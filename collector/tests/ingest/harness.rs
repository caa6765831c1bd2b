//! An engine, a proxy before it, and a collector that reaches the engine through the proxy.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flyball_collector::config::Config;
use flyball_collector::run;
use flyball_collector::store::{self, OpenStore, Secret, StoreConfig, StoreMetrics};
use flyball_service::endpoints;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::proxy::Proxy;

/// Longest that anything in these tests may take, on a machine that has much else to do.
pub const DEADLINE: Duration = Duration::from_mins(2);
/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// ClickHouse, and a way to it that can fail.
pub struct ClickHouse {
    pub open: OpenStore,
    pub proxy: Proxy,
    _dir: TempDir,
}

/// A collector in this process.
pub struct Collector {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), run::Error>>,
    _dir: TempDir,
}

/// What the store holds of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Rows, repeated ones counted each time.
    pub rows: u64,
    /// Different samples.
    pub samples: u64,
    /// Samples as a query counts them.
    pub counted: u64,
}

impl ClickHouse {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::embedded(dir.path());
        config.program = Some(PathBuf::from(env!("CARGO_BIN_EXE_flyball-collector")));
        let shutdown = CancellationToken::new();
        let open = store::open(&config, &StoreMetrics::default(), shutdown).await.unwrap();
        let url = &open.engine.as_ref().unwrap().endpoint().url;
        let proxy = Proxy::start(url.strip_prefix("http://").unwrap().to_owned()).await;
        Self { open, proxy, _dir: dir }
    }

    pub async fn stop(self) {
        self.open.engine.unwrap().stop().await;
    }

    /// What is stored of `node`.
    pub async fn stored(&self, node: &str) -> Stored {
        let sql = "SELECT count(), uniqExact(series_id, ts) FROM performance_metrics \
                   WHERE series_id IN (SELECT series_id FROM series WHERE node = ?)";
        let client = self.open.store.client();
        let (counted, _) = client.query(sql).bind(node).fetch_one::<(u64, u64)>().await.unwrap();
        let raw = client.query(sql).bind(node).with_setting("final", "0");
        let (rows, samples) = raw.fetch_one::<(u64, u64)>().await.unwrap();
        Stored { rows, samples, counted }
    }

    /// Times of the samples of `node` that are stored.
    pub async fn times(&self, node: &str) -> Vec<i64> {
        let sql = "SELECT DISTINCT toUnixTimestamp64Milli(ts) AS t FROM performance_metrics \
                   WHERE series_id IN (SELECT series_id FROM series WHERE node = ?) ORDER BY t";
        self.open.store.client().query(sql).bind(node).fetch_all().await.unwrap()
    }
}

impl Collector {
    pub async fn start(clickhouse: &ClickHouse) -> Self {
        Self::start_with(clickhouse, |_| {}).await
    }

    pub async fn start_with(clickhouse: &ClickHouse, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.http = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.grpc = config.server.http;
        config.server.data_dir = dir.path().to_owned();
        let endpoint = clickhouse.open.engine.as_ref().unwrap().endpoint();
        config.clickhouse.url = vec![format!("http://{}", clickhouse.proxy.address)];
        config.clickhouse.user.clone_from(&endpoint.user);
        config.clickhouse.password = Secret::new(endpoint.password.expose());
        change(&mut config);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run::run(config, shutdown.clone()));
        let endpoints = until("the collector listens", async || {
            assert!(!task.is_finished(), "the collector has ended");
            endpoints::read(dir.path()).ok()
        });
        let endpoints: BTreeMap<String, SocketAddr> = endpoints.await;
        let (http, grpc) = (endpoints["http"], endpoints["grpc"]);
        let collector = Self { http, grpc, shutdown, task, _dir: dir };
        // On a slow machine it listens before its store is open.
        until("ready", async || {
            // The server that says what is waited for gives way to the one that answers: a connection that it had just accepted is closed.
            let answer = reqwest::get(format!("http://{http}/readyz")).await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        collector
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.http)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Lines of an answer that goes on, as they come.
    pub async fn lines(&self, path: &str) -> impl Stream<Item = String> + use<> {
        let answer = reqwest::get(format!("http://{}{path}", self.http)).await.unwrap();
        let start = (Box::pin(answer.bytes_stream()), String::new());
        futures_util::stream::unfold(start, async |(mut bytes, mut text)| {
            loop {
                if let Some((line, rest)) = text.split_once('\n') {
                    let (line, rest) = (line.to_owned(), rest.to_owned());
                    return Some((line, (bytes, rest)));
                }
                let more = timeout(DEADLINE, bytes.next()).await.expect("an event in time")?;
                text.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
            }
        })
    }

    /// Status of one node, null when it is not known.
    pub async fn status(&self, node: &str) -> Value {
        let (_, text) = self.get("/api/performance/status").await;
        let fleet: Value = serde_json::from_str(&text).unwrap();
        let nodes = fleet["nodes"].as_array().unwrap();
        nodes.iter().find(|n| n["node"] == node).cloned().unwrap_or_default()
    }

    /// The value of a line of `/metrics`, 0 when there is none.
    pub async fn metric(&self, line: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Samples of a node by `received`, `stored`, `rejected` and in flight, which must add up.
    pub async fn account(&self, node: &str) -> [i64; 4] {
        let (_, text) = self.get("/metrics").await;
        let of = |name: &str| {
            let line = format!("flyball_ingest_samples_{name}{{node=\"{node}\"}} ");
            text.lines().find_map(|l| l.strip_prefix(&line)).unwrap().parse::<i64>().unwrap()
        };
        let account =
            [of("received_total"), of("stored_total"), of("rejected_total"), of("in_flight")];
        assert_eq!(account[0], account[1..].iter().sum::<i64>(), "{account:?}");
        account
    }

    /// Asks the collector to stop.
    pub fn begin_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the end, which must come without an error.
    pub async fn stopped(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task).await.expect("stops in time").unwrap().unwrap();
    }
}

/// Looks again and again until there is something.
pub async fn until<T>(what: impl fmt::Display, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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
