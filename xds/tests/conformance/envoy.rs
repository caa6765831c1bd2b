//! Envoy, in both variants of the protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Uri;
use flyball_xds::snapshot::{Bind, Cluster, Health, Listener, Policy, Route};
use flyball_xds::{Confirmation, Kind, Protocol, Settings, Snapshot};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::backend::{Backend, assert_shares};
use crate::support::process::{Process, tool};
use crate::support::{BATCHES, PATIENCE, Running, cluster, example, retry, snapshot};

/// The port of Envoy's listener, on an address that no other process has.
const PORT: u16 = 10_000;

/// A running Envoy with one listener.
struct Envoy {
    _process: Process,
    address: Ipv4Addr,
    admin: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// A loopback address for this process and this call.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed) as u8;
    Ipv4Addr::new(127, 100 + count % 100, high, low)
}

/// The example of the documentation with this server and variant.
fn bootstrap(server: SocketAddr, protocol: Protocol) -> Value {
    let mut example = example(0);
    let api_type = match protocol {
        Protocol::StateOfTheWorld => "GRPC",
        Protocol::Delta => "DELTA_GRPC",
    };
    let cluster = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0";
    let changes = [
        ("/dynamic_resources/ads_config/api_type", json!(api_type)),
        ("/admin/address/socket_address/port_value", json!(0)),
        (&format!("{cluster}/endpoint/address/socket_address/port_value"), json!(server.port())),
    ];
    for (path, value) in changes {
        *example.pointer_mut(path).expect("a part of the example") = value;
    }
    example
}

impl Envoy {
    /// Starts an Envoy that listens on `address`, and waits until it has what is published.
    async fn start(running: &Running, protocol: Protocol, address: Ipv4Addr) -> Self {
        Self::with(&bootstrap(running.address, protocol), address).await
    }

    async fn with(bootstrap: &Value, address: Ipv4Addr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("bootstrap.json");
        std::fs::write(&config, bootstrap.to_string()).expect("a file");
        let admin = directory.path().join("admin");
        let mut command = Command::new(tool("envoy"));
        command.arg("-c").arg(&config).arg("--admin-address-path").arg(&admin);
        command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(directory, &mut command);
        let admin = retry("Envoy's admin address", || async {
            std::fs::read_to_string(&admin).ok()?.parse().ok()
        });
        let admin = admin.await;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let envoy = Self { _process: process, address, admin, client };
        retry("Envoy's listener", || async { envoy.get(&envoy.front()).await.ok().map(drop) })
            .await;
        envoy
    }

    fn front(&self) -> String {
        format!("http://{}:{PORT}/", self.address)
    }

    async fn get(&self, uri: &str) -> Result<(u16, String), String> {
        let answer = self.client.get(uri.parse::<Uri>().expect("an address"));
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer");
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    /// Whether a request was answered by a backend.
    async fn request(&self) -> Result<(), String> {
        match self.get(&self.front()).await? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        }
    }

    async fn requests(&self, count: usize) {
        for _ in 0..count {
            self.request().await.expect("an answer");
        }
    }

    /// One of Envoy's own counters or gauges.
    async fn stat(&self, name: &str) -> u64 {
        let uri = format!("http://{}/stats?usedonly&filter=^{name}$", self.admin);
        let (_, body) = self.get(&uri).await.expect("statistics");
        body.split_once(": ").map_or(0, |(_, value)| value.trim().parse().expect("a number"))
    }
}

/// The server, backends, and an Envoy that has a snapshot of them.
struct Fixture {
    running: Running,
    backends: Vec<Backend>,
    envoy: Envoy,
}

fn front(address: Ipv4Addr, cluster: &str) -> Listener {
    let bind = Bind::Socket { address: address.into(), port: PORT };
    Listener { name: "front".into(), bind, routes: vec![Route::all(cluster)] }
}

impl Fixture {
    async fn start(protocol: Protocol, weights: &[u32]) -> Self {
        let running = Running::start(Settings::default()).await;
        let mut backends = Vec::new();
        for _ in weights {
            backends.push(Backend::http().await);
        }
        let address = own_address();
        let web = web(&backends, weights);
        running.publish(snapshot("1", &[web], &[front(address, "web")]));
        let envoy = Envoy::start(&running, protocol, address).await;
        let fixture = Self { running, backends, envoy };
        fixture.confirmed("1").await;
        fixture.envoy.request().await.expect("an answer");
        fixture.take();
        fixture
    }

