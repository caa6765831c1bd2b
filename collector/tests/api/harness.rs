//! A collector's store and API on a free port, with samples to ask for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use flyball_collector::account::{Accounting, Accounts};
use flyball_collector::api::edge::Limits;
use flyball_collector::api::hosts::Hosts;
use flyball_collector::api::{self, AppState, Parts, Readiness};
use flyball_collector::balancers::settings::{BalanceSettings, Objective};
use flyball_collector::balancers::watch::PoolWatch;
use flyball_collector::cache::CacheSettings;
use flyball_collector::live::{HostStatus, Live, NodeFeed, NodeInfo, now_ms};
use flyball_collector::query::{QueryLimits, QueryParts, SharedParts};
use flyball_collector::steer::control::{ControlMetrics, Controls};
use flyball_collector::steer::driver::{Driver, DriverParts, JudgeSettings};
use flyball_collector::steer::journal::Journal;
use flyball_collector::steer::watch::{PolicyTable, Steering};
use flyball_collector::store::{
    self, HOUR_MS, OpenStore, SampleRow, SeriesRow, StoreConfig, StoreMetrics,
};
use flyball_collector::suggest::{SuggestSettings, Suggester};
use flyball_model::rollout;
use flyball_proto::frame::{Sample, Slot};
use flyball_proto::series::{Kind, NodeName, Scale, Series};
use flyball_proto::v1;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest that anything in these tests may take.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// A running API. Stop it with [`Server::stop`].
pub struct Server {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub open: OpenStore,
    pub live: Live,
    pub accounts: Accounts,
    pub policies: PolicyTable,
    pub readiness: Readiness,
    pub client: reqwest::Client,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

/// What a server is started with.
pub struct Setup {
    pub limits: Limits,
    pub queries: QueryLimits,
    pub cache: CacheSettings,
    pub shared: Option<SharedParts>,
}

impl Default for Setup {
    /// Without caches: these tests write to the store as nobody else does, unmarked.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            queries: QueryLimits::default(),
            cache: CacheSettings { l1_bytes: 0, ..CacheSettings::default() },
            shared: None,
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Bytes,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub async fn start_with(limits: Limits) -> Self {
        Self::start_as(Setup { limits, ..Setup::default() }).await
    }

    pub async fn start_as(setup: Setup) -> Self {
        let Setup { limits, queries, cache, shared } = setup;
        let dir = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::embedded(dir.path());
        config.program = Some(PathBuf::from(env!("CARGO_BIN_EXE_flyball-collector")));
        let shutdown = CancellationToken::new();
        let open = store::open(&config, &StoreMetrics::default(), shutdown.clone()).await.unwrap();
        let (live, readiness) = (Live::new(100), Readiness::default());
        let accounts = Accounts::new(live.clone(), 100);
        let query = QueryParts {
            store: open.store.clone(),
            catalog: Arc::clone(&open.catalog),
            live: live.clone(),
            limits: queries,
            shared: shared.unwrap_or_else(|| SharedParts::local(&cache)),
            cache,
            is_alone: true,
        };
        let policies = PolicyTable::default();
        let steering =
            Steering::new(Arc::new(policies.clone()), live.clone(), 100, shutdown.clone());
        let judge = JudgeSettings::default();
        let pools = PoolWatch::new(&BalanceSettings::default(), Objective::default());
        let (driver, driving) = Driver::new(DriverParts {
            journal: Journal::new(&open.store),
            steering: steering.clone(),
            // What these tests want of agents is not in the journal.
            policies: PolicyTable::default(),
            pools: pools.clone(),
            accounts: accounts.clone(),
            live: live.clone(),
            limits: rollout::Limits::default(),
            judge: judge.clone(),
            is_alone: true,
        });
        let judging = (&judge, &rollout::Limits::default());
        let suggest = SuggestSettings::default();
        let suggester =
            Suggester::new(&driver, &steering, (&open.store, &pools), &suggest, judging);
        let metrics = ControlMetrics::default();
        let controls = Controls::new(driver.clone(), steering.clone(), pools.clone(), metrics);
        let state = AppState::new(Parts {
            query,
            controls,
            accounts: accounts.clone(),
            steering: steering.clone(),
            driver,
            suggester,
            registry: Registry::default(),
            readiness: readiness.clone(),
            shutdown: shutdown.clone(),
            limits,
            hosts: Hosts::default(),
        });
        let querier = state.querier().clone();
        let (http, web) = serve_http(state.clone(), shutdown.clone()).await;
        let (grpc, calls) = serve_grpc(state, shutdown.clone()).await;
        let (querier, stop) = (querier, shutdown.clone());
        let sharing = tokio::spawn(async move { querier.run(|_| {}, stop).await });
        let (teller, stop) = (live.clone(), shutdown.clone());
        let events = tokio::spawn(async move { teller.run(stop).await });
        // A connection of its own for each request: servers of some tests close idle ones in no time.
        let client = reqwest::Client::builder().timeout(DEADLINE).pool_max_idle_per_host(0);
        let client = client.build().unwrap();
        let steer = tokio::spawn(steering.run(shutdown.clone()));
        let drive = tokio::spawn(driving.run(shutdown.clone()));
        let tasks = vec![web, calls, events, sharing, steer, drive];
        Self {
            http,
            grpc,
            open,
            live,
            accounts,
            policies,
            readiness,
            client,
            shutdown,
            tasks,
            _dir: dir,
        }
    }

