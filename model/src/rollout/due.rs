//! What has to follow from the state alone at a time: time limits, and the rest of a decision whose
//! first row was written before a collector died.
//!
//! Facts are written first (a suggestion is confirmed, a member is in force, the judge said harm),
//! and what follows from them is found here. So a journal that ends anywhere goes on by itself.

use super::event::{Judgement, Verdict};
use super::ids::Actor;
use super::limits::AtMaximum;
use super::state::{
    Member, Phase, Rollout, RolloutState, State, Suggestion, SuggestionStatus, TargetBook,
};
use super::transition::{Cause, Move};

/// A move and why it is made.
pub(super) struct Due {
    pub(super) what: Move,
    pub(super) actor: Actor,
    pub(super) reason: String,
}

fn due(what: Move, reason: impl Into<String>) -> Due {
    Due { what, actor: Actor::part("rollout"), reason: reason.into() }
}

impl State {
    /// The first thing that has to follow now.
    pub(super) fn next_due(&self, now_ms: i64) -> Option<Due> {
        let suggestions = || self.suggestions().find_map(|found| self.of_suggestion(found, now_ms));
        let rollouts = || self.rollouts().find_map(|rollout| rollout.next_due(now_ms));
        let targets = || self.targets().find_map(|book| self.of_book(book));
        suggestions().or_else(rollouts).or_else(targets)
    }

    /// When time alone changes something next, epoch milliseconds. Whoever drives the machine has
    /// to tick then.
    pub fn next_deadline(&self) -> Option<i64> {
        let suggestions = self
            .suggestions()
            .filter(|suggestion| suggestion.status == SuggestionStatus::Proposed)
            .map(|suggestion| suggestion.expires_at_ms);
        suggestions.chain(self.rollouts().filter_map(Rollout::deadline)).min()
    }

    fn of_suggestion(&self, suggestion: &Suggestion, now_ms: i64) -> Option<Due> {
        let id = &suggestion.proposal.id;
        match suggestion.status {
            SuggestionStatus::Proposed if suggestion.expires_at_ms <= now_ms => Some(due(
                Move::Expired { suggestion: id.clone() },
                "nobody confirmed or rejected it in time",
            )),
            SuggestionStatus::Confirmed if self.rollout(&id.rollout()).is_none() => {
                let plan = suggestion.plan.as_ref()?;
                let targets = plan.members.iter().filter_map(|m| self.target(&m.target.id));
                let kind = &suggestion.proposal.kind;
                let failures = targets.filter_map(|book| Some(book.attempts.get(kind)?.failures));
                let what = Move::Started {
                    rollout: id.rollout(),
                    suggestion: id.clone(),
                    attempt: failures.max().unwrap_or(0).saturating_add(1),
                    deadline_ms: now_ms.saturating_add(plan.limits.apply_ms),
                };
                Some(due(what, "it was confirmed"))
            }
            _ => None,
        }
    }

    /// A target whose rollout has ended is freed, rests or is locked.
    fn of_book(&self, book: &TargetBook) -> Option<Due> {
        let rollout = self.rollout(book.held_by.as_ref()?)?;
        let ended_at_ms = rollout.ended_at_ms?;
        let target = book.target.id.clone();
        let member = rollout.members[rollout.place(&target)?];
        if rollout.state == RolloutState::Promoted {
            return Some(due(Move::Freed { target }, "the change was promoted"));
        }
        if !member.is_touched() {
            return Some(due(Move::Freed { target }, "it was never changed"));
        }
        if member != Member::Restored {
            return Some(due(
                Move::Locked { target },
                "it is not known that the old values are in force; a person has to look",
            ));
        }
        let limits = &rollout.plan.limits;
        let before = book.attempts.get(&rollout.kind).copied().unwrap_or_default().failures;
        let failures = before.saturating_add(1);
        if failures >= limits.attempts {
            let reason = format!("attempt {failures} of {} failed", limits.attempts);
            return Some(due(Move::Locked { target }, reason));
        }
        let until_ms = ended_at_ms.saturating_add(limits.cool_down(failures));
        let reason = format!("attempt {failures} of {} failed; it rests", limits.attempts);
        Some(due(Move::Cooling { target, until_ms }, reason))
    }
}

impl Rollout {
    fn next_due(&self, now_ms: i64) -> Option<Due> {
        match self.phase {
            Phase::Over => None,
            Phase::Restoring { deadline_ms } => self.going_back(deadline_ms, now_ms),
            _ => self.stopped(now_ms).or_else(|| self.going_on(now_ms)),
        }
    }

    fn deadline(&self) -> Option<i64> {
        let phase = match self.phase {
            Phase::Over => return None,
            Phase::Applying { deadline_ms, .. }
            | Phase::Sealing { deadline_ms }
            | Phase::Restoring { deadline_ms } => (!self.is_in_force()).then_some(deadline_ms),
            Phase::Holding { until_ms, .. } | Phase::Validating { until_ms, .. } => {
                self.paused.is_none().then_some(until_ms)
            }
        };
        [phase, self.paused.map(|pause| pause.until_ms)].into_iter().flatten().min()
    }

