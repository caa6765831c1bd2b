//! What is appended to the journal: the only thing that changes a state.
//!
//! A move carries every number that its effect depends on (deadlines, plans), so that applying it
//! needs neither a clock nor a configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::Verdict;
use super::ids::{Actor, RolloutId, SuggestionId, TargetId, Values};
use super::plan::Plan;
use super::proposal::Proposal;

/// A move with who made it, when and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Epoch milliseconds, of the collector that decided.
    pub at_ms: i64,
    /// Who.
    pub actor: Actor,
    /// Why, in words.
    pub reason: String,
    /// What it was computed from.
    pub inputs: Value,
    /// What changes.
    pub what: Move,
}

/// A change of the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// A suggestion is there.
    Proposed {
        /// What.
        proposal: Box<Proposal>,
        /// When it expires, epoch milliseconds.
        expires_at_ms: i64,
    },
    /// A person wants it. Its targets are busy from here on.
    Confirmed {
        /// Which.
        suggestion: SuggestionId,
        /// How it will go.
        plan: Box<Plan>,
    },
    /// A person does not want it.
    Rejected {
        /// Which.
        suggestion: SuggestionId,
    },
    /// Nobody decided in time.
    Expired {
        /// Which.
        suggestion: SuggestionId,
    },
    /// The first step is offered to the canary.
    Started {
        /// Which.
        rollout: RolloutId,
        /// Of which suggestion.
        suggestion: SuggestionId,
        /// The how manieth attempt at its targets, from 1.
        attempt: u8,
        /// When all agents must have it in force.
        deadline_ms: i64,
    },
    /// A member has the wanted values in force.
    InForce {
        /// Which rollout.
        rollout: RolloutId,
        /// Which target.
        target: TargetId,
    },
    /// A member has not, and will not.
    Upset {
        /// Which rollout.
        rollout: RolloutId,
        /// Which target.
        target: TargetId,
        /// Values that its agent rejected and must not be offered again.
        rejected: Option<Values>,
        /// Whether the agent showed that the old values are in force.
        old_in_force: bool,
        /// Parameters that another hand has set: they are left as they are.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        left: BTreeSet<String>,
    },
    /// The step is in force everywhere and is held.
    Held {
        /// Which.
        rollout: RolloutId,
        /// Until then.
        until_ms: i64,
    },
    /// The next step, or the first of the next wave, is offered.
    Stepped {
        /// Which.
        rollout: RolloutId,
        /// Place of the wave.
        wave: usize,
        /// Place of the step.
        step: usize,
        /// When all agents must have it in force.
        deadline_ms: i64,
    },
    /// The last step of a wave is in force and the judge looks.
    Validating {
        /// Which.
        rollout: RolloutId,
        /// Before this a pass is not acted on.
        from_ms: i64,
        /// The longest time.
        until_ms: i64,
    },
    /// What the judge said.
    Judged {
        /// Which.
        rollout: RolloutId,
        /// What.
        verdict: Verdict,
    },
    /// All waves passed: the values are offered for good.
    Sealing {
        /// Which.
        rollout: RolloutId,
        /// When all agents must have taken them.
        deadline_ms: i64,
    },
    /// The old values are wanted back.
    Restoring {
        /// Which.
        rollout: RolloutId,
        /// What kind of reason.
        cause: Cause,
        /// When they must be in force everywhere.
        deadline_ms: i64,
    },
    /// An agent rejected values that are no longer wanted when it says so.
    Refused {
        /// Which target.
        target: TargetId,
        /// What must not be offered again.
        values: Values,
    },
    /// A member has its old values in force.
    Restored {
        /// Which rollout.
        rollout: RolloutId,
        /// Which target.
        target: TargetId,
    },
    /// A member's agent refuses its old values.
    Stuck {
        /// Which rollout.
        rollout: RolloutId,
        /// Which target.
        target: TargetId,
    },
    /// The values are in force for good.
    Promoted {
        /// Which.
        rollout: RolloutId,
    },
    /// The old values are in force everywhere.
    RolledBack {
        /// Which.
        rollout: RolloutId,
    },
    /// The old values could not be shown to be in force everywhere.
    Failed {
        /// Which.
        rollout: RolloutId,
    },
    /// It goes no further for now.
    Paused {
        /// Which.
        rollout: RolloutId,
        /// The longest time.
        until_ms: i64,
        /// Whether it waits for a person because the validation was inconclusive.
        asks: bool,
    },
    /// It goes on.
    Resumed {
        /// Which.
        rollout: RolloutId,
        /// End of the hold or of the validation that was under way.
        until_ms: Option<i64>,
    },
    /// A target that an ended rollout held is free.
    Freed {
        /// Which.
        target: TargetId,
    },
    /// A target rests after a failed attempt.
    Cooling {
        /// Which.
        target: TargetId,
        /// Until then.
        until_ms: i64,
    },
    /// A target rests until a person unlocks it.
    Locked {
        /// Which.
        target: TargetId,
    },
    /// A person allows new attempts.
    Unlocked {
        /// Which.
        target: TargetId,
    },
    /// Promoted values are no longer asked for, since the agent has others in force.
    Released {
        /// Which.
        target: TargetId,
        /// Values that the agent rejected.
        rejected: Option<Values>,
        /// It is not promoted values, but the weights that the kill switch wants back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        of_kill: bool,
    },
    /// Control of a pool wants other weights.
    Pushed {
        /// Whose control.
        rollout: RolloutId,
        /// What changes at each balancer.
        values: BTreeMap<TargetId, Values>,
        /// End of the windows that they were computed from, epoch milliseconds.
        window_ms: i64,
        /// Weights in force at these balancers that are not under control and stay.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        beside: BTreeMap<TargetId, Values>,
    },
    /// Nothing is pushed for now; what is in force stays.
    Froze {
        /// Whose control.
        rollout: RolloutId,
        /// Whether a person wants it.
        by_person: bool,
    },
    /// Control goes on.
    Unfroze {
        /// Whose control.
        rollout: RolloutId,
    },
    /// The configured weights are wanted back, and then nothing.
    Killed {
        /// Whose control.
        rollout: RolloutId,
    },
}

