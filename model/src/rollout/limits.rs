//! Settings of the machine: how long each part of a change may take, how often it may be tried and
//! how much of the fleet it may touch at once.
//!
//! They are copied into the plan of a rollout when it is confirmed. So a rollout ends under the
//! limits that it began with, whatever the configuration says after a restart.

use serde::{Deserialize, Serialize};

use super::control::BALANCERS;

/// What happens when a validation has lasted for its longest time and is still inconclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtMaximum {
    /// The old values come back; the reason says that it was inconclusive.
    RollBack,
    /// It pauses and a person decides: resume gives it the longest time once more.
    AskPerson,
}

/// Time limits, attempts and shares. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From proposal to expiry of a suggestion that nobody decided.
    pub suggestion_life_ms: i64,
    /// From the offer of a step until all agents have it in force.
    pub apply_ms: i64,
    /// How long each step is held under hard stops before the next.
    pub hold_ms: i64,
    /// Before this a pass of the judge is not acted on.
    pub validate_min_ms: i64,
    /// After this an inconclusive validation ends as `at_maximum` says.
    pub validate_max_ms: i64,
    /// What then happens.
    pub at_maximum: AtMaximum,
    /// From the wish to restore until the old values must be in force everywhere.
    pub restore_ms: i64,
    /// Longest pause.
    pub pause_ms: i64,
    /// An agent that was not heard for this long stops a rollout that touches its node.
    pub silent_ms: i64,
    /// The agent itself reverts a canary that was not renewed for this long.
    pub lease_ms: u64,
    /// An inconclusive verdict that says nothing new is recorded this often, and at least ten times
    /// in the longest validation: what a rollout ends with says why it was not decided.
    pub record_ms: i64,
    /// Failed rollouts of one kind on one target before it is locked.
    pub attempts: u8,
    /// Pause after the first failed one.
    pub cool_down_ms: i64,
    /// Each further pause is so many times the one before.
    pub cool_down_factor: i64,
    /// Share of the members that get the change first; at least one does.
    pub canary_share: f64,
    /// Largest share of the members that get the change in any later wave; at least one does.
    pub largest_share: f64,
    /// Targets that may be on trial at once, of all rollouts: this share of the nodes that are up; at
    /// least one may.
    pub fleet_share: f64,
    /// Whether promoted values are written to the server's own configuration.
    pub persist: bool,
    /// What is otherwise for load balancers.
    #[serde(skip_serializing_if = "BalancerLimits::is_default")]
    pub balancer: BalancerLimits,
}

/// Limits of rollouts of load balancers, whose effect shows at once, and of the control that follows
/// them. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancerLimits {
    /// How long each step is held under hard stops before the next.
    pub hold_ms: i64,
    /// Before this a pass of the judge is not acted on.
    pub validate_min_ms: i64,
    /// After this an inconclusive validation ends as `at_maximum` says.
    pub validate_max_ms: i64,
    /// Largest share of a group's traffic that one push of control may move.
    pub largest_shift: f64,
    /// Least time between two pushes of control.
    pub push_ms: i64,
}

impl Default for BalancerLimits {
    /// Three windows of five seconds are held.
    fn default() -> Self {
        Self {
            hold_ms: 15 * SECOND,
            validate_min_ms: 30 * SECOND,
            validate_max_ms: 10 * MINUTE,
            largest_shift: 0.2,
            push_ms: SECOND,
        }
    }
}

impl BalancerLimits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The limit that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{setting} of a rollout must be {must}")]
pub struct InvalidLimits {
    /// Its name.
    pub setting: &'static str,
    /// What it must be.
    pub must: &'static str,
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Longest time that any of them may be.
const LONGEST: i64 = 30 * 24 * HOUR;

impl Default for Limits {
    fn default() -> Self {
        Self {
            suggestion_life_ms: 24 * HOUR,
            apply_ms: 2 * MINUTE,
            hold_ms: MINUTE,
            validate_min_ms: 5 * MINUTE,
            validate_max_ms: HOUR,
            at_maximum: AtMaximum::RollBack,
            restore_ms: 5 * MINUTE,
            pause_ms: 24 * HOUR,
            silent_ms: 30 * SECOND,
            lease_ms: 60_000,
            record_ms: 5 * MINUTE,
            attempts: 3,
            cool_down_ms: 10 * MINUTE,
            cool_down_factor: 4,
            canary_share: 0.1,
            largest_share: 0.34,
            fleet_share: 0.34,
            persist: false,
            balancer: BalancerLimits::default(),
        }
    }
}

impl Limits {
    /// Time after which an inconclusive verdict is recorded again, milliseconds.
    pub(super) fn record_again_ms(&self) -> i64 {
        self.record_ms.min(self.validate_max_ms / 10)
    }

