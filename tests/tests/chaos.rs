//! The short form of the fault tests. `make chaos` is the long one.

use anyhow::{Result, ensure};
use flyball_tests::chaos::fault::Fault;
use flyball_tests::chaos::plan::{Abilities, Shape, Target, plan};
use flyball_tests::chaos::world::World;
use flyball_tests::chaos::{round, seed};

#[tokio::test]
async fn nothing_is_lost_or_doubled_whatever_fails() -> Result<()> {
    let seed = seed()?;
    let (world, shape) =
        World::start(&Shape { collectors: 1, agents: vec![Abilities::default(); 3] }).await?;
    let mut steps = plan(seed, &shape, 40);
    steps.retain(|step| {
        !matches!(
            (step.target, step.fault),
            (
                Target::Agent(_),
                Fault::Kill(_) | Fault::Restart(_) | Fault::Storm(_) | Fault::Corrupt(_)
            )
        )
    });
    let tally = round::play(world, &steps).await?;
    ensure!(tally.samples.is_right(), "seed {seed}\n{tally}");
    println!("{tally}");
    Ok(())
}
