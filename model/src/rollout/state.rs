//! What the journal says at present: suggestions, rollouts and targets.
//!
//! Only [`State::apply`] changes it. Entries are shared, so that a copy to try a decision on is
//! cheap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::control::Control;
use super::event::{Judgement, Verdict};
use super::ids::{Actor, RolloutId, SuggestionId, Target, TargetId, Values};
use super::plan::Plan;
use super::proposal::Proposal;
use super::transition::Cause;

/// All of it. Empty at first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub(super) sequence: u64,
    /// The revision of a node of which nothing is known.
    pub(super) base: u64,
    pub(super) suggestions: BTreeMap<SuggestionId, Arc<Suggestion>>,
    pub(super) rollouts: BTreeMap<RolloutId, Arc<Rollout>>,
    pub(super) targets: BTreeMap<TargetId, Arc<TargetBook>>,
    /// Standing policies of pools.
    pub(super) controls: BTreeMap<RolloutId, Arc<Control>>,
    /// Targets of each node.
    pub(super) nodes: BTreeMap<String, BTreeSet<TargetId>>,
}

/// A suggestion and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// As it was made.
    pub proposal: Proposal,
    /// What became of it.
    pub status: SuggestionStatus,
    /// Epoch milliseconds.
    pub created_at_ms: i64,
    /// Epoch milliseconds.
    pub expires_at_ms: i64,
    /// Who decided, when, and what they said.
    pub decided: Option<(Actor, i64, String)>,
    /// Fixed at confirmation.
    pub plan: Option<Arc<Plan>>,
}

/// Life of a suggestion. All but the first are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuggestionStatus {
    /// Waits for a person.
    Proposed,
    /// A person wants it; there is a rollout.
    Confirmed,
    /// A person does not want it.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

/// A change on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Which.
    pub id: RolloutId,
    /// The suggestion that it carries out.
    pub suggestion: SuggestionId,
    /// For example `cache.size`.
    pub kind: String,
    /// The how manieth attempt at its targets, from 1.
    pub attempt: u8,
    /// As the interface tells it.
    pub state: RolloutState,
    /// Where exactly it is.
    pub phase: Phase,
    /// While it is paused.
    pub paused: Option<Pause>,
    /// Its course.
    pub plan: Arc<Plan>,
    /// Where each member is; same places as in the plan.
    pub members: Vec<Member>,
    /// Parameters that another hand has set meanwhile, by the member's place: not to be put back.
    pub left: BTreeMap<usize, BTreeSet<String>>,
    /// What was done so far.
    pub steps: Vec<StepRecord>,
    /// Whether its values were ever offered for good.
    pub sealed: bool,
    /// Number of the transition since which the old values are wanted.
    pub back_since: Option<u64>,
    /// Why it goes back or how it ended; empty while all is well.
    pub reason: String,
    /// What kind of reason, if it went back.
    pub cause: Option<Cause>,
    /// Epoch milliseconds.
    pub started_at_ms: i64,
    /// Epoch milliseconds.
    pub ended_at_ms: Option<i64>,
}

/// Life of a rollout. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Values go into force step by step, held under hard stops.
    Canary,
    /// Values are in force and are judged.
    Validating,
    /// They stay.
    Promoted,
    /// The old ones are in force.
    RolledBack,
    /// It is not known that the old ones are in force.
    Failed,
}

/// Where a rollout is within its state. Times in epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A step is offered and not yet in force everywhere.
    Applying {
        /// Place of the wave.
        wave: usize,
        /// Place of the step.
        step: usize,
        /// When it must be.
        deadline_ms: i64,
    },
    /// It is in force and held.
    Holding {
        /// Place of the wave.
        wave: usize,
        /// Place of the step.
        step: usize,
        /// Until then.
        until_ms: i64,
    },
    /// The judge looks.
    Validating {
        /// Place of the wave.
        wave: usize,
        /// A pass before this is not acted on.
        from_ms: i64,
        /// The longest time.
        until_ms: i64,
    },
    /// All passed; agents take the values for good.
    Sealing {
        /// When all must have.
        deadline_ms: i64,
    },
    /// The old values are wanted.
    Restoring {
        /// When they must be in force.
        deadline_ms: i64,
    },
    /// It has ended.
    Over,
}

/// A pause. Times in epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Its begin.
    pub since_ms: i64,
    /// The longest time.
    pub until_ms: i64,
    /// Whether it waits for a person because the validation was inconclusive.
    pub asks: bool,
}

