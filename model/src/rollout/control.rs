//! Standing control: after a promotion of `balancer.weights` the weights of the pool go on being
//! adjusted, within the envelope that a person confirmed, without asking again.
//!
//! A [`Control`] is made by the promotion of its rollout, and stands as long as its members have the
//! promoted parameters. Each push replaces values that stand at members, so what is wanted of an
//! agent still follows from the state alone. A member whose values another hand has set, or whose
//! agent refuses them, is let go and the control freezes: nothing is pushed until a person has
//! looked, and nothing that is in force changes. The kill switch wants the configured weights back
//! at every member that was not let go, until its agent has read them back; then nothing is wanted.
//!
//! Whose push counts is decided by the journal: a push names the end of the windows that it was
//! computed from, and one that is not newer than the last is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{Actor, RolloutId, Target, TargetId, Values};
use super::plan::Planned;
use super::proposal::Proposal;
use super::shift::{WEIGHT, shift};
use super::state::Rollout;
use super::steps::Bound;
use super::transition::Transition;

/// The kind of rollouts that standing control follows.
pub const CONTROLLED: &str = "balancer.weights";
/// Kinds of rollouts of load balancers begin with this.
pub const BALANCERS: &str = "balancer.";
/// Differences of shares that are rounding.
const ROUNDING: f64 = 1e-9;

/// What a person confirmed once for all pushes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Least and largest weight of each parameter.
    pub bounds: BTreeMap<String, (u64, u64)>,
    /// Largest share of a group's traffic that one push may move, above 0 and at most 1.
    pub largest_shift: f64,
    /// Least time between two pushes, milliseconds.
    pub push_ms: i64,
}

/// The standing policy of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// The rollout whose promotion began it.
    pub rollout: RolloutId,
    /// The pool.
    pub pool: Target,
    /// What pushes must keep within.
    pub envelope: Arc<Envelope>,
    /// The balancers, as in the plan.
    pub members: Vec<Controlled>,
    /// Why nothing is pushed at present.
    pub frozen: Option<Frozen>,
    /// Who used the kill switch; nothing is pushed ever again.
    pub killed: Option<Frozen>,
    /// How many pushes there were.
    pub pushes: u64,
    /// The newest.
    pub last: Option<LastPush>,
    /// When it began, epoch milliseconds.
    pub since_ms: i64,
}

/// One balancer under control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controlled {
    /// Which.
    pub target: Target,
    /// Weights that are wanted of it, or were last.
    pub values: Values,
    /// Weights that the kill switch wants back: those from before the rollout.
    pub configured: Values,
    /// Whether it is still under control.
    pub hold: Hold,
}

/// Whether a balancer is under control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Its promotion is not yet written down at the target.
    Awaiting,
    /// It is.
    Standing,
    /// It was let go, for this reason.
    LetGo(String),
    /// The kill switch was used.
    Killed,
}

/// Who stopped pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// When, epoch milliseconds.
    pub at_ms: i64,
    /// Who.
    pub by: Actor,
    /// Why, in words.
    pub reason: String,
    /// Whether a person did.
    pub by_person: bool,
}

/// The newest push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastPush {
    /// When it was decided, epoch milliseconds.
    pub at_ms: i64,
    /// End of the windows that it was computed from, epoch milliseconds.
    pub window_ms: i64,
    /// Number of its row, and of the policies that carry it.
    pub sequence: u64,
}

/// New weights for a pool under control.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// Whose control.
    pub rollout: RolloutId,
    /// New weights of each balancer; what is not named stays.
    pub values: BTreeMap<TargetId, Values>,
    /// End of the windows that they were computed from, epoch milliseconds.
    pub window_ms: i64,
    /// Balancers whose agents the pusher hears.
    pub heard: BTreeSet<TargetId>,
    /// Weights in force of each balancer's backends that are not under control: they stay, and have
    /// their share of its traffic.
    pub beside: BTreeMap<TargetId, Values>,
    /// Why, in words.
    pub reason: String,
    /// Windows, estimates, rule.
    pub inputs: serde_json::Value,
}

