//! A harmful change at a real Redis under load: how long the old value takes to be in force after the verdict, and how long when the collector is killed
//! during a trial.
//!
//! What is measured is what the server itself says, asked every five milliseconds, against the time of the verdict in the journal. All is on one host, so
//! the clocks are one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flyball_collector::live::now_ms;
use rustix::process::Signal;
use tokio::time::sleep;

use super::table::Table;
use crate::stack::{Collector, Stack};
use crate::steering::{
    Cache, MIB, NEEDS_ROOM, PATIENCE, QUICK, agent_settings, confirmed, ended, proposed, say,
};
use crate::wait::{SOON, until};

const ID: &str = "redis:bench:sessions";
const POLL: Duration = Duration::from_millis(5);
/// Milliseconds that the old value may take after a verdict.
const BAR: f64 = 5_000.0;
/// The lease of `QUICK`, and what an agent may take to notice that it is over and to put back.
const LEASE_BAR: f64 = 5_000.0 + 1_000.0;
const FROM: u64 = 8 * MIB;

/// `rounds` of each.
///
/// # Errors
/// When a harmful change is not found, or something is not put back.
pub async fn run(table: &mut Table, rounds: usize) -> Result<()> {
    let (mut verdicts, mut backs, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        // A cache that was harmed fills again for minutes, which is no past to judge by: each has its own.
        let (stack, cache) = begin().await?;
        let (verdict_ms, back_ms) = harm(&stack, &cache).await?;
        verdicts.push(verdict_ms);
        backs.push(back_ms);
        stack.stop().await?;
    }
    let (mut stack, cache) = begin().await?;
    for _ in 0..rounds {
        alone.push(killed(&mut stack, &cache).await?);
        // The third in a row locks it.
        let _ = say(&stack.collector.api, &format!("targets/{ID}/unlock")).await?;
    }
    stack.stop().await?;
    table.push("half of the memory in force -> harm found, s", verdicts, None);
    table.push("harm found -> old value in force, ms", backs, Some(BAR));
    table.push("collector killed -> old value in force (lease 5 s), ms", alone, Some(LEASE_BAR));
    Ok(())
}

/// A cache that is full, with half a minute of past, its agent and a collector.
async fn begin() -> Result<(Stack, Cache)> {
    let mut stack = Stack::start_with(QUICK).await?;
    let cache = Cache::start(stack.dir(), "sessions", FROM, NEEDS_ROOM).await?;
    let file = agent_settings(stack.dir(), &[("sessions", &cache)], "")?;
    stack.start_agent("bench", &["--config", &file])?;
    until("a full cache and its past", SOON * 2, || async {
        ensure!(cache.tally.get().0 > 60_000, "{:?}", cache.tally.get());
        Ok(())
    })
    .await?;
    Ok((stack, cache))
}

/// Half of the memory: seconds until it is found to be harm, and milliseconds from then until the old value is in force.
async fn harm(stack: &Stack, cache: &Cache) -> Result<(f64, f64)> {
    let api = &stack.collector.api;
    let to = FROM / 2 + now_ms().rem_euclid(4_096).unsigned_abs();
    let id = confirmed(api, &proposed(api, ID, to).await?).await?;
    wait(cache, to).await?;
    let in_force_ms = now_ms();
    wait(cache, FROM).await?;
    let old_ms = now_ms();
    let done = ended(api, &id).await?;
    ensure!(done["state"] == "rolled_back", "{done:#}");
    let steps = done["steps"].as_array().context("steps")?;
    let verdicts = steps.iter().filter_map(|step| step["verdicts"].as_array()).flatten();
    let harm = verdicts.into_iter().find(|verdict| verdict["result"] == "harm");
    let verdict_ms = harm.and_then(|v| v["at_ms"].as_i64()).with_context(|| done.to_string())?;
    Ok(((verdict_ms - in_force_ms) as f64 / 1e3, (old_ms - verdict_ms) as f64))
}

/// A trial whose collector is killed: milliseconds until the old value is in force again.
async fn killed(stack: &mut Stack, cache: &Cache) -> Result<f64> {
    let to = FROM + FROM / 2 + now_ms().rem_euclid(4_096).unsigned_abs();
    let id =
        confirmed(&stack.collector.api, &proposed(&stack.collector.api, ID, to).await?).await?;
    wait(cache, to).await?;
    let begun = Instant::now();
    stack.collector.process.signal(Signal::KILL)?;
    wait(cache, FROM).await?;
    let took = begun.elapsed();
    stack.collector.process.wait(SOON).await?;
    let (dir, grpc) = (stack.dir().to_owned(), stack.collector.grpc);
    stack.collector = Collector::start_with(&dir, grpc, QUICK).await?;
    let done = ended(&stack.collector.api, &id).await?;
    ensure!(done["state"] == "rolled_back", "{done:#}");
    Ok(took.as_secs_f64() * 1e3)
}

async fn wait(cache: &Cache, limit: u64) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while cache.limit().await? != limit {
        ensure!(Instant::now() < end, "{limit} bytes are not in force");
        sleep(POLL).await;
    }
    Ok(())
}
