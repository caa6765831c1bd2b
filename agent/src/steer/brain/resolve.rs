//! Offers: renewed, refused, or followed from now on.

use flyball_proto::steering::{MAX_REASON_BYTES, Settings, TargetPolicy, clip};

use super::{Brain, Offer, Pending, told};
use crate::steer::actuator::Reading;
use crate::steer::clock::Moment;
use crate::steer::record::{Code, Followed, Outcome, Phase};

/// What became of an offer at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The lease begins anew.
    Renewed,
    /// It is decided on when the target has been read.
    Pending,
    /// Decided on before; or older than what was.
    Ignored,
}

impl Brain {
    /// Takes an offer that was received at `now`, and since `since` without a gap of its lease.
    pub fn offer(&mut self, offer: Offer, since: Moment, now: Moment) -> Taken {
        // A lease that is over cannot be renewed, though nobody may have noticed its end yet.
        self.expire(since, None);
        let lease_end = offer.policy.canary.as_ref().map(|canary| now.after(canary.lease));
        if let Some(pending) = &mut self.pending
            && pending.offer.journal == offer.journal
            && offer.revision <= pending.offer.revision
        {
            if pending.offer == offer {
                pending.lease_end = lease_end;
                return Taken::Renewed;
            }
            return Taken::Ignored;
        }
        if offer.journal == self.record.journal && offer.revision <= self.record.seen {
            if self.is_followed(&offer) && lease_end.is_some() {
                self.lease_end = lease_end;
                return Taken::Renewed;
            }
            return Taken::Ignored;
        }
        self.pending = Some(Pending { offer, lease_end, trouble: String::new() });
        Taken::Pending
    }

    /// True for an offer that was taken before, and is offered again to renew its lease.
    pub fn is_renewal(&self, offer: &Offer) -> bool {
        let is_pending = self.pending.as_ref().is_some_and(|pending| pending.offer == *offer);
        is_pending || self.is_followed(offer)
    }

    fn is_followed(&self, offer: &Offer) -> bool {
        let is_known = offer.journal == self.record.journal && offer.revision <= self.record.seen;
        let followed = self.record.followed.as_ref().filter(|_| is_known);
        followed.is_some_and(|followed| is_same(followed, offer))
    }

    /// Decides on an offer: refuses it, or follows it from now on.
    pub(super) fn resolve(&mut self, offer: Offer, lease_end: Option<Moment>, reading: &Reading) {
        if self.says_nothing_new(&offer) {
            return self.adopt(offer, lease_end, reading);
        }
        if let Some(ended) = self.ended(&offer) {
            return self.tell_again(ended, &offer, reading);
        }
        let followed = match self.follow(&offer, reading) {
            Ok(followed) => followed,
            Err(reason) => return self.refuse(&offer, &reason, &reading.in_force),
        };
        self.record.journal = offer.journal;
        self.record.seen = offer.revision;
        self.record.refused = None;
        self.record.followed = Some(followed);
        (self.lease_end, self.last, self.persisted) = (lease_end, None, None);
        self.is_saved = false;
        self.report(Code::Applying, "", &reading.in_force, Settings::new());
    }

    /// True when an offer wants what is followed already: its revision is another one because something else is wanted of another target of the node.
    fn says_nothing_new(&self, offer: &Offer) -> bool {
        let Some(followed) = &self.record.followed else { return false };
        let policy = &offer.policy;
        followed.rollout_id == policy.rollout_id
            && followed.lease_ms == lease_ms(policy)
            && if followed.is_reverting() {
                // A trial that has come to its end here is not begun again by the rollout that it was of.
                followed.lease_ms.is_some() && offer.journal == self.record.journal
            } else {
                followed.wanted == policy.settings && followed.persist == policy.persist
            }
    }

    /// How the trial of an offer has ended here. A rollout whose collector does not know that yet wants it again under another revision, and does not get it.
    fn ended(&self, offer: &Offer) -> Option<Outcome> {
        let policy = &offer.policy;
        let may_be = self.record.followed.is_none()
            && policy.canary.is_some()
            && offer.journal == self.record.journal;
        let outcome = self.record.outcome.as_ref().filter(|_| may_be)?;
        let is_it = outcome.rollout_id == policy.rollout_id && outcome.result == Code::Reverted;
        is_it.then(|| outcome.clone())
    }

