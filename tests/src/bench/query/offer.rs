//! Load on an HTTP server: at a rate that is fixed beforehand, or as fast as connections are free.
//!
//! *Open loop.* A request is due at a time that the schedule fixes, and its latency counts from
//! then: a server that stalls is charged for every request that should have been sent meanwhile.
//! A thread that does nothing else releases what is due, since timers of the runtime are a
//! millisecond apart. Connections are bounded; requests that are not sent some seconds after the
//! end count as not served, with the time they have waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::{Answer, Ask, Client};
use crate::bench::table::percentile;

/// After the end of the schedule, the time for what is still to be sent.
const GRACE: Duration = Duration::from_secs(5);
/// Shortest sleep of the thread that releases.
const RESOLUTION: Duration = Duration::from_micros(100);

/// What the n-th request asks.
pub(super) type Asks = Arc<dyn Fn(u64) -> Ask + Send + Sync>;

/// A constant rate for some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Schedule {
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) time: Duration,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Served {
    /// From when it was due, in milliseconds; without a schedule from when it was sent.
    pub(super) ms: f64,
    pub(super) was_sent: bool,
    /// `None` when no answer came.
    pub(super) answer: Option<Answer>,
}

/// All requests of a load.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    pub(super) served: Vec<Served>,
}

/// What the connections share.
struct Shared {
    client: String,
    asks: Asks,
    start: Instant,
    /// Number of the next request.
    next: AtomicU64,
    /// Requests that are due.
    due: Semaphore,
    schedule: Option<Schedule>,
    /// No request is sent after this.
    end: Instant,
}

impl Schedule {
    /// Requests in all.
    pub(super) fn count(&self) -> u64 {
        (self.rate * self.time.as_secs_f64()).round() as u64
    }

    /// When request number `n` is due, after the start.
    pub(super) fn due(&self, n: u64) -> Duration {
        Duration::from_secs_f64(n as f64 / self.rate)
    }

    /// Requests that are due `elapsed` after the start.
    pub(super) fn due_by(&self, elapsed: Duration) -> u64 {
        ((elapsed.as_secs_f64() * self.rate).floor() as u64 + 1).min(self.count())
    }
}

impl Report {
    /// Percentile of the latencies of all requests, whatever came of them.
    pub(super) fn latency(&self, share: f64) -> f64 {
        percentile_of(self.served.iter().map(|served| served.ms), share)
    }

    /// Requests that were not answered with `status`.
    pub(super) fn other_than(&self, status: u16) -> u64 {
        let is_other = |s: &&Served| s.answer.is_none_or(|answer| answer.status != status);
        self.served.iter().filter(is_other).count() as u64
    }

    /// The answers with one of `statuses`.
    pub(super) fn answers<'a>(&'a self, statuses: &'a [u16]) -> impl Iterator<Item = &'a Answer> {
        let answers = self.served.iter().filter_map(|served| served.answer.as_ref());
        answers.filter(move |answer| statuses.contains(&answer.status))
    }

