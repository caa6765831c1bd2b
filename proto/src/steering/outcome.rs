//! What became of a policy.

use super::check::text;
use super::policy::{settings, to_settings};
use super::{MAX_NAME_BYTES, MAX_REASON_BYTES, Revision, Settings, Target};
use crate::series::Invalid;
use crate::v1;

/// How far the policy of a target has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyResult {
    /// Accepted, and going into force step by step.
    Applying,
    /// In force: everything was read back.
    Applied,
    /// Refused; everything is as it was.
    Rejected,
    /// Was in force in whole or in part, and what was before is again.
    Reverted,
    /// Somebody else has changed what was in force.
    Drifted,
}

/// What became of the policy of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyOutcome {
    /// Revision of the policy.
    pub revision: Revision,
    /// The target.
    pub target: Target,
    /// How far it has come.
    pub result: PolicyResult,
    /// Why, in words: the target's own where it refused. At most 1024 bytes.
    pub reason: String,
    /// What is in force, read back from the target; empty: it could not be read.
    pub in_force: Settings,
    /// What was set or saved, where that is not in force.
    pub expected: Settings,
    /// The rollout of the policy.
    pub rollout_id: String,
    /// Number of this outcome within the agent's epoch, from 1.
    pub sequence: u64,
}

impl PolicyResult {
    /// As the API and the journal spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Reverted => "reverted",
            Self::Drifted => "drifted",
        }
    }

    /// True when the revision is not to be offered again.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Rejected | Self::Reverted)
    }
}

impl TryFrom<v1::PolicyOutcome> for PolicyOutcome {
    type Error = Invalid;

    fn try_from(outcome: v1::PolicyOutcome) -> Result<Self, Invalid> {
        text("reason", &outcome.reason, MAX_REASON_BYTES)?;
        text("rollout_id", &outcome.rollout_id, MAX_NAME_BYTES)?;
        Ok(Self {
            revision: Revision(outcome.revision),
            target: Target::try_from((outcome.kind, outcome.name))?,
            result: result(outcome.result)?,
            reason: outcome.reason,
            in_force: settings("in_force", outcome.in_force)?,
            expected: settings("expected", outcome.expected)?,
            rollout_id: outcome.rollout_id,
            sequence: outcome.sequence,
        })
    }
}

impl From<PolicyOutcome> for v1::PolicyOutcome {
    fn from(outcome: PolicyOutcome) -> Self {
        let result = match outcome.result {
            PolicyResult::Applying => v1::PolicyResult::Applying,
            PolicyResult::Applied => v1::PolicyResult::Applied,
            PolicyResult::Rejected => v1::PolicyResult::Rejected,
            PolicyResult::Reverted => v1::PolicyResult::Reverted,
            PolicyResult::Drifted => v1::PolicyResult::Drifted,
        };
        Self {
            revision: outcome.revision.0,
            kind: outcome.target.kind,
            name: outcome.target.name,
            result: result.into(),
            reason: outcome.reason,
            in_force: to_settings(outcome.in_force),
            rollout_id: outcome.rollout_id,
            sequence: outcome.sequence,
            expected: to_settings(outcome.expected),
        }
    }
}

fn result(code: i32) -> Result<PolicyResult, Invalid> {
    match v1::PolicyResult::try_from(code) {
        Ok(v1::PolicyResult::Applying) => Ok(PolicyResult::Applying),
        Ok(v1::PolicyResult::Applied) => Ok(PolicyResult::Applied),
        Ok(v1::PolicyResult::Rejected) => Ok(PolicyResult::Rejected),
        Ok(v1::PolicyResult::Reverted) => Ok(PolicyResult::Reverted),
        Ok(v1::PolicyResult::Drifted) => Ok(PolicyResult::Drifted),
        Ok(v1::PolicyResult::Unspecified) | Err(_) => Err(Invalid::new("result", "unknown")),
    }
}
