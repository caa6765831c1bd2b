//! Suggestions, rollouts, policies and the journal as the API answers them, as far as they are shown.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::caches::Curve;

/// `/api/performance/suggestions`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SuggestionsAnswer {
    /// The newest first.
    pub suggestions: Vec<Suggestion>,
    /// There are older ones.
    pub next_cursor: Option<String>,
}

/// `/api/performance/optimize`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct OptimizeAnswer {
    /// New ones.
    pub suggestions: Vec<Suggestion>,
    /// Why there are no others.
    pub skipped: Vec<Skipped>,
}

/// Why there is no suggestion of a kind for a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Skipped {
    /// Its id.
    pub target: String,
    /// What was looked for.
    pub kind: String,
    /// Why not.
    pub reason: String,
}

/// A change that a person is asked about.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Suggestion {
    /// Its id.
    pub id: String,
    /// For example `cache.size`.
    pub kind: String,
    /// What is to be changed.
    pub target: Target,
    /// One line.
    pub title: String,
    /// `proposed`, `confirmed`, `rejected` or `expired`.
    pub status: String,
    /// Epoch milliseconds.
    pub created_at_ms: i64,
    /// Epoch milliseconds.
    pub expires_at_ms: i64,
    /// Parameters with their old and new values; of several servers those of the first.
    pub change: Vec<Change>,
    /// The servers to be changed: one, or several alike.
    pub members: Vec<Member>,
    /// What it should bring.
    pub prediction: Prediction,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What can go wrong.
    pub risk: Risk,
    /// How it is undone.
    pub undo: String,
    /// How such predictions came true.
    pub track_record: TrackRecord,
    /// No agent can carry it out.
    pub by_hand: bool,
    /// Who decided.
    pub decided: Option<Decided>,
    /// Its rollout.
    pub rollout_id: Option<String>,
    /// The person who proposed it; empty for an advisor.
    pub proposed_by: String,
    /// What it was computed from; only of one suggestion.
    pub inputs: Option<Value>,
}

/// A server or a group of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Target {
    /// Unique in the fleet.
    pub id: String,
    /// Its node; empty for a group.
    pub node: String,
    /// For example `redis`.
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
}

/// A parameter and its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Change {
    /// As the server calls it.
    pub parameter: String,
    /// What is in force.
    pub from: String,
    /// What is to be.
    pub to: String,
    /// Unit of both; empty for words.
    pub unit: String,
}

/// One of the servers of a suggestion or rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Member {
    /// Which.
    pub target: Target,
    /// Its parameters with their old and new values.
    pub change: Vec<Change>,
    /// Where it is in a rollout: `untouched`, `asked`, `in_force`, `upset`, `restoring`, `restored` or `stuck`.
    pub state: String,
    /// A person has to unlock it.
    pub locked: bool,
}

/// Servers that change together, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Wave {
    /// Those that change.
    pub targets: Vec<String>,
    /// Those that they are compared with.
    pub controls: Vec<String>,
    /// For example `waiting`, `judging` or `passed`.
    pub state: String,
}

/// What a change should bring.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Prediction {
    /// Of what.
    pub metric: String,
    /// Without the change.
    pub before: f64,
    /// With it.
    pub after: f64,
    /// Lower end of the interval of `after`.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Unit of all four.
    pub unit: String,
    /// Share of the intervals that hold what comes.
    pub confidence: f64,
}

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Evidence {
    /// What was measured.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Over which time, milliseconds; 0: at a moment.
    pub window_ms: i64,
    /// How to get it again.
    pub query: String,
}

/// What can go wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Risk {
    /// `low`, `medium` or `high`.
    pub level: String,
    /// Why.
    pub reasons: Vec<String>,
}

/// How well predictions of a kind came true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TrackRecord {
    /// Changes of this kind that were carried out here.
    pub tried: u64,
    /// Those that stayed.
    pub promoted: u64,
    /// Mean distance between what was predicted and what was seen, here.
    pub mean_abs_error: Option<f64>,
    /// Share of the intervals that held what was seen, of all targets.
    pub coverage: Option<f64>,
    /// Changes of this kind that were judged, of all targets.
    pub judged: u64,
}

/// Who decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Decided {
    /// Who.
    pub by: String,
    /// From where.
    pub address: String,
    /// Epoch milliseconds.
    pub at_ms: i64,
    /// What they said.
    pub note: String,
}

/// `/api/performance/rollouts`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct RolloutsAnswer {
    /// The newest first.
    pub rollouts: Vec<Rollout>,
    /// There are older ones.
    pub next_cursor: Option<String>,
}

/// A change on its way.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Rollout {
    /// Its id.
    pub id: String,
    /// The suggestion that it carries out.
    pub suggestion_id: String,
    /// `canary`, `validating`, `promoted`, `rolled_back` or `failed`.
    pub state: String,
    /// The how manieth attempt at its target, from 1.
    pub attempt: u64,
    /// What was done so far.
    pub steps: Vec<Step>,
    /// Why it goes back or how it ended.
    pub reason: String,
    /// Kind of the suggestion.
    pub kind: String,
    /// What is changed.
    pub target: Option<Target>,
    /// One line.
    pub title: Option<String>,
    /// Parameters with their old and new values; of several servers those of the first.
    pub change: Vec<Change>,
    /// The servers that are changed: one, or several alike.
    pub members: Vec<Member>,
    /// Which of them change together, the canary first.
    pub waves: Vec<Wave>,
    /// What it should bring.
    pub prediction: Option<Prediction>,
    /// `applying`, `holding`, `judging`, `sealing`, `restoring` or `over`.
    pub stage: String,
    /// When time alone changes its stage, epoch milliseconds.
    pub stage_until_ms: Option<i64>,
    /// It waits for a person.
    pub paused: bool,
    /// Epoch milliseconds.
    pub started_at_ms: i64,
    /// Epoch milliseconds.
    pub ended_at_ms: Option<i64>,
}

