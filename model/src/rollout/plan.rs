//! The plan of a rollout: fixed when it is confirmed, so that nothing later can change its course.

use serde::{Deserialize, Serialize};

use super::canary::{Like, STAGES, Wave, staged, waves};
use super::control::{BALANCERS, Envelope};
use super::ids::{RolloutId, Target, Values};
use super::limits::Limits;
use super::proposal::{BadProposal, Proposal};

/// Who gets which values in which order, and under which limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// As they were at confirmation.
    pub limits: Limits,
    /// The servers.
    pub members: Vec<Planned>,
    /// Their order; the canary first.
    pub waves: Vec<Wave>,
    /// What control that follows a promotion must keep within; none: nothing follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Envelope>,
}

/// One server's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Which.
    pub target: Target,
    /// Values of each step; at least one.
    pub steps: Vec<Values>,
    /// The old values.
    pub revert_to: Values,
}

impl Planned {
    /// Values of this step; who has fewer stays at the last.
    pub fn step(&self, step: usize) -> &Values {
        &self.steps[step.min(self.steps.len() - 1)]
    }

    /// The wanted values.
    pub fn last(&self) -> &Values {
        self.step(usize::MAX)
    }
}

impl Plan {
    /// The plan for a suggestion.
    ///
    /// # Errors
    /// When a parameter has no way to its value, or a limit is out of its range.
    pub fn new(rollout: &RolloutId, of: &Proposal, limits: &Limits) -> Result<Self, BadProposal> {
        let limits = limits.of_kind(&of.kind);
        limits.check().map_err(|error| BadProposal {
            field: error.setting.to_owned(),
            reason: error.to_string(),
        })?;
        let members = of
            .members
            .iter()
            .map(|member| match member.steps() {
                Ok(steps) if !steps.is_empty() => Ok(Planned {
                    target: member.target.clone(),
                    steps,
                    revert_to: member.revert_to(),
                }),
                Ok(_) => Err(BadProposal { field: "change".into(), reason: "is empty".into() }),
                Err((field, error)) => Err(BadProposal { field, reason: error.to_string() }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let likes: Vec<Like> = of
            .members
            .iter()
            .map(|member| Like {
                target: member.target.id.clone(),
                size: member.size,
                traffic: member.traffic,
            })
            .collect();
        let waves = if of.kind.starts_with(BALANCERS) {
            staged(rollout, &likes, &STAGES)
        } else {
            waves(rollout, &likes, limits.canary_share, limits.largest_share)
        };
        let control = Envelope::of(of, limits.balancer.largest_shift, limits.balancer.push_ms);
        Ok(Self { limits, members, waves, control })
    }

    /// Steps of a wave: the most that one of its members needs.
    pub fn steps_of(&self, wave: usize) -> usize {
        let Some(wave) = self.waves.get(wave) else { return 0 };
        wave.members.iter().map(|&member| self.members[member].steps.len()).max().unwrap_or(0)
    }

    /// Whether it can be followed: what was read from the journal may be anything.
    pub fn is_sound(&self) -> bool {
        let mut seen = vec![false; self.members.len()];
        let waves = self.waves.iter().flat_map(|wave| &wave.members);
        waves.for_each(|&member| seen.get_mut(member).into_iter().for_each(|seen| *seen = true));
        let places: usize = self.waves.iter().map(|wave| wave.members.len()).sum();
        let controls = self.waves.iter().flat_map(|wave| &wave.controls);
        !self.members.is_empty()
            && self.members.iter().all(|member| !member.steps.is_empty())
            && seen.iter().all(|seen| *seen)
            && places == self.members.len()
            && self.waves.iter().all(|wave| !wave.members.is_empty())
            && controls.into_iter().all(|&member| member < self.members.len())
            && self.limits.check().is_ok()
            && self.control.as_ref().is_none_or(Envelope::is_sound)
    }
}
