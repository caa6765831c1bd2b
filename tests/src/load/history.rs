//! A fleet that tells its past and then its present: loads a database with a day of samples, and
//! keeps it reporting while something else is measured.
//!
//! The past is released ten minutes at a time. Each agent sends these as its credits allow, as one
//! that catches up from its spool does, and the next ten minutes are released when half of their
//! frames are acknowledged: the fleet stays together in time without anybody waiting, and the
//! collector alone decides how fast it goes. Ten minutes, because late samples are marked by
//! node and ten minutes: an insert then holds all of these of a few nodes, not a moment of every
//! node. The values are a function of node and time, so that a fleet that starts later goes
//! on where the last one ended, and a sample that is sent twice is the same sample.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Pace;
use super::agent::{Fleet, now_ms};
use super::run::{Agents, Plan, defined, finished, fleet, start, watched};
use crate::workload::SERIES_PER_NODE;

/// Frames of an agent that are released at once.
const SPAN: u64 = 60;
/// Time between two looks whether more can be released.
const LOOK: Duration = Duration::from_millis(20);
/// Longest time without any acknowledgement.
const STALLED: Duration = Duration::from_mins(2);

/// Which times the agents tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Time of the first sample of the whole history, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Time of the first sample that this fleet sends: `start_ms` and a multiple of the step.
    pub from_ms: i64,
    /// Time between two samples of a series.
    pub step: Duration,
}

/// Agents that are connected.
#[derive(Debug)]
pub struct Reporters {
    history: History,
    fleet: Arc<Fleet>,
    agents: Agents,
    /// Ends the task that releases the present.
    live: Option<DropGuard>,
}

/// What a fleet has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Samples acknowledged.
    pub samples: u64,
    /// Sum of their raw integers.
    pub raw: i64,
    /// Time of the next sample, which was not sent.
    pub end_ms: i64,
}

impl History {
    /// The step in milliseconds.
    pub const fn step_ms(&self) -> i64 {
        self.step.as_millis() as i64
    }

    /// Ticks before the first one of this fleet.
    pub(super) const fn first_tick(&self) -> u64 {
        ((self.from_ms - self.start_ms) / self.step_ms()) as u64
    }

    /// Ticks of this fleet up to the one at `ms`.
    const fn ticks_to(&self, ms: i64) -> u64 {
        if ms < self.from_ms { 0 } else { ((ms - self.from_ms) / self.step_ms()) as u64 + 1 }
    }

    /// Time of the newest tick that may be released when `frames` of `agents` are acknowledged
    /// and ticks up to `released_ms` are released; none is after `last_ms`.
    fn next_release(&self, released_ms: i64, frames: u64, agents: u64, last_ms: i64) -> i64 {
        let waiting = (self.ticks_to(released_ms) * agents).saturating_sub(frames);
        if waiting * 2 > SPAN * agents {
            return released_ms;
        }
        last_ms.min(released_ms + SPAN as i64 * self.step_ms()).max(released_ms)
    }
}

impl Reporters {
    /// Connects `agents` agents to a collector and has each send its first frame.
    ///
    /// # Errors
    /// When the collector cannot be reached or refuses one.
    pub async fn connect(grpc: SocketAddr, agents: u64, history: History) -> Result<Self> {
        let aligned = (history.from_ms - history.start_ms) % history.step_ms() == 0;
        ensure!(aligned && history.from_ms >= history.start_ms, "{history:?} is not aligned");
        let plan = Plan {
            agents,
            series: SERIES_PER_NODE,
            connections: agents,
            pace: Pace::History(history),
            churn: 0.0,
            warmup: Duration::ZERO,
            window: Duration::ZERO,
            settings: Vec::new(),
        };
        let fleet = Arc::new(fleet(&plan));
        let mut agents = start(grpc, &plan, &fleet).await?;
        defined(&fleet, &mut agents).await?;
        fleet.go.cancel();
        Ok(Self { history, fleet, agents, live: None })
    }