    fn tell_again(&mut self, ended: Outcome, offer: &Offer, reading: &Reading) {
        let in_force = told(&reading.in_force, &offer.policy.settings);
        let outcome = Outcome { revision: offer.revision, in_force, ..ended };
        self.record.seen = offer.revision;
        self.record.refused = None;
        self.record.outcome = Some(outcome.clone());
        self.is_saved = false;
        self.outcomes.push(outcome);
    }

    /// Goes on as before under another revision, and tells again how it stands.
    fn adopt(&mut self, offer: Offer, lease_end: Option<Moment>, reading: &Reading) {
        let Some(followed) = &mut self.record.followed else { return };
        followed.revision = offer.revision;
        let phase = followed.phase.clone();
        let is_reverting = followed.is_reverting();
        self.record.journal = offer.journal;
        self.record.seen = offer.revision;
        self.record.refused = None;
        self.is_saved = false;
        if !is_reverting {
            self.lease_end = lease_end;
        }
        // What else there is to be told is told when it is compared, or when it has gone back.
        match phase {
            Phase::Applying => {
                self.report(Code::Applying, "", &reading.in_force, Settings::new());
            }
            Phase::Held if self.missing(reading).is_empty() => {
                let told = self.record.outcome.clone();
                let told = told.filter(|outcome| outcome.result == Code::Applied);
                let note = told.map(|outcome| outcome.reason).unwrap_or_default();
                self.report(Code::Applied, &note, &reading.in_force, Settings::new());
            }
            _ => {}
        }
    }

    /// Notes that an offer was refused. What is followed stays so; a canary that is not offered any more ends with its lease.
    pub(super) fn refuse(&mut self, offer: &Offer, reason: &str, in_force: &Settings) {
        let outcome = Outcome {
            revision: offer.revision,
            rollout_id: offer.policy.rollout_id.clone(),
            result: Code::Rejected,
            reason: clip(reason, MAX_REASON_BYTES),
            in_force: told(in_force, &offer.policy.settings),
            expected: Settings::new(),
        };
        self.record.journal.clone_from(&offer.journal);
        self.record.seen = offer.revision;
        self.record.refused = Some(outcome.clone());
        self.is_saved = false;
        self.outcomes.push(outcome);
    }

    /// The offer as it would be followed.
    fn follow(&self, offer: &Offer, reading: &Reading) -> Result<Followed, String> {
        let policy = &offer.policy;
        let origin = self.origin(policy);
        self.check(policy, origin, reading)?;
        let (mut goal, mut before) = (policy.settings.clone(), Settings::new());
        let revert_to = policy.canary.as_ref().map(|canary| &canary.revert_to);
        for (parameter, wanted) in &policy.settings {
            let decided_on = revert_to.and_then(|settings| settings.get(parameter));
            if let Some(value) = self.set_by_others(parameter, wanted, decided_on, reading) {
                goal.insert(parameter.clone(), value.clone());
                before.insert(parameter.clone(), value.clone());
                continue;
            }
            let own = origin.and_then(|followed| followed.before.get(parameter));
            let original = self.original((parameter, wanted), own, decided_on, reading)?;
            before.insert(parameter.clone(), original);
        }
        for (parameter, original) in self.left_over(&goal, origin, reading) {
            goal.insert(parameter.clone(), original.clone());
            before.insert(parameter, original);
        }
        let value = |parameter: &String| {
            Some((parameter.clone(), reading.in_force.get(parameter)?.clone()))
        };
        let found = goal.keys().filter_map(value).collect();
        self.steps(&goal, &before, &found, reading)?;
        Ok(Followed {
            found,
            revision: offer.revision,
            rollout_id: policy.rollout_id.clone(),
            wanted: policy.settings.clone(),
            goal,
            before,
            lease_ms: lease_ms(policy),
            persist: policy.persist,
            identity: reading.identity.clone(),
            phase: Phase::Applying,
            is_again: false,
        })
    }

    /// What knows what was before the change that an offer is of. What a rollout has made permanent is the state that another one begins from.
    fn origin(&self, policy: &TargetPolicy) -> Option<&Followed> {
        let is_origin = |followed: &&Followed| {
            let is_settled = matches!(followed.phase, Phase::Held | Phase::Drifted);
            followed.rollout_id == policy.rollout_id || followed.lease_ms.is_some() || !is_settled
        };
        self.record.followed.as_ref().filter(is_origin)
    }

