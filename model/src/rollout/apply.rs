//! The effect of each transition. One that does not fit the state changes nothing but the sequence,
//! so that a journal of another version can still be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::Judgement;
use super::ids::{RolloutId, SuggestionId, TargetId, Values};
use super::plan::Plan;
use super::proposal::Proposal;
use super::state::{
    Member, Phase, Rollout, RolloutState, Standing, State, Suggestion, SuggestionStatus, TargetBook,
};
use super::transition::{Move, Subject, Transition};

/// A transition that does not fit the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} does not fit: {why}")]
pub struct Misfit {
    /// The move's name.
    pub what: &'static str,
    /// Why not.
    pub why: &'static str,
}

pub(super) type Fit = Result<(), &'static str>;

pub(super) const UNKNOWN: &str = "there is no such thing";
pub(super) const NOT_NOW: &str = "it is in another state";

impl State {
    /// Changes the state as the next transition of the journal says.
    ///
    /// # Errors
    /// When it does not fit. Then only the sequence has moved.
    pub fn apply(&mut self, transition: &Transition) -> Result<(), Misfit> {
        self.sequence += 1;
        let targets = self.concerned(&transition.what);
        let before: Vec<_> = targets.iter().map(|id| self.wanted(id)).collect();
        self.change(transition).map_err(|why| Misfit { what: transition.what.name(), why })?;
        self.let_go(&targets, transition);
        for (id, before) in targets.iter().zip(before) {
            if self.wanted(id) != before
                && let Some(book) = self.targets.get_mut(id)
            {
                Arc::make_mut(book).revision = self.sequence;
            }
        }
        Ok(())
    }

    /// The next transition cannot be read: only the sequence moves.
    pub(crate) fn skip(&mut self) {
        self.sequence += 1;
    }

    /// Targets of which something else may be wanted afterwards.
    pub(crate) fn concerned(&self, what: &Move) -> Vec<TargetId> {
        let members = |plan: &Plan| plan.members.iter().map(|m| m.target.id.clone()).collect();
        if let Move::Confirmed { plan, .. } = what {
            return members(plan);
        }
        if let Move::Started { suggestion, .. } = what {
            let plan = self.suggestion(suggestion).and_then(|found| found.plan.as_deref());
            return plan.map(members).unwrap_or_default();
        }
        match what.subject() {
            Subject::Suggestion(_) => Vec::new(),
            Subject::Target(target) => vec![target],
            Subject::Rollout(rollout) => {
                self.rollout(&rollout).map(|found| members(&found.plan)).unwrap_or_default()
            }
        }
    }

    fn change(&mut self, transition: &Transition) -> Fit {
        let (at_ms, sequence) = (transition.at_ms, self.sequence);
        match &transition.what {
            Move::Proposed { proposal, expires_at_ms } => {
                self.proposed(proposal, at_ms, *expires_at_ms)
            }
            Move::Confirmed { suggestion, plan } => self.confirmed(suggestion, plan, transition),
            Move::Rejected { suggestion } => {
                self.closed(suggestion, SuggestionStatus::Rejected, transition)
            }
            Move::Expired { suggestion } => {
                self.closed(suggestion, SuggestionStatus::Expired, transition)
            }
            Move::Started { rollout, suggestion, attempt, deadline_ms } => {
                self.started(rollout, suggestion, *attempt, (at_ms, *deadline_ms))
            }
            Move::InForce { rollout, target } => {
                let (rollout, place) = self.member(rollout, target)?;
                rollout.set(place, &[Member::Asked], Member::InForce, true)
            }
            Move::Upset { rollout, target, rejected, old_in_force, left } => {
                let (rollout, place) = self.member(rollout, target)?;
                let upset = Member::Upset(*old_in_force);
                rollout.set(place, &[Member::Asked, Member::InForce], upset, true)?;
                if !left.is_empty() {
                    rollout.left.insert(place, left.clone());
                    // Of what is left nothing has to come back.
                    rollout.members[place] =
                        Member::Upset(*old_in_force || rollout.owed(place).is_empty());
                }
                rollout.reason.clone_from(&transition.reason);
                self.book(target)?.release(left);
                self.reject(target, rejected.as_ref())
            }
            Move::Refused { target, values } => self.reject(target, Some(values)),
            Move::Stepped { rollout, wave, step, deadline_ms } => {
                self.stepped(rollout, (*wave, *step), (at_ms, *deadline_ms))
            }
            Move::Restored { rollout, target } => self.returned(rollout, target, Member::Restored),
            Move::Stuck { rollout, target } => self.returned(rollout, target, Member::Stuck),
            Move::Freed { target } => self.freed(target, None, false),
            Move::Cooling { target, until_ms } => self.freed(target, Some(*until_ms), false),
            Move::Locked { target } => self.freed(target, None, true),
            Move::Unlocked { target } => self.book(target)?.unlock(sequence),
            Move::Released { target, of_kill: true, .. } => self.forgo(target, transition),
            Move::Released { target, rejected, .. } => {
                let book = self.book(target)?;
                book.standing.take().ok_or(NOT_NOW)?;
                book.released_at_ms = Some(at_ms);
                self.reject(target, rejected.as_ref())
            }
            Move::Pushed { .. }
            | Move::Froze { .. }
            | Move::Unfroze { .. }
            | Move::Killed { .. } => self.controlled(transition),
            Move::Promoted { rollout } => {
                self.going(rollout)?.go(transition, sequence)?;
                self.begin_control(rollout, at_ms);
                Ok(())
            }
            Move::Held { rollout, .. }
            | Move::Validating { rollout, .. }
            | Move::Judged { rollout, .. }
            | Move::Sealing { rollout, .. }
            | Move::Restoring { rollout, .. }
            | Move::RolledBack { rollout }
            | Move::Failed { rollout }
            | Move::Paused { rollout, .. }
            | Move::Resumed { rollout, .. } => self.going(rollout)?.go(transition, sequence),
        }
    }

