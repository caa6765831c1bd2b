//! Requests at times that are fixed beforehand, to balancers that are drawn by chance.
//!
//! An open loop: times between requests are exponential whatever the answers do, and a request's latency counts from the time it was due. How late requests were
//! really sent is measured beside it, for a generator that is late measures itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::client::Pool;

/// A request that has no answer after this has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Rate while there are no requests: the schedule looks again after this.
const IDLE: Duration = Duration::from_millis(100);

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was due.
    pub due: Instant,
    /// Time from then until it was sent.
    pub late: Duration,
    /// Time from when it was due until it was answered or had failed.
    pub latency: Duration,
    /// Number of the balancer that it was sent to.
    pub balancer: u16,
    /// Number of the backend that has answered.
    pub backend: Option<u16>,
    /// Status code; `None` when no answer came.
    pub status: Option<u16>,
}

/// Clients that go on until this is dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    pools: Vec<Pool>,
    // Requests a second, in thousandths.
    rate: AtomicU64,
    rate_changed: Notify,
    sent: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

impl Sample {
    /// Answered, and well.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| (200..400).contains(&status))
    }
}

impl Load {
    /// Begins to send so many requests a second to these balancers.
    pub fn start(balancers: &[SocketAddr], per_second: f64, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            pools: balancers.iter().copied().map(Pool::new).collect(),
            rate: AtomicU64::new((per_second * 1e3) as u64),
            rate_changed: Notify::new(),
            sent: AtomicU64::new(0),
            samples: Mutex::new(Vec::new()),
        });
        let task = tokio::spawn(drive(Arc::clone(&shared), seed)).abort_handle();
        Self { shared, task }
    }

    /// Changes the rate; 0 is no requests.
    pub fn set_rate(&self, per_second: f64) {
        self.shared.rate.store((per_second * 1e3) as u64, Ordering::Relaxed);
        self.shared.rate_changed.notify_waiters();
    }

    /// Requests that were due in this time and have ended.
    pub fn samples(&self, from: Instant, to: Instant) -> Vec<Sample> {
        let samples = self.shared.samples.lock();
        let within = |sample: &&Sample| sample.due >= from && sample.due < to;
        samples.iter().filter(within).copied().collect()
    }

    /// Requests that were sent and have not ended.
    pub fn under_way(&self) -> u64 {
        let ended = self.shared.samples.lock().len() as u64;
        self.shared.sent.load(Ordering::Relaxed).saturating_sub(ended)
    }

    /// Requests that have ended.
    pub fn ended(&self) -> usize {
        self.shared.samples.lock().len()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn drive(shared: Arc<Shared>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    // Requests under way end with the schedule.
    let mut running = JoinSet::new();
    let mut due = Instant::now();
    loop {
        let rate = shared.rate.load(Ordering::Relaxed) as f64 / 1e3;
        if rate <= 0.0 {
            let _ = timeout(IDLE, shared.rate_changed.notified()).await;
            due = Instant::now();
            continue;
        }
        let gap: f64 = Exp1.sample(&mut random);
        due += Duration::from_secs_f64(gap / rate);
        sleep_until(due).await;
        let balancer = random.random_range(0..shared.pools.len());
        shared.sent.fetch_add(1, Ordering::Relaxed);
        running.spawn(one(Arc::clone(&shared), balancer, due));
        while running.try_join_next().is_some() {}
    }
}

async fn one(shared: Arc<Shared>, balancer: usize, due: Instant) {
    let late = due.elapsed();
    let answer = timeout(PATIENCE, shared.pools[balancer].ask()).await;
    let answer = answer.ok().and_then(Result::ok);
    let sample = Sample {
        due,
        late,
        latency: due.elapsed(),
        balancer: balancer as u16,
        backend: answer.as_ref().and_then(|answer| answer.backend),
        status: answer.map(|answer| answer.status),
    };
    shared.samples.lock().push(sample);
}
