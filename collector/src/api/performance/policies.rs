//! What is wanted of each node and what is in force there, from memory.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, PolicyOutcome, PolicyResult, Revision, Target, TargetPolicy,
};
use flyball_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::query::{QueryError, Violations};
use crate::steer::watch::{AgentState, Steering};

/// Policies of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PoliciesAnswer {
    /// Nodes of which something is wanted, or whose agents watch or have watched here, by name.
    pub policies: Vec<NodePolicy>,
}

/// What is wanted of a node, and what is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodePolicy {
    /// The node.
    pub node: String,
    /// Its agent watches for policies here.
    pub connected: bool,
    /// Since when it does, or does not, milliseconds since the Unix epoch; null when it was never seen here.
    pub since_ms: Option<i64>,
    /// Revision that is wanted; 0: nothing is.
    pub wanted_revision: u64,
    /// The last revision of which everything was in force, as the agent says it; 0: none.
    pub in_force_revision: u64,
    /// Why they differ; null when they do not.
    pub reason: Option<String>,
    /// Each target of which something is wanted, may be set, or was set.
    pub targets: Vec<TargetState>,
}

/// What is wanted of a target, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TargetState {
    /// Kind of the target.
    #[schema(example = "redis")]
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
    /// Rollout of what is wanted; null without one.
    pub rollout_id: Option<String>,
    /// What is wanted is on trial: it is put back unless it is renewed.
    pub canary: bool,
    /// Settings that are wanted, by parameter; null when nothing is.
    pub wanted: Option<BTreeMap<String, String>>,
    /// How far the newest policy has come that the agent has told of: applying, applied, rejected, reverted or drifted; null before it has.
    #[schema(example = "applied")]
    pub result: Option<&'static str>,
    /// Its revision.
    pub revision: Option<u64>,
    /// What the agent read back then, by parameter; empty when it could not be read.
    pub in_force: BTreeMap<String, String>,
    /// What was set or saved where that is not in force.
    pub expected: BTreeMap<String, String>,
    /// Why, in words; null when there is nothing to say.
    pub reason: Option<String>,
    /// Why nothing may be set there; null when something may, or the target is not known.
    pub barred: Option<String>,
}

