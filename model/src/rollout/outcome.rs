//! What follows from an agent's report.

use std::collections::BTreeSet;

use serde_json::json;

use super::decide::Draft;
use super::event::{Applied, Outcome};
use super::ids::{Actor, TargetId, Values};
use super::state::{Member, Rollout, TargetBook};
use super::transition::Move;

impl TargetBook {
    /// Promoted parameters that are not as they were promoted.
    fn lost(&self, outcome: &Outcome) -> BTreeSet<String> {
        let standing = self.standing.iter().flat_map(|standing| &standing.values);
        let is_lost = |(name, value): &(&String, &String)| {
            outcome.in_force.get(*name).is_some_and(|found| found != *value)
        };
        standing.filter(is_lost).map(|(name, _)| name.clone()).collect()
    }

    /// Whether another hand has set weights that the kill switch wants back: the agent had them in force, or was setting them, and found others.
    fn is_foreign_to_kill(&self, outcome: &Outcome) -> bool {
        let owed = self.owed.iter().flat_map(|owed| &owed.values);
        let mut of_kill = owed.filter(|(name, _)| self.of_kill.contains(*name));
        matches!(outcome.result, Applied::Drifted(_))
            && of_kill
                .any(|(name, value)| outcome.in_force.get(name).is_some_and(|found| found != value))
    }
}

impl Rollout {
    /// Parameters of a member that another hand has set: their values are neither the old ones nor any
    /// that was wanted.
    fn foreign(&self, place: usize, outcome: &Outcome) -> BTreeSet<String> {
        let Applied::Drifted(_) = outcome.result else { return BTreeSet::new() };
        let planned = &self.plan.members[place];
        let known = || planned.steps.iter().chain([&planned.revert_to]);
        let is_foreign = |parameter: &&String| {
            let found = outcome.in_force.get(*parameter);
            found.is_some() && known().all(|values| values.get(*parameter) != found)
        };
        planned.revert_to.keys().filter(is_foreign).cloned().collect()
    }

    /// Whether a member's change met a value that another hand had set of another parameter.
    fn was_in_the_way(&self, place: usize) -> bool {
        let own = &self.plan.members[place].revert_to;
        let mut left = self.left.get(&place).into_iter().flatten();
        left.any(|parameter| !own.contains_key(parameter))
    }
}