    /// Holds what is wanted to what may be set; but what a trial of its own has found may be wanted again, whatever it was, and for what is in force nothing is set.
    fn check(
        &self,
        policy: &TargetPolicy,
        origin: Option<&Followed>,
        reading: &Reading,
    ) -> Result<(), String> {
        let before = origin.map(|followed| &followed.before);
        let is_new = |(parameter, value): &(&String, &String)| {
            let known = [before, Some(&reading.in_force)].into_iter().flatten();
            known.into_iter().all(|settings| settings.get(*parameter) != Some(*value))
        };
        let settings = policy.settings.iter().filter(is_new);
        let settings: Settings = settings.map(|(p, v)| (p.clone(), v.clone())).collect();
        if settings.is_empty() && !policy.persist {
            return Ok(());
        }
        let policy = TargetPolicy { settings, ..policy.clone() };
        self.capability.check(&policy).map_err(|invalid| invalid.to_string())
    }

    /// The value that somebody else has set of a parameter that was in force as it is wanted now. It is left, unless the change was decided on that value.
    fn set_by_others<'a>(
        &self,
        parameter: &str,
        wanted: &String,
        decided_on: Option<&String>,
        reading: &'a Reading,
    ) -> Option<&'a String> {
        let followed = self.record.followed.as_ref()?;
        // What a restart has brought back is nobody's word.
        let was_in_force =
            matches!(followed.phase, Phase::Held | Phase::Drifted) && !followed.is_again;
        let value = reading.in_force.get(parameter)?;
        let is_left = was_in_force
            && followed.wanted.get(parameter) == Some(wanted)
            && value != wanted
            && decided_on != Some(value);
        is_left.then_some(value)
    }

    /// What is to be put back of a parameter if it comes to that.
    fn original(
        &self,
        (parameter, wanted): (&String, &String),
        own: Option<&String>,
        decided_on: Option<&String>,
        reading: &Reading,
    ) -> Result<String, String> {
        let value = reading.in_force.get(parameter);
        let value = value.ok_or_else(|| format!("{parameter} is not known to this server"))?;
        // What was before this very change comes back, whatever somebody has set meanwhile.
        if decided_on.is_none() && own.is_some_and(|own| own == wanted) {
            return Ok(wanted.clone());
        }
        let own = own.filter(|own| *own == value || self.is_ours(parameter, value));
        let found = own.unwrap_or(value);
        match decided_on {
            None => Ok(found.clone()),
            Some(decided_on) if decided_on == found => Ok(found.clone()),
            // Nothing at all is known here any more, and this is what an earlier try has left.
            Some(decided_on)
                if self.record.seen == 0
                    && self.law.is_on_the_way(parameter, decided_on, wanted, value) =>
            {
                Ok(decided_on.clone())
            }
            Some(decided_on) => Err(format!(
                "{parameter} is {found}, and the change was decided on when it was {decided_on}"
            )),
        }
    }

    /// What a trial has changed that the new policy does not speak of: to be put back.
    fn left_over(&self, goal: &Settings, origin: Option<&Followed>, reading: &Reading) -> Settings {
        let Some(followed) = origin else { return Settings::new() };
        let is_left_over = |(parameter, original): &(&String, &String)| {
            let value = reading.in_force.get(*parameter);
            !goal.contains_key(*parameter)
                && value.is_some_and(|value| value != *original && self.is_ours(parameter, value))
        };
        let left = followed.before.iter().filter(is_left_over);
        left.map(|(parameter, original)| (parameter.clone(), original.clone())).collect()
    }

    /// True when the agent itself may have set a parameter to this value, on the way to the goal or back.
    pub(super) fn is_ours(&self, parameter: &str, value: &str) -> bool {
        let Some(followed) = &self.record.followed else { return false };
        let of = |settings: &'_ Settings| settings.get(parameter).cloned();
        let (Some(goal), Some(before), Some(found)) =
            (of(&followed.goal), of(&followed.before), of(&followed.found))
        else {
            return false;
        };
        if matches!(followed.phase, Phase::Held | Phase::Drifted) {
            return value == goal;
        }
        let is_between = |from: &str, to: &str| self.law.is_on_the_way(parameter, from, to, value);
        is_between(&before, &goal) || is_between(&found, &goal) || is_between(&found, &before)
    }
}

/// True when an offer is what is followed already, and may go on.
fn is_same(followed: &Followed, offer: &Offer) -> bool {
    let policy = &offer.policy;
    followed.revision == offer.revision
        && followed.rollout_id == policy.rollout_id
        && followed.lease_ms == lease_ms(policy)
        && !followed.is_reverting()
        && followed.wanted == policy.settings
}

fn lease_ms(policy: &TargetPolicy) -> Option<u64> {
    policy.canary.as_ref().map(|canary| canary.lease.as_millis() as u64)
}
