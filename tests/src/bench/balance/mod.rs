//! Load balancing: what Flyball's weights do for the clients of real HAProxys, beside `leastconn` in the same run.
//!
//! Four backends of a known capacity: two of four workers that take 20 ms, one whose workers take 60 ms, one with half the workers; 567 requests a second in all. Load
//! is a share of that. Round robin with equal weights overloads two of them and is shown for completeness; the peer is `leastconn`, which looks at every request.
//!
//! Everything shares the cores of one machine. A run whose generator was late, or during which processors were busy for more than 80 % of the time, is void: it is told
//! and is in no figure.

mod arm;
mod envoys;
mod kills;
mod one;
mod pushes;
mod scene;
mod settle;
mod weights;

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

use anyhow::{Result, bail};

pub use self::arm::Arm;
use self::scene::Scene;
use super::table::{Bar, Table};

/// p99 over that of `leastconn` in the same round, with many balancers.
const MANY_BAR: f64 = 0.65;
/// The same with one balancer.
const ONE_BAR: f64 = 1.05;
/// Largest utilisation over the mean.
const IMBALANCE_BAR: f64 = 1.15;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// 16 HAProxys, backends of different capacity.
    H16,
    /// 8 Envoys, the same backends.
    E8,
    /// One HAProxy, the same backends: `leastconn` is best left alone.
    H1,
    /// A backend loses half of its capacity, another one fails.
    Settle,
    /// From a policy to the requests that follow it.
    Pushes,
    /// Collector, agents, HAProxy and Envoy are killed while weights are under control.
    Kills,
}

/// How to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Cases, in this order.
    pub cases: Vec<Case>,
    /// Ways to share requests, for the cases that compare them.
    pub arms: Vec<Arm>,
    /// Times that each is measured.
    pub rounds: usize,
    /// Measured time of a run.
    pub seconds: Duration,
    /// Time under full load before it.
    pub warm: Duration,
    /// Share of the capacity that is asked for.
    pub load: f64,
    /// Policies in [`Case::Pushes`].
    pub pushes: usize,
    /// Counts runs on a busy machine too. For trying things out.
    pub even_if_busy: bool,
}

/// Command, build, machine, date and versions, for above the table.
///
/// # Errors
/// Without a home directory.
pub fn conditions() -> Result<String> {
    Ok(super::conditions::words(crate::balance::versions()?))
}

/// Measures everything that is asked for; ends early, with everything stopped, when the person at the terminal wants it.
///
/// # Errors
/// When a server does not do what it should, or a person has ended it.
pub async fn run(table: &mut Table, options: &Options) -> Result<()> {
    // Servers are killed and directories removed when what holds them is dropped.
    tokio::select! {
        result = all(table, options) => result,
        _ = tokio::signal::ctrl_c() => bail!("ended from the terminal"),
    }
}

async fn all(table: &mut Table, options: &Options) -> Result<()> {
    for case in &options.cases {
        match case {
            Case::H16 => compare(table, options, &Scene::many()).await?,
            Case::E8 => compare(table, options, &Scene::envoys()).await?,
            Case::H1 => one::run(table, options).await?,
            Case::Settle => settle::run(table, options).await?,
            Case::Pushes => pushes::run(table, options).await?,
            Case::Kills => kills::run(table, options).await?,
        }
    }
    Ok(())
}

/// All arms, round by round, each with servers of its own.
async fn compare(table: &mut Table, options: &Options, scene: &Scene) -> Result<()> {
    for round in 0..options.rounds {
        let mut peer_ms = f64::NAN;
        // Every other round backwards, so that none is always the one after another.
        let mut arms = options.arms.clone();
        if round % 2 == 1 {
            arms.reverse();
        }
        let mut ratios = Vec::new();
        for arm in arms {
            let what = format!("{}, round {} of {}", scene.called(arm), round + 1, options.rounds);
            let run = if scene.are_envoys {
                envoys::run(scene, arm, options, &what).await?
            } else {
                arm::run(scene, arm, options, &what).await?
            };
            let Some(figures) = scene::counted(table, scene.name, options, &run) else { continue };
            let name = |figure: &str| format!("{}, {}: {figure}", scene.name, scene.called(arm));
            table.add(&name("p50, ms"), figures.p50_ms, None);
            table.add(&name("p90, ms"), figures.p90_ms, None);
            table.add(&name("p99, ms"), figures.p99_ms, None);
            let bar = arm.is_flyball().then_some(Bar::AtMost(IMBALANCE_BAR));
            table.add(&name("largest utilisation / mean"), figures.imbalance(), bar);
            let failed = (figures.failed as u64 + figures.open) as f64;
            table.add(&name("requests failed"), failed, Some(Bar::Never));
            if arm == Arm::LeastConn {
                peer_ms = figures.p99_ms;
            } else {
                ratios.push((arm, figures.p99_ms));
            }
        }
        for (arm, p99) in ratios {
            // The bar is that of HAProxys.
            let bar = (arm.is_flyball() && !scene.are_envoys).then_some(Bar::AtMost(MANY_BAR));
            let peer = scene.called(Arm::LeastConn);
            let name = format!("{}, {}: p99 / p99 of {peer}", scene.name, scene.called(arm));
            table.add(&name, p99 / peer_ms, bar);
        }
    }
    Ok(())
}

/// Waits, and shows on a terminal how far it is.
async fn wait(what: &str, time: Duration) {
    let is_shown = stderr().is_terminal();
    if !is_shown {
        super::progress(what, time);
    }
    let begun = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while begun.elapsed() < time {
        tokio::select! {
            () = tokio::time::sleep_until(begun + time) => {}
            _ = ticks.tick() => {}
        }
        if is_shown {
            let (done, all) = (begun.elapsed().as_secs(), time.as_secs());
            let _ = write!(stderr(), "\r\x1b[K{what}: {done} of {all} s");
        }
    }
    if is_shown {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

/// Tells people something. May be lost.
fn say(what: &str) {
    let _ = writeln!(stderr(), "{what}");
}
