//! Names of things in the journal: suggestions, rollouts and targets.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Values of parameters, as a server takes them: `maxmemory` to `134217728`.
pub type Values = BTreeMap<String, String>;

/// Which suggestion. Given by the advisor that made it, unique for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SuggestionId(pub String);

/// Which rollout. A suggestion has at most one, so its id is made from the suggestion's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(pub String);

/// Which target. Unique in the fleet, also over nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(pub String);

/// A server, or a group of like servers, whose settings can change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Unique in the fleet.
    pub id: TargetId,
    /// The node whose agent steers it; empty for a group.
    pub node: String,
    /// For example `redis`.
    pub kind: String,
    /// As the agent's configuration calls it.
    pub name: String,
}

/// Who did something: a person, or a part of Flyball.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// A user's name, or `rollout`, `judge`, `agent`, `advisor`.
    pub name: String,
    /// Where the call came from; empty for parts of Flyball.
    pub address: String,
}

impl SuggestionId {
    /// The rollout that a confirmation of this suggestion starts.
    pub fn rollout(&self) -> RolloutId {
        RolloutId(format!("r-{}", self.0.strip_prefix("s-").unwrap_or(&self.0)))
    }
}

impl Actor {
    /// A part of Flyball.
    pub fn part(name: &str) -> Self {
        Self { name: name.to_owned(), address: String::new() }
    }
}

impl fmt::Display for SuggestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
