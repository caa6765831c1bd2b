//! What is wanted of each agent: a function of the state, nothing else.
//!
//! So after a restart, or on another collector, the same policy is offered again. Its revision is
//! the number of the transition that last changed what is wanted of one of the node's targets:
//! every collector finds the same one, it never falls, and a new one always means new content.
//!
//! A member that gets a change has a canary's lease until the rollout is sealed. One that goes back
//! is asked for its old values until it has shown them, and then for nothing. Promoted values stay
//! wanted until another rollout touches the same parameters or the agent reports other ones. While
//! one touches others of the same target they are wanted together with its values: so nothing is
//! set when it ends, and somebody who changes one of them meanwhile is heard.

use super::ids::{RolloutId, Target, TargetId, Values};
use super::state::{Member, Phase, Rollout, RolloutState, Standing, State, TargetBook};

/// Whole wanted state of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePolicy {
    /// Whose.
    pub node: String,
    /// Rises whenever the rest changes.
    pub revision: u64,
    /// In the order of the targets' ids. What is not listed stays as it is.
    pub parts: Vec<Part>,
}

/// What is wanted of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub target: Target,
    /// Where the values come from.
    pub rollout: RolloutId,
    /// What to set.
    pub values: Values,
    /// How.
    pub ask: Ask,
}

/// How values are to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// For now: the agent goes back by itself when this is not renewed in time.
    Canary {
        /// In this time.
        lease_ms: u64,
        /// To these values.
        revert_to: Values,
    },
    /// For good.
    Keep {
        /// Also in the server's own configuration.
        persist: bool,
    },
    /// The old values, for good.
    Restore {
        /// Also in the server's own configuration, since the new ones were.
        persist: bool,
    },
}

impl State {
    /// What is wanted of a node. Empty for one that was never touched.
    pub fn policy(&self, node: &str) -> NodePolicy {
        let books = self.targets_of(node);
        let revision = books.clone().map(|book| book.revision).max().unwrap_or(0).max(self.base);
        let parts = books.filter_map(|book| self.part(book)).collect();
        NodePolicy { node: node.to_owned(), revision, parts }
    }

    /// What is wanted of a target, if anything.
    pub fn wanted(&self, target: &TargetId) -> Option<Part> {
        self.part(self.targets.get(target)?)
    }

    /// Nodes whose targets were ever touched.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    fn part(&self, book: &TargetBook) -> Option<Part> {
        let part = self.of_rollout(book).or_else(|| of_standing(book))?;
        // Not even a rollback may offer what the agent has rejected.
        (!book.rejected.contains(&part.values)).then(|| {
            // Only the kill switch leaves something owed to a target where something else is tried.
            part.beside(book.standing.as_ref()).beside(book.owed.as_ref())
        })
    }

    fn of_rollout(&self, book: &TargetBook) -> Option<Part> {
        let rollout = self.rollouts.get(book.held_by.as_ref()?)?;
        let place = rollout.place(&book.target.id)?;
        let planned = &rollout.plan.members[place];
        let restore = || (rollout.owed(place), rollout.restore());
        let (values, ask) = match (rollout.state, rollout.members[place]) {
            (RolloutState::RolledBack, _)
            | (_, Member::Untouched | Member::Upset(_) | Member::Restored | Member::Stuck) => {
                return None;
            }
            (_, Member::Restoring) => restore(),
            (_, Member::Asked | Member::InForce) => {
                (rollout.values(place)?.clone(), rollout.forward(place))
            }
        };
        let target = planned.target.clone();
        Some(Part { target, rollout: rollout.id.clone(), values, ask })
    }
}

impl Part {
    /// The same with promoted values that it does not speak of.
    fn beside(mut self, standing: Option<&Standing>) -> Self {
        let Some(standing) = standing else { return self };
        let add = |values: &mut Values| {
            for (name, value) in &standing.values {
                values.entry(name.clone()).or_insert_with(|| value.clone());
            }
        };
        add(&mut self.values);
        if let Ask::Canary { revert_to, .. } = &mut self.ask {
            add(revert_to);
        }
        self
    }
}

fn of_standing(book: &TargetBook) -> Option<Part> {
    let part = |standing: &Standing, ask: Ask| Part {
        target: book.target.clone(),
        rollout: standing.rollout.clone(),
        values: standing.values.clone(),
        ask,
    };
    let owed = book.owed.as_ref().map(|owed| part(owed, Ask::Restore { persist: owed.persist }));
    owed.or_else(|| {
        let standing = book.standing.as_ref()?;
        Some(part(standing, Ask::Keep { persist: standing.persist }))
    })
}

impl Rollout {
    /// Values that a touched member should have while the rollout goes forward.
    pub(super) fn values(&self, place: usize) -> Option<&Values> {
        let planned = self.plan.members.get(place)?;
        Some(match self.phase {
            Phase::Applying { wave, step, .. } | Phase::Holding { wave, step, .. }
                if self.plan.waves.get(wave).is_some_and(|wave| wave.members.contains(&place)) =>
            {
                planned.step(step)
            }
            _ => planned.last(),
        })
    }

    /// Values that were wanted of a member at a revision, while the rollout went forward.
    pub(super) fn values_at(&self, place: usize, revision: u64) -> Option<&Values> {
        if self.back_since.is_some_and(|since| revision >= since) {
            return None;
        }
        let planned = self.plan.members.get(place)?;
        let has = |wave: usize| self.plan.waves[wave].members.contains(&place);
        let mut steps = self.steps.iter().filter(|step| step.revision <= revision);
        let step = steps.rfind(|step| has(step.wave))?;
        Some(planned.step(step.step))
    }

    fn forward(&self, place: usize) -> Ask {
        if matches!(self.phase, Phase::Sealing { .. }) || self.state == RolloutState::Promoted {
            return Ask::Keep { persist: self.plan.limits.persist };
        }
        let revert_to = self.plan.members[place].revert_to.clone();
        Ask::Canary { lease_ms: self.plan.limits.lease_ms, revert_to }
    }

    /// What an agent that has the new values in its server's own configuration must take out again.
    pub(super) fn restore(&self) -> Ask {
        Ask::Restore { persist: self.sealed && self.plan.limits.persist }
    }
}
