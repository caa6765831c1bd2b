//! Collector and agents are killed, HAProxys reloaded and killed, while weights are under standing control and requests go on.
//!
//! No request may fail by our doing: what fails while an HAProxy is killed is its clients' loss and is told apart. Weights must be right soon after what was killed is there again.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::arm::{self, GENTLE};
use super::scene::{Scene, Stage};
use super::{Options, say, wait};
use crate::balance::{Algorithm, Backends, Flyball, GROUP, as_shares, is_right};
use crate::bench::table::{Bar, Table};
use crate::bench::temporary;
use crate::wait::until;

/// Milliseconds until weights are right after the return.
const BACK_BAR: f64 = 2_000.0;
/// Time between a kill and the return.
const AWAY: Duration = Duration::from_secs(3);
/// Longest time that weights may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Collector,
    Agent,
    Reload,
    Haproxy,
}

/// Each victim `rounds` times, on one set of servers.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    let (dir, scene) = (temporary()?, Scene::many());
    let equal = vec![100; scene.specs.len()];
    let mut stage = scene.set(dir.path(), Algorithm::RoundRobin, &equal, GENTLE).await?;
    let mut flyball = arm::steered(&stage, "kills").await?;
    stage.load.set_rate(scene.rate(options.load));
    wait("kills, warm", options.warm).await;
    let ideal = as_shares(&Backends::ideal(&scene.specs));
    for round in 0..options.rounds {
        for victim in [Victim::Collector, Victim::Agent, Victim::Reload, Victim::Haproxy] {
            let what =
                format!("kills: {}, round {} of {}", victim.name(), round + 1, options.rounds);
            let begun = Instant::now();
            let back_ms = kill(victim, &mut stage, &mut flyball, &ideal).await?;
            wait(&what, AWAY).await;
            let samples = stage.load.samples(begun, Instant::now());
            let failed = samples.iter().filter(|sample| !sample.is_good()).count();
            say(&format!(
                "{what}: right after {back_ms:.0} ms, {failed} of {} failed",
                samples.len()
            ));
            let row = |figure: &str| format!("{}: {figure}", victim.name());
            table.add(&row("back -> weights right, ms"), back_ms, Some(Bar::AtMost(BACK_BAR)));
            let bar = (!matches!(victim, Victim::Haproxy)).then_some(Bar::AtMost(0.0));
            table.add(&row("requests failed"), failed as f64, bar);
        }
    }
    flyball.stack.stop().await
}

impl Victim {
    const fn name(self) -> &'static str {
        match self {
            Self::Collector => "collector killed",
            Self::Agent => "agent killed, HAProxy reloaded meanwhile",
            Self::Reload => "HAProxy reloaded",
            Self::Haproxy => "HAProxy killed",
        }
    }
}

/// Kills it and brings it back; milliseconds from then until all weights are right.
async fn kill(
    victim: Victim,
    stage: &mut Stage,
    flyball: &mut Flyball,
    ideal: &[f64],
) -> Result<f64> {
    match victim {
        Victim::Collector => {
            flyball.kill_collector().await?;
            wait("the collector is away", AWAY).await;
            flyball.start_collector().await?;
        }
        Victim::Agent => {
            flyball.kill_agent(0).await?;
            // Meanwhile an HAProxy begins anew with its configured weights, which the agent finds when it is there again.
            stage.fleet.0[0].reload().await?;
            wait("an agent is away", AWAY).await;
            flyball.start_agent(0)?;
        }
        Victim::Reload => stage.fleet.0[0].reload().await?,
        Victim::Haproxy => stage.fleet.0[0].restart().await?,
    }
    let back = Instant::now();
    right(stage, ideal).await?;
    Ok(back.elapsed().as_secs_f64() * 1e3)
}

/// Waits until the weights of all HAProxys are right.
async fn right(stage: &Stage, ideal: &[f64]) -> Result<()> {
    until("right weights", PATIENCE, || async {
        for one in &stage.fleet.0 {
            let weights = one.weights().await?;
            let of = |number: usize| weights.get(&format!("b{number}")).copied().unwrap_or(0);
            let shares = as_shares(&(0..ideal.len()).map(of).collect::<Vec<_>>());
            anyhow::ensure!(is_right(&shares, ideal), "{} {GROUP}: {weights:?}", one.name);
        }
        Ok(())
    })
    .await
}
