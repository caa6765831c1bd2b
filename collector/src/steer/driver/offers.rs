//! What is wanted of each agent, from the state into the table that the streams read.

use std::collections::BTreeSet;
use std::time::Duration;

use flyball_model::rollout::{Ask, NodePolicy, Part, State};
use flyball_proto::series::{Invalid, NodeName};
use flyball_proto::steering::{AgentPolicy, Canary, Revision, Target, TargetPolicy};

use crate::steer::watch::{Policies as _, PolicyTable};

/// Brings the table in line with the state. Gives the nodes of which something else is wanted now.
pub(super) fn publish(state: &State, journal: &str, table: &PolicyTable) -> Vec<String> {
    let mut changed = Vec::new();
    let mut known = BTreeSet::new();
    for node in state.nodes() {
        match offer(state, node, journal, table) {
            Ok((name, true)) => {
                changed.push(node.to_owned());
                known.insert(name);
            }
            Ok((name, false)) => {
                known.insert(name);
            }
            Err(invalid) => {
                tracing::error!(node, %invalid, "what is wanted of a node cannot be told to its agent");
            }
        }
    }
    for node in table.nodes() {
        if !known.contains(&node) {
            table.remove(&node);
            changed.push(node.as_str().to_owned());
        }
    }
    changed
}

fn offer(
    state: &State,
    node: &str,
    journal: &str,
    table: &PolicyTable,
) -> Result<(NodeName, bool), Invalid> {
    let name = NodeName::new(node)?;
    let policy = policy(&state.policy(node), journal);
    let is_new = *table.wanted(&name) != policy;
    if is_new {
        table.set(&name, policy)?;
    }
    Ok((name, is_new))
}

fn policy(wanted: &NodePolicy, journal: &str) -> AgentPolicy {
    AgentPolicy {
        journal: journal.to_owned(),
        revision: Revision(wanted.revision),
        targets: wanted.parts.iter().map(part).collect(),
        renew: None,
        acked_sequence: 0,
    }
}

fn part(part: &Part) -> TargetPolicy {
    let (canary, persist) = match &part.ask {
        Ask::Canary { lease_ms, revert_to } => {
            let lease = Duration::from_millis(*lease_ms);
            (Some(Canary { lease, revert_to: revert_to.clone() }), false)
        }
        Ask::Keep { persist } | Ask::Restore { persist } => (None, *persist),
    };
    TargetPolicy {
        target: Target::new(&part.target.kind, &part.target.name),
        settings: part.values.clone(),
        rollout_id: part.rollout.0.clone(),
        canary,
        persist,
    }
}
