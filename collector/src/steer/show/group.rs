//! The servers of a suggestion or rollout, and the waves in which they change.

use flyball_model::rollout::canary::Wave;
use flyball_model::rollout::{
    Candidate, Member, Phase, Planned, Rollout, RolloutState, State, TargetBook,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ChangeBody, TargetBody, changes, target};

/// One of the servers to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemberBody {
    /// Which.
    pub target: TargetBody,
    /// Its parameters with their old and new values.
    pub change: Vec<ChangeBody>,
}

/// One of the servers that a rollout changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RolloutMemberBody {
    /// Which.
    pub target: TargetBody,
    /// Its parameters with their old and new values; empty when its suggestion is no longer remembered.
    pub change: Vec<ChangeBody>,
    /// `untouched` (never offered), `asked` (offered), `in_force`, `upset` (not in force, and will not be), `restoring` (the old values are wanted), `restored` (they were read back) or `stuck` (its agent refuses them).
    #[schema(example = "in_force")]
    pub state: String,
    /// Nothing is tried there until a person unlocks it.
    pub locked: bool,
}

/// Servers that change together, by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WaveBody {
    /// Those that change.
    pub targets: Vec<String>,
    /// Those that they are compared with, which have not changed yet.
    pub controls: Vec<String>,
    /// `waiting`; under way the stage of the rollout, `applying`, `holding` or `judging`; `passed`, then `promoted`; back again `restoring`, `restored` or `failed` (not known to be restored); `untouched` when it was never its turn.
    #[schema(example = "judging")]
    pub state: String,
}

/// One server of a suggestion.
pub(super) fn member(of: &Candidate) -> MemberBody {
    MemberBody { target: target(&of.target), change: changes(&of.change) }
}

/// The servers of a rollout, as they were in its suggestion.
pub(super) fn members(of: &Rollout, state: &State) -> Vec<RolloutMemberBody> {
    let suggestion = state.suggestion(&of.suggestion);
    let candidates = suggestion.map_or(&[][..], |suggestion| &suggestion.proposal.members);
    let member = |(planned, member): (&Planned, &Member)| {
        let id = &planned.target.id;
        let wished = candidates.iter().find(|candidate| candidate.target.id == *id);
        RolloutMemberBody {
            target: target(&planned.target),
            change: wished.map(|candidate| changes(&candidate.change)).unwrap_or_default(),
            state: member.name().to_owned(),
            locked: state.target(id).is_some_and(TargetBook::is_locked),
        }
    };
    of.plan.members.iter().zip(&of.members).map(member).collect()
}

/// The waves of a rollout, the canary first.
pub(super) fn waves(of: &Rollout) -> Vec<WaveBody> {
    let ids = |places: &[usize]| {
        places.iter().map(|&place| of.plan.members[place].target.id.0.clone()).collect()
    };
    let body = |(place, wave): (usize, &Wave)| WaveBody {
        targets: ids(&wave.members),
        controls: ids(&wave.controls),
        state: wave_state(of, place, wave).to_owned(),
    };
    of.plan.waves.iter().enumerate().map(body).collect()
}

fn wave_state(of: &Rollout, place: usize, wave: &Wave) -> &'static str {
    let is_restored = wave.members.iter().all(|&at| of.members[at] == Member::Restored);
    let is_last = of.steps.last().is_some_and(|step| step.wave == place);
    match of.phase {
        _ if of.steps.iter().all(|step| step.wave != place) => {
            if of.is_forward() {
                "waiting"
            } else {
                "untouched"
            }
        }
        Phase::Over if of.state == RolloutState::Promoted => "promoted",
        Phase::Restoring { .. } | Phase::Over if is_restored => "restored",
        Phase::Restoring { .. } => "restoring",
        Phase::Over => "failed",
        Phase::Sealing { .. } => "passed",
        _ if is_last => of.stage(),
        _ => "passed",
    }
}
