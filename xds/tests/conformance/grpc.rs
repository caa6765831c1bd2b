//! The gRPC library of C++, Python and others, by its Python client.

use std::process::Stdio;

use flyball_xds::snapshot::{Cluster, Health, Policy};
use flyball_xds::{Confirmation, Settings};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::support::backend::{Backend, assert_shares};
use crate::support::process::{Process, tool};
use crate::support::{BATCHES, PATIENCE, Running, api, cluster, example, snapshot};

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

struct Client {
    _process: Process,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(server: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let bootstrap = directory.path().join("bootstrap.json");
        let mut config = example(2);
        config["xds_servers"][0]["server_uri"] = json!(server);
        std::fs::write(&bootstrap, config.to_string()).expect("a file");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/client.py");
        let mut command = Command::new(tool("python"));
        command.arg(script).arg(METHOD).env("GRPC_XDS_BOOTSTRAP", bootstrap);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(directory, &mut command);
        let orders = process.child.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.child.stdout.take().expect("a pipe")).lines();
        Self { _process: process, orders, answers }
    }

    /// Makes calls, all of which must be answered.
    async fn calls(&mut self, count: u64) {
        self.orders.write_all(format!("{count}\n").as_bytes()).await.expect("it reads");
        let answer = tokio::time::timeout(PATIENCE, self.answers.next_line()).await;
        let answer = answer.expect("an answer").expect("a line").expect("the client ended");
        assert_eq!(answer.trim(), format!("{count} 0"));
    }
}

struct Fixture {
    running: Running,
    backends: Vec<Backend>,
    client: Client,
}

/// Weights on localities: this client ignores those of endpoints.
fn echo(backends: &[Backend], weights: &[u32]) -> Cluster {
    let ports: Vec<_> =
        backends.iter().zip(weights).map(|(backend, weight)| (backend.port, *weight)).collect();
    Cluster { locality_per_endpoint: true, http2: true, ..cluster("echo", &ports) }
}

impl Fixture {
    async fn start(weights: &[u32]) -> Self {
        let running = Running::start(Settings::default()).await;
        let mut backends = Vec::new();
        for _ in weights {
            backends.push(Backend::grpc().await);
        }
        let cluster = echo(&backends, weights);
        running.publish(snapshot("1", &[cluster], &[api("echo", "echo")]));
        let client = Client::start(&running.address.to_string());
        let mut fixture = Self { running, backends, client };
        fixture.client.calls(1).await;
        fixture.confirmed("1").await;
        fixture.warm().await;
        fixture
    }

    /// Calls until every backend that gets any has a connection: before, the others get its share.
    async fn warm(&mut self) {
        for _ in 0..BATCHES {
            self.client.calls(100).await;
            if self.take().iter().all(|hits| *hits > 0) {
                return;
            }
        }
        panic!("an endpoint gets no call");
    }

    async fn confirmed(&self, version: &str) {
        let confirmed = self.running.server.confirm(version, PATIENCE).await;
        assert_eq!(confirmed, Confirmation::Acknowledged { clients: 1 });
    }

    async fn push(&self, version: &str, cluster: Cluster) {
        self.running.publish(snapshot(version, &[cluster], &[api("echo", "echo")]));
        self.confirmed(version).await;
    }

    /// Calls until one endpoint gets none: the client acknowledges before it applies.
    async fn leave(&mut self, endpoint: usize) {
        self.take();
        for _ in 0..BATCHES {
            // So many that an endpoint which is still drawn from hardly gets none of them.
            self.client.calls(60).await;
            if self.take()[endpoint] == 0 {
                return;
            }
        }
        panic!("endpoint {endpoint} still gets requests");
    }

    /// Calls until one endpoint gets more than another: the client acknowledges before it applies.
    async fn prefer(&mut self, endpoint: usize, to: usize) {
        self.take();
        for _ in 0..BATCHES {
            self.client.calls(50).await;
            let got = self.take();
            if got[endpoint] > got[to] {
                return;
            }
        }
        panic!("endpoint {to} still gets more than {endpoint}");
    }

    fn take(&self) -> Vec<u64> {
        self.backends.iter().map(Backend::take).collect()
    }
}

#[tokio::test]
async fn weights_on_localities_are_followed() {
    let weights = [100, 50, 10];
    let mut fixture = Fixture::start(&weights).await;
    fixture.client.calls(1_000).await;
    assert_shares(&fixture.take(), &weights);
    let swapped = [10, 50, 100];
    fixture.push("2", echo(&fixture.backends, &swapped)).await;
    fixture.prefer(2, 0).await;
    fixture.client.calls(1_000).await;
    assert_shares(&fixture.take(), &swapped);
    let client = &fixture.running.server.clients()[0];
    assert_eq!(client.node_id, "client-1");
    assert!(client.user_agent.starts_with("gRPC C-core"), "{}", client.user_agent);
    assert_eq!(fixture.running.server.metrics().nacks, 0);
}

