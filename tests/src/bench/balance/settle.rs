//! How soon weights are right again: a backend that becomes twice as slow, one that loses half its workers, one that fails at once, one that hangs.
//!
//! What is looked at are the weights that HAProxys themselves say are in force. Right is within a quarter of what the capacity says, for all backends at all HAProxys; of one that fails or
//! hangs its weight at the floor. One set of servers has one fault after the other, and is well again and steady in between.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::arm::{self, GENTLE, WINDOW};
use super::scene::{Scene, Stage, counted};
use super::weights::{Log, variation};
use super::{Options, say, wait};
use crate::balance::{Algorithm, Backends, Begin, Spec, as_shares, is_right};
use crate::bench::table::{Bar, Table};
use crate::bench::temporary;
use crate::wait::until;

/// Windows until shares are right.
const SETTLE_BAR: f64 = 3.0;
/// Windows until a backend that fails or hangs has no more than its floor.
const FLOOR_BAR: f64 = 2.0;
/// Variation of weights while nothing changes.
const STEADY_BAR: f64 = 0.05;
/// Floor of a weight as a share of the largest, with room for rounding.
const FLOOR: f64 = 0.035;
/// Windows that are waited for at most.
const MOST_WINDOWS: u32 = 12;
const LOOK: Duration = Duration::from_millis(250);
/// Longest time that the way back may take: up is believed slowly.
const BACK: Duration = Duration::from_mins(5);

/// What happens to a backend.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Each request takes twice as long.
    Slower,
    /// Half of the workers are gone.
    Fewer,
    /// Every request fails at once.
    Fails,
    /// Each request takes fifty times as long: a fiftieth of the capacity is left, and no request fails.
    Hangs,
}

/// All faults, round by round, on one set of servers.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    let (dir, scene) = (temporary()?, Scene::many());
    let equal = vec![100; scene.specs.len()];
    let stage = scene.set(dir.path(), Algorithm::RoundRobin, &equal, GENTLE).await?;
    let log = Log::start(&stage.fleet, scene.specs.len());
    let flyball = arm::steered(&stage, "settle").await?;
    let window = window(&flyball.pool().await.unwrap_or_default());
    for round in 0..options.rounds {
        for fault in [Fault::Slower, Fault::Fewer, Fault::Fails, Fault::Hangs] {
            let what =
                format!("settle: {}, round {} of {}", fault.name(), round + 1, options.rounds);
            let ground = Ground { scene: &scene, stage: &stage, log: &log, window };
            ground.one(table, options, fault, &what).await?;
        }
    }
    flyball.stack.stop().await
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Slower => "a backend twice as slow",
            Self::Fewer => "a backend with half its workers",
            Self::Fails => "a backend that fails",
            Self::Hangs => "a backend that hangs",
        }
    }

    /// The backend that it strikes: one of the two largest, or the one that the others can stand in for.
    const fn victim(self) -> usize {
        match self {
            Self::Slower | Self::Fewer => 0,
            Self::Fails | Self::Hangs => 3,
        }
    }

    /// What its victim can do from then on.
    fn spec(self, specs: &[Spec]) -> Spec {
        let mut spec = specs[self.victim()];
        match self {
            Self::Slower => spec.service *= 2,
            Self::Fewer => spec.workers /= 2,
            Self::Hangs => spec.service *= 50,
            Self::Fails => {}
        }
        spec
    }

    fn strike(self, backends: &Backends, specs: &[Spec]) {
        let victim = &backends.0[self.victim()];
        victim.set(&self.spec(specs));
        victim.fail(matches!(self, Self::Fails));
    }

    fn mend(self, backends: &Backends, specs: &[Spec]) {
        let victim = &backends.0[self.victim()];
        victim.set(&specs[self.victim()]);
        victim.fail(false);
    }

    /// Requests a second that can be served from then on.
    fn left(self, specs: &[Spec]) -> f64 {
        let mut after = specs.to_vec();
        after[self.victim()] = self.spec(specs);
        if matches!(self, Self::Fails) {
            after.remove(self.victim());
        }
        Backends::capacity(&after)
    }

    const fn bar(self) -> f64 {
        match self {
            Self::Slower | Self::Fewer => SETTLE_BAR,
            Self::Fails | Self::Hangs => FLOOR_BAR,
        }
    }

    /// Whether weights are what they should be after it.
    fn is_met(self, shares: &[f64], specs: &[Spec]) -> bool {
        let most = shares.iter().copied().fold(0.0, f64::max);
        let mut after = specs.to_vec();
        after[self.victim()] = self.spec(specs);
        match self {
            Self::Slower | Self::Fewer => is_right(shares, &as_shares(&Backends::ideal(&after))),
            Self::Fails | Self::Hangs => shares[self.victim()] <= FLOOR * most,
        }
    }
}

/// Everything, under control.
struct Ground<'a> {
    scene: &'a Scene,
    stage: &'a Stage,
    log: &'a Log,
    window: Duration,
}

impl Ground<'_> {
    async fn one(
        &self,
        table: &mut Table,
        options: &Options,
        fault: Fault,
        what: &str,
    ) -> Result<()> {
        let (specs, backends) = (&self.scene.specs, &self.stage.backends);
        // What is left can carry it.
        self.stage.load.set_rate(fault.left(specs) * options.load);
        self.well(what).await?;
        wait(&format!("{what}, steady"), options.warm + options.seconds).await;
        let steady = variation(&self.log.since(Instant::now() - options.seconds), specs.len());

        let begun = Begin::now()?;
        fault.strike(backends, specs);
        wait(what, self.window * MOST_WINDOWS).await;
        let balancers = self.stage.fleet.0.len();
        let settled = self.log.settled(begun.at, balancers, |shares| fault.is_met(shares, specs));
        let ended = Instant::now();
        fault.mend(backends, specs);
        let run = self.stage.measured(what, begun).await?;
        say(&format!("{what}: mended, all answered after {:.1?}", ended.elapsed()));
        if counted(table, "settle", options, &run).is_none() {
            return Ok(());
        }
        let windows = settled.map(|at| (at - begun.at).as_secs_f64() / self.window.as_secs_f64());
        say(&format!("{what}: {windows:?} windows of {:?}", self.window));
        let most = f64::from(MOST_WINDOWS);
        let name = format!("{}: windows until weights are right", fault.name());
        table.add(&name, windows.unwrap_or(most), Some(Bar::AtMost(fault.bar())));
        let name = "nothing changes: variation of weights";
        table.add(name, steady, Some(Bar::AtMost(STEADY_BAR)));
        Ok(())
    }

    /// Waits until weights are those of backends that are well.
    async fn well(&self, what: &str) -> Result<()> {
        let ideal = as_shares(&Backends::ideal(&self.scene.specs));
        until(&format!("{what}: right weights before it"), BACK, || async {
            let from = Instant::now();
            sleep(2 * LOOK).await;
            let readings = self.log.since(from);
            let wrong = readings.iter().find(|(_, _, shares)| !is_right(shares, &ideal));
            ensure!(!readings.is_empty(), "nothing was read");
            ensure!(wrong.is_none(), "{wrong:?}, {ideal:?} are right");
            Ok(())
        })
        .await
    }
}

/// The time that the collector looks at once, as it says.
pub(super) fn window(pool: &Value) -> Duration {
    let told = pool["window_ms"].as_u64().or_else(|| pool["settings"]["window_ms"].as_u64());
    told.map_or(WINDOW, Duration::from_millis)
}