    /// The agent of a node says that it gave up 3 of 10 samples: the status has an account, and an alert fires.
    pub fn report_shed(&self, node: &str, feed: &NodeFeed) {
        let shed = vec![v1::Shed { reason: "full".into(), samples: 3 }];
        let report = v1::Report { produced: 10, stored: 7, shed, ..v1::Report::default() };
        let accounting = Arc::new(Accounting::of(report, now_ms()));
        assert!(feed.account(&accounting));
        self.accounts.report(&NodeName::new(node).unwrap(), accounting);
    }

    /// Stops serving, waits until everything has drained, and stops the engine.
    pub async fn stop(mut self) {
        self.cancel();
        for task in self.tasks.drain(..) {
            tokio::time::timeout(DEADLINE, task).await.expect("drains in time").unwrap();
        }
        self.stop_engine().await;
    }

    /// Begins to stop.
    pub fn cancel(&self) {
        self.shutdown.cancel();
    }

    /// Stops the engine, as if ClickHouse were gone.
    pub async fn stop_engine(&mut self) {
        if let Some(engine) = self.open.engine.take() {
            engine.stop().await;
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap() }
    }

    /// An answer to a question about a metric, which must succeed.
    pub async fn metrics(&self, query: &[(&str, &str)]) -> Value {
        let url = self.url("/api/performance/metrics");
        let answer = self.send(self.client.get(url).query(query)).await;
        assert_eq!(answer.status, 200, "{query:?}: {}", answer.text());
        answer.json()
    }

    /// Stores samples `(ts_ms, raw)` of a series, each as one block for its hour, and its definition.
    pub async fn insert(&self, node: &str, series: &Series, samples: &[(i64, i64)]) {
        let node = NodeName::new(node).unwrap();
        let (id, is_new) = self.open.catalog.resolve(&node, series).unwrap();
        if is_new {
            let row = SeriesRow::new(id, &node, series, now_ms());
            self.open.store.insert_series(&[row], &format!("series-{}", id.get())).await.unwrap();
            self.open.catalog.mark_written(&[id]);
        }
        let mut hours: BTreeMap<i64, Vec<SampleRow>> = BTreeMap::new();
        for &(ts_ms, raw) in samples {
            let row = SampleRow { series_id: id.get(), ts_ms, raw, scale: series.scale.code() };
            hours.entry(ts_ms.div_euclid(HOUR_MS)).or_default().push(row);
        }
        for rows in hours.values() {
            let token = format!("{}-{:?}-{}", id.get(), rows[0], next_token());
            self.open.store.insert_samples(rows, &token).await.unwrap();
        }
    }

    /// An agent that connects as `node` with one series in slot 1. Its samples are recorded as those of the series.
    pub fn connect(&self, node: &str, series: Series) -> NodeFeed {
        let info = NodeInfo {
            node: NodeName::new(node).unwrap(),
            agent_version: "0.1.0".into(),
            interval: Duration::from_secs(1),
            host: HostStatus { cpus: Some(2), ..HostStatus::default() },
        };
        let feed = self.live.connect(&info).unwrap();
        let id = self.open.catalog.resolve(&info.node, &series).unwrap().0;
        feed.define([(1, Some(id), &Arc::new(series))].into_iter());
        feed
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Fields of a problem document, which this must be.
    pub fn problem_fields(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["type"].as_str().unwrap().starts_with("urn:flyball:problem:"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        let errors = problem["errors"].as_array().unwrap();
        errors.iter().map(|e| e["field"].as_str().unwrap().to_owned()).collect()
    }
}

/// A series by its metric, kind, scale and attributes.
pub fn series(metric: &str, kind: Kind, scale: Scale, attributes: &[(&str, &str)]) -> Series {
    Series {
        metric: metric.into(),
        unit: "By".into(),
        kind,
        scale,
        attributes: attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    }
}

/// A sample for the slot of [`Server::connect`].
pub fn live_sample(raw: i64) -> Sample {
    Sample { slot: Slot(1), raw, reset: false }
}

async fn serve_http(state: AppState, shutdown: CancellationToken) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(api::serve::serve(listener, state, shutdown)))
}

async fn serve_grpc(state: AppState, shutdown: CancellationToken) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder()
        .add_service(state.steering().service())
        .add_service(api::grpc::service(state))
        .serve_with_incoming_shutdown(incoming, async move { shutdown.cancelled().await });
    (address, tokio::spawn(async move { server.await.unwrap() }))
}

/// No two inserts of these tests are the same to the store, so that equal rows really arrive twice.
fn next_token() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
