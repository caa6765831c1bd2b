//! Queries on a day of a fleet's samples: loads them through the shipped collector, then measures
//! what the API answers while the fleet goes on reporting.
//!
//! The generator, the collector, its engine and the peers share the machine. What does not exist in
//! the collector that is measured is said to be not there and breaks no bar.

mod cached;
mod client;
mod crowd;
mod load;
mod offer;
mod peers;
mod redis;
mod single;
mod status;
mod subject;
mod wrk;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

pub use self::load::{Loaded, load};
use self::peers::Peer;
use self::subject::Subject;
use super::table::Table;

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Times that everything is measured.
    pub rounds: usize,
    /// Of each load at a constant rate.
    pub open_loop: Duration,
    /// Of each run of wrk.
    pub wrk: Duration,
    /// Questions to the last hour of each kind.
    pub sequential: usize,
    /// Questions of each kind that no cache can answer.
    pub uncached: usize,
    /// Clients that ask at once.
    pub clients: usize,
    /// Of ten times the capacity.
    pub overload: Duration,
}

impl Size {
    /// Everything, three times.
    pub const FULL: Self = Self {
        rounds: 3,
        open_loop: Duration::from_secs(10),
        wrk: Duration::from_secs(10),
        sequential: 200,
        uncached: 40,
        clients: 1_000,
        overload: Duration::from_mins(1),
    };
    /// A little of everything.
    pub const QUICK: Self = Self {
        rounds: 1,
        open_loop: Duration::from_secs(3),
        wrk: Duration::from_secs(3),
        sequential: 50,
        uncached: 10,
        clients: 200,
        overload: Duration::from_secs(10),
    };
}

/// Measures what a loaded directory answers. What was measured before a failure is in `table`.
///
/// # Errors
/// When the directory is not loaded, a server ends, or a step fails; the steps after it are done.
pub async fn run(table: &mut Table, dir: &Path, size: Size) -> Result<()> {
    let mut subject = Subject::start(Loaded::open(dir)?, size).await?;
    let data = cached::data(&subject);
    say("loading the peers");
    let peers = [Peer::victoria_metrics(&data).await?, Peer::prometheus(&data).await?];
    let mut failures = Vec::new();
    for round in 0..size.rounds {
        say(&format!("round {} of {}", round + 1, size.rounds));
        let mut note = |step: &str, result: Result<()>| {
            if let Err(error) = result {
                say(&format!("{step}: {error:#}"));
                failures.push(format!("{step}: {error:#}"));
            }
        };
        note("status", status::status(&subject, table).await);
        note("cached", cached::cached(&subject, &peers, &data, table).await);
        note("last hour", single::recent(&subject, table).await);
        note("not cached", single::uncached(&subject, table, round).await);
        note("herd", crowd::herd(&subject, table, round).await);
        note("overload", crowd::overload(&subject, table, round).await);
        subject.check()?;
        subject.quiet().await?;
    }
    subject.stop().await?;
    if let Err(error) = redis::run(table, dir).await {
        say(&format!("redis: {error:#}"));
        failures.push(format!("redis: {error:#}"));
    }
    if !failures.is_empty() {
        bail!("steps failed:\n{}", failures.join("\n"));
    }
    Ok(())
}

/// A small fleet in a temporary directory, loaded and measured.
///
/// # Errors
/// As [`load()`] and [`run`].
pub async fn quick(table: &mut Table) -> Result<()> {
    let dir = super::temporary()?;
    load(dir.path(), 100, 2).await?;
    run(table, dir.path(), Size::QUICK).await
}

/// Tells people how far it is. May be lost.
fn say(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}