    /// Whether each is in its range.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<(), InvalidLimits> {
        const TIME: &str = "above zero and at most 30 days";
        let time = |ms: i64| (1..=LONGEST).contains(&ms);
        let share = |share: f64| share > 0.0 && share <= 1.0;
        let all = [
            ("suggestion_life_ms", TIME, time(self.suggestion_life_ms)),
            ("apply_ms", TIME, time(self.apply_ms)),
            ("hold_ms", "from zero to 30 days", (0..=LONGEST).contains(&self.hold_ms)),
            (
                "validate_min_ms",
                "from zero to validate_max_ms",
                (0..=self.validate_max_ms).contains(&self.validate_min_ms),
            ),
            ("validate_max_ms", TIME, time(self.validate_max_ms)),
            ("restore_ms", TIME, time(self.restore_ms)),
            ("pause_ms", TIME, time(self.pause_ms)),
            ("silent_ms", TIME, time(self.silent_ms)),
            (
                "lease_ms",
                "at least a second and shorter than restore_ms",
                self.lease_ms >= 1_000 && self.lease_ms < self.restore_ms.max(0) as u64,
            ),
            ("record_ms", TIME, time(self.record_ms)),
            ("attempts", "from 1 to 3", (1..=3).contains(&self.attempts)),
            ("cool_down_ms", TIME, time(self.cool_down_ms)),
            ("cool_down_factor", "from 1 to 100", (1..=100).contains(&self.cool_down_factor)),
            ("canary_share", "above 0 and at most largest_share", {
                share(self.canary_share) && self.canary_share <= self.largest_share
            }),
            ("largest_share", "above 0 and at most 1", share(self.largest_share)),
            ("fleet_share", "above 0 and at most 1", share(self.fleet_share)),
            ("balancer.hold_ms", "from zero to 30 days", {
                (0..=LONGEST).contains(&self.balancer.hold_ms)
            }),
            ("balancer.validate_min_ms", "from zero to balancer.validate_max_ms", {
                (0..=self.balancer.validate_max_ms).contains(&self.balancer.validate_min_ms)
            }),
            ("balancer.validate_max_ms", TIME, time(self.balancer.validate_max_ms)),
            ("balancer.largest_shift", "above 0 and at most 1", share(self.balancer.largest_shift)),
            ("balancer.push_ms", "from a second to 30 days", {
                (SECOND..=LONGEST).contains(&self.balancer.push_ms)
            }),
        ];
        match all.into_iter().find(|(_, _, holds)| !holds) {
            Some((setting, must, _)) => Err(InvalidLimits { setting, must }),
            None => Ok(()),
        }
    }

    /// Those of a rollout of this kind.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Self {
        if !kind.starts_with(BALANCERS) {
            return self.clone();
        }
        let BalancerLimits { hold_ms, validate_min_ms, validate_max_ms, .. } = self.balancer;
        Self { hold_ms, validate_min_ms, validate_max_ms, ..self.clone() }
    }

    /// Targets that may be on trial at once where so many nodes are up.
    pub fn at_once(&self, nodes_up: usize) -> usize {
        ((self.fleet_share * nodes_up as f64).floor() as usize).max(1)
    }

    /// Pause after so many failed rollouts of one kind on one target.
    pub fn cool_down(&self, failures: u8) -> i64 {
        let factor = self.cool_down_factor.saturating_pow(u32::from(failures.saturating_sub(1)));
        self.cool_down_ms.saturating_mul(factor)
    }
}
