//! Backends of a known capacity: workers that each take a fixed time for a request, which others wait for in the order they came.
//!
//! A worker is a timer. Capacity can change while a backend serves: fewer workers, slower ones, a stall of all of them, requests that hang before they get one, or
//! failing at once without any work; the last two look idle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::wire::Wire;
use super::workers::Workers;

/// What utilisation an ORCA header tells is taken over.
const ORCA_WINDOW: Duration = Duration::from_millis(500);

/// Path of requests that ask how busy a backend is and are no work for it.
pub const PROBE: &str = "/load";

/// What a backend can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Requests that it serves at once.
    pub workers: usize,
    /// Time that a worker takes for one.
    pub service: Duration,
}

/// What a backend has done so far. The difference of two is what it did in between.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Requests that came.
    pub requests: u64,
    /// Of them those that were failed at once.
    pub failed: u64,
    /// Time that workers were at work, summed over workers.
    pub busy: Duration,
    /// Time that they could have been.
    pub capacity: Duration,
}

/// One backend, served by this process until it is dropped.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    service: Arc<Service>,
    _stop: DropGuard,
}

/// Backends in the order of their numbers.
#[derive(Debug)]
pub struct Backends(pub Vec<Backend>);

#[derive(Debug)]
struct Service {
    number: usize,
    workers: Arc<Workers>,
    serving_us: AtomicU64,
    stalled_until: Mutex<Instant>,
    is_failing: AtomicBool,
    is_hanging: watch::Sender<bool>,
    orca: Option<Mutex<Orca>>,
    requests: AtomicU64,
    failed: AtomicU64,
}

/// Utilisation over the last window that was whole.
#[derive(Debug)]
struct Orca {
    since: Instant,
    times: (Duration, Duration),
    told: f64,
}

impl Spec {
    /// So many workers of so many milliseconds.
    pub const fn new(workers: usize, service_ms: u64) -> Self {
        Self { workers, service: Duration::from_millis(service_ms) }
    }

    /// Requests a second that it can serve.
    pub fn capacity(&self) -> f64 {
        self.workers as f64 / self.service.as_secs_f64()
    }
}

impl Counts {
    /// Share of the capacity that was in use; above one for a moment when workers were taken away from requests under way. Zero without any time.
    pub fn utilization(&self) -> f64 {
        let capacity = self.capacity.as_secs_f64();
        if capacity > 0.0 { self.busy.as_secs_f64() / capacity } else { 0.0 }
    }

    /// What was done since an earlier reading.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            failed: self.failed - before.failed,
            busy: self.busy.saturating_sub(before.busy),
            capacity: self.capacity.saturating_sub(before.capacity),
        }
    }
}

impl Backends {
    /// Starts one for each spec on free ports. With `orca` each answer tells the utilisation in the header `endpoint-load-metrics`.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(specs: &[Spec], orca: bool) -> Result<Self> {
        let mut all = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            all.push(Backend::start(number, spec, orca).await?);
        }
        Ok(Self(all))
    }

    /// What each has done so far.
    pub fn counts(&self) -> Vec<Counts> {
        self.0.iter().map(Backend::counts).collect()
    }

    /// Requests a second that all of these can serve.
    pub fn capacity(specs: &[Spec]) -> f64 {
        specs.iter().map(Spec::capacity).sum()
    }

    /// Weights in proportion to capacity, the largest of them 256.
    pub fn ideal(specs: &[Spec]) -> Vec<u32> {
        let most = specs.iter().map(Spec::capacity).fold(0.0, f64::max);
        let weight = |spec: &Spec| (spec.capacity() / most * 256.0).round().max(1.0) as u32;
        specs.iter().map(weight).collect()
    }
}

