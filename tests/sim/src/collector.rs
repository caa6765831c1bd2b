//! A simulated collector: the real ingest behind the real gRPC server, on the simulated network and before the model of the store.
//!
//! A kill cuts it off from both at once, so nothing that its tasks still do can be seen; then they are stopped, because tasks of one runtime cannot be
//! killed like a process.

use std::sync::Arc;
use std::time::Duration;

use flyball_collector::account::Accounts;
use flyball_collector::ingest::{Ingest, IngestMetrics, IngestParts, IngestSettings};
use flyball_collector::live::Live;
use flyball_collector::run::grpc_server;
use flyball_collector::store::Catalog;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::net::{Cut, Network};
use crate::store::Database;
use crate::trace;

/// Most series of a collector.
const MAX_SERIES: usize = 100_000;
const MAX_NODES: usize = 100;
const RETENTION_DAYS: u32 = 30;

/// A collector on its host; its process comes and goes.
pub(crate) struct Collector {
    pub(crate) name: String,
    settings: IngestSettings,
    network: Network,
    database: Database,
    process: Option<Process>,
    /// The process that was told to stop last.
    ending: Option<Ending>,
}

/// A process that stops in order, unless a kill comes first.
struct Ending {
    killed: CancellationToken,
    /// It is gone from the network: what comes under its name is another process.
    over: CancellationToken,
}

/// One process.
struct Process {
    ingest: Ingest,
    registry: Registry,
    killed: CancellationToken,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
    live: JoinHandle<()>,
}

impl Collector {
    pub(crate) fn new(
        name: String,
        settings: IngestSettings,
        network: Network,
        database: Database,
    ) -> Self {
        Self { name, settings, network, database, process: None, ending: None }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts a process. False when the database does not answer.
    pub(crate) fn start(&mut self) -> bool {
        let Some(series) = self.database.load_series() else { return false };
        let catalog = Arc::new(Catalog::new(MAX_SERIES));
        for row in series {
            catalog.load(row);
        }
        let (live, metrics) = (Live::new(MAX_NODES), IngestMetrics::new(MAX_NODES));
        let mut registry = Registry::with_prefix("flyball");
        metrics.register(&mut registry);
        let parts = IngestParts {
            name: self.name.clone(),
            settings: self.settings.clone(),
            retention_days: RETENTION_DAYS,
            accounts: Accounts::new(live.clone(), MAX_NODES),
            live: live.clone(),
            catalog,
            metrics,
        };
        let (killed, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let ingest = Ingest::start_with(parts, self.database.client(&self.name, killed.clone()));
        let incoming = self.network.listen(&self.name);
        let router = grpc_server().add_service(ingest.service().into_server());
        let ending = shutdown.clone();
        let server = tokio::spawn(async move {
            let stop = ending.cancelled_owned();
            // It can only fail to accept, which this network does not do.
            let _ = router.serve_with_incoming_shutdown(incoming, stop).await;
        });
        let ending = shutdown.clone();
        let live = tokio::spawn(async move { live.run(ending).await });
        trace::line(&self.name, "starts");
        self.process = Some(Process { ingest, registry, killed, shutdown, server, live });
        true
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self, cut: Cut) {
        if let Some(ending) = self.ending.take()
            && !ending.over.is_cancelled()
        {
            ending.over.cancel();
            ending.killed.cancel();
            self.network.crash(&self.name, cut);
            trace::line(&self.name, "is dead before it has stopped");
        }
        let Some(process) = self.process.take() else { return };
        process.killed.cancel();
        self.network.crash(&self.name, cut);
        trace::line(&self.name, "is dead");
        process.server.abort();
        process.live.abort();
        tokio::spawn(async move {
            process.ingest.stop(std::future::ready(())).await;
        });
    }

    /// Stops in order, as `run` does it.
    pub(crate) fn stop(&mut self, patience: Duration) {
        let Some(process) = self.process.take() else { return };
        let (network, name) = (self.network.clone(), self.name.clone());
        let over = CancellationToken::new();
        self.ending = Some(Ending { killed: process.killed.clone(), over: over.clone() });
        tokio::spawn(async move {
            let drained = process.ingest.stop(sleep(patience)).await;
            process.shutdown.cancel();
            process.killed.cancel();
            process.server.abort();
            if over.is_cancelled() {
                return;
            }
            over.cancel();
            network.crash(&name, Cut::AfterDelivery);
            trace::line(&name, format_args!("has stopped, drained: {drained}"));
        });
    }

    /// What it says of itself that cannot be.
    pub(crate) fn check(&self, broken: &mut Vec<String>) {
        let Some(process) = &self.process else { return };
        let health = process.ingest.health();
        if health.rows > self.settings.max_rows_in_flight {
            broken.push(format!("{} holds {} rows", self.name, health.rows));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &process.registry)
            .expect("a String takes any text");
        broken.extend(accounts(&text).into_iter().map(|text| format!("{}: {text}", self.name)));
    }
}

/// Accounts of nodes that do not add up.
fn accounts(metrics: &str) -> Vec<String> {
    let value = |name: &str, node: &str| {
        let prefix = format!("flyball_ingest_samples_{name}{{node=\"{node}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&prefix)?.parse::<i64>().ok())
    };
    let mut broken = Vec::new();
    let received = "flyball_ingest_samples_received_total{node=\"";
    for node in metrics.lines().filter_map(|line| line.strip_prefix(received)?.split('"').next()) {
        let [received, stored, rejected, in_flight] =
            ["received_total", "stored_total", "rejected_total", "in_flight"]
                .map(|name| value(name, node).unwrap_or_default());
        if received != stored + rejected + in_flight || in_flight < 0 {
            broken.push(format!(
                "{node}: {received} received, {stored} stored, {rejected} rejected, {in_flight} in flight"
            ));
        }
    }
    broken
}
