//! Suggestions and rollouts as the API, the events and the command line show them.
//!
//! Names are those of the public interface; what stands here beyond it is told in the description of
//! the API.

mod group;

use std::collections::BTreeSet;

use flyball_model::rollout::{
    Change as StateChange, Interval, Move, Phase, Rollout, RolloutId, State, StepRecord, Subject,
    Suggestion, SuggestionId, Target, Verdict,
};
use flyball_proto::series::NodeName;
use flyball_proto::steering::PolicyOutcome;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

pub use self::group::{MemberBody, RolloutMemberBody, WaveBody};
use super::journal::Taken;
use crate::live::Change;
use crate::suggest::draft::{Details, Evidence, Risk, RiskLevel, TrackRecord};

/// A change that a person is asked about.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SuggestionBody {
    /// Its id.
    #[schema(example = "s-1f3a5c7e9b0d2f46")]
    pub id: String,
    /// `cache.size`, `cache.eviction_policy`, `cache.ttl`, `cache.hot_key` or `cache.big_key`.
    #[schema(example = "cache.size")]
    pub kind: String,
    /// What is to be changed.
    pub target: TargetBody,
    /// One line.
    pub title: String,
    /// `proposed`, `confirmed`, `rejected` or `expired`.
    #[schema(example = "proposed")]
    pub status: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When it expires if nobody decides, milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
    /// Parameters with their old and new values; of several servers those of the first.
    pub change: Vec<ChangeBody>,
    /// The servers to be changed: one, or several alike.
    pub members: Vec<MemberBody>,
    /// What the change should bring.
    pub prediction: PredictionBody,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What can go wrong.
    pub risk: Risk,
    /// How it is undone.
    pub undo: String,
    /// How well such predictions came true.
    pub track_record: TrackRecord,
    /// Nobody but people can carry it out: no agent can set it. It cannot be confirmed.
    pub by_hand: bool,
    /// A lower value of the metric is better.
    pub lower_is_better: bool,
    /// The person who proposed it; empty for an advisor.
    pub proposed_by: String,
    /// Who decided, when and what they said; null until somebody has.
    pub decided: Option<DecidedBody>,
    /// Its rollout; null until it is confirmed.
    pub rollout_id: Option<String>,
    /// All that it was computed from; null in lists.
    #[schema(value_type = Option<Object>)]
    pub inputs: Option<Value>,
}

/// A server, or a group of like servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TargetBody {
    /// Unique in the fleet.
    #[schema(example = "redis:web-1:sessions")]
    pub id: String,
    /// Its node; empty for a group.
    pub node: String,
    /// `redis` or `memcached`.
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
}

/// A parameter and its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChangeBody {
    /// As the server calls it.
    #[schema(example = "maxmemory")]
    pub parameter: String,
    /// What is in force.
    pub from: String,
    /// What is to be.
    pub to: String,
    /// Unit of both; empty for words.
    pub unit: String,
}

/// What a change should bring.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PredictionBody {
    /// Of what.
    #[schema(example = "redis.hit_ratio")]
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
    /// Share of the intervals that hold what comes, 0 to 1.
    pub confidence: f64,
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DecidedBody {
    /// Who.
    pub by: String,
    /// Where the call came from; empty for parts of Flyball.
    pub address: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What they said.
    pub note: String,
}

/// A change on its way.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RolloutBody {
    /// Its id.
    #[schema(example = "r-1f3a5c7e9b0d2f46")]
    pub id: String,
    /// The suggestion that it carries out.
    pub suggestion_id: String,
    /// `canary`, `validating`, `promoted`, `rolled_back` or `failed`.
    #[schema(example = "validating")]
    pub state: String,
    /// The how manieth attempt at its target, from 1.
    pub attempt: u8,
    /// What was done so far.
    pub steps: Vec<StepBody>,
    /// The servers that are changed: one, or several alike.
    pub members: Vec<RolloutMemberBody>,
    /// Which of them change together, the canary first.
    pub waves: Vec<WaveBody>,
    /// Why it goes back or how it ended; empty while all is well.
    pub reason: String,
    /// Kind of the suggestion.
    pub kind: String,
    /// What is changed; null when its suggestion is no longer remembered.
    pub target: Option<TargetBody>,
    /// One line; null when its suggestion is no longer remembered.
    pub title: Option<String>,
    /// Parameters with their old and new values.
    pub change: Vec<ChangeBody>,
    /// What the change should bring; null when its suggestion is no longer remembered.
    pub prediction: Option<PredictionBody>,
    /// Where it is within its state: `applying`, `holding`, `judging`, `sealing`, `restoring` or `over`.
    #[schema(example = "judging")]
    pub stage: String,
    /// When time alone changes its stage, milliseconds since the Unix epoch; null when it does not.
    pub stage_until_ms: Option<i64>,
    /// It goes no further until somebody resumes it.
    pub paused: bool,
    /// When it began, milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// When it ended, milliseconds since the Unix epoch; null until it has.
    pub ended_at_ms: Option<i64>,
}