    fn snapshot(&self, version: &str, web: Cluster) -> Snapshot {
        snapshot(version, &[web], &[front(self.envoy.address, "web")])
    }

    async fn confirmed(&self, version: &str) {
        let confirmed = self.running.server.confirm(version, PATIENCE).await;
        assert_eq!(confirmed, Confirmation::Acknowledged { clients: 1 });
    }

    /// Publishes this state of the cluster and waits until Envoy has it.
    async fn push(&self, version: &str, web: Cluster) {
        self.running.publish(self.snapshot(version, web));
        self.confirmed(version).await;
    }

    /// Requests until one endpoint gets none: Envoy acknowledges before its workers apply.
    async fn leave(&self, endpoint: usize) {
        self.take();
        for _ in 0..BATCHES {
            self.envoy.requests(20).await;
            if self.take()[endpoint] == 0 {
                return;
            }
        }
        panic!("endpoint {endpoint} still gets requests");
    }

    fn take(&self) -> Vec<u64> {
        self.backends.iter().map(Backend::take).collect()
    }
}

fn web(backends: &[Backend], weights: &[u32]) -> Cluster {
    let ports: Vec<_> =
        backends.iter().zip(weights).map(|(backend, weight)| (backend.port, *weight)).collect();
    cluster("web", &ports)
}

async fn weights_are_followed(protocol: Protocol) {
    let weights = [100, 50, 10];
    let fixture = Fixture::start(protocol, &weights).await;
    fixture.envoy.requests(1_000).await;
    assert_shares(&fixture.take(), &weights);
    let swapped = [10, 50, 100];
    fixture.push("2", web(&fixture.backends, &swapped)).await;
    fixture.envoy.requests(1_000).await;
    assert_shares(&fixture.take(), &swapped);
    let client = &fixture.running.server.clients()[0];
    assert_eq!((client.node_id.as_str(), client.user_agent.as_str()), ("edge-1", "envoy 1.40.0"));
    assert_eq!(fixture.running.server.metrics().nacks, 0);
}

