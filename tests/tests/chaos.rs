//! The short form of the fault tests: every kind of fault once, some at random, and a collector that goes for good. `make chaos` is the long one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::chaos::balance::ClockSteps;
use flyball_tests::chaos::campaign::shape;
use flyball_tests::chaos::fault::Fault;
use flyball_tests::chaos::plan::{Abilities, Shape, Step, Target};
use flyball_tests::chaos::world::World;
use flyball_tests::chaos::{rollout, round, seed};
use flyball_tests::proxy::Mode;
use flyball_tests::wait::{SOON, until};

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn nothing_is_lost_or_doubled_by_any_kind_of_fault() -> Result<()> {
    let (world, shape) = World::start(&shape()).await?;
    let [clock, disk, namespace, plain] = [0, 1, 2, 3].map(Target::Agent);
    let [first, second] = [0, 1].map(Target::Collector);
    let mut steps = vec![
        (Target::Engine, Fault::Kill(SHORT)),
        (Target::Engine, Fault::Pause(LONG)),
        (Target::Engine, Fault::Restart(SHORT)),
        (first, Fault::Kill(SHORT)),
        (first, Fault::Link(Mode::CutRequests, SHORT)),
        (first, Fault::Link(Mode::LoseAnswers, SHORT)),
        (first, Fault::Link(Mode::CutAnswers, SHORT)),
        (second, Fault::Storm(3)),
        (second, Fault::Restart(SHORT)),
        (second, Fault::Link(Mode::BlackHole, LONG)),
        (second, Fault::Pause(LONG)),
        (plain, Fault::Kill(SHORT)),
        (plain, Fault::Link(Mode::Cut, SHORT)),
        (plain, Fault::Storm(3)),
        (plain, Fault::Link(Mode::BlackHole, LONG)),
        (plain, Fault::Restart(SHORT)),
        (plain, Fault::Link(Mode::Delay(Duration::from_millis(100)), LONG)),
    ];
    if shape.agents[0].clock.is_some() {
        // The ticks before each step back come again after it.
        steps.extend([-1_000, 20_000, -21_000].map(|ms| (clock, Fault::Clock(ms))));
    }
    if shape.agents[1].disk {
        steps.extend([(disk, Fault::FullDisk(LONG)), (disk, Fault::Link(Mode::Cut, LONG))]);
    }
    if shape.agents[2].namespace {
        steps.push((namespace, Fault::Partition(LONG)));
    }
    steps.push((namespace, Fault::Corrupt(20_011)));
    let step =
        |(target, fault)| Step { target, after: if target == clock { LONG } else { SHORT }, fault };
    let steps: Vec<_> = steps.into_iter().map(step).collect();
    let tally = round::play(world, &steps).await?;
    ensure!(tally.samples.is_right(), "{tally}");
    // Where the disk was full the oldest frames may have made room for new ones; what was in the damaged segment is counted to the last sample.
    let sheds = |agent: usize, reason: &str| {
        let reasons: Vec<_> = tally.accounts[agent].shed.keys().collect();
        reasons.iter().all(|shed| *shed == reason)
    };
    let as_allowed = sheds(0, "") && sheds(2, "lost") && sheds(3, "");
    ensure!(as_allowed && tally.samples.destroyed == 0, "{:?}\n{tally}", tally.accounts);
    if shape.agents[0].clock.is_some() {
        let flagged = tally.accounts[0].clock_steps;
        ensure!(flagged == ClockSteps { forward: 1, backward: 2 }, "{flagged:?}");
    }
    Ok(())
}

#[tokio::test]
async fn when_one_of_two_collectors_is_gone_the_other_one_takes_all() -> Result<()> {
    let agents = vec![Abilities::default(); 6];
    let (mut world, _) = World::start(&Shape { collectors: 2, agents }).await?;
    let spread = until("agents on both collectors", SOON, || async {
        let nodes = [up(&world, 0).await?, up(&world, 1).await?];
        ensure!(nodes[0].len() + nodes[1].len() == 6, "{nodes:?}");
        Ok(nodes)
    })
    .await?;
    ensure!(spread.iter().all(|nodes| !nodes.is_empty()), "all on one of them: {spread:?}");
    world.lose_collector(0).await?;
    until("all agents on the other one", SOON * 2, || async {
        let nodes = up(&world, 0).await?;
        ensure!(nodes.len() == 6, "{nodes:?}");
        Ok(())
    })
    .await?;
    let tally = round::play(world, &[]).await?;
    ensure!(tally.samples.is_right(), "{tally}");
    Ok(())
}

/// Nodes that report to a collector. Those that it hears of from the store or from another one are up there too, but without an account.
async fn up(world: &World, collector: usize) -> Result<Vec<String>> {
    let status = world.sides[collector].api.json("/api/performance/status").await?;
    let nodes = status["nodes"].as_array().context("status has nodes")?;
    let up = nodes.iter().filter(|n| n["up"] == true && n["accounting"].is_object());
    Ok(up.map(|n| n["node"].to_string()).collect())
}

#[tokio::test]
async fn changes_end_as_they_should_whoever_is_killed_meanwhile() -> Result<()> {
    let report = rollout::run(seed()?, 3, 2).await?;
    ensure!(report.changes() > 0, "{report}");
    Ok(())
}
