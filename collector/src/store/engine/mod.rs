//! The embedded engine: a real ClickHouse as a child process, serving HTTP on a loopback port, its data under the collector's data directory.
//!
//! ```text
//! Engine::start -> lock directory -> write configuration -> start process -> wait for an answer
//! supervisor:   process ends -> wait (backoff) -> start on the same port with the same password
//! Engine::stop -> close the pipe -> wait -> SIGTERM -> SIGKILL
//! ```
//!
//! The port and the password stay the same over restarts, so clients made once go on working. The password is drawn at each start of the collector
//! and kept in memory; the engine's files hold its hash.

mod fetch;
mod files;
mod package;
mod process;
mod progress;
pub mod run;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flyball_model::backoff::Backoff;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::fetch::fetch;
use self::files::{EngineDir, USER};
pub use self::package::{LIBRARY, PACKAGES, Package, VERSION, directory};
use self::process::{EngineProcess, Program};
use super::client::Endpoint;
use super::config::{EngineSettings, Secret, StoreConfig};
use super::error::StoreError;
use super::hex;
use super::metrics::StoreMetrics;

/// Time for the engine of a collector that was killed to leave the directory.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(15);
/// From SIGTERM to SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(3);
const RESTART_FLOOR: Duration = Duration::from_millis(100);
const RESTART_CAP: Duration = Duration::from_secs(30);
/// An engine that ran this long counts as healthy: the next restart waits shortest again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// A running, supervised engine. Dropping it stops the engine at once; [`Engine::stop`] does so in order.
#[derive(Debug)]
pub struct Engine {
    endpoint: Endpoint,
    state: watch::Receiver<EngineState>,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

/// How the engine is, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineState {
    /// Whether it answers.
    pub up: bool,
    /// Process id while it is up.
    pub pid: Option<u32>,
    /// Times that it was started again.
    pub restarts: u64,
    /// Why it is down, or last went down; empty when it never did.
    pub reason: String,
    /// Since when it is as it is, milliseconds since the Unix epoch.
    pub since_ms: i64,
}

impl Engine {
    /// Starts the engine and waits until it answers. From then on it is started again whenever it ends.
    ///
    /// # Errors
    /// When it is not there, its directory is in use or not writable, the port is taken, or it does not start; also when `shutdown` is cancelled first.
    pub async fn start(
        config: &StoreConfig,
        metrics: &StoreMetrics,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        let collector = config.program.clone().map_or_else(own_program, Ok)?;
        let program = Program::find(&config.engine, &collector).await?;
        let start = async {
            let dir = lock(&super::engine_dir(config)).await?;
            let password = Secret::new(random_text());
            dir.configure(config.engine.memory_bytes, &password)?;
            let port = free_port(&config.engine)?;
            let url = format!("http://127.0.0.1:{port}");
            let endpoint = Endpoint { url, user: USER.to_owned(), password };
            let process = EngineProcess::start(&program, &dir, port, &endpoint).await?;
            Ok::<_, StoreError>((dir, port, endpoint, process))
        };
        let (dir, port, endpoint, process) = tokio::select! {
            started = start => started?,
            () = shutdown.cancelled() => {
                return Err(StoreError::EngineStart { reason: "interrupted".to_owned() });
            }
        };
        tracing::info!(
            url = endpoint.url,
            pid = process.pid(),
            ?program,
            "the embedded engine answers"
        );
        let (sender, state) = watch::channel(EngineState::up(&process, 0, String::new()));
        metrics.engine_up.set(1);
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            program,
            dir,
            port,
            endpoint: endpoint.clone(),
            state: sender,
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        let supervisor = tokio::spawn(supervisor.run(process));
        Ok(Self { endpoint, state, stop, supervisor })
    }

    /// Where it listens and who may ask; the same for as long as this value lives.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How it is now, and a way to wait for changes.
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.state.clone()
    }

    /// Stops the engine and waits until it is gone, 4 s at most. Stop inserting first.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.supervisor).await {
            tracing::error!(%error, "the engine's supervisor failed");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl EngineState {
    fn up(process: &EngineProcess, restarts: u64, reason: String) -> Self {
        Self { up: true, pid: process.pid(), restarts, reason, since_ms: now_ms() }
    }

    fn down(restarts: u64, reason: String) -> Self {
        Self { up: false, pid: None, restarts, reason, since_ms: now_ms() }
    }
}

/// The task that owns the engine's process.
struct Supervisor {
    program: Program,
    dir: EngineDir,
    port: u16,
    endpoint: Endpoint,
    state: watch::Sender<EngineState>,
    metrics: StoreMetrics,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(self, mut process: EngineProcess) {
        let mut backoff =
            Backoff::new(RESTART_FLOOR, RESTART_CAP).expect("the floor is below the cap");
        loop {
            let started = Instant::now();
            let status = tokio::select! {
                status = process.ended() => status,
                () = self.stop.cancelled() => {
                    process.stop(STOP_GRACE).await;
                    self.metrics.engine_up.set(0);
                    tracing::info!("the embedded engine has stopped");
                    return;
                }
            };
            if started.elapsed() >= HEALTHY_AFTER {
                backoff.reset();
            }
            let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
            let reason = format!("ended with {status}: {}", self.dir.last_error());
            match self.restart(&mut backoff, reason).await {
                Some(next) => process = next,
                None => return,
            }
        }
    }

    /// Tries until the engine answers again; `None` when told to stop meanwhile.
    async fn restart(&self, backoff: &mut Backoff, mut reason: String) -> Option<EngineProcess> {
        loop {
            let restarts = self.state.borrow().restarts + 1;
            self.metrics.engine_up.set(0);
            self.metrics.engine_restarts.inc();
            let delay = backoff.next_delay(rand::random());
            tracing::error!(
                reason,
                restarts,
                delay_ms = delay.as_millis() as u64,
                "the embedded engine is down"
            );
            self.state.send_replace(EngineState::down(restarts, reason.clone()));
            let attempt = async {
                tokio::time::sleep(delay).await;
                EngineProcess::start(&self.program, &self.dir, self.port, &self.endpoint).await
            };
            let started = tokio::select! {
                started = attempt => started,
                () = self.stop.cancelled() => return None,
            };
            match started {
                Ok(process) => {
                    tracing::info!(
                        pid = process.pid(),
                        restarts,
                        "the embedded engine answers again"
                    );
                    self.metrics.engine_up.set(1);
                    self.state.send_replace(EngineState::up(&process, restarts, reason));
                    return Some(process);
                }
                Err(error) => reason = error.to_string(),
            }
        }
    }
}

/// Locks the directory, waiting for the engine of a collector that has died to leave it.
async fn lock(path: &std::path::Path) -> Result<EngineDir, StoreError> {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        if let Some(dir) = EngineDir::lock(path)? {
            return Ok(dir);
        }
        if Instant::now() > deadline {
            let holder = " that has ended, by its engine".to_owned();
            return Err(StoreError::DataDirInUse { path: path.to_owned(), holder });
        }
    }
}

/// The configured port if it is free, or else any that is. Another program may take it before the engine does; then the engine says so.
fn free_port(settings: &EngineSettings) -> Result<u16, StoreError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| StoreError::EngineStart {
        reason: format!("127.0.0.1:{}: {error}: choose another engine.port, or 0", settings.port),
    })
}

fn own_program() -> Result<PathBuf, StoreError> {
    std::env::current_exe().map_err(|source| StoreError::File {
        what: "find",
        path: PathBuf::from("/proc/self/exe"),
        source,
    })
}

fn random_text() -> String {
    let bytes: [u8; 24] = rand::random();
    hex::encode(&bytes)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
