//! What a run is judged by.

use crate::scenario::{Fault, ONE, Scenario};

/// One window as somebody who sees everything sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) shares: Vec<f64>,
    pub(crate) ideal: Vec<f64>,
    pub(crate) utilization: Vec<f64>,
}

/// Collects while a run goes on.
#[derive(Debug)]
pub(crate) struct Recorder {
    steady_from: usize,
    fault_at: usize,
    fault: Fault,
    failed: u64,
    limited: u64,
    throttled: u64,
    piled: usize,
    all_s: Vec<f32>,
    steady_s: Vec<f32>,
    windows: Vec<Seen>,
}

/// The figures of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// 99th percentile of all requests of the run, transients included.
    pub p99_ms: f64,
    /// 99th percentile of steady state.
    pub steady_p99_ms: f64,
    /// Coefficient of variation of a backend's share over steady state, the mean over backends.
    pub weight_cv: f64,
    /// Windows from the fault (or the start) until every share is within 25 % of ideal; `None`: never.
    pub settled: Option<usize>,
    /// Largest over mean utilisation of backends, each averaged over steady state; failing ones do not count.
    pub max_over_mean: f64,
    /// Most steps of a share in a row that each go back on the one before, over all backends.
    pub alternations: usize,
    /// Least weight beside the largest, over all windows and backends in the pool.
    pub least_weight: f64,
    /// Largest difference of the sum of shares from 1.
    pub sum_error: f64,
    /// Largest share of the one backend after it had the floor's, as part of what it had before the fault; 1 when it never had.
    pub rebound: f64,
    /// Windows from the fault until the failing or hung backend has at most the floor's share; `None`: never, or nothing fails.
    pub floored: Option<usize>,
    /// Share of requests that failed, of those that ended since the start.
    pub failed: f64,
    /// Windows after which shares were others than before.
    pub pushes: usize,
    /// Largest share of traffic that moved from one window to the next.
    pub largest_shift: f64,
    /// Share of requests since limits were set that went elsewhere, or waited, for a limit.
    pub throttled: f64,
    /// Most requests at the backend that a fault is of, from the fault on.
    pub piled: usize,
    /// Least share of the backend that a fault is of, from the fault on, beside its share before.
    pub least_of_one: f64,
    /// Shares of the last window.
    pub shares: Vec<f64>,
}

