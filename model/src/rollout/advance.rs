//! The effect of transitions on one rollout and on one target's book.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{Fit, NOT_NOW, UNKNOWN};
use super::event::{Judgement, Verdict};
use super::ids::{Target, Values};
use super::state::{
    Attempts, Member, Pause, Phase, Rollout, RolloutState, Standing, StepRecord, TargetBook,
};
use super::transition::{Cause, Move, Transition};

impl TargetBook {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            held_by: None,
            broken: false,
            attempts: BTreeMap::new(),
            owed: None,
            of_kill: BTreeSet::new(),
            standing: None,
            released_at_ms: None,
            rejected: BTreeSet::new(),
            unlocked_at: 0,
            revision: 0,
        }
    }

    /// Whether the kill switch still waits for any of these values.
    pub fn is_owed_by_kill(&self, values: &Values) -> bool {
        self.owed.is_some() && values.keys().any(|name| self.of_kill.contains(name))
    }

    pub(super) fn unlock(&mut self, sequence: u64) -> Fit {
        if !self.may_unlock() {
            return Err(NOT_NOW);
        }
        self.rejected.clear();
        self.unlocked_at = sequence;
        self.attempts.retain(|_, attempts: &mut Attempts| !attempts.locked);
        if std::mem::take(&mut self.broken) {
            self.owed = self.owed_by_kill();
        }
        Ok(())
    }

    pub(super) fn supersede(&mut self, by: &Values) {
        self.release(&by.keys().cloned().collect());
    }

    /// These of the promoted values are no longer wanted.
    pub(super) fn release(&mut self, names: &BTreeSet<String>) {
        if let Some(standing) = &mut self.standing {
            standing.values.retain(|name, _| !names.contains(name));
        }
        self.standing.take_if(|standing| standing.values.is_empty());
    }

    /// The kill switch wants these beside what is owed already.
    pub(super) fn owe_configured(&mut self, configured: Standing) {
        self.of_kill.extend(configured.values.keys().cloned());
        match &mut self.owed {
            Some(owed) => owed.values.extend(configured.values),
            None => self.owed = Some(configured),
        }
    }

    /// What is left to be wanted when nothing is owed but what the kill switch wants.
    pub(super) fn owed_by_kill(&self) -> Option<Standing> {
        let mut owed = self.owed.clone()?;
        owed.values.retain(|name, _| self.of_kill.contains(name));
        (!owed.values.is_empty()).then_some(owed)
    }

    pub(super) fn promote(&mut self, rollout: &Rollout, place: usize) {
        let mut values = self.standing.take().map(|old| old.values).unwrap_or_default();
        values.extend(rollout.plan.members[place].last().clone());
        let persist = rollout.plan.limits.persist;
        self.standing = Some(Standing { rollout: rollout.id.clone(), values, persist });
    }
}

impl Rollout {
    pub(super) fn set(&mut self, place: usize, from: &[Member], to: Member, forward: bool) -> Fit {
        if self.is_forward() != forward || !from.contains(&self.members[place]) {
            return Err(NOT_NOW);
        }
        self.members[place] = to;
        Ok(())
    }

    /// Offers a step. Who stays at the same values has them in force already.
    pub(super) fn offer(
        &mut self,
        (wave, step): (usize, usize),
        (at_ms, deadline_ms): (i64, i64),
        revision: u64,
    ) {
        let plan = &self.plan;
        for &place in &plan.waves[wave].members {
            let planned = &plan.members[place];
            if step == 0 || planned.step(step) != planned.step(step - 1) {
                self.members[place] = Member::Asked;
            }
        }
        let node = |&place: &usize| plan.members[place].target.node.clone();
        let nodes: BTreeSet<String> = plan.waves[wave].members.iter().map(node).collect();
        self.state = RolloutState::Canary;
        self.phase = Phase::Applying { wave, step, deadline_ms };
        self.steps.push(StepRecord {
            wave,
            step,
            nodes: nodes.into_iter().collect(),
            started_at_ms: at_ms,
            revision,
            verdicts: Vec::new(),
        });
    }

    /// Whether all touched members have the wanted values in force.
    pub(super) fn is_in_force(&self) -> bool {
        self.members.iter().all(|member| matches!(member, Member::InForce | Member::Untouched))
    }