/// Where one member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// Its values were never offered.
    Untouched,
    /// They are offered.
    Asked,
    /// They are in force.
    InForce,
    /// They are not and will not be; true when the agent showed that the old ones are.
    Upset(bool),
    /// The old values are wanted.
    Restoring,
    /// The old values are in force.
    Restored,
    /// Its agent refuses the old values.
    Stuck,
}

/// One step of one wave.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// Place of the wave.
    pub wave: usize,
    /// Place of the step.
    pub step: usize,
    /// Nodes of the wave.
    pub nodes: Vec<String>,
    /// Epoch milliseconds.
    pub started_at_ms: i64,
    /// Of the policies that carry it.
    pub revision: u64,
    /// What the judge said of it and when, epoch milliseconds; oldest first.
    pub verdicts: Vec<(i64, Verdict)>,
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetBook {
    /// Which.
    pub target: Target,
    /// The rollout that holds it, from confirmation until its end is written down here.
    pub held_by: Option<RolloutId>,
    /// It is not known which values are in force: no kind may be tried until a person unlocks it.
    pub broken: bool,
    /// Attempts of each kind.
    pub attempts: BTreeMap<String, Attempts>,
    /// Old values that a failed rollout still wants in force.
    pub owed: Option<Standing>,
    /// Those of them that the kill switch wants: a person who unlocks the target does not end that.
    pub(super) of_kill: BTreeSet<String>,
    /// Promoted values.
    pub standing: Option<Standing>,
    /// When Flyball last let go of promoted values, epoch milliseconds: another hand had set other
    /// ones, or the agent refused them.
    pub released_at_ms: Option<i64>,
    /// What its agent rejected.
    pub rejected: BTreeSet<Values>,
    /// Number of the transition by which a person last unlocked it: what its agent rejected before it is not held against it.
    pub unlocked_at: u64,
    /// Number of the transition that last changed what is wanted of it.
    pub revision: u64,
}

/// Failed attempts of one kind on one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Since the last success or unlocking.
    pub failures: u8,
    /// New ones are refused before this, epoch milliseconds.
    pub cool_until_ms: i64,
    /// New ones are refused until a person unlocks it.
    pub locked: bool,
}

/// Values that are wanted without a canary's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The rollout that they come from.
    pub rollout: RolloutId,
    /// What.
    pub values: Values,
    /// Whether the server's own configuration has to have them too.
    pub persist: bool,
}

impl State {
    /// A state whose journal begins after this number, since older rows are gone.
    pub fn starting_after(sequence: u64) -> Self {
        Self { sequence, base: sequence, ..Self::default() }
    }

    /// Number of the last transition; 0 at first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Suggestions in the order of their ids.
    pub fn suggestions(&self) -> impl DoubleEndedIterator<Item = &Suggestion> {
        self.suggestions.values().map(AsRef::as_ref)
    }

    /// Rollouts in the order of their ids.
    pub fn rollouts(&self) -> impl DoubleEndedIterator<Item = &Rollout> {
        self.rollouts.values().map(AsRef::as_ref)
    }

    /// Targets that were ever held, in the order of their ids.
    pub fn targets(&self) -> impl DoubleEndedIterator<Item = &TargetBook> {
        self.targets.values().map(AsRef::as_ref)
    }

    /// Targets of one node that were ever held.
    pub fn targets_of(&self, node: &str) -> impl Iterator<Item = &TargetBook> + Clone {
        let targets = self.nodes.get(node).into_iter().flatten();
        targets.filter_map(|id| self.target(id))
    }

    /// One suggestion.
    pub fn suggestion(&self, id: &SuggestionId) -> Option<&Suggestion> {
        self.suggestions.get(id).map(AsRef::as_ref)
    }

    /// One rollout.
    pub fn rollout(&self, id: &RolloutId) -> Option<&Rollout> {
        self.rollouts.get(id).map(AsRef::as_ref)
    }

    /// One target.
    pub fn target(&self, id: &TargetId) -> Option<&TargetBook> {
        self.targets.get(id).map(AsRef::as_ref)
    }

