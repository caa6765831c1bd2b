//! The checker: is every sample that an agent produced and did not report as shed stored once, with its value?
//!
//! Three things are compared, sample for sample: the agent's own record, the rows that SQL gives, and the answers of every collector's HTTP API. Allowed are
//!
//! - samples of the record that are not stored, as many as the agent reported as shed;
//! - more than that where a segment of the agent's spool was damaged on purpose, see [`super::damage`];
//! - stored samples that are not in the record, of one tick for each kill of the agent: it died after the spool had taken the tick and before the record had.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, ensure};

use super::damage;
use super::stored::Stored;
use super::world::{AgentSide, World};
use crate::journal::Journal;

/// What became of the samples of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// In the record.
    pub produced: u64,
    /// Stored, each once.
    pub stored: u64,
    /// Reported as shed.
    pub shed: u64,
    /// In the record, neither stored nor shed.
    pub lost: u64,
    /// As `lost`, but in segments of the spool that were damaged on purpose.
    pub destroyed: u64,
    /// Rows beyond the first of a sample.
    pub doubled: u64,
    /// Stored with another value than produced.
    pub changed: u64,
    /// Ticks that are stored and not in the record.
    pub unrecorded_ticks: u64,
    /// Kills of the agent, which explain one such tick each.
    pub kills: u64,
    /// Samples that the agent gave the time of an earlier one of the same series.
    pub collisions: u64,
    /// The first few samples that are lost or changed.
    pub examples: Vec<String>,
}

/// What an agent has suffered that explains something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Times that it was killed.
    pub kills: u64,
    /// Times that its spool was damaged.
    pub damages: u64,
}

/// All that is known of one node.
#[derive(Debug)]
pub struct Node {
    /// What its agent has produced.
    pub journal: Journal,
    /// What is stored.
    pub stored: Stored,
    /// The two compared.
    pub account: Account,
}

/// The most examples that are kept.
const EXAMPLES: usize = 5;

impl Account {
    /// True when the rules hold.
    pub fn is_right(&self) -> bool {
        self.lost == 0
            && self.doubled == 0
            && self.changed == 0
            && self.collisions == 0
            && self.unrecorded_ticks <= self.kills
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { produced, stored, shed, lost, doubled, changed, collisions, .. } = self;
        write!(
            f,
            "produced {produced}, stored {stored}, shed {shed}, lost {lost}, doubled {doubled}, changed {changed}, "
        )?;
        write!(f, "collisions {collisions}, unrecorded ticks {}", self.unrecorded_ticks)?;
        write!(f, " in {} kills, destroyed {}", self.kills, self.destroyed)?;
        self.examples.iter().try_for_each(|example| write!(f, "\n    {example}"))
    }
}

/// Compares what the record and the store hold of one node.
pub fn account(journal: &Journal, stored: &Stored, shed: u64, hits: Hits) -> Account {
    let Hits { kills, damages } = hits;
    let mut account = Account {
        produced: journal.samples.len() as u64,
        stored: stored.samples.len() as u64,
        shed,
        doubled: stored.doubled + stored.series_twice,
        collisions: journal.collisions,
        kills,
        ..Account::default()
    };
    let mut missing = Vec::new();
    for (at, value) in &journal.samples {
        match stored.samples.get(at) {
            None => missing.push(*at),
            Some(found) if found == value => {}
            Some(found) => {
                account.changed += 1;
                let text = format!("{} is {found:?}, was {value:?}", name(journal, *at));
                account.example(text);
            }
        }
    }
    let recorded: BTreeSet<i64> = journal.frames.iter().map(|frame| frame.ts_ms).collect();
    let strangers = stored.samples.keys().filter(|at| !journal.samples.contains_key(at));
    let ticks: BTreeSet<i64> = strangers.map(|(_, ts_ms)| *ts_ms).collect();
    account.unrecorded_ticks = ticks.len() as u64;
    if !ticks.is_disjoint(&recorded) {
        account.changed += 1;
        account.example("a recorded tick is stored with more samples than it had".to_owned());
    }
    let unexplained = (missing.len() as u64).saturating_sub(shed);
    if unexplained > 0 && damage::explains(journal, &missing, damages) {
        account.destroyed = unexplained;
    } else if unexplained > 0 {
        account.lost = unexplained;
        missing.sort_unstable_by_key(|(number, ts_ms)| (*ts_ms, *number));
        let (first, last) = (missing[0].1, missing[missing.len() - 1].1);
        account.example(format!("{} are missing, from {first} to {last}", missing.len()));
        for at in missing.iter().take(EXAMPLES) {
            account.example(format!("missing: {}", name(journal, *at)));
        }
    }
    account
}