/// One step of one wave.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StepBody {
    /// Nodes that it covers.
    pub nodes: Vec<String>,
    /// When it began, milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// Revision of the policies that carry it.
    pub revision: u64,
    /// The judge's last word; null until it has looked.
    pub verdict: Option<VerdictBody>,
    /// When that was, milliseconds since the Unix epoch.
    pub judged_at_ms: Option<i64>,
    /// All that it said, oldest first.
    pub verdicts: Vec<VerdictBody>,
    /// Place of the wave, from 1: the canary is the first.
    pub wave: usize,
    /// Place of the step within the wave, from 1.
    pub step: usize,
}

/// The judge's word.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VerdictBody {
    /// `pass`, `harm` or `inconclusive`.
    #[schema(example = "pass")]
    pub result: String,
    /// The metric that decided.
    pub metric: String,
    /// What would have been without the change; null while there is nothing to say.
    pub expected: Option<IntervalBody>,
    /// What was seen.
    pub observed: Option<IntervalBody>,
    /// Requests behind it.
    pub samples: u64,
    /// In words.
    pub reason: String,
    /// When it was recorded, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A value with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct IntervalBody {
    /// Most likely.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A suggestion, with what it was computed from if that is wanted.
pub fn suggestion(of: &Suggestion, inputs: bool) -> SuggestionBody {
    let proposal = &of.proposal;
    let details = Details::of(proposal);
    let prediction = prediction(&proposal.prediction);
    let decided = of.decided.as_ref().map(|(who, at_ms, note)| DecidedBody {
        by: who.name.clone(),
        address: who.address.clone(),
        at_ms: *at_ms,
        note: note.clone(),
    });
    let rollout_id = of.plan.as_ref().map(|_| proposal.id.rollout().0);
    let details = details.unwrap_or_else(|| Details {
        evidence: Vec::new(),
        risk: Risk { level: RiskLevel::High, reasons: vec!["nothing is known of it".to_owned()] },
        record: String::new(),
        track_record: flyball_model::record::Records::default().into(),
        by_hand: false,
        lower_is_better: false,
        widened_by: 1.0,
        proposed_by: String::new(),
        inputs: Value::Null,
    });
    SuggestionBody {
        id: proposal.id.0.clone(),
        kind: proposal.kind.clone(),
        target: target(&proposal.target),
        title: proposal.title.clone(),
        status: of.status.name().to_owned(),
        created_at_ms: of.created_at_ms,
        expires_at_ms: of.expires_at_ms,
        change: changes(proposal.change()),
        members: proposal.members.iter().map(group::member).collect(),
        prediction,
        evidence: details.evidence,
        risk: details.risk,
        undo: proposal.undo.clone(),
        track_record: details.track_record,
        by_hand: details.by_hand,
        lower_is_better: details.lower_is_better,
        proposed_by: details.proposed_by,
        decided,
        rollout_id,
        inputs: inputs.then_some(details.inputs),
    }
}

/// A rollout.
pub fn rollout(of: &Rollout, state: &State) -> RolloutBody {
    let proposal = state.suggestion(&of.suggestion).map(|suggestion| &suggestion.proposal);
    let (stage, until_ms) = stage(of.phase);
    RolloutBody {
        id: of.id.0.clone(),
        suggestion_id: of.suggestion.0.clone(),
        state: of.state.name().to_owned(),
        attempt: of.attempt,
        steps: of.steps.iter().map(step).collect(),
        members: group::members(of, state),
        waves: group::waves(of),
        reason: of.reason.clone(),
        kind: of.kind.clone(),
        target: proposal.map(|proposal| target(&proposal.target)),
        title: proposal.map(|proposal| proposal.title.clone()),
        change: proposal.map(|proposal| changes(proposal.change())).unwrap_or_default(),
        prediction: proposal.map(|proposal| prediction(&proposal.prediction)),
        stage: stage.to_owned(),
        stage_until_ms: until_ms,
        paused: of.paused.is_some(),
        started_at_ms: of.started_at_ms,
        ended_at_ms: of.ended_at_ms,
    }
}

