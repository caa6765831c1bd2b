//! Why a person's event is refused. Each carries the present state, for the answer to the caller.

use super::ids::{RolloutId, SuggestionId, TargetId, Values};
use super::proposal::BadProposal;
use super::state::{RolloutState, SuggestionStatus};

/// An event that may not happen now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such suggestion.
    #[error("there is no suggestion {0}")]
    UnknownSuggestion(SuggestionId),
    /// No such rollout.
    #[error("there is no rollout {0}")]
    UnknownRollout(RolloutId),
    /// No such target.
    #[error("no rollout has ever touched a target {0}")]
    UnknownTarget(TargetId),
    /// The proposal cannot be carried out.
    #[error("the proposal is refused: {0}")]
    BadProposal(#[from] BadProposal),
    /// Its id was used before.
    #[error("there is a suggestion {0} already")]
    Duplicate(SuggestionId),
    /// It was decided before, or is too old.
    #[error("suggestion {suggestion} is {status}")]
    NotProposed {
        /// Which.
        suggestion: SuggestionId,
        /// What it is.
        status: SuggestionStatus,
    },
    /// Another rollout has not ended.
    #[error("rollout {rollout} is changing target {target}")]
    TargetBusy {
        /// Which.
        target: TargetId,
        /// Which rollout.
        rollout: RolloutId,
    },
    /// A failed attempt was too short a time ago.
    #[error("target {target} is cooling down after {failures} failed attempts")]
    CoolingDown {
        /// Which.
        target: TargetId,
        /// Failed attempts since the last success or unlocking.
        failures: u8,
        /// Until then, epoch milliseconds.
        until_ms: i64,
    },
    /// Too many attempts failed, or the old values could not be restored.
    #[error("target {target} is locked until a person unlocks it")]
    Locked {
        /// Which.
        target: TargetId,
    },
    /// There is nothing to unlock.
    #[error("target {0} is not locked, and its agent has rejected nothing")]
    NotLocked(TargetId),
    /// The target's agent refused these values before.
    #[error(
        "the agent of target {target} has rejected these values before, and nobody unlocked it since"
    )]
    RejectedBefore {
        /// Which.
        target: TargetId,
        /// What.
        values: Values,
    },
    /// The target has changed since the suggestion was made.
    #[error("{parameter} of target {target} is {in_force} and no longer {from}")]
    Stale {
        /// Which.
        target: TargetId,
        /// Which parameter.
        parameter: String,
        /// What the suggestion assumes.
        from: String,
        /// What is in force.
        in_force: String,
    },
    /// The target's agent is not heard, so nothing could be changed or shown to be in force.
    #[error("the agent of {node} is not heard at present")]
    AgentAbsent {
        /// Its node.
        node: String,
    },
    /// Its agent has followed decisions that the journal does not have any more, so it would ignore what is
    /// decided now.
    #[error(
        "the agent of {node} has followed decision {seen}, and the journal ends at {last}: decisions are gone, for example since a backup was restored"
    )]
    AgentAhead {
        /// Its node.
        node: String,
        /// Number of the decision that it has followed.
        seen: u64,
        /// Number of the last one that there is.
        last: u64,
    },
    /// Too much is on trial already.
    #[error("{on_trial} targets are on trial, and {most} may be at once")]
    Crowded {
        /// Targets that rollouts have touched which have not ended.
        on_trial: usize,
        /// How many may be.
        most: usize,
    },
    /// It has ended.
    #[error("rollout {rollout} is {state}")]
    Over {
        /// Which.
        rollout: RolloutId,
        /// How it ended.
        state: RolloutState,
    },
    /// The old values are on their way back already.
    #[error("rollout {0} is restoring the old values")]
    Restoring(RolloutId),
    /// It is paused already.
    #[error("rollout {0} is paused")]
    Paused(RolloutId),
    /// It is not paused.
    #[error("rollout {0} is not paused")]
    NotPaused(RolloutId),
    /// No such pool is under control.
    #[error("{0} is not under control, and nothing is tried at it")]
    NotControlled(TargetId),
    /// Its weights are controlled already.
    #[error("weights of {target} are controlled since rollout {rollout}; end that first")]
    Controlled {
        /// Which.
        target: TargetId,
        /// The rollout that began control.
        rollout: RolloutId,
    },
    /// A person has frozen it already.
    #[error("control of {0} is frozen")]
    Frozen(TargetId),
    /// It is not frozen.
    #[error("control of {0} is not frozen")]
    NotFrozen(TargetId),
}

/// What a refusal means to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalClass {
    /// There is no such thing: HTTP 404.
    NotFound,
    /// The request itself is wrong: HTTP 400.
    Invalid,
    /// Not in the present state: HTTP 409.
    Conflict,
}

impl Refusal {
    /// What it means to a caller.
    pub const fn class(&self) -> RefusalClass {
        match self {
            Self::UnknownSuggestion(_)
            | Self::UnknownRollout(_)
            | Self::UnknownTarget(_)
            | Self::NotControlled(_) => RefusalClass::NotFound,
            Self::BadProposal(_) => RefusalClass::Invalid,
            _ => RefusalClass::Conflict,
        }
    }
}
