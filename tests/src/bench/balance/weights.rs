//! Weights that are in force over time, as HAProxys themselves say, and what they mean for shares.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::balance::{Haproxy, HaproxyFleet, as_shares};

/// Time between two readings.
const TICK: Duration = Duration::from_millis(250);

/// Shares that the weights of one HAProxy mean, by backend, at one moment.
pub(super) type Reading = (Instant, usize, Vec<f64>);

/// Weights of a fleet, read until this is dropped.
#[derive(Debug)]
pub(super) struct Log {
    readings: Arc<Mutex<Vec<Reading>>>,
    task: AbortHandle,
}

impl Log {
    /// Begins to read, of backends `b0` and so on.
    pub(super) fn start(fleet: &HaproxyFleet, backends: usize) -> Self {
        let sockets: Vec<PathBuf> = fleet.0.iter().map(|one| one.socket.clone()).collect();
        let readings = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&readings);
        let task = tokio::spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                for (number, socket) in sockets.iter().enumerate() {
                    // One that is being restarted has no weights at that moment.
                    if let Ok(shares) = shares(socket, backends).await {
                        read.lock().push((Instant::now(), number, shares));
                    }
                }
            }
        });
        Self { readings, task: task.abort_handle() }
    }

    /// What was read from a moment on.
    pub(super) fn since(&self, from: Instant) -> Vec<Reading> {
        self.readings.lock().iter().filter(|one| one.0 >= from).cloned().collect()
    }

    /// When the last reading that was not so was followed by readings that are, from all HAProxys; `None` when the newest reading of one is not so.
    pub(super) fn settled(
        &self,
        from: Instant,
        balancers: usize,
        is_so: impl Fn(&[f64]) -> bool,
    ) -> Option<Instant> {
        settled(&self.since(from), from, balancers, is_so)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn shares(socket: &std::path::Path, backends: usize) -> Result<Vec<f64>> {
    let weights = Haproxy::weights_at(socket).await?;
    let of = |number: usize| weights.get(&format!("b{number}")).copied();
    let weights: Option<Vec<u32>> = (0..backends).map(of).collect();
    Ok(as_shares(&weights.context("not all backends are there")?))
}

fn settled(
    readings: &[Reading],
    from: Instant,
    balancers: usize,
    is_so: impl Fn(&[f64]) -> bool,
) -> Option<Instant> {
    let last_bad = readings.iter().filter(|one| !is_so(&one.2)).map(|one| one.0).max();
    let after = last_bad.unwrap_or(from);
    let mut good = vec![None; balancers];
    for (at, number, _) in readings.iter().filter(|one| one.0 > after) {
        good[*number].get_or_insert(*at);
    }
    good.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Spread of each backend's share over its mean, the largest of all; readings of all HAProxys together.
pub(super) fn variation(readings: &[Reading], backends: usize) -> f64 {
    let of = |backend: usize| {
        let all: Vec<f64> = readings.iter().map(|one| one.2[backend]).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let square = all.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / all.len() as f64;
        square.sqrt() / mean
    };
    (0..backends).map(of).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_settled_when_the_last_of_all_is_right_and_stays_so() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let reading = |ms: u64, number: usize, share: f64| (at(ms), number, vec![share]);
        let is_so = |shares: &[f64]| shares[0] > 0.5;
        let mut readings = vec![
            reading(0, 0, 0.1),
            reading(1, 1, 0.1),
            reading(10, 0, 0.6),
            reading(11, 1, 0.1),
            reading(20, 0, 0.6),
            reading(21, 1, 0.6),
        ];
        assert_eq!(settled(&readings, begun, 2, is_so), Some(at(21)));
        readings.push(reading(30, 0, 0.2));
        assert_eq!(settled(&readings, begun, 2, is_so), None, "the first one is wrong again");
    }

    #[test]
    fn variation_is_that_of_the_worst() {
        let now = Instant::now();
        let readings = [(now, 0, vec![0.5, 0.2]), (now, 0, vec![0.5, 0.4])];
        assert!((variation(&readings, 2) - 1.0 / 3.0).abs() < 1e-9);
    }
}
