//! Every transition that there is, as a table, and the diagram that is drawn from it.
//!
//! The tests look at all reachable states and at random runs: whatever happens there is in the
//! table, and whatever is in the table happens there. docs/rollout.md holds the diagrams.

use std::fmt::Write as _;

use super::state::{Phase, Rollout};

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// What moves.
    pub machine: Machine,
    /// Empty at the beginning.
    pub from: &'static str,
    /// The same as before where only something within it changes.
    pub to: &'static str,
    /// The move's name.
    pub on: &'static str,
}

/// What has a life of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    /// A suggestion.
    Suggestion,
    /// A rollout; its states with the stage within.
    Rollout,
    /// A target, by its status.
    Target,
    /// Standing control of a pool.
    Control,
}

const fn suggestion(from: &'static str, to: &'static str) -> Edge {
    Edge { machine: Machine::Suggestion, from, to, on: to }
}

const fn rollout(from: &'static str, to: &'static str, on: &'static str) -> Edge {
    Edge { machine: Machine::Rollout, from, to, on }
}

const fn target(from: &'static str, to: &'static str, on: &'static str) -> Edge {
    Edge { machine: Machine::Target, from, to, on }
}

const fn control(from: &'static str, to: &'static str, on: &'static str) -> Edge {
    Edge { machine: Machine::Control, from, to, on }
}

/// All of them.
pub const TABLE: &[Edge] = &[
    suggestion("", "proposed"),
    suggestion("proposed", "confirmed"),
    suggestion("proposed", "rejected"),
    suggestion("proposed", "expired"),
    rollout("", "canary_applying", "started"),
    rollout("canary_applying", "canary_holding", "held"),
    rollout("canary_holding", "canary_applying", "stepped"),
    rollout("canary_holding", "validating_judging", "validating"),
    rollout("validating_judging", "canary_applying", "stepped"),
    rollout("validating_judging", "validating_sealing", "sealing"),
    rollout("validating_sealing", "promoted", "promoted"),
    rollout("canary_applying", "canary_restoring", "restoring"),
    rollout("canary_holding", "canary_restoring", "restoring"),
    rollout("validating_judging", "validating_restoring", "restoring"),
    rollout("validating_sealing", "validating_restoring", "restoring"),
    rollout("canary_restoring", "rolled_back", "rolled back"),
    rollout("canary_restoring", "failed", "failed"),
    rollout("validating_restoring", "rolled_back", "rolled back"),
    rollout("validating_restoring", "failed", "failed"),
    rollout("canary_applying", "canary_applying", "judged"),
    rollout("canary_applying", "canary_applying", "paused"),
    rollout("canary_applying", "canary_applying", "resumed"),
    rollout("canary_holding", "canary_holding", "judged"),
    rollout("canary_holding", "canary_holding", "paused"),
    rollout("canary_holding", "canary_holding", "resumed"),
    rollout("validating_judging", "validating_judging", "judged"),
    rollout("validating_judging", "validating_judging", "paused"),
    rollout("validating_judging", "validating_judging", "resumed"),
    rollout("validating_sealing", "validating_sealing", "judged"),
    rollout("validating_sealing", "validating_sealing", "paused"),
    rollout("validating_sealing", "validating_sealing", "resumed"),
    target("free", "busy", "confirmed"),
    target("cooling", "busy", "confirmed"),
    target("locked", "busy", "confirmed"),
    target("busy", "busy", "in force"),
    target("busy", "busy", "upset"),
    target("busy", "busy", "refused"),
    target("busy", "busy", "restored"),
    target("busy", "busy", "stuck"),
    target("busy", "busy", "released"),
    target("busy", "free", "freed"),
    target("busy", "cooling", "freed"),
    target("busy", "cooling", "cooling"),
    target("busy", "free", "cooling"),
    target("busy", "locked", "locked"),
    target("busy", "locked", "cooling"),
    target("busy", "locked", "freed"),
    target("locked", "free", "unlocked"),
    target("locked", "cooling", "unlocked"),
    target("free", "free", "unlocked"),
    target("cooling", "cooling", "unlocked"),
    target("locked", "locked", "refused"),
    target("locked", "locked", "restored"),
    target("locked", "locked", "stuck"),
    target("locked", "locked", "released"),
    target("free", "free", "refused"),
    target("free", "free", "released"),
    target("cooling", "cooling", "refused"),
    target("cooling", "cooling", "released"),
    target("free", "free", "restored"),
    target("free", "free", "stuck"),
    target("cooling", "cooling", "restored"),
    target("cooling", "cooling", "stuck"),
    control("", "running", "promoted"),
    control("running", "running", "pushed"),
    control("running", "frozen", "froze"),
    control("running", "frozen", "released"),
    control("running", "frozen", "upset"),
    control("running", "let_go", "released"),
    control("running", "let_go", "upset"),
    control("running", "killed", "killed"),
    control("frozen", "running", "unfroze"),
    control("frozen", "frozen", "froze"),
    control("frozen", "frozen", "released"),
    control("frozen", "frozen", "upset"),
    control("frozen", "let_go", "released"),
    control("frozen", "let_go", "upset"),
    control("frozen", "killed", "killed"),
    control("killed", "killed", "released"),
];

impl Rollout {
    /// Its state with the stage within, as in the table.
    pub const fn node(&self) -> &'static str {
        let validating = matches!(self.state, super::state::RolloutState::Validating);
        match self.phase {
            Phase::Applying { .. } => "canary_applying",
            Phase::Holding { .. } => "canary_holding",
            Phase::Validating { .. } => "validating_judging",
            Phase::Sealing { .. } => "validating_sealing",
            Phase::Restoring { .. } if validating => "validating_restoring",
            Phase::Restoring { .. } => "canary_restoring",
            Phase::Over => self.state.name(),
        }
    }
}

/// The diagram of one machine, in Mermaid's language.
pub fn mermaid(machine: Machine) -> String {
    let edges: Vec<&Edge> = TABLE.iter().filter(|edge| edge.machine == machine).collect();
    let mut text = "stateDiagram-v2\n".to_owned();
    let mut line = |line: String| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "    {line}");
    };
    let mut nodes = Vec::new();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for edge in &edges {
        for node in [edge.from, edge.to] {
            if !node.is_empty() && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        if !pairs.contains(&(edge.from, edge.to)) {
            pairs.push((edge.from, edge.to));
        }
    }
    for node in &nodes {
        let is_whole = |stage: &str| matches!(stage, "back" | "go");
        if let Some((state, stage)) = node.split_once('_').filter(|(_, stage)| !is_whole(stage)) {
            line(format!("{node}: {state}, {stage}"));
        }
    }
    if machine == Machine::Target {
        line("[*] --> free".to_owned());
    }
    for (from, to) in pairs {
        let on = edges.iter().filter(|edge| (edge.from, edge.to) == (from, to));
        let on: Vec<&str> = on.map(|edge| edge.on).collect();
        let from = if from.is_empty() { "[*]" } else { from };
        line(format!("{from} --> {to}: {}", on.join(", ")));
    }
    for node in nodes {
        let goes_on = edges.iter().any(|edge| edge.from == node && edge.to != node);
        if machine != Machine::Target && !goes_on {
            line(format!("{node} --> [*]"));
        }
    }
    text
}