/// One step of one wave.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    /// Nodes that it covers.
    pub nodes: Vec<String>,
    /// Epoch milliseconds.
    pub started_at_ms: i64,
    /// Of the policies that carry it.
    pub revision: u64,
    /// The judge's last word.
    pub verdict: Option<Verdict>,
    /// All that it said, oldest first.
    pub verdicts: Vec<Verdict>,
    /// Place of the wave, from 1.
    pub wave: u64,
    /// Place of the step within the wave, from 1.
    #[serde(rename = "step")]
    pub place: u64,
}

/// The judge's word.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Verdict {
    /// `pass`, `harm` or `inconclusive`.
    pub result: String,
    /// The metric that decided.
    pub metric: String,
    /// What would have been without the change.
    pub expected: Option<Interval>,
    /// What was seen.
    pub observed: Option<Interval>,
    /// Requests behind it.
    pub samples: u64,
    /// In words.
    pub reason: String,
    /// Epoch milliseconds.
    pub at_ms: i64,
}

/// A value with its uncertainty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub(crate) struct Interval {
    /// Most likely.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Answer to unlocking a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct TargetAnswer {
    /// Which.
    pub target: Target,
    /// `free`, `busy`, `cooling` or `locked`.
    pub status: String,
}

/// `/api/performance/policies`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PoliciesAnswer {
    /// By node.
    pub policies: Vec<NodePolicy>,
}

/// What is wanted of a node, and what is in force.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodePolicy {
    /// The node.
    pub node: String,
    /// Its agent watches for policies.
    pub connected: bool,
    /// Revision that is wanted; 0: nothing is.
    pub wanted_revision: u64,
    /// The last revision of which everything was in force; 0: none.
    pub in_force_revision: u64,
    /// Why they differ.
    pub reason: Option<String>,
    /// What may be set, is wanted or was set.
    pub targets: Vec<TargetState>,
}

/// What is wanted of a target, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TargetState {
    /// Kind of the target.
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
    /// Rollout of what is wanted.
    pub rollout_id: Option<String>,
    /// It is on trial.
    pub canary: bool,
    /// Settings that are wanted; `None`: none are.
    pub wanted: Option<BTreeMap<String, String>>,
    /// `applying`, `applied`, `rejected`, `reverted` or `drifted`.
    pub result: Option<String>,
    /// What the agent read back.
    pub in_force: BTreeMap<String, String>,
    /// Why.
    pub reason: Option<String>,
    /// Why nothing may be set there.
    pub barred: Option<String>,
}

/// `/api/performance/audit`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AuditAnswer {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// There are older ones.
    pub next_cursor: Option<String>,
    /// How the journal is.
    pub journal: Journal,
    /// What a check of all rows found.
    pub verified: Option<Verified>,
}

/// How the journal is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Journal {
    /// `whole`, `reading`, `away` or `broken`.
    pub state: String,
    /// Why it is not whole.
    pub reason: Option<String>,
}

/// What a check of the whole chain found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Verified {
    /// Every row follows from the one before.
    pub intact: bool,
    /// Rows that are right.
    pub rows: u64,
    /// Number of the first that is kept.
    pub first: u64,
    /// Number of the last that is right.
    pub last: u64,
    /// Hash of that one.
    pub hash: String,
    /// Number of the first that is wrong.
    pub broken_at: u64,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// One decision.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AuditEntry {
    /// Place in the chain.
    pub sequence: u64,
    /// Epoch milliseconds.
    pub at_ms: i64,
    /// Id of the suggestion, rollout or target.
    pub subject_id: String,
    /// What it was before.
    pub from_state: String,
    /// What it is since.
    pub to_state: String,
    /// A person, or a part of Flyball.
    pub actor: String,
    /// Where a person's call came from.
    pub actor_address: String,
    /// Why.
    pub reason: String,
}

impl Rollout {
    /// It never changes again.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "promoted" | "rolled_back" | "failed")
    }

    /// The judge's newest word.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.steps.iter().rev().find_map(|step| step.verdict.as_ref())
    }

    /// What to call it.
    pub(crate) fn name(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.id)
    }
}

impl Suggestion {
    /// What the person who proposed it said.
    pub(crate) fn why(&self) -> &str {
        let inputs = self.inputs.as_ref();
        // Of several servers each has its own inputs, and the same note.
        let note = inputs.and_then(|all| all.get("note").or_else(|| all.pointer("/0/inputs/note")));
        let note = note.and_then(Value::as_str);
        note.filter(|_| !self.proposed_by.is_empty()).unwrap_or_default()
    }

    /// The curve that it was computed from, if it was one of sizes.
    pub(crate) fn curve(&self) -> Option<Curve> {
        let curve = self.inputs.as_ref()?.pointer("/more/curve")?;
        Curve::deserialize(curve).ok().filter(|curve| curve.points.len() > 1)
    }
}
