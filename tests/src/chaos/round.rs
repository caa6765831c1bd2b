//! One round: start everything, let the faults of a plan happen, heal, wait until the backlog is stored, check.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::answer;
use super::check::{self, Account};
use super::own::OwnAccount;
use super::plan::{Shape, Step, Target, plan};
use super::tally::Tally;
use super::unit::Unit;
use super::world::World;
use crate::http::Api;
use crate::wait::until;

/// Longest time from the end of the faults until the agents have sent everything.
const DRAINED: Duration = Duration::from_mins(2);
/// Longest time until a collector has read which series another one has stored.
const KNOWN: Duration = Duration::from_secs(40);
/// How long an agent with a backlog runs before it is stopped again.
const DRAIN_AGAIN: Duration = Duration::from_secs(2);

/// Plays a plan made from `seed`.
///
/// # Errors
/// When a process fails in a way that no fault explains, or the check does.
pub async fn run(seed: u64, wanted: &Shape, faults: usize) -> Result<Tally> {
    let (world, shape) = World::start(wanted).await?;
    let steps = plan(seed, &shape, faults);
    play(world, &steps).await
}

/// Plays the steps and checks.
///
/// # Errors
/// As [`run`].
pub async fn play(mut world: World, steps: &[Step]) -> Result<Tally> {
    let start = Instant::now();
    for step in steps {
        say(&format!("  {step}"));
    }
    let result = strike_all(&mut world, steps).await;
    let mut tally = match result {
        Ok(()) => settle(&mut world).await,
        Err(error) => Err(error),
    }
    .map_err(|error| keep(world, error))?;
    tally.add_faults(steps);
    tally.time = start.elapsed();
    Ok(tally)
}

/// Lets all sequences of faults happen at once.
async fn strike_all(world: &mut World, steps: &[Step]) -> Result<()> {
    let units = world.units().into_iter();
    try_join_all(units.map(|(target, unit)| strike(target, unit, steps))).await?;
    Ok(())
}

/// The faults of one process, one after the other.
async fn strike(target: Target, unit: &mut Unit, steps: &[Step]) -> Result<()> {
    for step in steps.iter().filter(|step| step.target == target) {
        sleep(step.after).await;
        unit.run()?;
        unit.strike(step.fault).await.with_context(|| step.to_string())?;
    }
    Ok(())
}

/// Ends the faults, waits until the agents have sent everything, and compares.
async fn settle(world: &mut World) -> Result<Tally> {
    world.heal().await?;
    let own = drain(world).await?;
    for unit in world.collectors.iter().chain(&world.agents) {
        let log = unit.log();
        ensure!(!log.contains("panicked at"), "{} panicked:\n{log}", unit.name);
    }
    let mut tally = Tally::default();
    for (number, own) in own.into_iter().enumerate() {
        let (account, points) = judge(world, number, own).await?;
        tally.add_samples(&account);
        tally.points += points;
    }
    tally.revivals = world.units().iter().map(|(_, unit)| u64::from(unit.revivals)).sum();
    Ok(tally)
}

/// Stops the agents. One that still has something to send is started again until it has not.
async fn drain(world: &mut World) -> Result<Vec<OwnAccount>> {
    let deadline = Instant::now() + DRAINED;
    try_join_all(world.agents.iter_mut().map(|agent| async move {
        loop {
            agent.stop().await?;
            let own =
                OwnAccount::last(&agent.log()).context("it says what became of its samples")?;
            if own.in_flight == 0 || Instant::now() > deadline {
                return Ok(own);
            }
            agent.run()?;
            sleep(DRAIN_AGAIN).await;
        }
    }))
    .await
}

/// Compares record, rows and the answers of all collectors for one node.
async fn judge(world: &World, number: usize, own: OwnAccount) -> Result<(Account, usize)> {
    let side = &world.nodes[number];
    let (journal, stored, account) = check::node(world, number, own.shed).await?;
    ensure!(account.is_right(), "{}: {account}, it says {own:?}", side.node);
    let mut points = 0;
    for collector in &world.sides {
        wait_known(&collector.api, &side.node).await?;
        let compared = answer::check(&collector.api, side, &journal, &stored).await;
        points += compared.with_context(|| collector.api.base().to_owned())?;
        status_has_once(&collector.api, &side.node).await?;
    }
    say(&format!("{}: {account}, {points} points", side.node));
    Ok((account, points))
}

/// Waits until a collector knows the node: what others store it reads now and then.
async fn wait_known(api: &Api, node: &str) -> Result<()> {
    until("a collector to know what another one has stored", KNOWN, || async {
        let metric = "flyball.agent.samples.produced";
        api.json(&format!("/api/performance/metrics?metric={metric}&node={node}")).await
    })
    .await?;
    Ok(())
}

async fn status_has_once(api: &Api, node: &str) -> Result<()> {
    let status = api.json("/api/performance/status").await?;
    let nodes = status["nodes"].as_array().context("status has nodes")?;
    let times = nodes.iter().filter(|n| n["node"] == node).count();
    ensure!(times == 1, "{node} is {times} times in the status: {status}");
    Ok(())
}

/// Keeps the directory of a run that failed, for a person to look at.
fn keep(world: World, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("logs and data are in {}", world.keep().display()))
}

/// For people; may be lost.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