#[tokio::test]
async fn weights_on_endpoints_are_ignored_by_this_client() {
    let mut fixture = Fixture::start(&[1, 1]).await;
    let mut cluster = echo(&fixture.backends, &[9, 1]);
    cluster.locality_per_endpoint = false;
    fixture.push("2", cluster).await;
    fixture.warm().await;
    fixture.client.calls(500).await;
    assert_shares(&fixture.take(), &[1, 1]);
}

#[tokio::test]
async fn a_drain_gets_no_call() {
    let mut fixture = Fixture::start(&[1, 1, 1]).await;
    let mut drained = echo(&fixture.backends, &[1, 1, 1]);
    drained.endpoints[0].health = Health::Drain;
    fixture.push("2", drained.clone()).await;
    fixture.leave(0).await;
    fixture.client.calls(300).await;
    assert_shares(&fixture.take(), &[0, 1, 1]);
    drained.endpoints[1].health = Health::Down;
    fixture.push("3", drained).await;
    fixture.leave(1).await;
    fixture.client.calls(300).await;
    assert_eq!(fixture.take(), [0, 0, 300]);
}

#[tokio::test]
async fn a_policy_that_is_not_known_falls_back_to_round_robin() {
    let mut fixture = Fixture::start(&[1, 1]).await;
    let mut cluster = echo(&fixture.backends, &[1, 1]);
    (cluster.locality_per_endpoint, cluster.policy) = (false, Policy::LeastRequest { choices: 2 });
    fixture.push("2", cluster).await;
    fixture.warm().await;
    fixture.client.calls(200).await;
    assert_shares(&fixture.take(), &[1, 1]);
    assert_eq!(fixture.running.server.metrics().nacks, 0);
}

#[tokio::test]
async fn without_a_server_the_client_goes_on_and_comes_back() {
    let Fixture { running, backends, mut client } = Fixture::start(&[9, 1]).await;
    let address = running.address;
    running.stop().await;
    client.calls(500).await;
    let hits: Vec<u64> = backends.iter().map(Backend::take).collect();
    assert_shares(&hits, &[9, 1]);
    let running = Running::at(Settings::default(), address).await;
    let mut fixture = Fixture { running, backends, client };
    fixture.push("after", echo(&fixture.backends, &[1, 9])).await;
    fixture.prefer(1, 0).await;
    fixture.client.calls(500).await;
    assert_shares(&fixture.take(), &[1, 9]);
}

#[tokio::test]
async fn a_thousand_pushes_fail_no_call() {
    let Fixture { running, backends, mut client } = Fixture::start(&[100, 50, 10]).await;
    let load = async {
        while running.server.snapshot().unwrap().version != "1001" {
            client.calls(20).await;
        }
    };
    let pushes = async {
        for version in 2..1_002_u32 {
            let mut changed = echo(&backends, &[1 + version % 100, 50, 10]);
            changed.endpoints[1].health =
                if version % 10 == 0 { Health::Drain } else { Health::Ready };
            changed.circuit_breaker.max_requests = Some(1_000 + version / 100);
            let version = version.to_string();
            running.publish(snapshot(&version, &[changed], &[api("echo", "echo")]));
            let confirmed = running.server.confirm(&version, PATIENCE).await;
            assert_eq!(confirmed, Confirmation::Acknowledged { clients: 1 });
        }
    };
    tokio::join!(load, pushes);
    assert_eq!(running.server.metrics().nacks, 0);
}

#[tokio::test]
async fn moving_to_another_cluster_fails_no_call() {
    let Fixture { running, backends, mut client } = Fixture::start(&[1]).await;
    let load = async {
        while running.server.snapshot().unwrap().version != "41" {
            client.calls(5).await;
        }
    };
    let moves = async {
        for version in 2..42_u32 {
            let name = format!("echo-{version}");
            let next = Cluster { name: name.clone(), ..echo(&backends, &[1]) };
            let version = version.to_string();
            running.publish(snapshot(&version, &[next], &[api("echo", &name)]));
            let confirmed = running.server.confirm(&version, PATIENCE).await;
            assert_eq!(confirmed, Confirmation::Acknowledged { clients: 1 });
        }
    };
    tokio::join!(load, moves);
}