/// What of a push may happen now.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// What changes at each balancer; never empty.
    pub values: BTreeMap<TargetId, Values>,
    /// Balancers that stay as they are, and why.
    pub left_out: BTreeMap<TargetId, Held>,
}

/// Why a push may not happen now.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Held {
    /// There is no such control, or it has ended.
    #[error("there is no control of this pool")]
    Unknown,
    /// It is frozen.
    #[error("control is frozen: {0}")]
    Frozen(String),
    /// Another collector was first, or the windows are not newer.
    #[error("the last push is from windows up to {last_ms}, and this one from up to {window_ms}")]
    Old {
        /// Of the last push.
        last_ms: i64,
        /// Of this one.
        window_ms: i64,
    },
    /// The last one was too short a time ago.
    #[error("the last push was less than {0} ms ago")]
    TooSoon(i64),
    /// The pusher hears too few of the balancers.
    #[error("{heard} of {members} balancers are heard, which is no majority")]
    Minority {
        /// So many are heard.
        heard: usize,
        /// Of so many.
        members: usize,
    },
    /// A balancer is not under control.
    #[error("{0} is not under control now")]
    NotThere(TargetId),
    /// Something else is tried at a balancer.
    #[error("another change is under way at {0}")]
    Busy(TargetId),
    /// A weight is outside of what was confirmed.
    #[error("{parameter}={value} of {target} is outside of what was confirmed")]
    Outside {
        /// Which balancer.
        target: TargetId,
        /// Which weight.
        parameter: String,
        /// What was to be pushed.
        value: String,
    },
    /// Too much traffic would move at once.
    #[error("{share:.3} of the traffic of {target} would move, and at most {largest:.3} may")]
    Shift {
        /// At which balancer.
        target: TargetId,
        /// So much.
        share: f64,
        /// So much may.
        largest: f64,
    },
    /// The agent of a balancer has rejected these weights.
    #[error("the agent of {0} has rejected these weights before")]
    Rejected(TargetId),
    /// Nothing would change.
    #[error("all weights are as they are to be")]
    Same,
}

impl Envelope {
    /// What a proposal asks for: `None` for one that control does not follow.
    pub(super) fn of(proposal: &Proposal, largest_shift: f64, push_ms: i64) -> Option<Self> {
        if proposal.kind != CONTROLLED {
            return None;
        }
        let mut bounds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for change in proposal.members.iter().flat_map(|member| &member.change) {
            let Bound::Number { min, max, .. } = change.bound else { continue };
            if change.parameter.starts_with(WEIGHT) {
                let both = bounds.entry(change.parameter.clone()).or_insert((min, max));
                *both = (both.0.max(min), both.1.min(max));
            }
        }
        (!bounds.is_empty()).then_some(Self { bounds, largest_shift, push_ms })
    }

    /// Whether it can be kept: what was read from the journal may be anything.
    pub(super) fn is_sound(&self) -> bool {
        let share = self.largest_shift > 0.0 && self.largest_shift <= 1.0;
        share && self.push_ms >= 1 && self.bounds.keys().all(|name| name.starts_with(WEIGHT))
    }

    fn holds(&self, parameter: &str, value: &str) -> bool {
        let bounds = self.bounds.get(parameter);
        let number = value.parse::<u64>().ok().filter(|number| number.to_string() == value);
        bounds
            .zip(number)
            .is_some_and(|((min, max), number)| ((*min).max(1)..=*max).contains(&number))
    }
}

impl Control {
    /// The control that a promotion of this rollout begins.
    pub(super) fn begun(rollout: &Rollout, pool: &Target, at_ms: i64) -> Option<Self> {
        let envelope = Arc::new(rollout.plan.control.clone()?);
        let member = |planned: &Planned| {
            let weights = |values: &Values| {
                let mut values = values.clone();
                values.retain(|name, _| envelope.bounds.contains_key(name));
                values
            };
            Controlled {
                target: planned.target.clone(),
                values: weights(planned.last()),
                configured: weights(&planned.revert_to),
                hold: Hold::Awaiting,
            }
        };
        let members = rollout.plan.members.iter().map(member).collect();
        Some(Self {
            rollout: rollout.id.clone(),
            pool: pool.clone(),
            envelope,
            members,
            frozen: None,
            killed: None,
            pushes: 0,
            last: None,
            since_ms: at_ms,
        })
    }