    fn going_back(&self, deadline_ms: i64, now_ms: i64) -> Option<Due> {
        let rollout = self.id.clone();
        let is = |member: Member| self.members.contains(&member);
        if is(Member::Restoring) && now_ms < deadline_ms {
            return None;
        }
        if !is(Member::Restoring) && !is(Member::Stuck) {
            return Some(due(Move::RolledBack { rollout }, self.reason.clone()));
        }
        let names = |wanted: Member| {
            let members = self.plan.members.iter().zip(&self.members);
            let found = members.filter(|(_, member)| **member == wanted);
            found.map(|(planned, _)| planned.target.id.0.as_str()).collect::<Vec<_>>().join(", ")
        };
        let mut reason = vec![self.reason.clone()];
        if is(Member::Stuck) {
            reason.push(format!("the old values were refused by {}", names(Member::Stuck)));
        }
        if is(Member::Restoring) {
            let late = names(Member::Restoring);
            reason.push(format!("the old values were not shown to be in force in time by {late}"));
        }
        reason.push("a person has to look".to_owned());
        let reason = reason.join("; ");
        Some(due(Move::Failed { rollout }, reason))
    }

    /// Reasons to go back that are written down or lie in time.
    fn stopped(&self, now_ms: i64) -> Option<Due> {
        if self.members.iter().any(|member| matches!(member, Member::Upset(_))) {
            return Some(self.go_back(Cause::Agent, self.reason.clone(), now_ms));
        }
        let verdict = self.steps.last().and_then(|step| step.verdict());
        if let Some(verdict) = verdict
            && verdict.result == Judgement::Harm
        {
            let reason = format!("the judge found harm: {}", verdict.reason);
            return Some(self.go_back(Cause::Harm, reason, now_ms));
        }
        if self.paused.is_some_and(|pause| pause.until_ms <= now_ms) {
            let reason = "it was paused for the longest time".to_owned();
            return Some(self.go_back(Cause::PausedTooLong, reason, now_ms));
        }
        let (Phase::Applying { deadline_ms, .. } | Phase::Sealing { deadline_ms }) = self.phase
        else {
            return None;
        };
        if self.is_in_force() || now_ms < deadline_ms {
            return None;
        }
        let reason = "not all agents had the values in force in time".to_owned();
        Some(self.go_back(Cause::NotApplied, reason, now_ms))
    }

    fn going_on(&self, now_ms: i64) -> Option<Due> {
        if self.paused.is_some() {
            return None;
        }
        let rollout = self.id.clone();
        let limits = &self.plan.limits;
        let after = |ms: i64| now_ms.saturating_add(ms);
        match self.phase {
            Phase::Applying { .. } if self.is_in_force() => Some(due(
                Move::Held { rollout, until_ms: after(limits.hold_ms) },
                "the step is in force everywhere",
            )),
            Phase::Holding { wave, step, until_ms } if until_ms <= now_ms => {
                if step + 1 < self.plan.steps_of(wave) {
                    return Some(self.step_to(wave, step + 1, now_ms, "it was held for its time"));
                }
                let from_ms = after(limits.validate_min_ms);
                let until_ms = after(limits.validate_max_ms);
                let what = Move::Validating { rollout, from_ms, until_ms };
                Some(due(what, "all steps are in force and were held"))
            }
            Phase::Validating { wave, until_ms, .. } => self.after_verdict(wave, until_ms, now_ms),
            Phase::Sealing { .. } if self.is_in_force() => {
                Some(due(Move::Promoted { rollout }, "the values are in force for good"))
            }
            _ => None,
        }
    }

    fn after_verdict(&self, wave: usize, until_ms: i64, now_ms: i64) -> Option<Due> {
        let rollout = self.id.clone();
        let limits = &self.plan.limits;
        if self.last_verdict() == Some(Judgement::Pass) {
            if wave + 1 < self.plan.waves.len() {
                return Some(self.step_to(wave + 1, 0, now_ms, "the wave before it passed"));
            }
            let deadline_ms = now_ms.saturating_add(limits.apply_ms);
            return Some(due(Move::Sealing { rollout, deadline_ms }, "it passed everywhere"));
        }
        if now_ms < until_ms {
            return None;
        }
        let verdict = self.steps.last().and_then(|step| step.verdict());
        let said = verdict.map_or("the judge said nothing", |verdict: &Verdict| &verdict.reason);
        let reason = format!("it was inconclusive for the longest time: {said}");
        if limits.at_maximum == AtMaximum::RollBack {
            return Some(self.go_back(Cause::Inconclusive, reason, now_ms));
        }
        let until_ms = now_ms.saturating_add(limits.pause_ms);
        Some(due(Move::Paused { rollout, until_ms, asks: true }, reason))
    }

    fn step_to(&self, wave: usize, step: usize, now_ms: i64, reason: &str) -> Due {
        let deadline_ms = now_ms.saturating_add(self.plan.limits.apply_ms);
        due(Move::Stepped { rollout: self.id.clone(), wave, step, deadline_ms }, reason)
    }

    fn go_back(&self, cause: Cause, reason: String, now_ms: i64) -> Due {
        let deadline_ms = now_ms.saturating_add(self.plan.limits.restore_ms);
        due(Move::Restoring { rollout: self.id.clone(), cause, deadline_ms }, reason)
    }
}
