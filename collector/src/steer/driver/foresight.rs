//! Before the start: whether the judge could see its margin in the time that a validation may take.
//!
//! The trial is laid out as it would be if the first wave were judged from now on, and the judge's own
//! [`power`] says what can be seen in the noise of the past: once as things are, with controls or with the
//! past alone, and once as if it were known exactly what the old setting would do, since agents predict that
//! during a trial. A change is held back only if both are blind. So what is refused is hopeless, and what
//! is not refused may still end undecided: a short past shows drifts that are chance.
//!
//! Only noise is a reason to refuse. What is missing of the past comes with time, and is told apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_model::judge::{Arm, MetricPower, Predicted, Trial, power};
use flyball_model::rollout::{
    Limits, Member, Phase, Plan, Proposal, Rollout, RolloutState, State, StepRecord,
};

use super::measure::{Predictions, measure, unchanged_since};
use super::settings::JudgeSettings;
use super::trial::{Measured, trial};
use crate::store::{Store, StoreError};

/// What is foreseen, and by which settings.
#[derive(Debug, Clone, Copy)]
pub struct Foresight<'a> {
    /// Where the past is.
    pub store: &'a Store,
    /// What the journal says.
    pub state: &'a State,
    /// How the change would go.
    pub limits: &'a Limits,
    /// How it would be judged.
    pub judge: &'a JudgeSettings,
    /// Epoch milliseconds.
    pub now_ms: i64,
}

impl Foresight<'_> {
    /// Why a change could not be judged in its longest time, in words; `None` where it could, or where that
    /// is not known.
    ///
    /// # Errors
    /// When the past cannot be read.
    pub async fn lacks(&self, proposal: &Proposal) -> Result<Option<String>, StoreError> {
        let Some(rollout) = self.as_if_judged(proposal) else { return Ok(None) };
        let times = (unchanged_since(self.state, &rollout), self.now_ms);
        let mut measured =
            measure(self.store, &rollout, &Predictions::default(), self.judge, times).await?;
        let trial_of =
            |measured: &[Measured]| trial(&rollout, &proposal.prediction, measured, self.judge);
        if trial_of(&measured).is_none_or(|trial| blind(&trial).is_none()) {
            return Ok(None);
        }
        measured.retain(|of| of.arm == Arm::Treated);
        let start_ms = self.now_ms + i64::from(self.judge.window_ms);
        for of in &mut measured {
            of.predicted = vec![Predicted { start_ms, value: 0.0, standard_error: 0.0 }];
        }
        Ok(trial_of(&measured).and_then(|trial| blind(&trial)))
    }

    /// The rollout of a proposal as if its first wave had been in force from now on.
    fn as_if_judged(&self, proposal: &Proposal) -> Option<Rollout> {
        let id = proposal.id.rollout();
        let plan = Plan::new(&id, proposal, self.limits).ok()?;
        let mut members = vec![Member::Untouched; plan.members.len()];
        plan.waves.first()?.members.iter().for_each(|&place| members[place] = Member::InForce);
        let after = |ms: i64| self.now_ms.saturating_add(ms);
        let step = StepRecord {
            wave: 0,
            step: 0,
            nodes: Vec::new(),
            started_at_ms: self.now_ms,
            revision: 0,
            verdicts: Vec::new(),
        };
        Some(Rollout {
            id,
            suggestion: proposal.id.clone(),
            kind: proposal.kind.clone(),
            attempt: 1,
            state: RolloutState::Validating,
            phase: Phase::Validating {
                wave: 0,
                from_ms: after(self.limits.validate_min_ms),
                until_ms: after(self.limits.validate_max_ms),
            },
            paused: None,
            plan: Arc::new(plan),
            members,
            left: BTreeMap::new(),
            steps: vec![step],
            sealed: false,
            back_since: None,
            reason: String::new(),
            cause: None,
            started_at_ms: self.now_ms,
            ended_at_ms: None,
        })
    }
}

/// What noise hides from the judge of this trial, in words.
fn blind(trial: &Trial) -> Option<String> {
    let most = trial.limits.max_windows;
    let hides = |seen: &&MetricPower| {
        seen.obstacle.is_none() && seen.windows_needed.is_none_or(|windows| windows > most)
    };
    let seen = power(trial).metrics;
    let seen = seen.iter().find(hides)?;
    let allowed = f64::from(most) * f64::from(trial.window_ms) / 3_600_000.0;
    let takes = match seen.hours_needed {
        Some(hours) => format!("a pass would take {hours:.2} h"),
        None => "no time would be enough for a pass".to_owned(),
    };
    Some(format!(
        "a loss of {:.4} of {} could not be seen in its noise: within the {allowed:.2} h of the longest \
         validation the smallest harm that is found is {:.4} at best, and {takes}; a longer validation, more \
         like targets or a wider margin would help",
        seen.margin, seen.metric, seen.smallest_harm,
    ))
}