    pub(super) fn go(&mut self, transition: &Transition, sequence: u64) -> Fit {
        let at_ms = transition.at_ms;
        match &transition.what {
            Move::Held { until_ms, .. } => self.held(*until_ms),
            Move::Validating { from_ms, until_ms, .. } => self.validating(*from_ms, *until_ms),
            Move::Judged { verdict, .. } => self.judged(verdict, at_ms),
            Move::Sealing { deadline_ms, .. } => self.sealing(*deadline_ms),
            Move::Restoring { cause, deadline_ms, .. } => {
                self.restoring(*cause, *deadline_ms, &transition.reason)?;
                self.back_since = Some(sequence);
                Ok(())
            }
            Move::Promoted { .. } => self.promoted(at_ms),
            Move::RolledBack { .. } => self.returned(RolloutState::RolledBack, transition),
            Move::Failed { .. } => self.returned(RolloutState::Failed, transition),
            Move::Paused { until_ms, asks, .. } if self.is_forward() && self.paused.is_none() => {
                self.paused = Some(Pause { since_ms: at_ms, until_ms: *until_ms, asks: *asks });
                Ok(())
            }
            Move::Resumed { until_ms, .. } => self.resumed(*until_ms),
            _ => Err(NOT_NOW),
        }
    }

    fn held(&mut self, until_ms: i64) -> Fit {
        let Phase::Applying { wave, step, .. } = self.phase else { return Err(NOT_NOW) };
        if !self.is_in_force() {
            return Err("it is not in force everywhere");
        }
        self.phase = Phase::Holding { wave, step, until_ms };
        Ok(())
    }

    fn validating(&mut self, from_ms: i64, until_ms: i64) -> Fit {
        let Phase::Holding { wave, step, .. } = self.phase else { return Err(NOT_NOW) };
        if step + 1 < self.plan.steps_of(wave) || !self.is_in_force() {
            return Err("steps are left");
        }
        self.state = RolloutState::Validating;
        self.phase = Phase::Validating { wave, from_ms, until_ms };
        Ok(())
    }

    fn judged(&mut self, verdict: &Verdict, at_ms: i64) -> Fit {
        let validating = matches!(self.phase, Phase::Validating { .. });
        let fits = match self.last_verdict() {
            Some(Judgement::Harm) => false,
            Some(Judgement::Pass) => verdict.result == Judgement::Harm,
            _ => validating || verdict.result == Judgement::Harm,
        };
        if !fits || !self.is_forward() {
            return Err(NOT_NOW);
        }
        let step = self.steps.last_mut().ok_or(UNKNOWN)?;
        step.verdicts.push((at_ms, verdict.clone()));
        Ok(())
    }

    fn sealing(&mut self, deadline_ms: i64) -> Fit {
        let Phase::Validating { wave, .. } = self.phase else { return Err(NOT_NOW) };
        let passed = self.last_verdict() == Some(Judgement::Pass);
        if wave + 1 != self.plan.waves.len() || !passed || !self.is_in_force() {
            return Err("it has not passed everywhere");
        }
        self.sealed = true;
        self.members.fill(Member::Asked);
        self.phase = Phase::Sealing { deadline_ms };
        Ok(())
    }

    fn restoring(&mut self, cause: Cause, deadline_ms: i64, reason: &str) -> Fit {
        if !self.is_forward() {
            return Err(NOT_NOW);
        }
        for member in &mut self.members {
            *member = match *member {
                Member::Untouched => Member::Untouched,
                Member::Upset(true) => Member::Restored,
                _ => Member::Restoring,
            };
        }
        self.paused = None;
        self.cause = Some(cause);
        reason.clone_into(&mut self.reason);
        self.phase = Phase::Restoring { deadline_ms };
        Ok(())
    }

    fn promoted(&mut self, at_ms: i64) -> Fit {
        if !matches!(self.phase, Phase::Sealing { .. }) || !self.is_in_force() {
            return Err(NOT_NOW);
        }
        self.end(RolloutState::Promoted, at_ms);
        Ok(())
    }

    fn returned(&mut self, state: RolloutState, transition: &Transition) -> Fit {
        let back = |member: &Member| matches!(member, Member::Untouched | Member::Restored);
        let all = self.members.iter().all(back);
        let restoring = matches!(self.phase, Phase::Restoring { .. });
        if !restoring || all != (state == RolloutState::RolledBack) {
            return Err(NOT_NOW);
        }
        self.reason.clone_from(&transition.reason);
        self.end(state, transition.at_ms);
        Ok(())
    }

    fn end(&mut self, state: RolloutState, at_ms: i64) {
        self.state = state;
        self.phase = Phase::Over;
        self.paused = None;
        self.ended_at_ms = Some(at_ms);
    }

    fn resumed(&mut self, end_ms: Option<i64>) -> Fit {
        self.paused.take().ok_or(NOT_NOW)?;
        if let Phase::Holding { until_ms, .. } | Phase::Validating { until_ms, .. } =
            &mut self.phase
            && let Some(end_ms) = end_ms
        {
            *until_ms = end_ms;
        }
        Ok(())
    }
}