    /// Whether nothing of it is wanted any more.
    pub fn is_over(&self) -> bool {
        self.killed.is_some() || self.members.iter().all(|m| matches!(m.hold, Hold::LetGo(_)))
    }

    /// `running`, `frozen`, `killed`, or `let_go` when no balancer is left.
    pub fn status(&self) -> &'static str {
        match (&self.killed, &self.frozen) {
            (Some(_), _) => "killed",
            _ if self.is_over() => "let_go",
            (None, Some(_)) => "frozen",
            (None, None) => "running",
        }
    }

    /// A member by its target.
    pub fn member(&self, target: &TargetId) -> Option<&Controlled> {
        self.members.iter().find(|member| member.target.id == *target)
    }

    /// Balancers that are under control.
    pub fn standing(&self) -> impl Iterator<Item = &Controlled> {
        self.members.iter().filter(|member| member.hold == Hold::Standing)
    }

    /// Values that would change, by target.
    pub(super) fn changed(&self, push: &Push) -> BTreeMap<TargetId, Values> {
        let mut all = push.values.clone();
        for (target, values) in &mut all {
            let old = self.member(target).map(|member| &member.values);
            values.retain(|name, value| old.and_then(|old| old.get(name)) != Some(value));
        }
        all.retain(|_, values| !values.is_empty());
        all
    }

    /// Whether one may be pushed at this time, apart from what is pushed.
    ///
    /// # Errors
    /// Says why not.
    pub(super) fn may_push(&self, window_ms: i64, at_ms: i64) -> Result<(), Held> {
        if self.is_over() {
            return Err(Held::Unknown);
        }
        if let Some(frozen) = &self.frozen {
            return Err(Held::Frozen(frozen.reason.clone()));
        }
        let Some(last) = self.last else { return Ok(()) };
        if window_ms <= last.window_ms {
            return Err(Held::Old { last_ms: last.window_ms, window_ms });
        }
        if at_ms < last.at_ms.saturating_add(self.envelope.push_ms) {
            return Err(Held::TooSoon(self.envelope.push_ms));
        }
        Ok(())
    }

    /// Whether new weights of a balancer are within what was confirmed, where these weights of its
    /// backends stay as they are.
    ///
    /// # Errors
    /// Says what is not.
    pub(super) fn within(
        &self,
        target: &TargetId,
        new: &Values,
        beside: &Values,
    ) -> Result<(), Held> {
        let member = self.member(target).filter(|member| member.hold == Hold::Standing);
        let Some(member) = member else { return Err(Held::NotThere(target.clone())) };
        for (parameter, value) in new {
            if !(member.values.contains_key(parameter) && self.envelope.holds(parameter, value)) {
                let (parameter, value) = (parameter.clone(), value.clone());
                return Err(Held::Outside { target: target.clone(), parameter, value });
            }
        }
        let (share, largest) = (member.shift(new, beside), self.envelope.largest_shift);
        if share > largest + ROUNDING {
            return Err(Held::Shift { target: target.clone(), share, largest });
        }
        Ok(())
    }

    pub(super) fn let_go(&mut self, target: &TargetId, made: &Transition) {
        let hold = Hold::LetGo(made.reason.clone());
        let member = self.members.iter_mut().filter(|member| member.target.id == *target);
        member.for_each(|member| member.hold = hold.clone());
        if self.frozen.is_none() {
            let reason = format!("{target} was let go: {}", made.reason);
            let by = made.actor.clone();
            self.frozen = Some(Frozen { at_ms: made.at_ms, by, reason, by_person: false });
        }
    }
}

impl Controlled {
    /// The share of the balancer's traffic that new weights would move, where these weights of its
    /// backends stay as they are.
    pub fn shift(&self, new: &Values, beside: &Values) -> f64 {
        let mut old = beside.clone();
        old.extend(self.values.clone());
        shift(&old, new)
    }
}