impl Backend {
    async fn start(number: usize, spec: &Spec, orca: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let now = Instant::now();
        let orca = orca.then(|| {
            Mutex::new(Orca { since: now, times: (Duration::ZERO, Duration::ZERO), told: 0.0 })
        });
        let service = Arc::new(Service {
            number,
            workers: Workers::new(spec.workers),
            serving_us: AtomicU64::new(spec.service.as_micros() as u64),
            stalled_until: Mutex::new(now),
            is_failing: AtomicBool::new(false),
            is_hanging: watch::Sender::new(false),
            orca,
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let accepting = stop.clone();
        let served = Arc::clone(&service);
        tokio::spawn(async move {
            let stopped = accepting.clone();
            stopped.run_until_cancelled(accept(listener, served, accepting)).await
        });
        Ok(Self { address, service, _stop: stop.drop_guard() })
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let (busy, capacity) = self.service.workers.times();
        Counts {
            requests: self.service.requests.load(Ordering::Relaxed),
            failed: self.service.failed.load(Ordering::Relaxed),
            busy,
            capacity,
        }
    }

    /// Requests that it serves or that wait at it.
    pub fn in_flight(&self) -> usize {
        self.service.workers.in_flight()
    }

    /// Changes what it can do. Requests under way end as they began.
    pub fn set(&self, spec: &Spec) {
        self.service.workers.set(spec.workers);
        self.service.serving_us.store(spec.service.as_micros() as u64, Ordering::Relaxed);
    }

    /// No request ends for so long from now on.
    pub fn stall(&self, time: Duration) {
        *self.service.stalled_until.lock() = Instant::now() + time;
    }

    /// Whether requests hang before they get a worker, as one whose processor is idle while it waits for its database.
    pub fn hang(&self, is_hanging: bool) {
        self.service.is_hanging.send_replace(is_hanging);
    }

    /// Whether it fails every request at once with 503.
    pub fn fail(&self, is_failing: bool) {
        self.service.is_failing.store(is_failing, Ordering::Relaxed);
    }
}

impl Service {
    /// Serves one request: how it ends.
    async fn serve(&self) -> u16 {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.is_failing.load(Ordering::Relaxed) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return 503;
        }
        let mut hanging = self.is_hanging.subscribe();
        hanging.wait_for(|is_hanging| !is_hanging).await.expect("this is its sender");
        let _busy = self.workers.take().await;
        let service = Duration::from_micros(self.serving_us.load(Ordering::Relaxed));
        let mut end = Instant::now() + service;
        while Instant::now() < end {
            sleep_until(end).await;
            end = end.max(*self.stalled_until.lock());
        }
        200
    }

    fn answer(&self, status: u16) -> String {
        use std::fmt::Write as _;
        let reason = if status == 200 { "OK" } else { "Service Unavailable" };
        let mut text = format!(
            "HTTP/1.1 {status} {reason}\r\nX-Backend: {}\r\nContent-Length: 3\r\n",
            self.number
        );
        if let Some(orca) = &self.orca {
            let told = orca.lock().tell(self.workers.times());
            // As `application_utilization` of xds.data.orca.v3.OrcaLoadReport.
            let written =
                write!(text, "endpoint-load-metrics: TEXT application_utilization={told:.4}\r\n");
            written.expect("a String takes any text");
        }
        text.push_str("\r\nok\n");
        text
    }
}

impl Orca {
    fn tell(&mut self, times: (Duration, Duration)) -> f64 {
        if self.since.elapsed() >= ORCA_WINDOW {
            let of = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64();
            let capacity = of(times.1, self.times.1);
            if capacity > 0.0 {
                self.told = (of(times.0, self.times.0) / capacity).min(1.0);
            }
            (self.since, self.times) = (Instant::now(), times);
        }
        self.told
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, stop: CancellationToken) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, stop) = (Arc::clone(&service), stop.clone());
        tokio::spawn(async move {
            // Who goes away in the middle is no concern of a backend.
            let _ = stop.run_until_cancelled(connection(stream, &service)).await;
        });
    }
}

async fn connection(stream: tokio::net::TcpStream, service: &Service) -> std::io::Result<()> {
    let mut wire = Wire::new(stream)?;
    while let Some(path) = wire.request().await? {
        let status = if path == PROBE { 200 } else { service.serve().await };
        wire.write(service.answer(status).as_bytes()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, times: usize) -> Result<Vec<u16>> {
        let mut wire = Wire::new(tokio::net::TcpStream::connect(address).await?)?;
        let mut found = Vec::new();
        for _ in 0..times {
            wire.write(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").await?;
            found.extend(wire.answer().await?.map(|answer| answer.status));
        }
        Ok(found)
    }

    #[tokio::test]
    async fn a_backend_serves_with_its_workers_and_counts_what_they_did() -> Result<()> {
        let backends = Backends::start(&[Spec::new(1, 20)], false).await?;
        let one = &backends.0[0];
        let begun = Instant::now();
        let (a, b) = tokio::join!(ask(one.address, 2), ask(one.address, 2));
        assert_eq!((a?, b?), (vec![200, 200], vec![200, 200]));
        assert!(begun.elapsed() >= Duration::from_millis(80), "one worker: one after the other");
        let counts = one.counts();
        assert_eq!((counts.requests, counts.failed), (4, 0));
        assert!(counts.busy >= Duration::from_millis(80), "{counts:?}");
        Ok(())
    }

    #[tokio::test]
    async fn one_that_fails_does_so_at_once_and_one_that_stalls_or_hangs_waits() -> Result<()> {
        let backends = Backends::start(&[Spec::new(1, 1)], true).await?;
        let one = &backends.0[0];
        one.fail(true);
        assert_eq!(ask(one.address, 1).await?, [503]);
        assert_eq!(one.counts().busy, Duration::ZERO);
        one.fail(false);
        one.stall(Duration::from_millis(50));
        let begun = Instant::now();
        assert_eq!(ask(one.address, 1).await?, [200]);
        assert!(begun.elapsed() >= Duration::from_millis(49));
        one.hang(true);
        let mut asked = std::pin::pin!(ask(one.address, 1));
        let hangs = tokio::time::timeout(Duration::from_millis(50), &mut asked).await;
        assert!(hangs.is_err() && one.in_flight() == 0 && one.counts().requests == 3);
        one.hang(false);
        assert_eq!(asked.await?, [200]);
        Ok(())
    }

    #[test]
    fn ideal_weights_are_in_proportion_to_capacity() {
        let specs = [Spec::new(4, 20), Spec::new(4, 60), Spec::new(2, 20)];
        assert_eq!(Backends::ideal(&specs), [256, 85, 128]);
        assert!((Backends::capacity(&specs) - 366.67).abs() < 0.1);
    }
}
