//! The effect of transitions on pools under control.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::{Fit, NOT_NOW, UNKNOWN};
use super::control::{Control, Controlled, Frozen, Hold, LastPush};
use super::ids::{RolloutId, TargetId, Values};
use super::state::{Standing, State};
use super::transition::{Move, Transition};

impl State {
    /// Standing policies in the order of their rollouts' ids, also those that have ended.
    pub fn controls(&self) -> impl Iterator<Item = &Control> {
        self.controls.values().map(AsRef::as_ref)
    }

    /// The standing policy that a rollout began.
    pub fn control(&self, rollout: &RolloutId) -> Option<&Control> {
        self.controls.get(rollout).map(AsRef::as_ref)
    }

    /// The one that a target is under.
    pub fn control_of(&self, target: &TargetId) -> Option<&Control> {
        let has = |control: &&Control| control.standing().any(|m| m.target.id == *target);
        self.controls().find(has)
    }

    /// Begins the control of a rollout that was just promoted.
    pub(super) fn begin_control(&mut self, id: &RolloutId, at_ms: i64) {
        let Some(rollout) = self.rollout(id) else { return };
        let pool = self.suggestion(&rollout.suggestion).map(|found| &found.proposal.target);
        if let Some(control) = pool.and_then(|pool| Control::begun(rollout, pool, at_ms)) {
            self.controls.insert(id.clone(), Arc::new(control));
        }
    }

    /// The promoted values of a target are written down: it is under control.
    pub(super) fn stand(&mut self, id: &RolloutId, target: &TargetId) {
        let Some(control) = self.controls.get_mut(id) else { return };
        let waits = |m: &&mut Controlled| m.target.id == *target && m.hold == Hold::Awaiting;
        for member in Arc::make_mut(control).members.iter_mut().filter(waits) {
            member.hold = Hold::Standing;
        }
    }

    /// A target that has lost parameters of its control is let go, with those that it has left.
    pub(super) fn let_go(&mut self, targets: &[TargetId], made: &Transition) {
        for target in targets {
            let standing = self.targets.get(target).and_then(|book| book.standing.as_ref());
            let has = |name: &String| standing.is_some_and(|s| s.values.contains_key(name));
            let lost = |member: &&Controlled| {
                let is_it = member.target.id == *target && member.hold == Hold::Standing;
                is_it && !member.values.keys().all(has)
            };
            let hit = self.controls.values().find_map(|control| {
                let member = control.members.iter().find(lost)?;
                Some((control.rollout.clone(), member.values.keys().cloned().collect()))
            });
            let Some((id, names)) = hit else { continue };
            if let Some(control) = self.controls.get_mut(&id) {
                Arc::make_mut(control).let_go(target, made);
            }
            if let Some(book) = self.targets.get_mut(target) {
                Arc::make_mut(book).release(&names);
            }
        }
    }

    /// The effect of the moves that are control's own.
    pub(super) fn controlled(&mut self, made: &Transition) -> Fit {
        let id = control_id(&made.what).ok_or(UNKNOWN)?;
        let stop = |by_person: bool| Frozen {
            at_ms: made.at_ms,
            by: made.actor.clone(),
            reason: made.reason.clone(),
            by_person,
        };
        if let Move::Pushed { values, window_ms, beside, .. } = &made.what {
            return self.pushed(id, (values, beside), (*window_ms, made.at_ms));
        }
        let control = Arc::make_mut(self.controls.get_mut(id).ok_or(UNKNOWN)?);
        if control.is_over() {
            return Err(NOT_NOW);
        }
        match &made.what {
            Move::Froze { by_person, .. } => {
                // A person's word stands above the machine's own.
                if control.frozen.as_ref().is_some_and(|old| old.by_person || !by_person) {
                    return Err(NOT_NOW);
                }
                control.frozen = Some(stop(*by_person));
            }
            Move::Unfroze { .. } => {
                control.frozen.take().ok_or(NOT_NOW)?;
            }
            Move::Killed { .. } => {
                if control.members.iter().any(|member| member.hold == Hold::Awaiting) {
                    return Err(NOT_NOW);
                }
                control.killed = Some(stop(true));
                let id = id.clone();
                self.restore_configured(&id);
            }
            _ => return Err(NOT_NOW),
        }
        Ok(())
    }

