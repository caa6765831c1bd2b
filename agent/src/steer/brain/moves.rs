//! Steps: towards the goal, and back.

use std::time::Duration;

use flyball_proto::steering::Settings;

use super::{Act, Brain, Last, SETTLE, SETTLE_PATIENCE};
use crate::steer::actuator::{Purpose, Reading, Step, differing, in_words};
use crate::steer::clock::Moment;
use crate::steer::record::{Code, Phase};

/// How the target has coped with the last step.
enum Coping {
    /// It has, or there was none.
    Done,
    /// It needs time: look again after this.
    Busy(Duration),
    /// It has had enough.
    Stuck(String),
    /// It said yes and did nothing.
    Ignored(String),
}

impl Brain {
    /// The next step towards the goal.
    pub(super) fn apply(&mut self, reading: &Reading, now: Moment) -> Act {
        match self.coping(reading, now) {
            Coping::Busy(wait) => return Act::Wait(wait),
            Coping::Stuck(reason) | Coping::Ignored(reason) => {
                return self.revert(Code::Rejected, reason);
            }
            Coping::Done => {}
        }
        let Some(followed) = &self.record.followed else { return self.look_later() };
        if let Some((parameter, value)) = self.foreign(reading) {
            let reason = format!("somebody else has set {parameter} to {value} meanwhile");
            return self.revert(Code::Rejected, reason);
        }
        if followed.is_again {
            return match self.steps_again(reading) {
                Err(reason) => self.bar_again(&reason, reading, self.missing(reading)),
                Ok(steps) if steps.is_empty() => self.hold(reading),
                Ok(steps) => self.take(steps, reading, now),
            };
        }
        match self.steps(&followed.goal, &followed.before, &followed.found, reading) {
            Err(reason) => self.revert(Code::Rejected, reason),
            Ok(steps) if steps.is_empty() => self.hold(reading),
            Ok(steps) => self.take(steps, reading, now),
        }
    }

    /// The steps to a goal. What goes back to where it was is held to no guard rail, all else is.
    pub(super) fn steps(
        &self,
        goal: &Settings,
        before: &Settings,
        found: &Settings,
        reading: &Reading,
    ) -> Result<Vec<Step>, String> {
        let then = self.with_what_goes_back(goal, before, reading);
        self.law.plan(&differing(goal, before), found, &then, Purpose::Change)?;
        self.law.plan(goal, found, reading, Purpose::PutBack)
    }

    /// The steps from what a restart has left to what is followed, of what is still there.
    pub(super) fn steps_again(&self, reading: &Reading) -> Result<Vec<Step>, String> {
        let Some(followed) = &self.record.followed else { return Ok(Vec::new()) };
        let mut goal = followed.goal.clone();
        goal.retain(|parameter, _| reading.in_force.contains_key(parameter));
        self.law.plan(&goal, &followed.found, reading, Purpose::Again)
    }

    /// What will be read when that has gone back which a change does not keep: where all is set at once, the change is allowed on that state.
    fn with_what_goes_back(
        &self,
        goal: &Settings,
        before: &Settings,
        reading: &Reading,
    ) -> Reading {
        let mut then = reading.clone();
        if self.nature.is_batched {
            let back =
                goal.iter().filter(|(parameter, value)| before.get(*parameter) == Some(*value));
            then.in_force.extend(back.map(|(parameter, value)| (parameter.clone(), value.clone())));
        }
        then
    }

    /// Everything is in force.
    fn hold(&mut self, reading: &Reading) -> Act {
        if !self.missing(reading).is_empty() {
            if let Some(followed) = &mut self.record.followed {
                followed.is_again = false;
            }
            return self.compare(reading);
        }
        let look_later = self.look_later();
        let Some(followed) = &mut self.record.followed else { return look_later };
        if followed.persist && self.persisted.is_none() {
            return Act::Persist;
        }
        let note = match &self.persisted {
            Some(Err(words)) => format!("in force, but not made permanent: {words}"),
            _ if followed.is_again => "set again after a restart of the target".to_owned(),
            _ => reading.note.clone(),
        };
        followed.is_again = false;
        followed.identity.clone_from(&reading.identity);
        self.set_phase(Phase::Held);
        self.report(Code::Applied, &note, &reading.in_force, Settings::new());
        self.save()
    }