impl Draft<'_> {
    /// An agent's report means what it says only about the values that are wanted now: one on an
    /// older revision cannot show that they are in force. That an agent went back or found other
    /// values is believed of any revision of the same rollout.
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        let is_it = |book: &&TargetBook| {
            let target = &book.target;
            (&target.kind, &target.name) == (&outcome.kind, &outcome.name)
        };
        let book = self.state.targets_of(&outcome.node).find(is_it).cloned();
        let Some(book) = book else { return };
        if outcome.result == Applied::Applying {
            return;
        }
        let target = book.target.id.clone();
        let current = outcome.revision >= book.revision;
        if book.held_by.as_ref() == Some(&outcome.rollout) {
            let Some(rollout) = self.state.rollout(&outcome.rollout).cloned() else { return };
            let Some(place) = rollout.place(&target) else { return };
            if rollout.is_forward() {
                self.forward(outcome, &book, &rollout, (place, current));
            } else if current && rollout.members[place] == Member::Restoring {
                self.back(outcome, &book, &rollout.owed(place));
            } else {
                self.late(outcome, &target);
            }
        } else if let Some(owed) = book.owed.as_ref().filter(|o| o.rollout == outcome.rollout) {
            if current {
                self.back(outcome, &book, &owed.values);
            } else {
                self.late(outcome, &target);
            }
        } else if self.denies(outcome, &book, current) {
            let what = self
                .state
                .control_of(&target)
                .map(|control| Move::Froze { rollout: control.rollout.clone(), by_person: false });
            let reason = format!("the agent of {target} has set the weights but read back others");
            if let Some(what) = what {
                self.agent(what, &reason, outcome);
            }
        } else if let Some(standing) = book.standing
            && standing.rollout == outcome.rollout
            && current
            && let Some((what, why)) = outcome.result.trouble()
            && !outcome.shows(&standing.values)
        {
            // What a rollout that will reach this target may have to put back is not barred: it is let go of, that is enough.
            let is_barred =
                matches!(outcome.result, Applied::Rejected(_)) && book.held_by.is_none();
            let rejected = is_barred.then_some(standing.values);
            let reason = format!("the agent {what}: {why}; Flyball lets go");
            let what = Move::Released { target, rejected, of_kill: false };
            self.agent(what, &reason, outcome);
        } else {
            self.late(outcome, &target);
        }
    }

    /// Whether an agent says that it has set what is wanted now, but shows other weights than control's.
    fn denies(&self, outcome: &Outcome, book: &TargetBook, current: bool) -> bool {
        let control = self.state.control_of(&book.target.id);
        let control = control.filter(|control| control.frozen.is_none());
        let member = control.and_then(|control| control.member(&book.target.id));
        let of = book.standing.as_ref().is_some_and(|s| s.rollout == outcome.rollout);
        current
            && of
            && outcome.result == Applied::Applied
            && member.is_some_and(|member| !outcome.shows(&member.values))
    }

    /// What an agent rejected is remembered even if it says so when the rollout is on its way back
    /// or has ended.
    fn late(&mut self, outcome: &Outcome, target: &TargetId) {
        let (Applied::Rejected(why), Some(rollout)) =
            (&outcome.result, self.state.rollout(&outcome.rollout))
        else {
            return;
        };
        let place = rollout.place(target).filter(|_| rollout.back_since.is_some());
        let place = place.filter(|place| !rollout.was_in_the_way(*place));
        let values = place.and_then(|place| rollout.values_at(place, outcome.revision)).cloned();
        let book = self.state.target(target);
        if let (Some(values), Some(book)) = (values, book)
            && !book.rejected.contains(&values)
            && outcome.revision >= book.unlocked_at
        {
            let reason = format!("the agent of {target} rejected it: {why}");
            self.agent(Move::Refused { target: target.clone(), values }, &reason, outcome);
        }
    }

    fn agent(&mut self, what: Move, reason: &str, outcome: &Outcome) {
        self.make(what, Actor::part("agent"), reason, json!(outcome));
    }

    fn forward(
        &mut self,
        outcome: &Outcome,
        book: &TargetBook,
        rollout: &Rollout,
        (place, current): (usize, bool),
    ) {
        let planned = &rollout.plan.members[place];
        let (id, target) = (rollout.id.clone(), planned.target.id.clone());
        let member = rollout.members[place];
        let first = rollout.steps.first().map_or(u64::MAX, |step| step.revision);
        let Some(wanted) = rollout.values(place) else { return };
        if !matches!(member, Member::Asked | Member::InForce) || outcome.revision < first {
            return;
        }
        let is_heard = current || matches!(outcome.result, Applied::Drifted(_));
        let lost = if is_heard { book.lost(outcome) } else { BTreeSet::new() };
        let shown = current && outcome.shows(wanted) && lost.is_empty();
        let (what, why) = match (&outcome.result, outcome.result.trouble()) {
            (Applied::Applied, _) if shown && member == Member::Asked => {
                let reason = "the agent has read the wanted values back";
                return self.agent(Move::InForce { rollout: id, target }, reason, outcome);
            }
            (Applied::Applied, _) if shown || !current => return,
            (Applied::Drifted(_), _) if shown => return,
            (_, Some(trouble)) => trouble,
            (_, None) => ("says it has set them", "but read back other values"),
        };
        // Where another value was in the way it is not the step that was rejected.
        let rejects = matches!(outcome.result, Applied::Rejected(_)) && lost.is_empty();
        let rejected = rejects.then(|| rollout.values_at(place, outcome.revision).cloned());
        let rejected = rejected.flatten();
        let old_in_force = current && outcome.shows(&planned.revert_to);
        let mut left = rollout.foreign(place, outcome);
        left.extend(lost);
        let kept =
            left.iter().map(|name| format!("; {name} is left at {}", outcome.in_force[name]));
        let reason = format!("the agent of {target} {what}: {why}{}", kept.collect::<String>());
        let upset = Move::Upset { rollout: id, target, rejected, old_in_force, left };
        self.agent(upset, &reason, outcome);
    }

    fn back(&mut self, outcome: &Outcome, book: &TargetBook, old: &Values) {
        let (rollout, target) = (outcome.rollout.clone(), book.target.id.clone());
        if !book.lost(outcome).is_empty() {
            // What is wanted without them is another revision, which the agent answers again.
            let reason = "the agent found other values than were promoted; Flyball lets go";
            let what = Move::Released { target, rejected: None, of_kill: false };
            self.agent(what, reason, outcome);
        } else if outcome.shows(old) {
            let reason = "the agent has read the old values back";
            self.agent(Move::Restored { rollout, target }, reason, outcome);
        } else if book.owed.as_ref().is_some_and(|owed| owed.values == *old)
            && book.is_foreign_to_kill(outcome)
        {
            let reason = format!(
                "another hand has set other weights of {target} than the kill switch wants back; Flyball lets go"
            );
            let what = Move::Released { target, rejected: None, of_kill: true };
            self.agent(what, &reason, outcome);
        } else if let Applied::Rejected(why) = &outcome.result {
            let reason = format!("the agent refuses the old values: {why}");
            self.agent(Move::Stuck { rollout, target }, &reason, outcome);
        }
    }
}
