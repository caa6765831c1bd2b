//! What an agent has to know of a target after kill -9 at any moment.
//!
//! It is on disk before the first change is made. So whoever starts next knows which policy was being followed, how far it is, and what is to be put back.

use std::time::Duration;

use flyball_proto::steering::{PolicyOutcome, PolicyResult, Revision, Settings, Target};
use serde::{Deserialize, Serialize};

/// All that is known of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The log that revisions are of.
    pub journal: String,
    /// The newest revision that was decided on.
    pub seen: u64,
    /// The policy that is followed; none when nothing was ever set, or what was set has been put back.
    pub followed: Option<Followed>,
    /// The last outcome of what is or was followed.
    pub outcome: Option<Outcome>,
    /// That of the newest revision when it was refused before anything was done.
    pub refused: Option<Outcome>,
}

/// A policy that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Its revision.
    pub revision: u64,
    /// Its rollout.
    pub rollout_id: String,
    /// What it wants, as it was offered.
    #[serde(default)]
    pub wanted: Settings,
    /// What is to be in force: what is wanted, what an earlier trial has left over to be put back, and, in place of what is wanted, what somebody else has set.
    pub goal: Settings,
    /// What was in force before, of each parameter of the goal. Kept when the goal is permanent, because the same rollout may still want it back.
    pub before: Settings,
    /// What was found when it was begun, of each parameter of the goal: another thing than `before` where an earlier trial had come to.
    pub found: Settings,
    /// The lease of a canary, in milliseconds.
    pub lease_ms: Option<u64>,
    /// To be made permanent.
    pub persist: bool,
    /// The process of the target in which it came into force.
    pub identity: String,
    /// How far it is.
    pub phase: Phase,
    /// It was in force before the target was started again, and is not again yet. While a guard rail forbids that it counts as drifted.
    #[serde(default)]
    pub is_again: bool,
}

/// How far a policy is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Going into force.
    Applying,
    /// In force.
    Held,
    /// Somebody else has changed it.
    Drifted,
    /// What was before is being put back.
    Reverting {
        /// What it will have come to: rejected or reverted.
        result: Code,
        /// Why.
        reason: String,
    },
}

/// What became of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its revision.
    pub revision: u64,
    /// Its rollout.
    pub rollout_id: String,
    /// How far it has come.
    pub result: Code,
    /// Why, in words.
    pub reason: String,
    /// What was in force then.
    pub in_force: Settings,
    /// What should have been and was not.
    pub expected: Settings,
}

/// [`PolicyResult`] on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Going into force.
    Applying,
    /// In force.
    Applied,
    /// Refused.
    Rejected,
    /// Put back.
    Reverted,
    /// Changed by somebody else.
    Drifted,
}

impl Record {
    /// The outcomes that are still true.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.outcome.iter().chain(&self.refused)
    }
}

impl Followed {
    /// The lease of a canary.
    pub fn lease(&self) -> Option<Duration> {
        self.lease_ms.map(Duration::from_millis)
    }

    /// True while what was before is being put back.
    pub const fn is_reverting(&self) -> bool {
        matches!(self.phase, Phase::Reverting { .. })
    }
}

impl Outcome {
    /// As it is reported.
    pub fn of(self, target: &Target) -> PolicyOutcome {
        PolicyOutcome {
            revision: Revision(self.revision),
            target: target.clone(),
            result: self.result.into(),
            reason: self.reason,
            in_force: self.in_force,
            expected: self.expected,
            rollout_id: self.rollout_id,
            sequence: 0,
        }
    }
}

impl From<Code> for PolicyResult {
    fn from(code: Code) -> Self {
        match code {
            Code::Applying => Self::Applying,
            Code::Applied => Self::Applied,
            Code::Rejected => Self::Rejected,
            Code::Reverted => Self::Reverted,
            Code::Drifted => Self::Drifted,
        }
    }
}