/// What is wanted of each node, the revision that is in force, and why they differ where they do. Agents that are connected to another collector show there.
#[utoipa::path(get, path = "/api/performance/policies", tag = "performance",
    params(("node" = Option<Vec<String>>, Query, description = "only these nodes")),
    responses((status = 200, body = PoliciesAnswer)),
)]
pub(in crate::api) async fn policies(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<PoliciesAnswer>, ApiError> {
    let nodes = params.many("node");
    Ok(Json(answer(&state.0.steering, &nodes, params.finish())?))
}

/// Policies of `nodes`, of all when it is empty.
///
/// # Errors
/// When a name is no name, or of a node that is not known here.
pub(in crate::api) fn answer(
    steering: &Steering,
    nodes: &[String],
    mut violations: Violations,
) -> Result<PoliciesAnswer, QueryError> {
    let mut known: BTreeMap<NodeName, Option<AgentState>> =
        steering.policies().nodes().into_iter().map(|node| (node, None)).collect();
    known.extend(steering.agents().all().into_iter().map(|(node, state)| (node, Some(state))));
    let mut wanted_nodes = Vec::new();
    for node in nodes {
        match NodeName::new(node) {
            Ok(name) if known.contains_key(&name) => wanted_nodes.push(name),
            Ok(_) => violations.unknown("node", format!("no agent of {node:?} watches here")),
            Err(invalid) => violations.invalid("node", invalid.reason),
        }
    }
    violations.check()?;
    let is_wanted = |node: &NodeName| nodes.is_empty() || wanted_nodes.contains(node);
    let policy = |(node, state): (&NodeName, &Option<AgentState>)| {
        NodePolicy::of(node, &steering.policies().wanted(node), state.as_ref())
    };
    let policies = known.iter().filter(|(node, _)| is_wanted(node)).map(policy).collect();
    Ok(PoliciesAnswer { policies })
}

impl NodePolicy {
    fn of(node: &NodeName, wanted: &AgentPolicy, state: Option<&AgentState>) -> Self {
        let in_force = state.filter(|state| state.journal == wanted.journal || is_none(wanted));
        let mut targets: BTreeMap<&Target, Option<&TargetPolicy>> =
            wanted.targets.iter().map(|policy| (&policy.target, Some(policy))).collect();
        if let Some(state) = state {
            let capable = state.capabilities.iter().map(|capability| &capability.target);
            for target in capable.chain(state.outcomes.iter().map(|outcome| &outcome.target)) {
                targets.entry(target).or_default();
            }
        }
        let targets = targets
            .iter()
            .map(|(target, policy)| TargetState::of(target, *policy, state))
            .collect();
        Self {
            node: node.as_str().to_owned(),
            connected: state.is_some_and(|state| state.is_connected),
            since_ms: state.map(|state| state.since_ms),
            wanted_revision: wanted.revision.0,
            in_force_revision: in_force.map_or(0, |state| state.in_force.0),
            reason: reason(wanted, state),
            targets,
        }
    }
}

/// True when nothing is wanted.
fn is_none(wanted: &AgentPolicy) -> bool {
    wanted.revision == Revision::default()
}

/// Why what is wanted is not in force as a whole.
fn reason(wanted: &AgentPolicy, state: Option<&AgentState>) -> Option<String> {
    if is_none(wanted) {
        return None;
    }
    let Some(state) = state else { return Some("its agent does not watch here".to_owned()) };
    let told = wanted.targets.iter().filter_map(|policy| {
        let target = &policy.target;
        match state.outcome(target).filter(|outcome| outcome.revision == wanted.revision) {
            Some(outcome) if outcome.result == PolicyResult::Applied => None,
            Some(outcome) => Some(in_words(outcome)),
            None => Some(format!("{target}: not told yet")),
        }
    });
    let mut reasons: Vec<String> = told.collect();
    let is_in_force =
        state.in_force == wanted.revision && state.journal == wanted.journal && reasons.is_empty();
    if is_in_force {
        return None;
    }
    if !state.is_connected {
        reasons.insert(0, "its agent does not watch here any more".to_owned());
    }
    Some(reasons.join("; "))
}

fn in_words(outcome: &PolicyOutcome) -> String {
    let (target, result) = (&outcome.target, outcome.result.as_str());
    if outcome.reason.is_empty() {
        return format!("{target}: {result}");
    }
    format!("{target}: {result}: {}", outcome.reason)
}

impl TargetState {
    fn of(target: &Target, policy: Option<&TargetPolicy>, state: Option<&AgentState>) -> Self {
        let outcome = state.and_then(|state| state.outcome(target));
        let capability = state.and_then(|state| {
            state.capabilities.iter().find(|capability| capability.target == *target)
        });
        let barred = capability.filter(|capability| capability.parameters.is_empty());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            kind: target.kind.clone(),
            name: target.name.clone(),
            rollout_id: policy.and_then(|policy| text(&policy.rollout_id)),
            canary: policy.is_some_and(|policy| policy.canary.is_some()),
            wanted: policy.map(|policy| policy.settings.clone()),
            result: outcome.map(|outcome| outcome.result.as_str()),
            revision: outcome.map(|outcome| outcome.revision.0),
            in_force: outcome.map(|outcome| outcome.in_force.clone()).unwrap_or_default(),
            expected: outcome.map(|outcome| outcome.expected.clone()).unwrap_or_default(),
            reason: outcome.and_then(|outcome| text(&outcome.reason)),
            barred: barred.and_then(|capability| text(&capability.reason)),
        }
    }
}

impl From<PoliciesAnswer> for v1::PoliciesResponse {
    fn from(answer: PoliciesAnswer) -> Self {
        Self { policies: answer.policies.into_iter().map(Into::into).collect() }
    }
}

impl From<NodePolicy> for v1::NodePolicy {
    fn from(policy: NodePolicy) -> Self {
        Self {
            node: policy.node,
            connected: policy.connected,
            since_ms: policy.since_ms,
            wanted_revision: policy.wanted_revision,
            in_force_revision: policy.in_force_revision,
            reason: policy.reason.unwrap_or_default(),
            targets: policy.targets.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<TargetState> for v1::TargetState {
    fn from(state: TargetState) -> Self {
        let settings = |settings: BTreeMap<String, String>| {
            settings
                .into_iter()
                .map(|(parameter, value)| v1::Setting { parameter, value })
                .collect()
        };
        Self {
            kind: state.kind,
            name: state.name,
            rollout_id: state.rollout_id.unwrap_or_default(),
            canary: state.canary,
            wanted: settings(state.wanted.unwrap_or_default()),
            result: state.result.unwrap_or_default().to_owned(),
            revision: state.revision,
            in_force: settings(state.in_force),
            expected: settings(state.expected),
            reason: state.reason.unwrap_or_default(),
            barred: state.barred.unwrap_or_default(),
        }
    }
}
