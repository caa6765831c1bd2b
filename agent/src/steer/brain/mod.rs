//! What to do next with one target: pure, so that every order of events and every crash can be tried.
//!
//! ```text
//!                 refused by a rule                    foreign change
//!   offer ------> rejected                   Held <-----------------> Drifted
//!     |                                       ^                          |
//!     +--> [record saved] Applying -- steps --+   lease over             |
//!                            |                |      |                   |
//!                            +-- refused ---> Reverting <----------------+
//!                                             |
//!                                             +-- all read back --> rejected | reverted
//! ```
//!
//! Properties, each a test: no step is taken before the record that could undo it is on disk; whenever the process is killed and the lease is not renewed, what was before is
//! in force again in the end, but for what somebody else has set; what somebody else has set is left, also by a revision that wants nothing new of that parameter; a revision that was refused is never tried again; a trial that has
//! ended is not begun again by its rollout; what is in force is not set again; the same policy again changes nothing, whatever its revision; where a restart brings back the
//! target's own configuration, what is followed is in force again in the end, but for what somebody else had set and for as long as a guard rail forbids it from what is there then.

mod judge;
mod moves;
mod resolve;

#[cfg(test)]
mod tests;

use std::time::Duration;

use flyball_proto::steering::{
    Capability, MAX_REASON_BYTES, MAX_SETTINGS, Settings, TargetPolicy, clip,
};

use super::actuator::{Law, Nature, Reading, Step};
use super::clock::Moment;
use super::record::{Code, Followed, Outcome, Phase, Record};

/// Time between two looks while a target copes with a step, least and most: half of what it has had. What is done soon is heard of soon, and what takes long is not asked often.
const SETTLE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// Longest time that a target may take to cope with a step.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
/// When nothing is to be done, somebody will say when that changes.
const IDLE: Duration = Duration::from_hours(1);

/// A policy for this target as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The log that the revision is of.
    pub journal: String,
    /// Its number.
    pub revision: u64,
    /// What is wanted.
    pub policy: TargetPolicy,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Write the record, then say so by [`Brain::saved`].
    Save {
        /// Nothing may be changed before it is written. Otherwise one that cannot be written is no reason to stop.
        is_needed: bool,
    },
    /// Take these steps, then read again.
    Set(Vec<Step>),
    /// Make it permanent, then say what came of it by [`Brain::persisted`].
    Persist,
    /// Look again after this time.
    Wait(Duration),
}

/// The state of one target and the rules that it moves by.
#[derive(Debug)]
pub struct Brain {
    capability: Capability,
    law: Box<dyn Law>,
    nature: Nature,
    record: Record,
    is_saved: bool,
    /// When the lease of what is followed ends.
    lease_end: Option<Moment>,
    /// The newest offer, until the target can be read.
    pending: Option<Pending>,
    /// The steps that were taken last.
    last: Option<Last>,
    /// What came of making it permanent.
    persisted: Option<Result<(), String>>,
    /// Outcomes to be reported.
    outcomes: Vec<Outcome>,
}

#[derive(Debug)]
struct Pending {
    offer: Offer,
    lease_end: Option<Moment>,
    trouble: String,
}

#[derive(Debug)]
struct Last {
    /// The steps, each with the value before it.
    steps: Vec<(Step, String)>,
    at: Moment,
}

impl Brain {
    /// Goes on where `record` ends. `lease_end`: when the lease of what it follows does.
    pub fn new(
        capability: Capability,
        law: Box<dyn Law>,
        record: Record,
        lease_end: Option<Moment>,
    ) -> Self {
        let mut record = record;
        if let Some(followed) = record.followed.as_mut().filter(|f| f.wanted.is_empty()) {
            followed.wanted.clone_from(&followed.goal);
        }
        Self {
            capability,
            nature: law.nature(),
            law,
            record,
            is_saved: true,
            lease_end,
            pending: None,
            last: None,
            persisted: None,
            outcomes: Vec::new(),
        }
    }

    /// What is to be on disk.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The revision on a lease, and when that ends.
    pub fn lease(&self) -> Option<(u64, Moment)> {
        Some((self.record.followed.as_ref()?.revision, self.lease_end?))
    }

