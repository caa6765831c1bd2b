//! All of it: one collector that is killed, then two of which one is killed at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use super::check;
use super::ground::Ground;
use super::killer::{self, Interrupted};
use super::person::{Ended, Person};

/// What came of a campaign.
#[derive(Debug, Default)]
pub struct Report {
    kills: usize,
    interrupted: Interrupted,
    ends: BTreeMap<String, usize>,
    reasons: BTreeMap<String, usize>,
    rows: usize,
    time: Duration,
}

/// Kills collectors so many times, half of them with one collector and half with two.
///
/// # Errors
/// When a change does not end as it should, or the journal is not what it should be.
pub async fn run(seed: u64, kills: usize, caches: usize) -> Result<Report> {
    let begun = Instant::now();
    let mut report = Report { kills, ..Report::default() };
    for (collectors, kills) in [(1, kills - kills / 2), (2, kills / 2)] {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(collectors));
        let ground = Ground::start(collectors as usize, caches).await?;
        play(ground, kills, &mut random, &mut report).await?;
    }
    report.time = begun.elapsed();
    Ok(report)
}

async fn play(
    mut ground: Ground,
    kills: usize,
    random: &mut StdRng,
    report: &mut Report,
) -> Result<()> {
    let enough = CancellationToken::new();
    let mut people = Vec::new();
    for place in &ground.places {
        let (place, apis) = (Arc::clone(place), ground.apis.clone());
        let random = StdRng::seed_from_u64(random.random());
        people.push(tokio::spawn(Person { place, apis, random }.work(enough.clone())));
    }
    let mut journal = ground.follower();
    let apis = ground.apis.clone();
    let interrupted =
        killer::kill(&mut ground.collectors, &apis, &mut journal, kills, random).await?;
    enough.cancel();
    let mut ended: Vec<Ended> = Vec::new();
    for person in people {
        ended.extend(person.await?.with_context(|| ground.logs())?);
    }
    report.rows += check::journal(&ground.store, &ended).await?;
    for (stage, count) in interrupted {
        *report.interrupted.entry(stage).or_default() += count;
    }
    for end in ended {
        *report.ends.entry(end.state).or_default() += 1;
        let reason: String = end.reason.chars().take_while(|c| !c.is_ascii_digit()).collect();
        *report.reasons.entry(reason).or_default() += 1;
    }
    ground.stop().await
}

impl Report {
    /// Changes that were made.
    pub fn changes(&self) -> usize {
        self.ends.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: Vec<(&str, usize)>| {
            counts
                .iter()
                .map(|(what, count)| format!("{what} {count}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let of = |counts: &BTreeMap<String, usize>| {
            list(counts.iter().map(|(what, count)| (what.as_str(), *count)).collect())
        };
        let interrupted = self.interrupted.iter().map(|(what, count)| (*what, *count)).collect();
        let changes = self.changes();
        writeln!(f, "kills: {} in {:.0} s", self.kills, self.time.as_secs_f64())?;
        writeln!(f, "changes interrupted by them, by stage: {}", list(interrupted))?;
        writeln!(f, "changes: {changes} ({})", of(&self.ends))?;
        writeln!(f, "rows of the journal: {}, none odd, none twice, chain whole", self.rows)?;
        writeln!(f, "reasons:")?;
        for (reason, count) in &self.reasons {
            writeln!(
                f,
                "  {count:4} {}",
                if reason.is_empty() { "(none: all went well)" } else { reason }
            )?;
        }
        Ok(())
    }
}
