//! Offers: renewed, refused, or followed from now on.

use flyball_proto::steering::{MAX_REASON_BYTES, Settings, TargetPolicy, clip};

use super::{Brain, Offer, Pending};
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
    /// Takes an offer that was received at `now`.
    pub fn offer(&mut self, offer: Offer, now: Moment) -> Taken {
        // A lease that is over cannot be renewed, though nobody may have noticed its end yet.
        self.expire(now, None);
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
            let followed = self.record.followed.as_ref();
            let is_renewal = followed.is_some_and(|followed| is_same(followed, &offer));
            if is_renewal && lease_end.is_some() {
                self.lease_end = lease_end;
                return Taken::Renewed;
            }
            return Taken::Ignored;
        }
        self.pending = Some(Pending { offer, lease_end, trouble: String::new() });
        Taken::Pending
    }

    /// Decides on an offer: refuses it, or follows it from now on.
    pub(super) fn resolve(&mut self, offer: Offer, lease_end: Option<Moment>, reading: &Reading) {
        let followed = match self.follow(&offer, reading) {
            Ok(followed) => followed,
            Err(reason) => return self.refuse(&offer, &reason, reading.in_force.clone()),
        };
        self.record.journal = offer.journal;
        self.record.seen = offer.revision;
        self.record.refused = None;
        self.record.followed = Some(followed);
        (self.lease_end, self.last, self.persisted) = (lease_end, None, None);
        self.is_saved = false;
        self.report(Code::Applying, "", &reading.in_force, Settings::new());
    }

    /// Notes that an offer was refused. What is followed stays so; a canary that is not offered any more ends with its lease.
    pub(super) fn refuse(&mut self, offer: &Offer, reason: &str, in_force: Settings) {
        let outcome = Outcome {
            revision: offer.revision,
            rollout_id: offer.policy.rollout_id.clone(),
            result: Code::Rejected,
            reason: clip(reason, MAX_REASON_BYTES),
            in_force,
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
        self.check(policy)?;
        let (mut goal, mut before) = (policy.settings.clone(), Settings::new());
        let revert_to = policy.canary.as_ref().map(|canary| &canary.revert_to);
        for (parameter, wanted) in &policy.settings {
            let decided_on = revert_to.and_then(|settings| settings.get(parameter));
            let original = self.original(parameter, wanted, decided_on, reading)?;
            before.insert(parameter.clone(), original);
        }
        for (parameter, original) in self.left_over(&goal, reading) {
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
            goal,
            before,
            lease_ms: policy.canary.as_ref().map(|canary| canary.lease.as_millis() as u64),
            persist: policy.persist,
            identity: reading.identity.clone(),
            phase: Phase::Applying,
        })
    }

    /// Holds what is wanted to what may be set; but what a trial of its own has found may be wanted again, whatever it was.
    fn check(&self, policy: &TargetPolicy) -> Result<(), String> {
        let before = self.record.followed.as_ref().map(|followed| &followed.before);
        let is_new = |(parameter, value): &(&String, &String)| {
            before.and_then(|before| before.get(*parameter)) != Some(*value)
        };
        let settings = policy.settings.iter().filter(is_new);
        let settings = settings.map(|(p, v)| (p.clone(), v.clone())).collect();
        let policy = TargetPolicy { settings, ..policy.clone() };
        self.capability.check(&policy).map_err(|invalid| invalid.to_string())
    }

    /// What is to be put back of a parameter if it comes to that.
    fn original(
        &self,
        parameter: &str,
        wanted: &str,
        decided_on: Option<&String>,
        reading: &Reading,
    ) -> Result<String, String> {
        let value = reading.in_force.get(parameter);
        let value = value.ok_or_else(|| format!("{parameter} is not known to this server"))?;
        let own = self.record.followed.as_ref().and_then(|followed| followed.before.get(parameter));
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
    fn left_over(&self, goal: &Settings, reading: &Reading) -> Settings {
        let Some(followed) = &self.record.followed else { return Settings::new() };
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
        let is_between = |from: &str, to: &str| self.law.is_on_the_way(parameter, from, to, value);
        is_between(&before, &goal) || is_between(&found, &goal) || is_between(&found, &before)
    }
}

/// True when an offer is what is followed already, and may go on.
fn is_same(followed: &Followed, offer: &Offer) -> bool {
    let policy = &offer.policy;
    let lease = policy.canary.as_ref().map(|canary| canary.lease.as_millis() as u64);
    let is_wanted = |(parameter, value)| followed.goal.get(parameter) == Some(value);
    followed.revision == offer.revision
        && followed.rollout_id == policy.rollout_id
        && followed.lease_ms == lease
        && !followed.is_reverting()
        && policy.settings.iter().all(is_wanted)
}
