//! Opening the store, for as long as it takes.
//!
//! A collector that starts while its ClickHouse is away must neither exit, since then somebody would have to start it again, nor hang in silence. It listens,
//! `/healthz` is 200, `/readyz` says why it is not ready and since when, agents are told UNAVAILABLE, so that they keep their frames or go to another collector,
//! and every few seconds it tries again. What waiting does not mend (a wrong password, a schema of another version) ends it at once, with the reason.
//!
//! The embedded engine is a part of this process' own work: when it does not start, that is an error.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{CLOSE, Error, servers, write_endpoints};
use crate::api::Readiness;
use crate::config::Config;
use crate::store::{self, OpenStore, StoreError, StoreMetrics};

/// A start that takes longer than this is explained to those who ask.
const QUIET: Duration = Duration::from_secs(3);
const RETRY_FLOOR: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(5);

/// What opening the store needs and tells.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pub(super) config: &'a Config,
    pub(super) metrics: &'a StoreMetrics,
    pub(super) readiness: &'a Readiness,
    /// HTTP and gRPC.
    pub(super) listeners: (&'a TcpListener, &'a TcpListener),
    pub(super) addresses: &'a BTreeMap<&'static str, SocketAddr>,
}

/// The servers that say that the store is not open yet.
#[derive(Debug)]
struct Waiting {
    end: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Opening<'_> {
    /// Opens the store. `None` when told to stop meanwhile.
    pub(super) async fn run(
        &self,
        shutdown: &CancellationToken,
    ) -> Result<Option<OpenStore>, Error> {
        if !self.config.clickhouse.is_external() {
            let opened = store::open(&self.config.store(), self.metrics, shutdown.clone()).await;
            return match opened {
                // Whoever stops a collector that is still starting gets what was asked for.
                Err(_) if shutdown.is_cancelled() => Ok(None),
                opened => Ok(Some(opened?)),
            };
        }
        let mut waiting = None;
        let opened = tokio::select! {
            opened = self.until_open(&mut waiting, shutdown) => opened.map(Some),
            () = shutdown.cancelled() => Ok(None),
        };
        if let Some(waiting) = waiting {
            waiting.end().await;
        }
        opened
    }

    async fn until_open(
        &self,
        waiting: &mut Option<Waiting>,
        shutdown: &CancellationToken,
    ) -> Result<OpenStore, Error> {
        let (config, started) = (self.config.store(), Instant::now());
        let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CAP).expect("0 < floor <= cap");
        let mut last = None;
        loop {
            let mut attempt = pin!(store::open(&config, self.metrics, shutdown.clone()));
            let opened = tokio::select! {
                opened = &mut attempt => opened,
                () = sleep(QUIET), if waiting.is_none() => {
                    self.wait(waiting, "the store is being opened".to_owned())?;
                    attempt.await
                }
            };
            let error = match opened {
                Ok(opened) => {
                    if last.is_some() {
                        let waited_ms = started.elapsed().as_millis() as u64;
                        tracing::info!(waited_ms, "clickhouse is there");
                    }
                    return Ok(opened);
                }
                Err(error) if error.is_passing() => error,
                Err(error) => return Err(error.into()),
            };
            self.failed(waiting, &mut last, &error)?;
            sleep(backoff.next_delay(rand::random())).await;
        }
    }

    /// Tells everybody why the store is not open.
    fn failed(
        &self,
        waiting: &mut Option<Waiting>,
        last: &mut Option<String>,
        error: &StoreError,
    ) -> Result<(), Error> {
        let error = error.to_string();
        if last.as_ref() != Some(&error) {
            tracing::warn!(error, "clickhouse is away, waiting for it");
        }
        *last = Some(error.clone());
        self.wait(waiting, error)
    }

    fn wait(&self, waiting: &mut Option<Waiting>, reason: String) -> Result<(), Error> {
        self.readiness.report("clickhouse", Err(reason));
        if waiting.is_none() {
            *waiting = Some(Waiting::start(self.listeners, self.readiness)?);
            write_endpoints(&self.config.data_dir(), self.addresses)?;
            let (http, grpc) = (self.addresses["http"], self.addresses["grpc"]);
            tracing::info!(%http, %grpc, "answering that the store is not open yet");
        }
        Ok(())
    }
}

impl Waiting {
    fn start(
        (http, grpc): (&TcpListener, &TcpListener),
        readiness: &Readiness,
    ) -> io::Result<Self> {
        let end = CancellationToken::new();
        let http = servers::waiting_http(twin(http)?, readiness.clone(), end.clone());
        let grpc = servers::waiting_grpc(twin(grpc)?, end.clone());
        Ok(Self { end, tasks: [tokio::spawn(http), tokio::spawn(grpc)] })
    }

    /// Ends both servers. Connections that wait to be accepted stay for those that follow.
    async fn end(self) {
        self.end.cancel();
        for mut task in self.tasks {
            if timeout(CLOSE, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Another handle on the same listening socket.
fn twin(listener: &TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener.as_fd().try_clone_to_owned()?.into())
}