    fn pushed(
        &mut self,
        id: &RolloutId,
        (values, beside): (&BTreeMap<TargetId, Values>, &BTreeMap<TargetId, Values>),
        (window_ms, at_ms): (i64, i64),
    ) -> Fit {
        let control = self.control(id).ok_or(UNKNOWN)?;
        control.may_push(window_ms, at_ms).map_err(|_| NOT_NOW)?;
        let none = Values::new();
        for (target, new) in values {
            let beside = beside.get(target).unwrap_or(&none);
            let is_within = control.within(target, new, beside);
            is_within.map_err(|_| "it is outside of what was confirmed")?;
        }
        if values.is_empty() || !self.is_free(values.keys()) {
            return Err(NOT_NOW);
        }
        let sequence = self.sequence;
        let control = Arc::make_mut(self.controls.get_mut(id).ok_or(UNKNOWN)?);
        control.last = Some(LastPush { at_ms, window_ms, sequence });
        control.pushes += 1;
        for member in &mut control.members {
            let Some(new) = values.get(&member.target.id) else { continue };
            member.values.extend(new.clone());
            let book = self.targets.get_mut(&member.target.id).map(Arc::make_mut);
            if let Some(standing) = book.and_then(|book| book.standing.as_mut()) {
                standing.values.extend(new.clone());
            }
        }
        Ok(())
    }

    /// Whether nothing else is tried at these targets.
    pub(super) fn is_free<'a>(&self, mut targets: impl Iterator<Item = &'a TargetId>) -> bool {
        targets.all(|id| self.targets.get(id).is_some_and(|book| book.held_by.is_none()))
    }

    fn restore_configured(&mut self, id: &RolloutId) {
        let Some(control) = self.controls.get_mut(id).map(Arc::make_mut) else { return };
        for member in control.members.iter_mut().filter(|m| m.hold == Hold::Standing) {
            member.hold = Hold::Killed;
            let Some(book) = self.targets.get_mut(&member.target.id).map(Arc::make_mut) else {
                continue;
            };
            let persist = book.standing.as_ref().is_some_and(|standing| standing.persist);
            book.release(&member.values.keys().cloned().collect());
            member.values = member.configured.clone();
            if book.rejected.contains(&member.configured) {
                member.hold = Hold::LetGo("its agent refuses the configured weights".to_owned());
                continue;
            }
            book.owe_configured(Standing {
                rollout: id.clone(),
                values: member.configured.clone(),
                persist,
            });
        }
    }

    /// Another hand has set other weights than the kill switch wants back: nothing is wanted of them any more.
    pub(super) fn forgo(&mut self, target: &TargetId, made: &Transition) -> Fit {
        let book = self.targets.get_mut(target).map(Arc::make_mut).ok_or(UNKNOWN)?;
        let names = std::mem::take(&mut book.of_kill);
        let owed = book.owed.as_mut().filter(|_| !names.is_empty()).ok_or(NOT_NOW)?;
        owed.values.retain(|name, _| !names.contains(name));
        book.owed.take_if(|owed| owed.values.is_empty());
        book.released_at_ms = Some(made.at_ms);
        for control in self.controls.values_mut().filter(|control| control.killed.is_some()) {
            let is_it = |m: &Controlled| {
                m.target.id == *target
                    && m.hold == Hold::Killed
                    && m.configured.keys().any(|name| names.contains(name))
            };
            if control.members.iter().any(is_it) {
                let members = Arc::make_mut(control).members.iter_mut().filter(|m| is_it(m));
                members.for_each(|member| member.hold = Hold::LetGo(made.reason.clone()));
            }
        }
        Ok(())
    }
}

/// Whose control a move is about, for those that are about one.
pub(super) fn control_id(what: &Move) -> Option<&RolloutId> {
    match what {
        Move::Pushed { rollout, .. }
        | Move::Froze { rollout, .. }
        | Move::Unfroze { rollout }
        | Move::Killed { rollout } => Some(rollout),
        _ => None,
    }
}