impl Account {
    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text);
        }
    }
}

fn name(journal: &Journal, (number, ts_ms): (u32, i64)) -> String {
    let (metric, attributes) = &journal.series[number as usize];
    format!("{metric} {attributes:?} at {ts_ms}")
}

/// Reads record and store of one node and compares them.
///
/// # Errors
/// When one of them cannot be read.
pub async fn node(world: &World, number: usize, shed: u64) -> Result<Node> {
    let AgentSide { node, record, .. } = &world.nodes[number];
    let journal = Journal::read(record)?;
    ensure!(!journal.frames.is_empty(), "{node} has produced nothing");
    let stored = Stored::read(&world.clickhouse, node, &journal).await?;
    let account = account(&journal, &stored, shed, world.agents[number].hits);
    Ok(Node { journal, stored, account })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{FrameNote, Value};

    fn kills(kills: u64) -> Hits {
        Hits { kills, ..Hits::default() }
    }

    /// Three ticks of two series.
    fn world() -> (Journal, Stored) {
        let mut journal = Journal::default();
        for name in ["a", "b"] {
            journal.series.push((name.to_owned(), std::collections::BTreeMap::new()));
        }
        for tick in 1..=3_i64 {
            for series in 0..2 {
                journal.samples.insert((series, tick * 100), Value { raw: tick, scale: 0 });
            }
            let seq = tick as u64;
            journal.frames.push(FrameNote { run: 0, seq, ts_ms: tick * 100, samples: 2 });
        }
        let stored = Stored { samples: journal.samples.clone(), ..Stored::default() };
        (journal, stored)
    }

    #[test]
    fn all_stored_once_is_right() {
        let (journal, stored) = world();
        let account = account(&journal, &stored, 0, kills(0));
        assert!(account.is_right(), "{account}");
        assert_eq!((account.produced, account.stored), (6, 6));
    }

    #[test]
    fn a_missing_sample_is_lost_unless_it_was_reported_as_shed() {
        let (journal, mut stored) = world();
        stored.samples.remove(&(1, 200));
        let lost = account(&journal, &stored, 0, kills(9));
        assert_eq!((lost.lost, lost.is_right()), (1, false));
        assert!(lost.to_string().contains("missing: b {} at 200"), "{lost}");
        assert!(account(&journal, &stored, 1, kills(0)).is_right());
    }

    #[test]
    fn another_value_a_second_row_and_a_second_id_are_wrong() {
        let (journal, mut stored) = world();
        stored.samples.insert((0, 100), Value { raw: 1, scale: 1 });
        assert!(!account(&journal, &stored, 9, kills(9)).is_right());
        let (journal, stored) = world();
        let doubled = Stored { doubled: 1, samples: stored.samples.clone(), ..Stored::default() };
        assert!(!account(&journal, &doubled, 9, kills(9)).is_right());
        let twice = Stored { series_twice: 1, samples: stored.samples, ..Stored::default() };
        assert!(!account(&journal, &twice, 9, kills(9)).is_right());
    }

    #[test]
    fn a_kill_explains_one_tick_that_is_not_recorded_and_no_more() {
        let (journal, mut stored) = world();
        stored.samples.insert((0, 400), Value { raw: 4, scale: 0 });
        stored.samples.insert((1, 400), Value { raw: 4, scale: 0 });
        assert!(!account(&journal, &stored, 0, kills(0)).is_right());
        assert!(account(&journal, &stored, 0, kills(1)).is_right());
        stored.samples.insert((1, 500), Value { raw: 4, scale: 0 });
        assert!(!account(&journal, &stored, 0, kills(1)).is_right());
    }

    #[test]
    fn a_recorded_tick_must_not_have_more_samples_than_recorded() {
        let (mut journal, stored) = world();
        journal.samples.remove(&(1, 300));
        assert!(!account(&journal, &stored, 0, kills(5)).is_right());
    }

    #[test]
    fn a_time_given_twice_is_wrong() {
        let (mut journal, stored) = world();
        journal.collisions = 1;
        assert!(!account(&journal, &stored, 0, kills(0)).is_right());
    }

    #[test]
    fn what_was_damaged_is_told_apart() {
        let (journal, mut stored) = world();
        stored.samples.retain(|(_, ts_ms), _| *ts_ms < 200);
        let hits = Hits { kills: 1, damages: 1 };
        let account = account(&journal, &stored, 1, hits);
        assert_eq!((account.lost, account.destroyed), (0, 3));
    }
}