/// Why a rollout goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The judge says so.
    Harm,
    /// A crash or the like.
    HardStop,
    /// An agent rejected, reverted, or found other values.
    Agent,
    /// An agent was not heard.
    Silent,
    /// A step was not in force in time.
    NotApplied,
    /// The judge could not decide in time.
    Inconclusive,
    /// The pause was too long.
    PausedTooLong,
    /// A person wants it.
    Person,
}

/// What a transition is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A suggestion.
    Suggestion(SuggestionId),
    /// A rollout.
    Rollout(RolloutId),
    /// A target.
    Target(TargetId),
}

impl Move {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Proposed { proposal, .. } => Subject::Suggestion(proposal.id.clone()),
            Self::Confirmed { suggestion, .. }
            | Self::Rejected { suggestion }
            | Self::Expired { suggestion } => Subject::Suggestion(suggestion.clone()),
            Self::Started { rollout, .. }
            | Self::Held { rollout, .. }
            | Self::Stepped { rollout, .. }
            | Self::Validating { rollout, .. }
            | Self::Judged { rollout, .. }
            | Self::Sealing { rollout, .. }
            | Self::Restoring { rollout, .. }
            | Self::Promoted { rollout }
            | Self::RolledBack { rollout }
            | Self::Failed { rollout }
            | Self::Paused { rollout, .. }
            | Self::Resumed { rollout, .. }
            | Self::Pushed { rollout, .. }
            | Self::Froze { rollout, .. }
            | Self::Unfroze { rollout }
            | Self::Killed { rollout } => Subject::Rollout(rollout.clone()),
            Self::InForce { target, .. }
            | Self::Upset { target, .. }
            | Self::Refused { target, .. }
            | Self::Restored { target, .. }
            | Self::Stuck { target, .. }
            | Self::Freed { target }
            | Self::Cooling { target, .. }
            | Self::Locked { target }
            | Self::Unlocked { target }
            | Self::Released { target, .. } => Subject::Target(target.clone()),
        }
    }

    /// Its name in the journal and in the diagram.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Proposed { .. } => "proposed",
            Self::Confirmed { .. } => "confirmed",
            Self::Rejected { .. } => "rejected",
            Self::Expired { .. } => "expired",
            Self::Started { .. } => "started",
            Self::InForce { .. } => "in force",
            Self::Upset { .. } => "upset",
            Self::Refused { .. } => "refused",
            Self::Held { .. } => "held",
            Self::Stepped { .. } => "stepped",
            Self::Validating { .. } => "validating",
            Self::Judged { .. } => "judged",
            Self::Sealing { .. } => "sealing",
            Self::Restoring { .. } => "restoring",
            Self::Restored { .. } => "restored",
            Self::Stuck { .. } => "stuck",
            Self::Promoted { .. } => "promoted",
            Self::RolledBack { .. } => "rolled back",
            Self::Failed { .. } => "failed",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Freed { .. } => "freed",
            Self::Cooling { .. } => "cooling",
            Self::Locked { .. } => "locked",
            Self::Unlocked { .. } => "unlocked",
            Self::Released { .. } => "released",
            Self::Pushed { .. } => "pushed",
            Self::Froze { .. } => "froze",
            Self::Unfroze { .. } => "unfroze",
            Self::Killed { .. } => "killed",
        }
    }

    /// Whether an operator has to be told: only a person can help.
    pub const fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. }
                | Self::Locked { .. }
                | Self::Stuck { .. }
                | Self::Released { .. }
                | Self::Froze { by_person: false, .. }
                | Self::Paused { asks: true, .. }
        )
    }
}
