//! What happened in a run, as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::balance::Accounting;
use super::check::Account;
use super::plan::Step;

/// Faults and samples of one or several rounds.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Faults by whom they hit and what they were.
    pub faults: BTreeMap<(&'static str, String), u64>,
    /// Samples of all agents together.
    pub samples: Account,
    /// The agents' accounts after the last round's faults, as the collectors show them.
    pub accounts: Vec<Accounting>,
    /// Points of the API that were compared.
    pub points: usize,
    /// Points of wide buckets that were compared, by the tier that answered.
    pub tiers: BTreeMap<String, usize>,
    /// Times that a process ended by itself and was started again.
    pub revivals: u64,
    /// How long it took.
    pub time: Duration,
}

impl Tally {
    /// Counts the faults of a plan.
    pub fn add_faults(&mut self, steps: &[Step]) {
        for step in steps {
            *self.faults.entry((step.target.kind(), step.fault.kind())).or_default() += 1;
        }
    }

    /// Counts the samples of a node.
    pub fn add_samples(&mut self, account: &Account) {
        let sum = &mut self.samples;
        sum.produced += account.produced;
        sum.stored += account.stored;
        sum.shed += account.shed;
        sum.lost += account.lost;
        sum.destroyed += account.destroyed;
        sum.doubled += account.doubled;
        sum.changed += account.changed;
        sum.collisions += account.collisions;
        sum.unrecorded_ticks += account.unrecorded_ticks;
        sum.kills += account.kills;
    }

    /// Counts points by tier.
    pub fn add_tiers(&mut self, tiers: &BTreeMap<String, usize>) {
        for (tier, points) in tiers {
            *self.tiers.entry(tier.clone()).or_default() += points;
        }
    }

    /// Adds another round.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        self.add_samples(&other.samples);
        self.accounts.clone_from(&other.accounts);
        self.points += other.points;
        self.add_tiers(&other.tiers);
        self.revivals += other.revivals;
        self.time += other.time;
    }

    /// Faults of all kinds.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| fault | on | times |\n|---|---|---|")?;
        for ((target, fault), count) in &self.faults {
            writeln!(f, "| {fault} | {target} | {count} |")?;
        }
        writeln!(f, "| all | | {} |", self.fault_count())?;
        let Account {
            produced,
            stored,
            shed,
            lost,
            destroyed,
            doubled,
            changed,
            unrecorded_ticks,
            ..
        } = self.samples;
        writeln!(f, "\n| samples | number |\n|---|---|")?;
        let rows = [
            ("produced, by the agents' own records", produced),
            ("stored", stored),
            ("shed, as the agents reported", shed),
            ("lost", lost),
            ("in segments damaged on purpose, not counted by the agent", destroyed),
            ("doubled", doubled),
            ("changed", changed),
            (
                "ticks stored and not recorded (at most one for each kill of an agent)",
                unrecorded_ticks,
            ),
            ("points of the HTTP API compared", self.points as u64),
            ("processes started again after they ended by themselves", self.revivals),
            ("seconds", self.time.as_secs()),
        ];
        rows.iter().try_for_each(|(what, number)| writeln!(f, "| {what} | {number} |"))?;
        let mut tiers = self.tiers.iter();
        tiers.try_for_each(|(t, n)| writeln!(f, "| points of wide buckets from tier {t} | {n} |"))
    }
}