    /// Drops suggestions and rollouts that ended before this time and hold no target. What is
    /// wanted of any node stays the same.
    pub fn forget(&mut self, before_ms: i64) {
        let held: BTreeSet<RolloutId> = (self.targets.values())
            .flat_map(|book| [book.held_by.as_ref(), book.owed.as_ref().map(|owed| &owed.rollout)])
            .flatten()
            .chain(self.controls().filter(|control| !control.is_over()).map(|c| &c.rollout))
            .cloned()
            .collect();
        self.rollouts.retain(|id, rollout| {
            held.contains(id) || rollout.ended_at_ms.is_none_or(|ended| ended >= before_ms)
        });
        let rollouts = &self.rollouts;
        self.controls.retain(|id, _| rollouts.contains_key(id));
        self.suggestions.retain(|id, suggestion| match suggestion.status {
            SuggestionStatus::Proposed => true,
            SuggestionStatus::Confirmed => {
                let rollout = id.rollout();
                held.contains(&rollout) || rollouts.contains_key(&rollout)
            }
            _ => suggestion.created_at_ms >= before_ms,
        });
    }
}

impl Rollout {
    /// Whether it still goes forward: neither ended nor going back.
    pub fn is_forward(&self) -> bool {
        !self.state.is_final() && !matches!(self.phase, Phase::Restoring { .. })
    }

    /// Where it is within its state, in one word.
    pub const fn stage(&self) -> &'static str {
        match self.phase {
            Phase::Applying { .. } => "applying",
            Phase::Holding { .. } => "holding",
            Phase::Validating { .. } => "judging",
            Phase::Sealing { .. } => "sealing",
            Phase::Restoring { .. } => "restoring",
            Phase::Over => "over",
        }
    }

    /// The place of a member.
    pub fn place(&self, target: &TargetId) -> Option<usize> {
        self.plan.members.iter().position(|member| member.target.id == *target)
    }

    /// The old values that a member has to get back: all but those that another hand has set.
    pub fn owed(&self, place: usize) -> Values {
        let mut values = self.plan.members[place].revert_to.clone();
        if let Some(left) = self.left.get(&place) {
            values.retain(|parameter, _| !left.contains(parameter));
        }
        values
    }

    /// When a member was first offered its values, epoch milliseconds; the rollout's start where it was not.
    pub fn touched_at_ms(&self, place: usize) -> i64 {
        let has = |wave: usize| self.plan.waves[wave].members.contains(&place);
        let first = self.steps.iter().find(|step| has(step.wave));
        first.map_or(self.started_at_ms, |step| step.started_at_ms)
    }

    /// The revision of the step that is under way or was last.
    pub fn revision(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.revision)
    }

    /// Targets that have the new values and those that they are compared with, of the wave that is
    /// under way or was last.
    pub fn compared(&self) -> (Vec<&Target>, Vec<&Target>) {
        let Some(wave) = self.steps.last().and_then(|step| self.plan.waves.get(step.wave)) else {
            return (Vec::new(), Vec::new());
        };
        let targets = |places: &[usize]| {
            places.iter().map(|&place| &self.plan.members[place].target).collect::<Vec<_>>()
        };
        (targets(&wave.members), targets(&wave.controls))
    }

    pub(super) fn last_verdict(&self) -> Option<Judgement> {
        self.steps.last()?.verdict().map(|verdict| verdict.result)
    }
}

impl StepRecord {
    /// The judge's last word on it.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdicts.last().map(|(_, verdict)| verdict)
    }
}

impl Member {
    /// Whether its values were ever offered.
    pub const fn is_touched(self) -> bool {
        !matches!(self, Self::Untouched)
    }

    /// As in the interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Asked => "asked",
            Self::InForce => "in_force",
            Self::Upset(_) => "upset",
            Self::Restoring => "restoring",
            Self::Restored => "restored",
            Self::Stuck => "stuck",
        }
    }
}

impl TargetBook {
    /// Whether a person has to unlock it, for any kind.
    pub fn is_locked(&self) -> bool {
        self.broken || self.attempts.values().any(|attempts| attempts.locked)
    }

    /// Whether there is anything that a person may allow again: attempts, or values that its agent
    /// rejected for a reason that is no more.
    pub fn may_unlock(&self) -> bool {
        self.held_by.is_none() && (self.is_locked() || !self.rejected.is_empty())
    }

    /// `busy`, `locked`, `cooling` or `free`.
    pub fn status(&self, now_ms: i64) -> &'static str {
        if self.held_by.is_some() {
            "busy"
        } else if self.is_locked() {
            "locked"
        } else if self.attempts.values().any(|attempts| attempts.cool_until_ms > now_ms) {
            "cooling"
        } else {
            "free"
        }
    }
}

impl RolloutState {
    /// Whether it never changes again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Promoted | Self::RolledBack | Self::Failed)
    }

    /// As in the interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Validating => "validating",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }
}

impl SuggestionStatus {
    /// As in the interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for SuggestionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
