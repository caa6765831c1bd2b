//! Decisions about pools under control.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::control::{Control, Fit, Held, Push};
use super::decide::Draft;
use super::ids::{Actor, RolloutId, TargetId, Values};
use super::refusal::Refusal;
use super::state::{Rollout, State, TargetBook};
use super::transition::{Cause, Move};

/// A push from windows that end so much later than now is of a clock that nobody else has, milliseconds.
const LATEST_MS: i64 = 60_000;

impl State {
    /// What would change by a push at this time. A balancer that may not be set now is left out; the
    /// others go on.
    ///
    /// # Errors
    /// Says why nothing may; of several balancers that may not be set, why the first may not.
    pub fn may_push(&self, push: &Push, now_ms: i64) -> Result<Fit, Held> {
        let control = self.control(&push.rollout).ok_or(Held::Unknown)?;
        control.may_push(push.window_ms, now_ms)?;
        if push.window_ms > now_ms.saturating_add(LATEST_MS) {
            return Err(Held::Old { last_ms: now_ms, window_ms: push.window_ms });
        }
        let members = control.standing().count();
        let heard = control.standing().filter(|m| push.heard.contains(&m.target.id)).count();
        if heard * 2 <= members {
            return Err(Held::Minority { heard, members });
        }
        let (mut values, mut left_out) = (BTreeMap::new(), BTreeMap::new());
        for (target, new) in control.changed(push) {
            match self.may_get(control, &target, &new, push) {
                Ok(()) => {
                    values.insert(target, new);
                }
                // Who names a balancer that is not under control knows another control.
                Err(held @ Held::NotThere(_)) => return Err(held),
                Err(held) => {
                    left_out.insert(target, held);
                }
            }
        }
        if values.is_empty() {
            return Err(left_out.into_values().next().unwrap_or(Held::Same));
        }
        Ok(Fit { values, left_out })
    }

    /// Whether a balancer may get new weights.
    fn may_get(
        &self,
        control: &Control,
        target: &TargetId,
        new: &Values,
        push: &Push,
    ) -> Result<(), Held> {
        let none = Values::new();
        control.within(target, new, push.beside.get(target).unwrap_or(&none))?;
        let standing = self.target(target).and_then(|book| Some((book, book.standing.as_ref()?)));
        let Some((book, standing)) = standing else { return Err(Held::NotThere(target.clone())) };
        if book.held_by.is_some() {
            return Err(Held::Busy(target.clone()));
        }
        let mut wanted = standing.values.clone();
        wanted.extend(new.clone());
        if book.rejected.contains(&wanted) {
            return Err(Held::Rejected(target.clone()));
        }
        Ok(())
    }

    /// The control of a pool that has not ended.
    pub fn controls_of<'a>(&'a self, pool: &'a TargetId) -> impl Iterator<Item = &'a Control> {
        self.controls().filter(move |control| control.pool.id == *pool && !control.is_over())
    }
}

impl Draft<'_> {
    pub(super) fn push(&mut self, push: &Push) {
        let Ok(Fit { values, left_out }) = self.state.may_push(push, self.now_ms) else { return };
        let (rollout, window_ms) = (push.rollout.clone(), push.window_ms);
        let mut beside = push.beside.clone();
        beside.retain(|target, weights| values.contains_key(target) && !weights.is_empty());
        let mut reason = push.reason.clone();
        for held in left_out.values() {
            let _ = write!(reason, "; left out: {held}");
        }
        let what = Move::Pushed { rollout, values, window_ms, beside };
        self.make(what, Actor::part("control"), &reason, push.inputs.clone());
    }

    pub(super) fn panic(&mut self, rollout: &RolloutId, reason: &str, inputs: &Value) {
        let control = self.state.control(rollout);
        if control.is_some_and(|control| !control.is_over() && control.frozen.is_none()) {
            let what = Move::Froze { rollout: rollout.clone(), by_person: false };
            self.make(what, Actor::part("control"), reason, inputs.clone());
        }
    }

    pub(super) fn freeze(
        &mut self,
        pool: &TargetId,
        by: &Actor,
        note: &str,
    ) -> Result<(), Refusal> {
        let may = |control: &Control| control.frozen.as_ref().is_none_or(|old| !old.by_person);
        let refusal = Refusal::Frozen(pool.clone());
        let of = |rollout| Move::Froze { rollout, by_person: true };
        self.of_pool(pool, (by, note), may, refusal, of)
    }

    pub(super) fn unfreeze(
        &mut self,
        pool: &TargetId,
        by: &Actor,
        note: &str,
    ) -> Result<(), Refusal> {
        let may = |control: &Control| control.frozen.is_some();
        let refusal = Refusal::NotFrozen(pool.clone());
        self.of_pool(pool, (by, note), may, refusal, |rollout| Move::Unfroze { rollout })
    }

    fn of_pool(
        &mut self,
        pool: &TargetId,
        (by, note): (&Actor, &str),
        may: impl Fn(&Control) -> bool,
        refusal: Refusal,
        what: impl Fn(RolloutId) -> Move,
    ) -> Result<(), Refusal> {
        let found: Vec<(RolloutId, bool)> =
            self.state.controls_of(pool).map(|c| (c.rollout.clone(), may(c))).collect();
        if found.is_empty() {
            return Err(Refusal::NotControlled(pool.clone()));
        }
        let fit: Vec<RolloutId> =
            found.into_iter().filter(|(_, may)| *may).map(|(id, _)| id).collect();
        if fit.is_empty() {
            return Err(refusal);
        }
        for rollout in fit {
            self.make(what(rollout), by.clone(), note, Value::Null);
        }
        Ok(())
    }

    /// Control ends, and so does whatever is tried at the pool.
    pub(super) fn kill(&mut self, pool: &TargetId, by: &Actor, note: &str) -> Result<(), Refusal> {
        let at_pool = |rollout: &&Rollout| {
            let suggestion = self.state.suggestion(&rollout.suggestion);
            rollout.is_forward() && suggestion.is_some_and(|s| s.proposal.target.id == *pool)
        };
        let going: Vec<Rollout> = self.state.rollouts().filter(at_pool).cloned().collect();
        let controls: Vec<RolloutId> =
            self.state.controls_of(pool).map(|control| control.rollout.clone()).collect();
        if going.is_empty() && controls.is_empty() {
            return Err(Refusal::NotControlled(pool.clone()));
        }
        for rollout in controls {
            self.make(Move::Killed { rollout }, by.clone(), note, Value::Null);
        }
        for rollout in going {
            let reason = format!("{} used the kill switch: {note}", by.name);
            let inputs = json!({ "pool": pool });
            self.restore(&rollout, Cause::Person, by.clone(), &reason, inputs);
        }
        Ok(())
    }

    /// Refuses a change of what control sets.
    pub(super) fn uncontrolled(&self, book: &TargetBook, values: &Values) -> Result<(), Refusal> {
        let target = book.target.id.clone();
        let Some(control) = self.state.control_of(&target) else { return Ok(()) };
        let member = control.member(&target);
        if member.is_some_and(|member| values.keys().any(|name| member.values.contains_key(name))) {
            return Err(Refusal::Controlled { target, rollout: control.rollout.clone() });
        }
        Ok(())
    }
}
