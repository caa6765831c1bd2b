//! How soon weights are right again: a backend that becomes twice as slow, one that loses half its workers, one that fails at once.
//!
//! What is looked at are the weights that HAProxys themselves say are in force. Right is within a quarter of what the capacity says, for all backends at all HAProxys.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::arm::{self, GENTLE, WINDOW};
use super::scene::{Scene, Stage, counted};
use super::weights::{Log, variation};
use super::{Options, say, wait};
use crate::balance::{Algorithm, Backends, Spec, as_shares, is_right};
use crate::bench::table::{Bar, Table};
use crate::bench::temporary;

/// Windows until shares are right.
const SETTLE_BAR: f64 = 3.0;
/// Windows until a backend that fails has no more than its floor.
const FAIL_BAR: f64 = 2.0;
/// Variation of weights while nothing changes.
const STEADY_BAR: f64 = 0.05;
/// Floor of a weight as a share of the largest, with room for rounding.
const FLOOR: f64 = 0.035;
/// Windows that are waited for at most.
const MOST_WINDOWS: u32 = 12;
const LOOK: Duration = Duration::from_millis(250);

/// What happens to a backend.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Each request takes twice as long.
    Slower,
    /// Half of the workers are gone.
    Fewer,
    /// Every request fails at once.
    Fails,
}

/// All faults, round by round, each with servers of its own.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    for round in 0..options.rounds {
        for fault in [Fault::Slower, Fault::Fewer, Fault::Fails] {
            let what =
                format!("settle: {}, round {} of {}", fault.name(), round + 1, options.rounds);
            one(table, options, fault, &what).await?;
        }
    }
    Ok(())
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Slower => "a backend twice as slow",
            Self::Fewer => "a backend with half its workers",
            Self::Fails => "a backend that fails",
        }
    }

    /// What backends can do from then on.
    fn specs(self, specs: &[Spec]) -> Vec<Spec> {
        let mut after = specs.to_vec();
        match self {
            Self::Slower => after[0].service *= 2,
            Self::Fewer => after[0].workers /= 2,
            Self::Fails => {}
        }
        after
    }

    fn strike(self, backends: &Backends, specs: &[Spec]) {
        match self {
            Self::Slower | Self::Fewer => backends.0[0].set(&self.specs(specs)[0]),
            Self::Fails => backends.0[0].fail(true),
        }
    }

    fn bar(self) -> f64 {
        match self {
            Self::Slower | Self::Fewer => SETTLE_BAR,
            Self::Fails => FAIL_BAR,
        }
    }

    /// Whether weights are what they should be after it.
    fn is_met(self, shares: &[f64], ideal: &[f64]) -> bool {
        let most = shares.iter().copied().fold(0.0, f64::max);
        match self {
            Self::Slower | Self::Fewer => is_right(shares, ideal),
            Self::Fails => shares[0] <= FLOOR * most,
        }
    }
}

async fn one(table: &mut Table, options: &Options, fault: Fault, what: &str) -> Result<()> {
    let (dir, scene) = (temporary()?, Scene::many());
    let equal = vec![100; scene.specs.len()];
    let stage = scene.set(dir.path(), Algorithm::RoundRobin, &equal, GENTLE).await?;
    let log = Log::start(&stage.fleet, scene.specs.len());
    let flyball = arm::steered(&stage, what).await?;
    // Of what is left when half of one of the larger backends is gone.
    let left = Backends::capacity(&fault.specs(&scene.specs));
    stage.load.set_rate(left * options.load);
    wait(&format!("{what}, steady"), options.warm + options.seconds).await;
    let window = window(&flyball.pool().await.unwrap_or_default());
    let steady = variation(&log.since(Instant::now() - options.seconds), scene.specs.len());

    let begun = Instant::now();
    fault.strike(&stage.backends, &scene.specs);
    let ideal = as_shares(&Backends::ideal(&fault.specs(&scene.specs)));
    let settled = until_settled(&stage, &log, begun, window * MOST_WINDOWS, |shares| {
        fault.is_met(shares, &ideal)
    })
    .await;
    let run = stage.measure(&format!("{what}, after it"), options.seconds).await?;
    flyball.stack.stop().await?;
    if counted(table, "settle", options, &run).is_none() {
        return Ok(());
    }
    let windows = settled.map(|time| time.as_secs_f64() / window.as_secs_f64());
    say(&format!("{what}: {windows:?} windows of {window:?}"));
    let most = f64::from(MOST_WINDOWS);
    let name = format!("{}: windows until weights are right", fault.name());
    table.add(&name, windows.unwrap_or(most), Some(Bar::AtMost(fault.bar())));
    let name = "nothing changes: variation of weights";
    table.add(name, steady, Some(Bar::AtMost(STEADY_BAR)));
    Ok(())
}

/// Time from `begun` until all HAProxys have weights that are so, and stay so to the end; `None` when they are not.
async fn until_settled(
    stage: &Stage,
    log: &Log,
    begun: Instant,
    most: Duration,
    is_so: impl Fn(&[f64]) -> bool,
) -> Option<Duration> {
    let balancers = stage.fleet.0.len();
    while begun.elapsed() < most {
        sleep(LOOK).await;
    }
    Some(log.settled(begun, balancers, is_so)? - begun)
}

/// The time that the collector looks at once, as it says.
pub(super) fn window(pool: &Value) -> Duration {
    let told = pool["window_ms"].as_u64().or_else(|| pool["settings"]["window_ms"].as_u64());
    told.map_or(WINDOW, Duration::from_millis)
}