    /// Answers of any kind in a second.
    pub(super) fn rate(&self) -> f64 {
        let answered = self.served.iter().filter(|served| served.answer.is_some()).count();
        answered as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

/// The percentile of unsorted values; NaN when there are none.
pub(super) fn percentile_of(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() { f64::NAN } else { percentile(&sorted, share) }
}

/// Offers `schedule` over at most `connections` connections.
///
/// # Errors
/// When a task fails.
pub(super) async fn open_loop(
    base: &str,
    schedule: Schedule,
    connections: usize,
    asks: Asks,
) -> Result<Report> {
    let shared = Shared::new(base, asks, Some(schedule), schedule.time + GRACE);
    let pacer = Arc::clone(&shared);
    let pacing = tokio::task::spawn_blocking(move || pacer.release(schedule, connections));
    let report = shared.run(connections).await;
    pacing.await?;
    report
}

/// Asks over `connections` connections, on each again as soon as it has its answer, for `time`.
///
/// # Errors
/// When a task fails.
pub(super) async fn closed_loop(
    base: &str,
    time: Duration,
    connections: usize,
    asks: Asks,
) -> Result<Report> {
    Shared::new(base, asks, None, time).run(connections).await
}

impl Shared {
    fn new(base: &str, asks: Asks, schedule: Option<Schedule>, time: Duration) -> Arc<Self> {
        let start = Instant::now();
        Arc::new(Self {
            client: base.to_owned(),
            asks,
            start,
            next: AtomicU64::new(0),
            due: Semaphore::new(0),
            schedule,
            end: start + time,
        })
    }

    /// Releases requests when they are due, and at the end all connections.
    #[expect(clippy::disallowed_methods, reason = "this thread is the clock of the schedule")]
    fn release(&self, schedule: Schedule, connections: usize) {
        let mut released = 0;
        while released < schedule.count() {
            let due = schedule.due_by(self.start.elapsed());
            self.due.add_permits((due - released) as usize);
            released = due;
            let rest = schedule.due(released).saturating_sub(self.start.elapsed());
            std::thread::sleep(rest.max(RESOLUTION));
        }
        self.due.add_permits(connections);
    }

    async fn run(self: Arc<Self>, connections: usize) -> Result<Report> {
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            workers.spawn(Arc::clone(&self).work());
        }
        let mut report = Report::default();
        while let Some(served) = workers.join_next().await {
            report.served.append(&mut served?);
        }
        report.took = self.start.elapsed();
        Ok(report)
    }

    /// One connection.
    async fn work(self: Arc<Self>) -> Vec<Served> {
        let client = Client::new(&self.client);
        let mut all = Vec::new();
        while let Some((number, due)) = self.take().await {
            if Instant::now() >= self.end {
                if due.is_none() {
                    return all;
                }
                all.push(Served { ms: self.since(due), was_sent: false, answer: None });
                continue;
            }
            let sent = Some(due.unwrap_or_else(Instant::now));
            let answer = client.get(&(self.asks)(number)).await.ok();
            all.push(Served { ms: self.since(sent), was_sent: true, answer });
        }
        all
    }

    /// The next request and when it was due; `None` when there are no more.
    async fn take(&self) -> Option<(u64, Option<Instant>)> {
        let Some(schedule) = self.schedule else {
            return Some((self.next.fetch_add(1, Ordering::Relaxed), None));
        };
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.start + schedule.due(number);
        (number < schedule.count()).then_some((number, Some(due)))
    }

    fn since(&self, due: Option<Instant>) -> f64 {
        due.unwrap_or(self.start).elapsed().as_secs_f64() * 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { rate: 1_000.0, time: Duration::from_secs(2) };

    #[test]
    fn requests_are_due_at_a_constant_rate_from_the_start_on() {
        assert_eq!(SCHEDULE.count(), 2_000);
        assert_eq!(SCHEDULE.due(0), Duration::ZERO);
        assert_eq!(SCHEDULE.due(1_500), Duration::from_millis(1_500));
    }

    #[test]
    fn what_is_due_by_a_time_agrees_with_when_it_is_due() {
        assert_eq!(SCHEDULE.due_by(Duration::ZERO), 1);
        assert_eq!(SCHEDULE.due_by(Duration::from_micros(999)), 1);
        assert_eq!(SCHEDULE.due_by(Duration::from_micros(1_001)), 2);
        assert_eq!(SCHEDULE.due_by(Duration::from_mins(1)), SCHEDULE.count());
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_charged_for_every_request() {
        let schedule = Schedule { rate: 500.0, time: Duration::from_millis(20) };
        // Nobody listens on port 1.
        let asks: Asks = Arc::new(|_| Ask::of("/"));
        let report = open_loop("http://127.0.0.1:1", schedule, 2, asks).await.unwrap();
        assert_eq!(report.served.len() as u64, schedule.count());
        assert_eq!(report.other_than(200), schedule.count());
    }
}
