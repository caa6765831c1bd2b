//! What the estimators say a real Redis would do at half and twice its size and with LFU, beside what
//! fresh ones of those sizes and with that policy then do.
//!
//! A server at its present size serves a workload. The agent's taps watch it as they would anywhere:
//! keyspace events, keys drawn at random, and then `MONITOR` for the emulation (without its bound on a full
//! server: at some thousand requests a second it costs the server a percent of a core). Predictions are
//! written to a file. Then fresh servers, at other sizes, with the other policy, and as it is, serve the
//! same workload with another order of requests, from empty for as long. What they hit in the last
//! minutes is the truth.
//!
//! Everything is on one machine. Workloads are a tenth of a real one in keys and rate, so that ages are
//! as long as there and several fit beside each other.

mod figures;
mod present;
mod record;
mod scenario;
mod truth;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::record::Records;
pub use self::scenario::{Scenario, Times};
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
}

/// Measures all scenarios that are not done yet, and adds the figures of all.
///
/// # Errors
/// When a step fails; what is done stays done.
pub async fn run(table: &mut Table, options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.dir)?;
    let records = Arc::new(Records::open(&options.dir)?);
    let turns = Arc::new(Semaphore::new(options.parallel.max(1)));
    let mut running = JoinSet::new();
    for scenario in options.scenarios.iter().filter(|scenario| !records.is_done(scenario)) {
        let (scenario, turns, records) = (*scenario, Arc::clone(&turns), Arc::clone(&records));
        running.spawn(async move {
            let _turn = turns.acquire_owned().await?;
            measure(&scenario, &records).await
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

/// One scenario: predictions first, then the truth.
async fn measure(scenario: &Scenario, records: &Records) -> Result<()> {
    say(&format!("{scenario}: the present"));
    let predictions = present::predict(scenario).await?;
    records.predicted(scenario, predictions)?;
    say(&format!("{scenario}: the truth"));
    let truths = truth::find(scenario).await?;
    records.found(scenario, truths)?;
    say(&format!("{scenario}: done"));
    Ok(())
}

/// Tells people how far it is. May be lost.
fn say(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}
