//! What the estimators say a real Redis would do at half and twice its size and with LFU, beside what
//! fresh ones of those sizes and with that policy then do.
//!
//! A server at its present size serves a workload. The agent's taps watch it as they would anywhere:
//! keyspace events, keys drawn at random, and then `MONITOR` for the emulation (without its bound on a full
//! server: at some thousand requests a second it costs the server a percent of a core). Predictions are
//! written to a file; those of other sizes before there is anything to compare them with. Fresh servers, at
//! other sizes, with the other policy, and as it is, serve the same workload with another order of
//! requests, from empty, while the emulation runs. What they hit in the last minutes is the truth.
//!
//! Everything is on one machine. Clients keep to a schedule; a scenario in which one of them was late is
//! done again and not used.
//! Workloads are a tenth of a real one in keys and rate, so that ages are
//! as long as there and several fit beside each other.

mod figures;
mod present;
mod record;
mod scenario;
mod shown;
mod truth;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::present::Running;
use self::record::Records;
pub use self::scenario::{Scenario, Times};
use self::shown::Shown;
use super::table::Table;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Where predictions and truths are kept; what is there already is not done again.
    pub dir: PathBuf,
    /// Servers that are measured.
    pub scenarios: Vec<Scenario>,
    /// How many of them at once.
    pub parallel: usize,
    /// Keeps what estimators were shown, 60 MB for each scenario.
    pub keep: bool,
    /// Measures nothing: shows what was kept to the estimators as they are now.
    pub again: bool,
}

/// Attempts at a scenario whose clients were late.
const ATTEMPTS: usize = 2;

/// Measures all scenarios that are not done yet, and adds the figures of all.
///
/// # Errors
/// When a step fails; what is done stays done.
pub async fn run(table: &mut Table, options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.dir)?;
    let records = Arc::new(Records::open(&options.dir)?);
    if options.again {
        return again(table, options, &records);
    }
    let turns = Arc::new(Semaphore::new(options.parallel.max(1)));
    let mut running = JoinSet::new();
    let left: Vec<_> =
        options.scenarios.iter().filter(|scenario| !records.is_done(scenario)).collect();
    // The truth takes four servers: half of the scenarios begin when it is the turn of the others'.
    let later =
        if left.len() > options.parallel { options.parallel / 2..options.parallel } else { 0..0 };
    for (i, scenario) in left.into_iter().enumerate() {
        let wait = later.contains(&i).then(|| scenario.times.warm + scenario.times.watch);
        let (scenario, turns, records) = (*scenario, Arc::clone(&turns), Arc::clone(&records));
        let keep = options.keep;
        running.spawn(async move {
            let _turn = turns.acquire_owned().await?;
            sleep(wait.unwrap_or_default()).await;
            measure(&scenario, &records, keep).await.with_context(|| scenario.to_string())
        });
    }
    let mut failures = Vec::new();
    while let Some(done) = running.join_next().await {
        if let Err(error) = done? {
            say(&format!("{error:#}"));
            failures.push(format!("{error:#}"));
        }
    }
    figures::add(table, &records.all(&options.scenarios));
    if !failures.is_empty() {
        bail!("scenarios failed:\n{}", failures.join("\n"));
    }
    Ok(())
}

/// One scenario. What is predicted of other sizes is known before its truth begins, and the emulation,
/// which needs requests, sees those of the present server only.
async fn measure(scenario: &Scenario, records: &Records, keep: bool) -> Result<()> {
    for _ in 0..ATTEMPTS {
        say(&format!("{scenario}: the present"));
        let shown = keep.then(|| Shown::new(records.dir(), scenario));
        let running = Running::start(scenario, shown).await?;
        let watched = running.watch().await?;
        say(&format!("{scenario}: the truth"));
        let (predicted, found) = tokio::try_join!(running.emulate(watched), truth::find(scenario))?;
        say(&format!("{scenario}: done, {:?}", predicted.pace));
        let is_valid = predicted.is_valid() && found.is_valid();
        records.predicted(scenario, predicted)?;
        records.found(scenario, found)?;
        if is_valid {
            return Ok(());
        }
    }
    bail!("clients were late")
}

/// The figures of what was kept with the estimators as they are now.
fn again(table: &mut Table, options: &Options, records: &Records) -> Result<()> {
    let mut all = records.all(&options.scenarios);
    for (scenario, predicted, _) in &mut all {
        let shown = Shown::new(&options.dir, scenario);
        (predicted.predictions, predicted.residual) = present::again(scenario, &shown)?;
    }
    figures::add(table, &all);
    Ok(())
}

/// Tells people how far it is. May be lost.
fn say(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}
