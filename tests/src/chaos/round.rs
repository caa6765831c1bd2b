//! One round: start everything, let the faults of a plan happen, heal, wait until the backlog is stored, check.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::check::{self, Node};
use super::own::OwnAccount;
use super::plan::{Shape, Step, Target, plan};
use super::tally::Tally;
use super::unit::Unit;
use super::world::{AgentSide, World};
use super::{answer, balance, catalog, tiers};
use crate::http::Api;

/// Longest time from the end of the faults until the agents have sent everything.
const DRAINED: Duration = Duration::from_mins(2);
/// Time between two looks whether the others are still hit by faults.
const REST: Duration = Duration::from_millis(200);
/// How long an agent with a backlog runs before it is stopped again.
const DRAIN_AGAIN: Duration = Duration::from_secs(2);

/// Plays a plan made from `seed`, after the steps of `first`.
///
/// # Errors
/// When a process fails in a way that no fault explains, or the check does.
pub async fn run(seed: u64, wanted: &Shape, faults: usize, first: &[Step]) -> Result<Tally> {
    let (world, shape) = World::start(wanted).await?;
    let mut steps = first.to_vec();
    steps.extend(plan(seed, &shape, faults));
    play(world, &steps).await
}

/// Plays the steps and checks. Collectors may have been taken from `world`, agents not.
///
/// # Errors
/// As [`run`].
pub async fn play(mut world: World, steps: &[Step]) -> Result<Tally> {
    let start = Instant::now();
    for step in steps {
        say(&format!("  {step}"));
    }
    let result = match strike_all(&mut world, steps).await {
        Ok(()) => settle_tended(&mut world).await,
        Err(error) => Err(error),
    };
    let mut tally = result.map_err(|error| keep(world, error))?;
    tally.add_faults(steps);
    tally.time = start.elapsed();
    Ok(tally)
}

/// Lets all sequences of faults happen at once.
async fn strike_all(world: &mut World, steps: &[Step]) -> Result<()> {
    let units = world.units();
    let busy = &AtomicUsize::new(units.len());
    try_join_all(units.into_iter().map(|(target, unit)| async move {
        strike(target, unit, steps).await?;
        busy.fetch_sub(1, Ordering::Relaxed);
        while busy.load(Ordering::Relaxed) > 0 {
            unit.rest(REST).await?;
        }
        Ok(())
    }))
    .await
    .map(|_: Vec<()>| ())
}

/// The faults of one process, one after the other.
async fn strike(target: Target, unit: &mut Unit, steps: &[Step]) -> Result<()> {
    for step in steps.iter().filter(|step| step.target == target) {
        unit.rest(step.after).await?;
        unit.strike(step.fault).await.with_context(|| step.to_string())?;
    }
    Ok(())
}

/// As [`settle`], while somebody starts ClickHouse again whenever it ends by itself.
async fn settle_tended(world: &mut World) -> Result<Tally> {
    let mut engine = world.engine.take().context("the engine is there")?;
    let tended = async {
        loop {
            engine.rest(REST).await?;
        }
    };
    let settled = tokio::select! {
        settled = settle(world) => settled,
        Err::<Infallible, _>(error) = tended => Err(error),
    };
    let mut tally = settled?;
    tally.revivals += u64::from(engine.revivals);
    world.engine = Some(engine);
    Ok(tally)
}

/// Ends the faults, waits until the agents have sent everything, and compares.
async fn settle(world: &mut World) -> Result<Tally> {
    world.heal().await?;
    let accounts = balance::all(world).await?;
    for (side, account) in world.nodes.iter().zip(&accounts) {
        say(&format!("{}: {account:?}", side.node));
    }
    let own = drain(world).await?;
    for unit in world.collectors.iter().chain(&world.agents) {
        let log = unit.log();
        ensure!(!log.contains("panicked at"), "{} panicked:\n{log}", unit.name);
    }
    let nodes = compare_rows(world, &own).await?;
    let mut expected = catalog::Expected::default();
    for (side, node) in world.nodes.iter().zip(&nodes) {
        expected.add(&side.node, &node.stored.metrics);
    }
    let mut tally = Tally { accounts, ..Tally::default() };
    for collector in &world.sides {
        expected.wait(&collector.api).await?;
        for (side, node) in world.nodes.iter().zip(&nodes) {
            tally.points += compare_answers(&collector.api, side, node).await?;
        }
    }
    for (side, node) in world.nodes.iter().zip(&nodes) {
        let api = &world.sides[0].api;
        tally.add_tiers(&tiers::wait_node(api, side, node).await?);
        tally.add_samples(&node.account);
    }
    compare_status(world).await?;
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

/// Compares record and rows of all nodes.
async fn compare_rows(world: &World, own: &[OwnAccount]) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for (number, own) in own.iter().enumerate() {
        let node = check::node(world, number, own.shed).await?;
        let name = &world.nodes[number].node;
        say(&format!("{name}: {}", node.account));
        ensure!(node.account.is_right(), "{name}: {}, it says {own:?}", node.account);
        ensure!(own.produced == own.stored + own.shed, "{name}: it says {own:?}");
        nodes.push(node);
    }
    Ok(nodes)
}

/// Compares the answers of a collector about one node with the rows. Gives the number of points.
async fn compare_answers(api: &Api, side: &AgentSide, node: &Node) -> Result<usize> {
    let compared = answer::check(api, side, &node.journal, &node.stored).await;
    let points = compared.with_context(|| api.base().to_owned())?;
    Ok(points)
}

/// A collector shows the nodes that it has served or found at its start, each once; every node is shown by one of them.
async fn compare_status(world: &World) -> Result<()> {
    let mut shown = BTreeSet::new();
    for collector in &world.sides {
        let status = collector.api.json("/api/performance/status").await?;
        let nodes = status["nodes"].as_array().context("status has nodes")?;
        let names: BTreeSet<_> = nodes.iter().map(|n| n["node"].to_string()).collect();
        ensure!(names.len() == nodes.len(), "a node is there twice: {status}");
        shown.extend(names);
    }
    ensure!(shown.len() == world.nodes.len(), "shown are {shown:?}");
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
