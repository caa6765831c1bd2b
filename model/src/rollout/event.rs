//! What happens to suggestions and rollouts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::control::Push;
use super::ids::{Actor, RolloutId, SuggestionId, TargetId, Values};
use super::proposal::Proposal;

/// One thing that happened. Persons' events can be refused; machines' events that mean nothing now
/// change nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An advisor has a suggestion.
    Proposed(Box<Proposal>),
    /// A person has one.
    ProposedBy {
        /// What.
        proposal: Box<Proposal>,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// A person wants it.
    Confirmed {
        /// Which.
        suggestion: SuggestionId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
        /// What is known to be in force at its targets; what is not known is left out.
        in_force: Vec<(TargetId, Values)>,
        /// Nodes whose agents are not heard at present.
        absent: Vec<String>,
        /// How many nodes are up; `None`: not known, so no share of them is too large.
        nodes_up: Option<usize>,
    },
    /// A person does not want it.
    Rejected {
        /// Which.
        suggestion: SuggestionId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// An agent says what became of a target's policy.
    Outcome(Outcome),
    /// The judge has compared.
    Judged {
        /// Which.
        rollout: RolloutId,
        /// The revision of the step that was judged.
        revision: u64,
        /// What it says.
        verdict: Verdict,
        /// What it was computed from.
        inputs: Value,
    },
    /// Something that needs no statistics: a crash, out of memory, a burst of errors.
    HardStop {
        /// Which.
        rollout: RolloutId,
        /// What was seen.
        reason: String,
        /// What it was computed from.
        inputs: Value,
    },
    /// Time has passed.
    Tick,
    /// A person wants a rollout to go no further for now.
    Pause {
        /// Which.
        rollout: RolloutId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// And now to go on.
    Resume {
        /// Which.
        rollout: RolloutId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// A person wants the old values back.
    RollBack {
        /// Which.
        rollout: RolloutId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// An agent was not heard for so long. Told again while it lasts: nothing is remembered of it.
    AgentSilent {
        /// Its node.
        node: String,
        /// How long.
        silent_ms: i64,
    },
    /// An agent is heard again. It gets its policy, nothing else changes.
    AgentBack {
        /// Its node.
        node: String,
    },
    /// Control of a pool wants other weights. What may not happen now changes nothing.
    Push(Box<Push>),
    /// Control of a pool must not go on by itself.
    Panic {
        /// Whose control.
        rollout: RolloutId,
        /// Why, in words.
        reason: String,
        /// What it was computed from.
        inputs: Value,
    },
    /// A person wants nothing pushed to a pool for now.
    Freeze {
        /// The pool.
        pool: TargetId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// And now control to go on.
    Unfreeze {
        /// The pool.
        pool: TargetId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// A person wants the configured weights back, and whatever is tried at the pool to end.
    Kill {
        /// The pool.
        pool: TargetId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
    /// A person allows new attempts at a target.
    Unlock {
        /// Which.
        target: TargetId,
        /// Who.
        by: Actor,
        /// What the person said.
        note: String,
    },
}

/// An agent's report on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whose agent.
    pub node: String,
    /// For example `redis`.
    pub kind: String,
    /// The target's name at its agent.
    pub name: String,
    /// Which rollout's values.
    pub rollout: RolloutId,
    /// Of the policy that it reports on.
    pub revision: u64,
    /// The agent's own number of the report.
    pub sequence: u64,
    /// What became of it.
    pub result: Applied,
    /// What the agent read back; parameters that it could not read are left out.
    pub in_force: Values,
}

/// What became of a policy at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// Under way.
    Applying,
    /// Set and read back.
    Applied,
    /// Refused as a whole; nothing was set.
    Rejected(String),
    /// The agent itself went back to the old values.
    Reverted(String),
    /// Another hand changed a value.
    Drifted(String),
}

/// What the judge says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub result: Judgement,
    /// The metric that decided.
    pub metric: String,
    /// What the old values would give, or the prediction.
    pub expected: Option<Interval>,
    /// What was seen.
    pub observed: Option<Interval>,
    /// How many.
    pub samples: u64,
    /// In words.
    pub reason: String,
}

/// The judge's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Better, or not worse, beyond doubt.
    Pass,
    /// Worse beyond doubt.
    Harm,
    /// Not decided yet.
    Inconclusive,
}

/// A value with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Most likely.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Event {
    /// A person wants a suggestion, and nothing is known of its targets yet.
    pub fn confirmed(suggestion: SuggestionId, by: Actor, note: String) -> Self {
        let (in_force, absent, nodes_up) = (Vec::new(), Vec::new(), None);
        Self::Confirmed { suggestion, by, note, in_force, absent, nodes_up }
    }
}

impl Applied {
    /// Whether the agent says that the wanted values are not or no longer in force, and why.
    pub fn trouble(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Applying | Self::Applied => None,
            Self::Rejected(why) => Some(("rejected it", why)),
            Self::Reverted(why) => Some(("went back to the old values", why)),
            Self::Drifted(why) => Some(("found other values", why)),
        }
    }
}

impl Outcome {
    /// Whether the agent read back exactly these values.
    pub fn shows(&self, values: &Values) -> bool {
        !values.is_empty()
            && values.iter().all(|(name, value)| self.in_force.get(name) == Some(value))
    }
}

impl Verdict {
    /// The same without intervals that are no numbers: those cannot be written down.
    #[must_use]
    pub fn cleaned(&self) -> Self {
        let clean = |interval: Option<Interval>| interval.filter(Interval::is_finite);
        Self { expected: clean(self.expected), observed: clean(self.observed), ..self.clone() }
    }
}

impl Interval {
    fn is_finite(&self) -> bool {
        [self.value, self.low, self.high].iter().all(|number| number.is_finite())
    }
}

impl Judgement {
    /// As in the interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Harm => "harm",
            Self::Inconclusive => "inconclusive",
        }
    }
}