    /// A rollout that has not ended.
    fn going(&mut self, id: &RolloutId) -> Result<&mut Rollout, &'static str> {
        let rollout = Arc::make_mut(self.rollouts.get_mut(id).ok_or(UNKNOWN)?);
        if rollout.state.is_final() { Err("it has ended") } else { Ok(rollout) }
    }

    fn member(
        &mut self,
        id: &RolloutId,
        target: &TargetId,
    ) -> Result<(&mut Rollout, usize), &'static str> {
        let rollout = self.going(id)?;
        let place = rollout.place(target).ok_or(UNKNOWN)?;
        Ok((rollout, place))
    }

    fn book(&mut self, target: &TargetId) -> Result<&mut TargetBook, &'static str> {
        self.targets.get_mut(target).map(Arc::make_mut).ok_or(UNKNOWN)
    }

    fn reject(&mut self, target: &TargetId, values: Option<&Values>) -> Fit {
        let Some(values) = values else { return Ok(()) };
        self.book(target)?.rejected.insert(values.clone());
        Ok(())
    }

    fn proposed(&mut self, proposal: &Proposal, at_ms: i64, expires_at_ms: i64) -> Fit {
        if self.suggestions.contains_key(&proposal.id) {
            return Err("there is one with this id");
        }
        let suggestion = Suggestion {
            proposal: proposal.clone(),
            status: SuggestionStatus::Proposed,
            created_at_ms: at_ms,
            expires_at_ms,
            decided: None,
            plan: None,
        };
        self.suggestions.insert(proposal.id.clone(), Arc::new(suggestion));
        Ok(())
    }

    fn closed(
        &mut self,
        id: &SuggestionId,
        status: SuggestionStatus,
        transition: &Transition,
    ) -> Fit {
        let suggestion = Arc::make_mut(self.suggestions.get_mut(id).ok_or(UNKNOWN)?);
        if suggestion.status != SuggestionStatus::Proposed {
            return Err(NOT_NOW);
        }
        suggestion.status = status;
        let (who, why) = (transition.actor.clone(), transition.reason.clone());
        suggestion.decided = Some((who, transition.at_ms, why));
        Ok(())
    }

    fn confirmed(&mut self, id: &SuggestionId, plan: &Plan, transition: &Transition) -> Fit {
        let rollout = id.rollout();
        if !plan.is_sound() {
            return Err("its plan makes no sense");
        }
        let targets: BTreeSet<_> = plan.members.iter().map(|member| &member.target.id).collect();
        let held = |id: &&TargetId| {
            self.targets
                .get(*id)
                .is_some_and(|book| book.held_by.is_some() || book.broken || book.owed.is_some())
        };
        if targets.len() != plan.members.len() || targets.iter().any(held) {
            return Err("a target is busy, or there twice");
        }
        if self.rollouts.contains_key(&rollout) {
            return Err("there is such a rollout");
        }
        self.closed(id, SuggestionStatus::Confirmed, transition)?;
        if let Some(suggestion) = self.suggestions.get_mut(id) {
            Arc::make_mut(suggestion).plan = Some(Arc::new(plan.clone()));
        }
        for member in &plan.members {
            let (id, node) = (&member.target.id, &member.target.node);
            let new = || Arc::new(TargetBook::new(member.target.clone()));
            let book = Arc::make_mut(self.targets.entry(id.clone()).or_insert_with(new));
            if let Some(old) = self.nodes.get_mut(&book.target.node) {
                old.remove(id);
            }
            book.target = member.target.clone();
            book.held_by = Some(rollout.clone());
            self.nodes.entry(node.clone()).or_default().insert(id.clone());
        }
        Ok(())
    }

    fn started(
        &mut self,
        id: &RolloutId,
        suggestion: &SuggestionId,
        attempt: u8,
        (at_ms, deadline_ms): (i64, i64),
    ) -> Fit {
        let of = self.suggestions.get(suggestion).ok_or(UNKNOWN)?;
        let plan = of.plan.clone().ok_or("its suggestion is not confirmed")?;
        if self.rollouts.contains_key(id) || *id != suggestion.rollout() {
            return Err("there is one, or it is another suggestion's");
        }
        let mut rollout = Rollout {
            id: id.clone(),
            suggestion: suggestion.clone(),
            kind: of.proposal.kind.clone(),
            attempt,
            state: RolloutState::Canary,
            phase: Phase::Over,
            paused: None,
            members: vec![Member::Untouched; plan.members.len()],
            plan,
            left: BTreeMap::new(),
            steps: Vec::new(),
            sealed: false,
            back_since: None,
            reason: String::new(),
            cause: None,
            started_at_ms: at_ms,
            ended_at_ms: None,
        };
        rollout.offer((0, 0), (at_ms, deadline_ms), self.sequence);
        self.supersede(&rollout);
        self.rollouts.insert(id.clone(), Arc::new(rollout));
        Ok(())
    }

    /// Promoted values that a rollout's touched members get new ones for are no longer wanted.
    fn supersede(&mut self, rollout: &Rollout) {
        for (planned, member) in rollout.plan.members.iter().zip(&rollout.members) {
            let Some(book) = self.targets.get_mut(&planned.target.id) else { continue };
            if member.is_touched() && book.standing.is_some() {
                Arc::make_mut(book).supersede(&planned.revert_to);
            }
        }
    }

    fn stepped(
        &mut self,
        id: &RolloutId,
        (wave, step): (usize, usize),
        (at_ms, deadline_ms): (i64, i64),
    ) -> Fit {
        let sequence = self.sequence;
        let rollout = self.going(id)?;
        let follows = match rollout.phase {
            Phase::Holding { wave: w, step: s, .. } => (wave, step) == (w, s + 1),
            Phase::Validating { wave: w, .. } => {
                (wave, step) == (w + 1, 0) && rollout.last_verdict() == Some(Judgement::Pass)
            }
            _ => false,
        };
        if !follows || step >= rollout.plan.steps_of(wave) {
            return Err(NOT_NOW);
        }
        rollout.offer((wave, step), (at_ms, deadline_ms), sequence);
        let rollout = rollout.clone();
        self.supersede(&rollout);
        Ok(())
    }

    /// A member, or what a failed rollout left behind, has its old values or refuses them.
    fn returned(&mut self, id: &RolloutId, target: &TargetId, member: Member) -> Fit {
        let old = if self.book(target)?.held_by.as_ref() == Some(id) {
            let (rollout, place) = self.member(id, target)?;
            rollout.set(place, &[Member::Restoring], member, false)?;
            rollout.owed(place)
        } else {
            let book = self.book(target)?;
            let old = book.owed.as_ref().filter(|owed| owed.rollout == *id).ok_or(NOT_NOW)?;
            let old = old.values.clone();
            // What was refused together may go by itself.
            let may = |rest: &Standing| {
                rest.values != old
                    && member == Member::Stuck
                    && !book.rejected.contains(&rest.values)
            };
            book.owed = book.owed_by_kill().filter(may);
            if book.owed.is_none() {
                book.of_kill.clear();
            }
            old
        };
        self.reject(target, (member == Member::Stuck).then_some(&old))
    }

    fn freed(&mut self, target: &TargetId, cool_until_ms: Option<i64>, locked: bool) -> Fit {
        let held_by = self.book(target)?.held_by.clone().ok_or(NOT_NOW)?;
        let rollout = Arc::clone(self.rollouts.get(&held_by).ok_or(UNKNOWN)?);
        if !rollout.state.is_final() {
            return Err(NOT_NOW);
        }
        let place = rollout.place(target).ok_or(UNKNOWN)?;
        let book = self.book(target)?;
        book.held_by = None;
        if rollout.state == RolloutState::Promoted {
            book.attempts.remove(&rollout.kind);
            book.promote(&rollout, place);
            self.stand(&rollout.id, target);
            return Ok(());
        }
        if cool_until_ms.is_some() || locked {
            let attempts = book.attempts.entry(rollout.kind.clone()).or_default();
            attempts.failures = attempts.failures.saturating_add(1);
            attempts.cool_until_ms = cool_until_ms.unwrap_or(0);
            attempts.locked |= locked;
        }
        let member = rollout.members[place];
        if rollout.state == RolloutState::Failed
            && member.is_touched()
            && member != Member::Restored
        {
            book.broken = true;
            // What the kill switch still wants stays wanted.
            let killed = book.owed.take();
            let is_owed = member != Member::Stuck;
            let own = is_owed.then(|| Standing {
                rollout: held_by,
                values: rollout.owed(place),
                persist: rollout.sealed && rollout.plan.limits.persist,
            });
            book.owed = match (own, killed) {
                (Some(mut own), Some(killed)) => {
                    own.values.extend(killed.values);
                    Some(own)
                }
                (own, killed) => own.or(killed),
            };
        }
        Ok(())
    }
}
