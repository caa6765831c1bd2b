//! What the tests share: a server on a free port, snapshots, and waiting for a condition.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod backend;
pub(crate) mod process;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use flyball_xds::snapshot::{Bind, Cluster, Endpoint, Listener, Route};
use flyball_xds::{Server, Settings, Snapshot};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The longest that anything may take; nothing needs it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Batches of requests until a client has applied what it acknowledged; one or two are enough.
pub(crate) const BATCHES: usize = 100;

/// A server that runs.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::at(settings, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// On an address that may be in use for a moment longer.
    pub(crate) async fn at(settings: Settings, address: SocketAddr) -> Self {
        let listener = retry("listen", || async { TcpListener::bind(address).await.ok() }).await;
        let address = listener.local_addr().expect("an address");
        let (server, stop) = (Server::new(settings), CancellationToken::new());
        let (serving, stopped) = (server.clone(), stop.clone().cancelled_owned());
        let task =
            tokio::spawn(async move { serving.serve(listener, stopped).await.expect("it serves") });
        Self { server, address, stop, task }
    }

    /// Ends all streams and waits until the port is free.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.server.publish(snapshot).expect("a good snapshot");
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    retry(what, || std::future::ready(condition().then_some(()))).await;
}

/// Waits until there is a result.
pub(crate) async fn retry<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> T {
    let mut beat = tokio::time::interval(Duration::from_millis(3));
    let tries = async {
        loop {
            beat.tick().await;
            if let Some(result) = attempt().await {
                break result;
            }
        }
    };
    let result = tokio::time::timeout(PATIENCE, tries).await;
    result.unwrap_or_else(|_| panic!("waited too long: {what}"))
}

pub(crate) fn endpoint(port: u16, weight: u32) -> Endpoint {
    Endpoint::new(Ipv4Addr::LOCALHOST, port, weight)
}

/// A cluster with endpoints on ports of the loopback address.
pub(crate) fn cluster(name: &str, endpoints: &[(u16, u32)]) -> Cluster {
    Cluster::new(name, endpoints.iter().map(|(port, weight)| endpoint(*port, *weight)).collect())
}

/// A listener of gRPC clients.
pub(crate) fn api(name: &str, cluster: &str) -> Listener {
    Listener { name: name.into(), bind: Bind::Api, routes: vec![Route::all(cluster)] }
}

/// A listener of Envoy.
pub(crate) fn socket(name: &str, port: u16, cluster: &str) -> Listener {
    let bind = Bind::Socket { address: Ipv4Addr::LOCALHOST.into(), port };
    Listener { name: name.into(), bind, routes: vec![Route::all(cluster)] }
}

pub(crate) fn snapshot(version: &str, clusters: &[Cluster], listeners: &[Listener]) -> Snapshot {
    let (clusters, listeners) = (clusters.to_vec(), listeners.to_vec());
    Snapshot { version: version.into(), clusters, listeners }
}

/// An example of the documentation, by its number.
pub(crate) fn example(number: usize) -> serde_json::Value {
    let page = include_str!("../../../docs/xds.md");
    let block = page.split("```json\n").nth(number + 1).expect("an example");
    let text = block.split("```").next().expect("its end");
    serde_json::from_str(text).expect("an example in JSON")
}
