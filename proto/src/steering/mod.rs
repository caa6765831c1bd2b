//! What is wanted of agents and what became of it, as `Steering.Watch` carries it: policies down; outcomes and reports up.
//!
//! The types here are what both sides work with; messages are turned into them at the edge, where every text, list and number is held to a bound, so that
//! neither side can be made to hold or to show what it should not. The error names the field.

mod balancer;
mod cache;
mod capability;
mod check;
mod latency;
mod outcome;
mod policy;

#[cfg(test)]
mod tests;

pub use balancer::{
    BackendGroup, BackendServer, BackendState, BalancerReport, BalancerState, UtilizationSource,
    WeightMeaning,
};
pub use cache::{
    CacheCounters, CacheFacts, CachePrediction, CacheReport, CacheState, HitCurve, HitCurvePoint,
    KeyFinding, KeyFindingKind, MissAttribution, PolicyEstimate, TtlEffect, TtlFindings, TtlGroup,
};
pub use capability::{Bounds, Capability, Growth};
pub use check::clip;
pub use latency::Latency;
pub use outcome::{PolicyOutcome, PolicyResult};
pub use policy::{AgentPolicy, Canary, Revision, Settings, Target, TargetPolicy};

use crate::series::{Invalid, NodeName};
use crate::v1;
use check::{at_most, each, name, required, text};

/// Longest kind or name of a target, policy or metric, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest name of a parameter, in bytes: some name a backend and its group.
pub const MAX_PARAMETER_BYTES: usize = 160;
/// Longest value of a setting, in bytes.
pub const MAX_VALUE_BYTES: usize = 256;
/// Longest text for people, in bytes. Longer ones are [clipped](clip) before they are sent.
pub const MAX_REASON_BYTES: usize = 1_024;
/// Most targets of an agent.
pub const MAX_TARGETS: usize = 64;
/// Most settings of a target.
pub const MAX_SETTINGS: usize = 512;
/// Most groups of backends in a report of a balancer.
pub const MAX_GROUPS: usize = 64;
/// Most backends in all groups of a report.
pub const MAX_BACKENDS: usize = 512;
/// Most points of a curve.
pub const MAX_POINTS: usize = 256;
/// Most findings of one kind in a report.
pub const MAX_FINDINGS: usize = 64;
/// Most lines about what is not in a report.
pub const MAX_MISSING: usize = 16;
/// Largest message of `Steering.Watch` in either direction, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// What an agent sends.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentSteering {
    /// The first message of a stream.
    Hello(SteeringHello),
    /// What became of the policy of one target.
    Outcome(PolicyOutcome),
    /// What the agent knows of one cache.
    Cache(Box<CacheReport>),
    /// What the agent knows of one load balancer.
    Balancer(Box<BalancerReport>),
}

/// The first message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteeringHello {
    /// Name of the node.
    pub node: NodeName,
    /// Version of the agent.
    pub agent_version: String,
    /// Drawn when the agent process started.
    pub epoch: [u8; 16],
    /// The last revision of which everything was applied.
    pub revision: Revision,
    /// The log that `revision` is of; empty: none.
    pub journal: String,
    /// What the agent may set, one for each target.
    pub capabilities: Vec<Capability>,
}

impl TryFrom<v1::AgentSteering> for AgentSteering {
    type Error = Invalid;

    fn try_from(message: v1::AgentSteering) -> Result<Self, Invalid> {
        use v1::agent_steering::Kind;
        match required("kind", message.kind)? {
            Kind::Hello(hello) => {
                hello.try_into().map(Self::Hello).map_err(|e: Invalid| e.within("hello"))
            }
            Kind::Outcome(outcome) => {
                outcome.try_into().map(Self::Outcome).map_err(|e: Invalid| e.within("outcome"))
            }
            Kind::Cache(report) => {
                let report = CacheReport::try_from(report).map_err(|e| e.within("cache"))?;
                Ok(Self::Cache(Box::new(report)))
            }
            Kind::Balancer(report) => {
                let report = BalancerReport::try_from(report).map_err(|e| e.within("balancer"))?;
                Ok(Self::Balancer(Box::new(report)))
            }
        }
    }
}

impl From<AgentSteering> for v1::AgentSteering {
    fn from(message: AgentSteering) -> Self {
        use v1::agent_steering::Kind;
        let kind = match message {
            AgentSteering::Hello(hello) => Kind::Hello(hello.into()),
            AgentSteering::Outcome(outcome) => Kind::Outcome(outcome.into()),
            AgentSteering::Cache(report) => Kind::Cache((*report).into()),
            AgentSteering::Balancer(report) => Kind::Balancer((*report).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::SteeringHello> for SteeringHello {
    type Error = Invalid;

    fn try_from(hello: v1::SteeringHello) -> Result<Self, Invalid> {
        let epoch = hello.epoch.as_slice();
        let epoch = epoch.try_into().map_err(|_| Invalid::new("epoch", "not 16 bytes"))?;
        text("agent_version", &hello.agent_version, MAX_NAME_BYTES)?;
        text("journal", &hello.journal, MAX_NAME_BYTES)?;
        at_most("capabilities", &hello.capabilities, MAX_TARGETS)?;
        let capabilities: Vec<Capability> = each("capabilities", hello.capabilities)?;
        policy::distinct("capabilities", capabilities.iter().map(|c| &c.target))?;
        Ok(Self {
            node: NodeName::new(&hello.node)?,
            agent_version: hello.agent_version,
            epoch,
            revision: Revision(hello.revision),
            journal: hello.journal,
            capabilities,
        })
    }
}

impl From<SteeringHello> for v1::SteeringHello {
    fn from(hello: SteeringHello) -> Self {
        Self {
            node: hello.node.as_str().to_owned(),
            agent_version: hello.agent_version,
            epoch: hello.epoch.to_vec(),
            revision: hello.revision.0,
            capabilities: hello.capabilities.into_iter().map(Into::into).collect(),
            journal: hello.journal,
        }
    }
}

impl TryFrom<(String, String)> for Target {
    type Error = Invalid;

    fn try_from((kind, of_kind): (String, String)) -> Result<Self, Invalid> {
        name("kind", &kind)?;
        name("name", &of_kind)?;
        Ok(Self { kind, name: of_kind })
    }
}
