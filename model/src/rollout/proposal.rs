//! What an advisor proposes: a change, what it should bring, and why.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{SuggestionId, Target, Values};
use super::steps::{Change, StepError, steps};

/// A suggestion as it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Unique for ever.
    pub id: SuggestionId,
    /// For example `cache.size`.
    pub kind: String,
    /// What it is about: the one member's target, or a group.
    pub target: Target,
    /// One line for a person.
    pub title: String,
    /// The servers to change: one, or several alike.
    pub members: Vec<Candidate>,
    /// What it should bring.
    pub prediction: Prediction,
    /// How it is undone, in words.
    pub undo: String,
    /// What else belongs to it and is only passed on: evidence, risk, track record.
    pub details: Value,
}

/// One server to change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub target: Target,
    /// Its parameters; at least one, each once.
    pub change: Vec<Change>,
    /// What controls are matched by: for example bytes of memory.
    pub size: f64,
    /// And requests per second.
    pub traffic: f64,
}

/// What a change should bring.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// For example `redis.hit_ratio`.
    pub metric: String,
    /// Without the change.
    pub before: f64,
    /// With it.
    pub after: f64,
    /// Lower end of the interval of `after`.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// For example `ratio`.
    pub unit: String,
    /// Of the interval, 0 to 1.
    pub confidence: f64,
}

/// What is wrong with a proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BadProposal {
    /// Where.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// A suggestion of more targets is refused.
pub const MOST_MEMBERS: usize = 1_000;

impl Candidate {
    /// The values of each step.
    ///
    /// # Errors
    /// Names the parameter that has no way to its value.
    pub fn steps(&self) -> Result<Vec<Values>, (String, StepError)> {
        steps(&self.change)
    }

    /// The old values.
    pub fn revert_to(&self) -> Values {
        self.change.iter().map(|change| (change.parameter.clone(), change.from.clone())).collect()
    }
}

impl Proposal {
    /// Whether it could be carried out.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn check(&self) -> Result<(), BadProposal> {
        let bad = |field: &str, reason: &str| {
            Err(BadProposal { field: field.to_owned(), reason: reason.to_owned() })
        };
        if self.id.0.is_empty() || self.kind.is_empty() || self.target.id.0.is_empty() {
            return bad("id", "id, kind and target must have names");
        }
        if self.members.is_empty() || self.members.len() > MOST_MEMBERS {
            return bad("members", "from 1 to 1000 targets");
        }
        let p = &self.prediction;
        let numbers = [p.before, p.after, p.low, p.high, p.confidence];
        if !numbers.iter().all(|number| number.is_finite()) || p.low > p.high {
            return bad("prediction", "an interval of finite numbers");
        }
        let mut seen = std::collections::BTreeSet::new();
        for member in &self.members {
            let id = &member.target.id;
            if !seen.insert(id) || member.target.node.is_empty() {
                return bad("members", &format!("target {id} is there twice or on no node"));
            }
            if !(member.size.is_finite() && member.traffic.is_finite()) {
                return bad("members", &format!("size and traffic of {id} must be numbers"));
            }
            member.check()?;
        }
        Ok(())
    }

    /// The change to show: the first member's.
    pub fn change(&self) -> &[Change] {
        self.members.first().map_or(&[], |member| &member.change)
    }
}

impl Candidate {
    fn check(&self) -> Result<(), BadProposal> {
        let bad = |field: String, reason: String| Err(BadProposal { field, reason });
        let target = &self.target.id;
        if self.change.is_empty() {
            return bad("change".to_owned(), format!("of {target} is empty"));
        }
        if self.revert_to().len() != self.change.len() {
            return bad("change".to_owned(), format!("of {target} names a parameter twice"));
        }
        match self.steps() {
            Ok(_) => Ok(()),
            Err((parameter, error)) => bad(parameter, format!("of {target}: {error}")),
        }
    }
}