impl Recorder {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            steady_from: scenario.steady_from(),
            fault_at: scenario.fault_at(),
            fault: scenario.fault,
            failed: 0,
            limited: 0,
            throttled: 0,
            piled: 0,
            all_s: Vec::new(),
            steady_s: Vec::new(),
            windows: Vec::new(),
        }
    }

    /// A request that failed.
    pub(crate) fn failure(&mut self) {
        self.failed += 1;
    }

    /// A request under a limit.
    pub(crate) fn limited(&mut self, throttled: bool) {
        self.limited += 1;
        self.throttled += u64::from(throttled);
    }

    /// Requests at the backend that a fault is of.
    pub(crate) fn at_one(&mut self, window: usize, count: usize) {
        if window >= self.fault_at {
            self.piled = self.piled.max(count);
        }
    }

    /// A request that was served.
    pub(crate) fn request(&mut self, window: usize, latency_s: f64) {
        self.all_s.push(latency_s as f32);
        if window >= self.steady_from {
            self.steady_s.push(latency_s as f32);
        }
    }

    pub(crate) fn window(&mut self, seen: Seen) {
        self.windows.push(seen);
    }

    pub(crate) fn finish(mut self) -> Outcome {
        let backends = self.windows[0].shares.len();
        let steady = &self.windows[self.steady_from..];
        let moved = self.windows.windows(2).filter(|pair| pair[0].shares != pair[1].shares).count();
        let over = |seen: &Seen| {
            let most = seen.shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            let least = seen.shares.iter().copied().filter(|share| *share > 0.0);
            least.fold(f64::INFINITY, f64::min) / most
        };
        let sums = self.windows.iter().map(|seen| (seen.shares.iter().sum::<f64>() - 1.0).abs());
        Outcome {
            weight_cv: mean((0..backends).map(|at| variation(steady, at))),
            settled: self.settled(),
            max_over_mean: self.max_over_mean(steady),
            alternations: (0..backends)
                .map(|at| alternations(&self.windows, at))
                .max()
                .unwrap_or(0),
            least_weight: self.windows.iter().map(over).fold(1.0, f64::min),
            sum_error: sums.fold(0.0, f64::max),
            floored: self.floored(),
            rebound: self.rebound(),
            failed: self.failed as f64 / (self.failed as f64 + self.all_s.len() as f64).max(1.0),
            pushes: moved,
            least_of_one: self.least_of_one(),
            largest_shift: self.largest_shift(),
            throttled: self.throttled as f64 / self.limited.max(1) as f64,
            piled: self.piled,
            shares: self.windows.last().map(|seen| seen.shares.clone()).unwrap_or_default(),
            p99_ms: p99_ms(&mut self.all_s),
            steady_p99_ms: p99_ms(&mut self.steady_s),
        }
    }

    /// Where the count of settling begins: with the fault, or at the start.
    fn from(&self) -> usize {
        match self.fault {
            Fault::None | Fault::Antagonist | Fault::MissingReports => 0,
            Fault::Hung(Some(windows)) | Fault::Waits(Some(windows)) => self.fault_at + windows,
            Fault::Restart => self.fault_at + 6,
            _ => self.fault_at,
        }
    }

    fn settled(&self) -> Option<usize> {
        let near = |seen: &Seen| {
            let ideal = seen.ideal.iter().zip(&seen.shares).filter(|(ideal, _)| **ideal > 0.0);
            ideal.into_iter().all(|(ideal, share)| (share / ideal - 1.0).abs() <= 0.25)
        };
        let after = &self.windows[self.from()..];
        // Shares of a window are those at its end; the one that a decision follows is number 0.
        after.windows(2).position(|pair| pair.iter().all(near))
    }

    fn floored(&self) -> Option<usize> {
        if self.fault != Fault::FastFailing && self.fault.hangs().is_none() {
            return None;
        }
        let low = |seen: &Seen| {
            let most = seen.shares.iter().copied().fold(0.0, f64::max);
            seen.shares[ONE] <= 0.035 * most
        };
        self.windows[self.fault_at..].iter().position(low)
    }

    fn rebound(&self) -> f64 {
        let Some(at) = self.floored() else { return 1.0 };
        let before = self.windows[self.fault_at.saturating_sub(1)].shares[ONE];
        let after = self.windows[self.fault_at + at..].iter().map(|seen| seen.shares[ONE]);
        after.fold(0.0, f64::max) / before.max(f64::MIN_POSITIVE)
    }

    fn largest_shift(&self) -> f64 {
        let moved = |pair: &[Seen]| {
            let both = pair[0].shares.iter().zip(&pair[1].shares);
            both.map(|(before, after)| (after - before).abs()).sum::<f64>() / 2.0
        };
        self.windows.windows(2).map(moved).fold(0.0, f64::max)
    }

    fn least_of_one(&self) -> f64 {
        let before = self.windows[self.fault_at.saturating_sub(1)].shares[ONE];
        let after = self.windows[self.fault_at..].iter().map(|seen| seen.shares[ONE]);
        after.fold(before, f64::min) / before.max(f64::MIN_POSITIVE)
    }

    fn max_over_mean(&self, steady: &[Seen]) -> f64 {
        let is_out = self.fault == Fault::FastFailing || self.fault.hangs() == Some(usize::MAX);
        let counts = |at: &usize| !is_out || *at != ONE;
        let by_backend: Vec<f64> = (0..steady[0].utilization.len())
            .filter(counts)
            .map(|at| mean(steady.iter().map(|seen| seen.utilization[at])))
            .collect();
        by_backend.iter().copied().fold(0.0, f64::max) / mean(by_backend.iter().copied())
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

fn variation(steady: &[Seen], at: usize) -> f64 {
    let average = mean(steady.iter().map(|seen| seen.shares[at]));
    let square = mean(steady.iter().map(|seen| (seen.shares[at] - average).powi(2)));
    if average > 0.0 { square.sqrt() / average } else { 0.0 }
}

/// Steps below 5 % are no steps; between two of them nothing may be longer than a window.
fn alternations(windows: &[Seen], at: usize) -> usize {
    let (mut run, mut longest, mut before) = (0, 0, 0.0_f64);
    for pair in windows.windows(2) {
        let step = (pair[1].shares[at] / pair[0].shares[at]).ln();
        if !step.is_finite() || step.abs() < 0.05 {
            (run, before) = (0, 0.0);
            continue;
        }
        run = if step * before < 0.0 { run + 1 } else { 0 };
        longest = longest.max(run);
        before = step;
    }
    longest
}

fn p99_ms(latencies_s: &mut [f32]) -> f64 {
    if latencies_s.is_empty() {
        return 0.0;
    }
    let at = (latencies_s.len() * 99 / 100).min(latencies_s.len() - 1);
    let (_, value, _) = latencies_s.select_nth_unstable_by(at, f32::total_cmp);
    f64::from(*value) * 1_000.0
}