    /// Sends everything up to `last_ms` and waits until it is acknowledged; tells `progress` the
    /// time of the newest frames and the samples acknowledged, each second.
    ///
    /// # Errors
    /// When an agent fails or nothing is acknowledged for minutes.
    pub async fn catch_up(
        &mut self,
        last_ms: i64,
        mut progress: impl FnMut(i64, u64),
    ) -> Result<()> {
        let (history, fleet) = (self.history, Arc::clone(&self.fleet));
        let last_ms = last_ms - (last_ms - history.from_ms).rem_euclid(history.step_ms());
        let all = history.ticks_to(last_ms) * fleet.agents;
        let mut seen = (0, tokio::time::Instant::now());
        let mut told = tokio::time::Instant::now();
        loop {
            let frames = fleet.totals.frames.load(Relaxed);
            let released_ms = *fleet.released.borrow();
            if frames >= all {
                return Ok(());
            }
            let next_ms = history.next_release(released_ms, frames, fleet.agents, last_ms);
            fleet.released.send_if_modified(|ms| std::mem::replace(ms, next_ms) != next_ms);
            if frames > seen.0 {
                seen = (frames, tokio::time::Instant::now());
            }
            ensure!(seen.1.elapsed() < STALLED, "nothing is acknowledged after {frames} frames");
            if told.elapsed() >= Duration::from_secs(1) {
                told = tokio::time::Instant::now();
                progress(released_ms, fleet.totals.acked.load(Relaxed));
            }
            watched(&mut self.agents, LOOK, || Ok(())).await?;
        }
    }

    /// From now on each agent sends its frames when they are due, all at once, as real ones do.
    pub fn go_live(&mut self) {
        let (fleet, ending) = (Arc::clone(&self.fleet), CancellationToken::new());
        let step_ms = self.history.step_ms();
        self.live = Some(ending.clone().drop_guard());
        tokio::spawn(async move {
            loop {
                let now = now_ms();
                fleet.released.send_replace(now - now.rem_euclid(step_ms));
                let rest_ms = (step_ms - now.rem_euclid(step_ms)) as u64;
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(rest_ms)) => {}
                }
            }
        });
    }

    /// That no agent has ended.
    ///
    /// # Errors
    /// With why one has.
    pub fn check(&mut self) -> Result<()> {
        match self.agents.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                ended??;
                bail!("an agent ended before its time")
            }
        }
    }

    /// Waits for the last acknowledgements and disconnects.
    ///
    /// # Errors
    /// When an agent fails or they do not come.
    pub async fn finish(self) -> Result<Told> {
        drop(self.live);
        self.fleet.stop.cancel();
        let last = tokio::time::timeout(STALLED, finished(self.agents)).await;
        last.context("the last acknowledgements did not come")??;
        let totals = &self.fleet.totals;
        let ticks = totals.frames.load(Relaxed).div_euclid(self.fleet.agents) as i64;
        Ok(Told {
            samples: totals.acked.load(Relaxed),
            raw: totals.acked_raw.load(Relaxed),
            end_ms: self.history.from_ms + ticks * self.history.step_ms(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: History =
        History { start_ms: 0, from_ms: 600_000, step: Duration::from_secs(10) };

    #[test]
    fn ticks_are_counted_from_the_first_one_of_the_fleet() {
        assert_eq!(HISTORY.first_tick(), 60);
        assert_eq!(HISTORY.ticks_to(599_999), 0);
        assert_eq!((HISTORY.ticks_to(600_000), HISTORY.ticks_to(609_999)), (1, 1));
        assert_eq!(HISTORY.ticks_to(610_000), 2);
    }

    #[test]
    fn more_is_released_when_half_of_the_last_ten_minutes_are_acknowledged() {
        let next = |released_ms, frames| HISTORY.next_release(released_ms, frames, 10, 10_000_000);
        // One tick of ten agents waits: less than half of ten minutes.
        assert_eq!(next(600_000, 0), 1_200_000);
        // 61 ticks were released.
        assert_eq!(next(1_200_000, 309), 1_200_000);
        assert_eq!(next(1_200_000, 310), 1_800_000);
    }

    #[test]
    fn nothing_is_released_beyond_the_end_and_nothing_is_taken_back() {
        let next = |last_ms| HISTORY.next_release(1_200_000, 610, 10, last_ms);
        assert_eq!(next(1_500_000), 1_500_000);
        assert_eq!(next(1_000_000), 1_200_000);
    }
}
