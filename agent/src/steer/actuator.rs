//! What a kind of target has to provide: rules without I/O, and hands.
//!
//! A new kind is one file that implements both, and one line that registers it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use flyball_proto::steering::{Capability, Settings, Target};

/// The rules of a kind of target. Same input, same answer.
pub trait Law: Debug + Send {
    /// The steps from what is in force to `goal`, in order; none when it is in force. `found`: what was in force when the first of them was taken, which
    /// bounds are relative to.
    ///
    /// # Errors
    /// Why it must not be, in words. Only for [`Purpose::Change`]: what was before may always be put back.
    fn plan(
        &self,
        goal: &Settings,
        found: &Settings,
        reading: &Reading,
        purpose: Purpose,
    ) -> Result<Vec<Step>, String>;

    /// True when a plan from `from` to `to` may have been left at `value`.
    fn is_on_the_way(&self, parameter: &str, from: &str, to: &str, value: &str) -> bool;

    /// How this kind of target behaves.
    fn nature(&self) -> Nature {
        Nature::default()
    }
}

/// How a kind of target behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// Time between two looks at what is in force.
    pub check: Duration,
    /// A restart brings back what its own configuration says, which is no person's word: what is followed is set again, under the guard rails of a change from what is there then. What it does not have any more is let go of.
    pub forgets: bool,
    /// All steps of a plan are taken together.
    pub is_batched: bool,
}

impl Default for Nature {
    fn default() -> Self {
        Self { check: Duration::from_secs(5), forgets: false, is_batched: false }
    }
}

/// The hands: talks to one target. Calls may block for seconds; each target has a thread of its own.
pub trait Actuator: Debug + Send {
    /// The target.
    fn target(&self) -> &Target;

    /// What may be set.
    fn capability(&self) -> Capability;

    /// The rules.
    fn law(&self) -> Box<dyn Law>;

    /// What is in force of all that may be set, and what the rules need to know.
    ///
    /// # Errors
    /// When the target cannot be asked, or refuses.
    fn read(&mut self) -> Result<Reading, Trouble>;

    /// Takes one step.
    ///
    /// # Errors
    /// When the target cannot be reached, or refuses.
    fn apply_step(&mut self, step: &Step) -> Result<(), Trouble>;

    /// Takes steps in order, until one is not taken.
    ///
    /// # Errors
    /// As of the step that was not taken.
    fn apply(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        steps.iter().try_for_each(|step| self.apply_step(step))
    }

    /// Takes steps of the way back to what was before: as [`Self::apply`], but for targets that have to know.
    ///
    /// # Errors
    /// As of the step that was not taken.
    fn put_back(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        self.apply(steps)
    }

    /// Makes what is in force outlive a restart of the target.
    ///
    /// # Errors
    /// When the target cannot be reached, or refuses.
    fn persist(&mut self) -> Result<(), Trouble>;

    /// Takes note of what was in force before the trial that runs; `None` when none does.
    fn on_trial(&self, _before: Option<&Settings>) {}
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A policy: held to all guard rails.
    Change,
    /// What was in force already and a restart of the target has lost: held to what must never be, and
    /// not to how far one change may go, since that far was gone in steps, each of them allowed.
    Again,
    /// What was before is put back: in steps as well, but never refused.
    PutBack,
}

/// One change of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The parameter.
    pub parameter: String,
    /// Its new value.
    pub value: String,
    /// The next step waits until the target has coped with this one.
    pub settles: bool,
}

/// What was read from a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Values in force of all that may be set.
    pub in_force: Settings,
    /// Names the target's process: another one after a restart.
    pub identity: String,
    /// It has coped with the last step.
    pub is_settled: bool,
    /// What the rules need to know.
    pub facts: Facts,
    /// What else is to be told of what is in force, in words; empty: nothing.
    pub note: String,
    /// What the rules need to know of parts of the target, by names that they agree on with the hands.
    pub parts: BTreeMap<String, String>,
}

/// What rules may need to know. What a kind of target does not have stays as the default is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// It follows another server.
    pub is_replica: bool,
    /// Memory in use as the target counts it against its limit, in bytes.
    pub used_bytes: u64,
    /// Something in it can be evicted under a policy that evicts only what expires.
    pub has_volatile: bool,
    /// Memory where it runs; `None`: not known.
    pub memory: Option<Memory>,
    /// What the agent's other targets on this host may still take of it, in bytes.
    pub promised_bytes: u64,
}

/// Memory of a host, or of a control group where that has less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total_bytes: u64,
    /// What of it could be used without swapping.
    pub available_bytes: u64,
}

/// Why a target did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot be reached or cannot answer now: to be tried again.
    #[error("{0}")]
    Away(String),
    /// It answered that it will not, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// Settings of `settings` that are not so in `other`.
pub fn differing(settings: &Settings, other: &Settings) -> Settings {
    let differs = |(parameter, value): &(&String, &String)| other.get(*parameter) != Some(*value);
    settings.iter().filter(differs).map(|(p, v)| (p.clone(), v.clone())).collect()
}

/// Settings in words: `a = 1, b = 2`.
pub fn in_words(settings: &Settings) -> String {
    let one = |(parameter, value): (&String, &String)| format!("{parameter} = {value}");
    settings.iter().map(one).collect::<Vec<_>>().join(", ")
}