    /// What was in force before the trial that runs.
    pub fn on_trial(&self) -> Option<&Settings> {
        let followed = self.record.followed.as_ref()?;
        let is_trial = followed.lease_ms.is_some() && followed.phase == Phase::Held;
        (is_trial && !followed.before.is_empty()).then_some(&followed.before)
    }

    /// True when there is nothing to be read or done until an offer comes.
    pub const fn is_idle(&self) -> bool {
        self.record.followed.is_none() && self.pending.is_none() && self.is_saved
    }

    /// True while what was before is being put back.
    pub fn is_reverting(&self) -> bool {
        self.record.followed.as_ref().is_some_and(Followed::is_reverting)
    }

    /// The next moment at which a lease ends.
    pub fn deadline(&self) -> Option<Moment> {
        let pending = self.pending.as_ref().and_then(|pending| pending.lease_end);
        let followed = self.record.followed.as_ref().filter(|followed| !followed.is_reverting());
        followed.and(self.lease_end).into_iter().chain(pending).min()
    }

    /// Time between two looks at what is in force.
    pub const fn check_period(&self) -> Duration {
        self.nature.check
    }

    /// Longest time between two attempts at a target that is away: what a restart has taken is to be set again soon.
    pub fn longest_wait(&self) -> Option<Duration> {
        self.nature.forgets.then_some(self.nature.check)
    }

    /// Outcomes since the last call, in order.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// True when the record has changed since it was written.
    pub const fn is_unsaved(&self) -> bool {
        !self.is_saved
    }

    /// It is not known which of the last steps were taken: the next reading tells.
    pub fn lost_step(&mut self) {
        self.last = None;
    }

    /// The record has been written, or need not be.
    pub const fn saved(&mut self) {
        self.is_saved = true;
    }

    /// What came of making it permanent; an error in the target's own words.
    pub fn persisted(&mut self, result: Result<(), String>) {
        self.persisted = Some(result);
    }

    /// Decides what to do, given what was read just now.
    pub fn next(&mut self, reading: &Reading, now: Moment) -> Act {
        self.expire(now, Some(&reading.in_force));
        self.notice_restart(reading);
        // Decided on what was followed, not on what a restart has left of it for a moment.
        let is_again = |followed: &Followed| followed.is_again && followed.phase == Phase::Applying;
        let is_again = self.record.followed.as_ref().is_some_and(is_again);
        if let Some(Pending { offer, lease_end, .. }) = self.pending.take_if(|_| !is_again) {
            self.resolve(offer, lease_end, reading);
        }
        if !self.is_saved {
            return self.save();
        }
        let phase = self.record.followed.as_ref().map(|followed| followed.phase.clone());
        let act = match phase {
            None => Act::Wait(IDLE),
            Some(Phase::Applying) => self.apply(reading, now),
            Some(Phase::Held | Phase::Drifted) => self.compare(reading),
            Some(Phase::Reverting { result, reason }) => {
                self.put_back(reading, now, result, &reason)
            }
        };
        if self.is_saved { act } else { self.save() }
    }

    fn save(&self) -> Act {
        let followed = self.record.followed.as_ref();
        Act::Save { is_needed: followed.is_some_and(|f| f.phase == Phase::Applying) }
    }

    /// Notes an outcome of what is followed.
    fn report(&mut self, result: Code, reason: &str, in_force: &Settings, expected: Settings) {
        let Some(followed) = &self.record.followed else { return };
        let (revision, rollout_id) = (followed.revision, followed.rollout_id.clone());
        let reason = clip(reason, MAX_REASON_BYTES);
        let in_force = told(in_force, &followed.goal);
        let outcome = Outcome { revision, rollout_id, result, reason, in_force, expected };
        if self.record.outcome.as_ref() == Some(&outcome) {
            return;
        }
        self.record.outcome = Some(outcome.clone());
        self.is_saved = false;
        self.outcomes.push(outcome);
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(followed) = &mut self.record.followed {
            followed.phase = phase;
            self.is_saved = false;
            self.last = None;
        }
    }
}

/// What is told of what is in force: all of it, or, where that is more than a message holds, what is in `settings`.
fn told(in_force: &Settings, settings: &Settings) -> Settings {
    let mut told = in_force.clone();
    if told.len() > MAX_SETTINGS {
        told.retain(|parameter, _| settings.contains_key(parameter));
    }
    told
}
