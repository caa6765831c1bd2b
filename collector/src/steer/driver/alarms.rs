//! Alerts about what only a person can mend: a broken journal, locked targets, rollouts that ask.

use std::collections::{BTreeMap, BTreeSet};

use flyball_model::rollout::State;
use flyball_proto::series::NodeName;

use crate::account::{Accounts, Kind};
use crate::steer::journal::Health;

/// Nodes that something was told of.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    locked: BTreeSet<NodeName>,
    asking: BTreeSet<NodeName>,
    frozen: BTreeSet<NodeName>,
}

impl Alarms {
    /// Says what fires, and of what fired before that it is over.
    pub(super) fn tell(&mut self, state: &State, health: &Health, accounts: &Accounts) {
        let broken = matches!(health, Health::Broken { .. });
        let text = broken.then(|| format!("the journal of decisions {}", health.describe()));
        accounts.set(Kind::JournalBroken, None, text);
        let mut locked = BTreeMap::new();
        for book in state.targets().filter(|book| book.is_locked() && book.held_by.is_none()) {
            let text = if book.broken {
                format!(
                    "it is not known which values are in force at {}: look, then unlock it",
                    book.target.id
                )
            } else {
                format!("{} is locked after failed attempts: look, then unlock it", book.target.id)
            };
            add(&mut locked, &book.target.node, text);
        }
        let mut asking = BTreeMap::new();
        for rollout in state.rollouts().filter(|r| r.paused.is_some_and(|pause| pause.asks)) {
            for member in &rollout.plan.members {
                let text = format!(
                    "rollout {} could not be judged in time: resume it or roll it back",
                    rollout.id
                );
                add(&mut asking, &member.target.node, text);
            }
        }
        let mut frozen = BTreeMap::new();
        for control in state.controls().filter(|control| !control.is_over()) {
            let Some(why) = control.frozen.as_ref().filter(|frozen| !frozen.by_person) else {
                continue;
            };
            for member in &control.members {
                let (pool, reason) = (&control.pool.name, &why.reason);
                let text = format!("control of pool {pool} has frozen: {reason}");
                add(&mut frozen, &member.target.node, text);
            }
        }
        set(Kind::ControlFrozen, &mut self.frozen, frozen, accounts);
        set(Kind::TargetLocked, &mut self.locked, locked, accounts);
        set(Kind::RolloutAsks, &mut self.asking, asking, accounts);
    }
}

fn add(texts: &mut BTreeMap<NodeName, Vec<String>>, node: &str, text: String) {
    if let Ok(node) = NodeName::new(node) {
        texts.entry(node).or_default().push(text);
    }
}

fn set(
    kind: Kind,
    told: &mut BTreeSet<NodeName>,
    texts: BTreeMap<NodeName, Vec<String>>,
    accounts: &Accounts,
) {
    for node in told.iter().filter(|node| !texts.contains_key(*node)) {
        accounts.set(kind, Some(node), None);
    }
    *told = texts.keys().cloned().collect();
    for (node, mut texts) in texts {
        texts.dedup();
        accounts.set(kind, Some(&node), Some(texts.join("; ")));
    }
}
