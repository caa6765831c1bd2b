//! What happens by itself: leases end, others interfere, targets go away.

use flyball_proto::steering::{MAX_REASON_BYTES, Settings, clip};

use super::{Act, Brain, Pending};
use crate::steer::actuator::{Reading, Trouble, differing};
use crate::steer::clock::Moment;
use crate::steer::record::{Code, Outcome, Phase};

impl Brain {
    /// The dead man's switch: what is on a lease that has ended is put back. `in_force` as far as it is known.
    pub fn expire(&mut self, now: Moment, in_force: Option<&Settings>) {
        let is_over = |end: Option<Moment>| end.is_some_and(|end| end <= now);
        if let Some(followed) = &self.record.followed
            && !followed.is_reverting()
            && is_over(self.lease_end)
            && let Some(lease) = followed.lease()
        {
            let reason = format!("the canary was not renewed within its lease of {lease:?}");
            self.revert(Code::Reverted, reason);
        }
        if self.pending.as_ref().is_some_and(|pending| is_over(pending.lease_end))
            && let Some(Pending { offer, trouble, .. }) = self.pending.take()
        {
            let reason = if trouble.is_empty() { "the target was not read" } else { &trouble };
            let reason = format!("could not be tried within its lease: {reason}");
            self.refuse(&offer, &reason, in_force.unwrap_or(&Settings::new()));
        }
    }

    /// The target may no longer be steered: what is on trial or half done is put back, what is permanent is let go of.
    pub fn let_go(&mut self) {
        let Some(followed) = &self.record.followed else { return };
        let is_half_done = followed.lease_ms.is_some() || followed.phase == Phase::Applying;
        if followed.is_reverting() {
            return;
        }
        if is_half_done {
            self.revert(Code::Reverted, self.capability.reason.clone());
        } else {
            self.record.followed = None;
            self.is_saved = false;
        }
    }

    /// Looks whether somebody else has changed what is in force. It is told and left.
    pub(super) fn compare(&mut self, reading: &Reading) -> Act {
        let Some(followed) = &self.record.followed else { return self.look_later() };
        let expected = self.missing(reading);
        if expected.is_empty() {
            if followed.phase == Phase::Drifted {
                self.set_phase(Phase::Held);
                if let Some(followed) = &mut self.record.followed {
                    followed.is_again = false;
                }
                self.report(Code::Applied, "in force again", &reading.in_force, expected);
            }
            return self.look_later();
        }
        if followed.is_again {
            return self.try_again(reading, expected);
        }
        let reason = if followed.identity == reading.identity {
            "somebody else has changed it"
        } else {
            "the server was started again, with its own configuration"
        };
        if followed.phase != Phase::Drifted {
            self.set_phase(Phase::Drifted);
        }
        self.report(Code::Drifted, reason, &reading.in_force, expected);
        self.look_later()
    }

    /// A restart has taken what is followed, and a guard rail kept it from being set again: it is, as soon as that is allowed.
    fn try_again(&mut self, reading: &Reading, expected: Settings) -> Act {
        match self.steps_again(reading) {
            Ok(_) => {
                self.set_phase(Phase::Applying);
                self.save()
            }
            Err(reason) => self.bar_again(&reason, reading, expected),
        }
    }

    /// What a restart has taken must not be set again from what is there now: told, and tried at each look.
    pub(super) fn bar_again(&mut self, reason: &str, reading: &Reading, expected: Settings) -> Act {
        let Some(followed) = &self.record.followed else { return self.look_later() };
        if followed.phase == Phase::Drifted {
            // Numbers in the reason change with each look.
            let told = self.record.outcome.as_ref().filter(|one| one.result == Code::Drifted);
            if told.is_some_and(|one| one.revision == followed.revision) {
                return self.look_later();
            }
        } else {
            self.set_phase(Phase::Drifted);
        }
        let reason = format!(
            "the target was started again and has its own configuration: what was in force is not set again for now: {reason}"
        );
        self.report(Code::Drifted, &reason, &reading.in_force, expected);
        self.look_later()
    }

    /// What should be in force and is not.
    pub(super) fn missing(&self, reading: &Reading) -> Settings {
        let Some(followed) = &self.record.followed else { return Settings::new() };
        let mut settings = followed.goal.clone();
        settings.extend(followed.wanted.clone());
        self.lacking(&settings, reading)
    }

    /// Settings that are not in force. Where a restart may have taken away what they are about, that is none of them.
    pub(super) fn lacking(&self, settings: &Settings, reading: &Reading) -> Settings {
        let mut lacking = differing(settings, &reading.in_force);
        if self.nature.forgets {
            lacking.retain(|parameter, _| reading.in_force.contains_key(parameter));
        }
        lacking
    }

    /// Where a restart brings back the target's own configuration, what is followed is set again, or put back from there.
    pub(super) fn notice_restart(&mut self, reading: &Reading) {
        let Some(followed) = &mut self.record.followed else { return };
        let is_known = followed.identity == reading.identity;
        let is_persons = followed.phase == Phase::Drifted && !followed.is_again;
        if !self.nature.forgets || is_known || is_persons {
            return;
        }
        followed.identity.clone_from(&reading.identity);
        for (parameter, found) in &mut followed.found {
            if let Some(value) = reading.in_force.get(parameter) {
                found.clone_from(value);
            }
        }
        self.is_saved = false;
        self.last = None;
        if followed.phase == Phase::Held {
            followed.is_again = true;
            self.set_phase(Phase::Applying);
        }
    }

    /// The target could not be read.
    pub fn unreadable(&mut self, trouble: &Trouble, now: Moment) {
        self.expire(now, None);
        match trouble {
            // It is what was just set that is refused; what is offered meanwhile is decided on after it.
            Trouble::Refused(words) if self.is_applying() => {
                self.revert(Code::Rejected, words.clone());
            }
            Trouble::Refused(words) => {
                if let Some(Pending { offer, .. }) = self.pending.take() {
                    self.refuse(&offer, words, &Settings::new());
                }
                if self.is_reverting() {
                    self.stuck(words, &Reading::default());
                }
            }
            Trouble::Away(words) => self.wait_for(words),
        }
    }

    fn is_applying(&self) -> bool {
        self.record.followed.as_ref().is_some_and(|followed| followed.phase == Phase::Applying)
    }

    /// Says once why an offer has to wait.
    fn wait_for(&mut self, words: &str) {
        let Some(pending) = &mut self.pending else { return };
        if pending.trouble == words {
            return;
        }
        words.clone_into(&mut pending.trouble);
        let outcome = Outcome {
            revision: pending.offer.revision,
            rollout_id: pending.offer.policy.rollout_id.clone(),
            result: Code::Applying,
            reason: clip(&format!("waiting for the target: {words}"), MAX_REASON_BYTES),
            in_force: Settings::new(),
            expected: Settings::new(),
        };
        self.outcomes.push(outcome);
    }

    /// The record cannot be written, so nothing may be changed: said once for each reason.
    pub fn unsaved(&mut self, words: &str) {
        let Some(followed) = &self.record.followed else { return };
        let outcome = Outcome {
            revision: followed.revision,
            rollout_id: followed.rollout_id.clone(),
            result: Code::Applying,
            reason: clip(&format!("waiting for the agent's disk: {words}"), MAX_REASON_BYTES),
            in_force: Settings::new(),
            expected: Settings::new(),
        };
        if self.outcomes.last() != Some(&outcome) && self.record.outcome.as_ref() != Some(&outcome)
        {
            self.record.outcome = Some(outcome.clone());
            self.outcomes.push(outcome);
        }
    }
}