    /// The next step back; the end when there is none.
    pub(super) fn put_back(
        &mut self,
        reading: &Reading,
        now: Moment,
        result: Code,
        reason: &str,
    ) -> Act {
        match self.coping(reading, now) {
            Coping::Busy(wait) => return Act::Wait(wait),
            Coping::Ignored(problem) => return self.stuck(&problem, reading),
            // It must go back all the same.
            Coping::Stuck(_) | Coping::Done => {}
        }
        let Some(followed) = &self.record.followed else { return self.look_later() };
        let is_ours = |(parameter, before): &(&String, &String)| {
            let value = reading.in_force.get(*parameter);
            value.is_some_and(|value| value != *before && self.is_ours(parameter, value))
        };
        let ours = followed.before.iter().filter(is_ours);
        let goal: Settings = ours.map(|(p, v)| (p.clone(), v.clone())).collect();
        let steps = self.law.plan(&goal, &followed.found, reading, Purpose::PutBack);
        let steps = steps.unwrap_or_default();
        if !steps.is_empty() {
            return self.take(steps, reading, now);
        }
        let left = self.lacking(&followed.before, reading);
        let others = (!left.is_empty())
            .then(|| format!("left as somebody else has set it, it was: {}", in_words(&left)));
        let note = Some(reading.note.clone()).filter(|note| !note.is_empty());
        let words = [Some(reason.to_owned()), others, note];
        let reason = words.into_iter().flatten().collect::<Vec<_>>().join("; ");
        self.report(result, &reason, &reading.in_force, left);
        self.record.followed = None;
        (self.lease_end, self.last, self.is_saved) = (None, None, false);
        self.save()
    }

    /// The way back is barred: said once, tried for ever.
    pub(super) fn stuck(&mut self, problem: &str, reading: &Reading) -> Act {
        self.last = None;
        let expected = self.record.followed.as_ref().map(|followed| followed.before.clone());
        let expected = differing(&expected.unwrap_or_default(), &reading.in_force);
        let reason = format!("cannot be put back, trying again: {problem}");
        self.report(Code::Drifted, &reason, &reading.in_force, expected);
        self.is_saved = true;
        self.look_later()
    }

    /// From now on what was before is put back.
    pub(super) fn revert(&mut self, result: Code, reason: String) -> Act {
        if let Some(followed) = &mut self.record.followed
            && matches!(followed.phase, Phase::Held | Phase::Drifted)
            && !followed.is_again
        {
            // From there it goes back, and nowhere else it has been since.
            followed.found.clone_from(&followed.goal);
        }
        if let Some(followed) = &mut self.record.followed {
            followed.is_again = false;
        }
        self.set_phase(Phase::Reverting { result, reason });
        self.save()
    }

    /// The target has refused the last step, in its own words. True when the next move is to be tried at once.
    pub fn refused(&mut self, words: &str, reading: &Reading) -> bool {
        let Some(followed) = &self.record.followed else { return false };
        if followed.is_reverting() {
            self.stuck(words, reading);
            return false;
        }
        self.revert(Code::Rejected, words.to_owned());
        true
    }

    /// Takes the first of some steps, or all of them where that is the target's nature.
    fn take(&mut self, mut steps: Vec<Step>, reading: &Reading, now: Moment) -> Act {
        steps.truncate(if self.nature.is_batched { usize::MAX } else { 1 });
        let from = |step: Step| {
            let from = reading.in_force.get(&step.parameter).cloned().unwrap_or_default();
            (step, from)
        };
        self.last = Some(Last { steps: steps.iter().cloned().map(from).collect(), at: now });
        Act::Set(steps)
    }

    fn coping(&self, reading: &Reading, now: Moment) -> Coping {
        let Some(Last { steps, at }) = &self.last else { return Coping::Done };
        let is_ignored = |(step, from): &&(Step, String)| {
            reading.in_force.get(&step.parameter) == Some(from) && *from != step.value
        };
        if let Some((Step { parameter, value, .. }, from)) = steps.iter().find(is_ignored) {
            return Coping::Ignored(format!("{parameter} was set to {value} and is still {from}"));
        }
        let Some((step, _)) = steps.iter().find(|(step, _)| step.settles) else {
            return Coping::Done;
        };
        if reading.is_settled {
            return Coping::Done;
        }
        let since = now.since(*at);
        if since < SETTLE_PATIENCE {
            return Coping::Busy((since / 2).clamp(SETTLE.0, SETTLE.1));
        }
        let seconds = SETTLE_PATIENCE.as_secs();
        let why = match reading.note.as_str() {
            "" => "more memory is still in use: what is there cannot be evicted",
            note => note,
        };
        Coping::Stuck(format!("{} = {} and {seconds} s later {why}", step.parameter, step.value))
    }

    /// There is nothing to do until the next look.
    pub(super) const fn look_later(&self) -> Act {
        Act::Wait(self.nature.check)
    }

    /// A parameter of the goal that neither was so before nor was set by the agent.
    fn foreign(&self, reading: &Reading) -> Option<(String, String)> {
        let followed = self.record.followed.as_ref()?;
        let is_foreign = |(parameter, before): &(&String, &String)| {
            let value = reading.in_force.get(*parameter);
            value.is_some_and(|value| value != *before && !self.is_ours(parameter, value))
        };
        let (parameter, _) = followed.before.iter().find(is_foreign)?;
        Some((parameter.clone(), reading.in_force.get(parameter)?.clone()))
    }
}