#[tokio::test]
async fn weights_are_followed_in_state_of_the_world() {
    weights_are_followed(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn weights_are_followed_in_delta() {
    weights_are_followed(Protocol::Delta).await;
}

#[tokio::test]
async fn weights_of_localities_and_of_other_policies_are_followed() {
    let weights = [100, 50, 10];
    let fixture = Fixture::start(Protocol::StateOfTheWorld, &weights).await;
    let by_locality = Cluster { locality_per_endpoint: true, ..web(&fixture.backends, &weights) };
    let least = Policy::LeastRequest { choices: 2 };
    let least = Cluster { policy: least, ..web(&fixture.backends, &weights) };
    for (version, cluster) in [("2", by_locality), ("3", least)] {
        fixture.push(version, cluster).await;
        fixture.envoy.requests(1_000).await;
        assert_shares(&fixture.take(), &weights);
    }
}

async fn a_drain_gets_no_request(protocol: Protocol) {
    let fixture = Fixture::start(protocol, &[1, 1, 1]).await;
    let mut drained = web(&fixture.backends, &[1, 1, 1]);
    drained.endpoints[0].health = Health::Drain;
    fixture.push("2", drained.clone()).await;
    fixture.leave(0).await;
    fixture.envoy.requests(300).await;
    assert_shares(&fixture.take(), &[0, 1, 1]);
    // More than half are down: without the threshold of 0 Envoy would spread over all. Drained ones
    // do not count for it.
    drained.endpoints[0].health = Health::Down;
    drained.endpoints[1].health = Health::Down;
    fixture.push("3", drained).await;
    fixture.leave(1).await;
    fixture.envoy.requests(300).await;
    assert_eq!(fixture.take(), [0, 0, 300]);
    fixture.push("4", web(&fixture.backends, &[1, 1, 1])).await;
    fixture.envoy.requests(300).await;
    assert_shares(&fixture.take(), &[1, 1, 1]);
}

#[tokio::test]
async fn a_drain_gets_no_request_in_state_of_the_world() {
    a_drain_gets_no_request(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn a_drain_gets_no_request_in_delta() {
    a_drain_gets_no_request(Protocol::Delta).await;
}

async fn a_changed_cluster_does_not_wait_for_endpoints(protocol: Protocol) {
    let fixture = Fixture::start(protocol, &[2, 1]).await;
    for version in 2..=6 {
        let mut changed = web(&fixture.backends, &[2, 1]);
        changed.connect_timeout = Duration::from_millis(500 + version);
        changed.circuit_breaker.max_requests = Some(version as u32 * 100);
        fixture.push(&version.to_string(), changed).await;
        let changes = fixture.envoy.stat("cluster_manager.cluster_modified").await;
        assert_eq!(changes, version - 1, "Envoy did not take it for a change");
        // Envoy acknowledges a cluster when it is warm. Without endpoints it is so after the
        // fetch timeout, which counts.
        assert_eq!(fixture.envoy.stat("cluster_manager.warming_clusters").await, 0);
        assert_eq!(fixture.envoy.stat("cluster.web.init_fetch_timeout").await, 0);
    }
    fixture.envoy.requests(30).await;
    assert_shares(&fixture.take(), &[2, 1]);
}

#[tokio::test]
async fn a_changed_cluster_does_not_wait_for_endpoints_in_state_of_the_world() {
    a_changed_cluster_does_not_wait_for_endpoints(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn a_changed_cluster_does_not_wait_for_endpoints_in_delta() {
    a_changed_cluster_does_not_wait_for_endpoints(Protocol::Delta).await;
}

async fn a_rejection_is_reported_and_the_last_good_state_stays(protocol: Protocol) {
    let fixture = Fixture::start(protocol, &[1, 1]).await;
    // An address that this host does not have: only Envoy can know.
    let mut bad = fixture.snapshot("2", web(&fixture.backends, &[1, 1]));
    let foreign = Ipv4Addr::new(192, 0, 2, 1);
    bad.listeners.push(Listener { name: "foreign".into(), ..front(foreign, "web") });
    fixture.running.publish(bad);
    let rejected = fixture.running.server.confirm("2", PATIENCE).await;
    let Confirmation::Rejected { node_id, kind, nack, .. } = rejected else {
        panic!("not rejected: {rejected:?}")
    };
    assert_eq!((node_id.as_str(), kind, nack.version.as_str()), ("edge-1", Kind::Listener, "2"));
    assert_eq!(nack.code, 13, "{}", nack.message);
    fixture.envoy.requests(20).await;
    assert_shares(&fixture.take(), &[1, 1]);
    assert_eq!(fixture.running.server.metrics().nacks, 1, "it was sent again");
    fixture.push("3", web(&fixture.backends, &[3, 1])).await;
    fixture.envoy.requests(400).await;
    assert_shares(&fixture.take(), &[3, 1]);
    assert_eq!(fixture.running.server.metrics().nacks, 1);
}

#[tokio::test]
async fn a_rejection_is_reported_and_the_last_good_state_stays_in_state_of_the_world() {
    a_rejection_is_reported_and_the_last_good_state_stays(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn a_rejection_is_reported_and_the_last_good_state_stays_in_delta() {
    a_rejection_is_reported_and_the_last_good_state_stays(Protocol::Delta).await;
}

async fn without_a_server_envoy_goes_on_and_comes_back(protocol: Protocol) {
    let Fixture { running, backends, envoy } = Fixture::start(protocol, &[9, 1]).await;
    let address = running.address;
    running.stop().await;
    envoy.requests(500).await;
    let hits: Vec<u64> = backends.iter().map(Backend::take).collect();
    assert_shares(&hits, &[9, 1]);
    let running = Running::at(Settings::default(), address).await;
    let fixture = Fixture { running, backends, envoy };
    fixture.push("after", web(&fixture.backends, &[1, 9])).await;
    fixture.envoy.requests(500).await;
    assert_shares(&fixture.take(), &[1, 9]);
    assert_eq!(fixture.running.server.metrics().nacks, 0);
    assert_eq!(fixture.envoy.stat("cluster.web.init_fetch_timeout").await, 0);
}

#[tokio::test]
async fn without_a_server_envoy_goes_on_and_comes_back_in_state_of_the_world() {
    without_a_server_envoy_goes_on_and_comes_back(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn without_a_server_envoy_goes_on_and_comes_back_in_delta() {
    without_a_server_envoy_goes_on_and_comes_back(Protocol::Delta).await;
}

/// Requests without a pause until told to stop; returns how many, all answered.
async fn under_load<T>(envoy: &Envoy, work: impl Future<Output = T>) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let load = async {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            envoy.request().await.expect("an answer");
            count += 1;
        }
        count
    };
    let work = async {
        work.await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, work).0
}

async fn a_thousand_pushes_fail_no_request(protocol: Protocol) {
    let fixture = Fixture::start(protocol, &[100, 50, 10]).await;
    let pushes = async {
        for version in 2..1_002_u32 {
            let mut changed = web(&fixture.backends, &[1 + version % 100, 50, 10]);
            changed.endpoints[1].health =
                if version % 10 == 0 { Health::Drain } else { Health::Ready };
            // Some of them change the cluster too.
            changed.circuit_breaker.max_requests = Some(1_000 + version / 100);
            fixture.push(&version.to_string(), changed).await;
        }
    };
    let count = under_load(&fixture.envoy, pushes).await;
    assert!(count > 100, "only {count} requests");
    let metrics = fixture.running.server.metrics();
    assert_eq!((metrics.nacks, metrics.snapshots), (0, 1_001));
    assert_eq!(fixture.envoy.stat("cluster.web.init_fetch_timeout").await, 0);
}

#[tokio::test]
async fn a_thousand_pushes_fail_no_request_in_state_of_the_world() {
    a_thousand_pushes_fail_no_request(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn a_thousand_pushes_fail_no_request_in_delta() {
    a_thousand_pushes_fail_no_request(Protocol::Delta).await;
}

async fn moving_to_another_cluster_fails_no_request(protocol: Protocol) {
    let fixture = Fixture::start(protocol, &[1]).await;
    let moves = async {
        for version in 2..42_u32 {
            let name = format!("web-{version}");
            let next = Cluster { name: name.clone(), ..web(&fixture.backends, &[1]) };
            let listener = front(fixture.envoy.address, &name);
            let version = version.to_string();
            fixture.running.publish(snapshot(&version, &[next], &[listener]));
            fixture.confirmed(&version).await;
        }
    };
    assert!(under_load(&fixture.envoy, moves).await > 40);
    // The server's own, and the newest.
    assert_eq!(fixture.envoy.stat("cluster_manager.active_clusters").await, 2);
}

#[tokio::test]
async fn moving_to_another_cluster_fails_no_request_in_state_of_the_world() {
    moving_to_another_cluster_fails_no_request(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn moving_to_another_cluster_fails_no_request_in_delta() {
    moving_to_another_cluster_fails_no_request(Protocol::Delta).await;
}

/// An Envoy with a cluster and a listener of its own.
fn own(mut bootstrap: Value, address: Ipv4Addr) -> Value {
    let resources = bootstrap["dynamic_resources"].as_object_mut().expect("an object");
    resources.retain(|key, _| key == "ads_config");
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("a list");
    clusters.push(example(1));
    let manager =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "web"}});
    let listener = json!({
        "name": "own",
        "address": {"socket_address": {"address": address.to_string(), "port_value": PORT}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": format!("type.googleapis.com/{manager}"),
            "stat_prefix": "own",
            "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
            "route_config": {
                "virtual_hosts": [{"name": "own", "domains": ["*"], "routes": [route]}],
            },
        }}]}],
    });
    bootstrap["static_resources"]["listeners"] = json!([listener]);
    bootstrap
}

async fn an_own_cluster_takes_endpoints_alone(protocol: Protocol) {
    let running = Running::start(Settings::default()).await;
    let backends = vec![Backend::http().await, Backend::http().await, Backend::http().await];
    running.publish(snapshot("1", &[web(&backends, &[100, 50, 10])], &[]));
    let address = own_address();
    let envoy = Envoy::with(&own(bootstrap(running.address, protocol), address), address).await;
    let fixture = Fixture { running, backends, envoy };
    fixture.confirmed("1").await;
    fixture.take();
    fixture.envoy.requests(500).await;
    assert_shares(&fixture.take(), &[100, 50, 10]);
    let mut drained = web(&fixture.backends, &[1, 1, 1]);
    drained.endpoints[0].health = Health::Drain;
    drained.endpoints[1].health = Health::Drain;
    fixture.running.publish(snapshot("2", &[drained], &[]));
    fixture.confirmed("2").await;
    fixture.leave(0).await;
    fixture.leave(1).await;
    fixture.envoy.requests(100).await;
    assert_eq!(fixture.take(), [0, 0, 100]);
    let asked: Vec<_> =
        fixture.running.server.clients()[0].kinds.iter().map(|one| one.kind).collect();
    assert_eq!(asked, [Kind::Endpoint]);
    assert_eq!(fixture.envoy.stat("cluster.web.init_fetch_timeout").await, 0);
}

#[tokio::test]
async fn an_own_cluster_takes_endpoints_alone_in_state_of_the_world() {
    an_own_cluster_takes_endpoints_alone(Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn an_own_cluster_takes_endpoints_alone_in_delta() {
    an_own_cluster_takes_endpoints_alone(Protocol::Delta).await;
}
