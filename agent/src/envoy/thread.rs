//! The thread of everything that talks to balancers and their backends over sockets without being asked for it by a collector.
//!
//! One thread with one event loop, because none of it computes: watches of Envoys, xDS servers, utilisations of backends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::board::Envoy;
use super::watch::Watch;
use crate::orca::{Orca, Utilizations};
use crate::steer::outbox::Outbox;

/// Time between two readings of the thread's own processor time.
const CPU_PERIOD: Duration = Duration::from_secs(1);
/// Stack of the thread. Only what is touched becomes resident.
const STACK_BYTES: usize = 1024 * 1024;
/// How long the end waits for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Work that goes on until it is dropped.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Processor time that the thread has spent, in nanoseconds. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct SpentCpu(Arc<AtomicU64>);

/// What is to be done.
pub struct BalancerParts {
    /// Envoys to be watched.
    pub envoys: Vec<Envoy>,
    /// Backends that are asked for their utilisation.
    pub orca: Vec<Orca>,
    /// What they say.
    pub utilizations: Utilizations,
    /// Further work: xDS servers.
    pub tasks: Vec<Task>,
    /// Where reports go.
    pub outbox: Arc<Outbox>,
    /// Where the processor time is counted.
    pub cpu: SpentCpu,
}

/// The thread.
#[derive(Debug)]
pub struct Balancers {
    stop: CancellationToken,
    stopped: Option<oneshot::Receiver<()>>,
}

impl SpentCpu {
    /// Since the thread was started.
    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Balancers {
    /// Starts the thread; none where there is nothing to do.
    ///
    /// # Errors
    /// When the system refuses a thread or an event loop.
    pub fn start(parts: BalancerParts) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        if parts.envoys.is_empty() && parts.orca.is_empty() && parts.tasks.is_empty() {
            return Ok(Self { stop, stopped: None });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()?;
        let (alive, stopped) = oneshot::channel();
        let stopping = stop.clone();
        let thread = std::thread::Builder::new().name("balancers".to_owned());
        thread.stack_size(STACK_BYTES).spawn(move || {
            runtime.block_on(work(parts, stopping));
            runtime.shutdown_background();
            // Nobody may wait any more.
            let _ = alive.send(());
        })?;
        Ok(Self { stop, stopped: Some(stopped) })
    }

    /// Lets it work until `drain` is cancelled.
    pub async fn run(self, drain: CancellationToken) {
        drain.cancelled().await;
        self.stop.cancel();
        if let Some(stopped) = self.stopped {
            // One that hangs is left behind.
            let _ = timeout(STOP_TIMEOUT, stopped).await;
        }
    }
}

async fn work(parts: BalancerParts, stop: CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    for envoy in parts.envoys {
        let watch = Watch::new(envoy, Arc::clone(&parts.outbox), parts.utilizations.clone());
        tasks.spawn(Box::pin(watch.run()) as Task);
    }
    for orca in parts.orca {
        tasks.spawn(Box::pin(orca.run(parts.utilizations.clone())) as Task);
    }
    for task in parts.tasks {
        tasks.spawn(task);
    }
    let mut ticks = interval(CPU_PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                let time = clock_gettime(ClockId::ThreadCPUTime);
                let spent = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
                parts.cpu.0.store(spent.as_nanos() as u64, Ordering::Relaxed);
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of balancers has ended");
                }
            }
        }
    }
}