/// What readers of events are told of rows that were taken: each suggestion and rollout once.
pub fn events(state: &State, taken: &[Taken]) -> Vec<(Change, Value)> {
    let (mut suggestions, mut rollouts) = (BTreeSet::new(), BTreeSet::new());
    for made in taken.iter().filter_map(|taken| taken.transition.as_ref()) {
        match made.what.subject() {
            Subject::Suggestion(id) => {
                suggestions.insert(id);
            }
            Subject::Rollout(id) => {
                rollouts.insert(id);
            }
            Subject::Target(_) => rollouts.extend(rollout_of(&made.what)),
        }
    }
    let body = |id: &SuggestionId| {
        let body = json!(suggestion(state.suggestion(id)?, false));
        Some((Change::Suggestion, body))
    };
    let suggestions = suggestions.iter().filter_map(body);
    let rollouts = rollouts.iter().filter_map(|id| state.rollout(id));
    suggestions.chain(rollouts.map(|of| (Change::Rollout, json!(rollout(of, state))))).collect()
}

/// The rollout of what became of one of its members.
fn rollout_of(what: &Move) -> Option<RolloutId> {
    match what {
        Move::InForce { rollout, .. }
        | Move::Upset { rollout, .. }
        | Move::Restored { rollout, .. }
        | Move::Stuck { rollout, .. } => Some(rollout.clone()),
        _ => None,
    }
}

/// What readers of events are told of an outcome.
pub fn outcome(node: &NodeName, outcome: &PolicyOutcome) -> Value {
    json!({
        "node": node.as_str(),
        "target": { "kind": outcome.target.kind, "name": outcome.target.name },
        "revision": outcome.revision.0,
        "result": outcome.result.as_str(),
        "reason": outcome.reason,
    })
}

/// What readers of events are told when something else is wanted of a node.
pub fn wanted(node: &str, revision: u64) -> Value {
    json!({ "node": node, "wanted_revision": revision })
}

/// A target.
pub fn target(of: &Target) -> TargetBody {
    TargetBody {
        id: of.id.0.clone(),
        node: of.node.clone(),
        kind: of.kind.clone(),
        name: of.name.clone(),
    }
}

fn changes(all: &[StateChange]) -> Vec<ChangeBody> {
    let change = |change: &StateChange| ChangeBody {
        parameter: change.parameter.clone(),
        from: change.from.clone(),
        to: change.to.clone(),
        unit: change.unit.clone(),
    };
    all.iter().map(change).collect()
}

fn prediction(of: &flyball_model::rollout::Prediction) -> PredictionBody {
    PredictionBody {
        metric: of.metric.clone(),
        before: of.before,
        after: of.after,
        low: of.low,
        high: of.high,
        unit: of.unit.clone(),
        confidence: of.confidence,
    }
}

fn stage(phase: Phase) -> (&'static str, Option<i64>) {
    match phase {
        Phase::Applying { deadline_ms, .. } => ("applying", Some(deadline_ms)),
        Phase::Holding { until_ms, .. } => ("holding", Some(until_ms)),
        Phase::Validating { until_ms, .. } => ("judging", Some(until_ms)),
        Phase::Sealing { deadline_ms } => ("sealing", Some(deadline_ms)),
        Phase::Restoring { deadline_ms } => ("restoring", Some(deadline_ms)),
        Phase::Over => ("over", None),
    }
}

fn step(of: &StepRecord) -> StepBody {
    let verdicts: Vec<_> = of.verdicts.iter().map(|(at_ms, said)| verdict(*at_ms, said)).collect();
    StepBody {
        nodes: of.nodes.clone(),
        started_at_ms: of.started_at_ms,
        revision: of.revision,
        verdict: verdicts.last().cloned(),
        judged_at_ms: of.verdicts.last().map(|(at_ms, _)| *at_ms),
        verdicts,
        wave: of.wave + 1,
        step: of.step + 1,
    }
}

fn verdict(at_ms: i64, of: &Verdict) -> VerdictBody {
    let interval = |of: Interval| IntervalBody { value: of.value, low: of.low, high: of.high };
    VerdictBody {
        result: of.result.name().to_owned(),
        metric: of.metric.clone(),
        expected: of.expected.map(interval),
        observed: of.observed.map(interval),
        samples: of.samples,
        reason: of.reason.clone(),
        at_ms,
    }
}
