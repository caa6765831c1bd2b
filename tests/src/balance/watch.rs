//! What is seen from outside: the backends' own counts over time, and the figures of a part of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::backend::{Backends, Counts};
use super::load::Sample;
use crate::bench::table::percentile;

/// Time between two readings of the counts.
const TICK: Duration = Duration::from_millis(250);

/// The backends' counts at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When they were read.
    pub at: Instant,
    /// For each backend.
    pub counts: Vec<Counts>,
}

/// Counts read four times a second until this is dropped.
#[derive(Debug)]
pub struct History {
    snapshots: Arc<Mutex<Vec<Snapshot>>>,
    task: AbortHandle,
}

/// What happened in a part of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Requests that were due.
    pub requests: usize,
    /// Of them those without a good answer.
    pub failed: usize,
    /// Requests that were due and had no answer yet when the figures were made. They are in none of the percentiles.
    pub open: u64,
    /// Milliseconds within which so many of a hundred were answered, failed ones too.
    pub p50_ms: f64,
    /// As `p50_ms`.
    pub p90_ms: f64,
    /// As `p50_ms`.
    pub p99_ms: f64,
    /// Milliseconds after their time within which 99 of 100 were sent.
    pub late_p99_ms: f64,
    /// True utilisation of each backend.
    pub utilization: Vec<f64>,
    /// Share of the requests that each backend was given.
    pub shares: Vec<f64>,
}

impl History {
    /// Begins to read.
    pub fn start(backends: &Arc<Backends>) -> Self {
        let snapshots = Arc::new(Mutex::new(Vec::new()));
        let (read, backends) = (Arc::clone(&snapshots), Arc::clone(backends));
        let task = tokio::spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                read.lock().push(Snapshot { at: Instant::now(), counts: backends.counts() });
            }
        });
        Self { snapshots, task: task.abort_handle() }
    }

    /// What each backend did between two moments, by the readings next to them; `None` when there are not two.
    pub fn between(&self, from: Instant, to: Instant) -> Option<Vec<Counts>> {
        let snapshots = self.snapshots.lock();
        let nearest = |moment: Instant| {
            let distance = |snapshot: &&Snapshot| {
                snapshot.at.max(moment).duration_since(snapshot.at.min(moment))
            };
            snapshots.iter().min_by_key(distance)
        };
        let (first, last) = (nearest(from)?, nearest(to)?);
        let of = |(now, before): (&Counts, &Counts)| now.since(before);
        (first.at < last.at).then(|| last.counts.iter().zip(&first.counts).map(of).collect())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Figures {
    /// Of the requests of a time and what backends did in it.
    pub fn of(samples: &[Sample], counts: &[Counts], open: u64) -> Self {
        let sorted = |value: fn(&Sample) -> Duration| {
            let mut all: Vec<f64> =
                samples.iter().map(|sample| value(sample).as_secs_f64() * 1e3).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let (latency, late) = (sorted(|sample| sample.latency), sorted(|sample| sample.late));
        let of = |sorted: &[f64], share: f64| {
            if sorted.is_empty() { f64::NAN } else { percentile(sorted, share) }
        };
        let all: u64 = counts.iter().map(|counts| counts.requests).sum();
        Self {
            requests: samples.len(),
            failed: samples.iter().filter(|sample| !sample.is_good()).count(),
            open,
            p50_ms: of(&latency, 0.5),
            p90_ms: of(&latency, 0.9),
            p99_ms: of(&latency, 0.99),
            late_p99_ms: of(&late, 0.99),
            utilization: counts.iter().map(Counts::utilization).collect(),
            shares: counts.iter().map(|one| one.requests as f64 / all.max(1) as f64).collect(),
        }
    }

    /// The largest utilisation over the mean of all: 1 is equal.
    pub fn imbalance(&self) -> f64 {
        let mean = self.utilization.iter().sum::<f64>() / self.utilization.len().max(1) as f64;
        self.utilization.iter().copied().fold(0.0, f64::max) / mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_count_from_when_requests_were_due() {
        let now = Instant::now();
        let sample = |ms: u64, status| Sample {
            due: now,
            late: Duration::from_millis(1),
            latency: Duration::from_millis(ms),
            balancer: 0,
            backend: Some(0),
            status,
        };
        let mut samples: Vec<_> = (1..=99).map(|ms| sample(ms, Some(200))).collect();
        samples.push(sample(1_000, None));
        let second = |busy: u64, requests| Counts {
            requests,
            failed: 0,
            busy: Duration::from_millis(busy),
            capacity: Duration::from_secs(1),
        };
        let figures = Figures::of(&samples, &[second(900, 75), second(300, 25)], 3);
        assert_eq!((figures.requests, figures.failed, figures.open), (100, 1, 3));
        assert!((figures.p50_ms - 50.0).abs() < 1e-9 && (figures.p99_ms - 99.0).abs() < 1e-9);
        assert!((figures.imbalance() - 1.5).abs() < 1e-9);
        assert_eq!(figures.shares, [0.75, 0.25]);
    }
}
