//! Suggestions, rollouts and decisions as messages.

use flyball_proto::v1;

use super::super::performance::audit::{AuditAnswer, AuditEntry};
use super::super::performance::rollouts::{RolloutsAnswer, TargetAnswer};
use super::super::performance::suggestions::{OptimizeAnswer, SuggestionsAnswer};
use super::given;
use crate::steer::journal::Verified;
use crate::steer::show::{
    ChangeBody, DecidedBody, IntervalBody, MemberBody, PredictionBody, RolloutBody,
    RolloutMemberBody, StepBody, SuggestionBody, TargetBody, VerdictBody, WaveBody,
};
use crate::suggest::Skipped;
use crate::suggest::by_person::{Wish, WishedPrediction, WishedValue};
use crate::suggest::draft::{Evidence, RiskLevel, TrackRecord};

fn all<T, U: From<T>>(items: Vec<T>) -> Vec<U> {
    items.into_iter().map(Into::into).collect()
}

/// JSON as text; empty for none.
fn json(value: Option<serde_json::Value>) -> String {
    value.filter(|value| !value.is_null()).map(|value| value.to_string()).unwrap_or_default()
}

impl From<OptimizeAnswer> for v1::OptimizeResponse {
    fn from(answer: OptimizeAnswer) -> Self {
        let OptimizeAnswer { run_id, suggestions, skipped } = answer;
        Self { run_id, suggestions: all(suggestions), skipped: all(skipped) }
    }
}

impl From<Skipped> for v1::Skipped {
    fn from(skipped: Skipped) -> Self {
        let Skipped { target, kind, reason } = skipped;
        Self { target, kind, reason }
    }
}

impl From<v1::ProposeRequest> for Wish {
    /// All but the targets, which are not part of it, and the person, whom the caller knows.
    fn from(request: v1::ProposeRequest) -> Self {
        let v1::ProposeRequest { kind, change, prediction, title, note, .. } = request;
        Self {
            kind: given(kind),
            change: all(change),
            prediction: prediction.map(Into::into),
            title: given(title),
            note,
            by: String::new(),
        }
    }
}

impl From<v1::ProposedValue> for WishedValue {
    fn from(of: v1::ProposedValue) -> Self {
        let v1::ProposedValue { parameter, from, to } = of;
        Self { parameter, from, to }
    }
}

impl From<v1::ProposedPrediction> for WishedPrediction {
    fn from(of: v1::ProposedPrediction) -> Self {
        let v1::ProposedPrediction { before, after, low, high, confidence } = of;
        Self { before, after, low, high, confidence }
    }
}

impl From<SuggestionsAnswer> for v1::SuggestionsResponse {
    fn from(answer: SuggestionsAnswer) -> Self {
        let next_cursor = answer.next_cursor.unwrap_or_default();
        Self { suggestions: all(answer.suggestions), next_cursor }
    }
}

impl From<RolloutsAnswer> for v1::RolloutsResponse {
    fn from(answer: RolloutsAnswer) -> Self {
        let next_cursor = answer.next_cursor.unwrap_or_default();
        Self { rollouts: all(answer.rollouts), next_cursor }
    }
}

impl From<SuggestionBody> for v1::Suggestion {
    fn from(of: SuggestionBody) -> Self {
        let risk_level = match of.risk.level {
            RiskLevel::Low => "low",
            RiskLevel::Medium => "medium",
            RiskLevel::High => "high",
        };
        Self {
            id: of.id,
            kind: of.kind,
            target: Some(of.target.into()),
            title: of.title,
            status: of.status,
            created_at_ms: of.created_at_ms,
            expires_at_ms: of.expires_at_ms,
            change: all(of.change),
            prediction: Some(of.prediction.into()),
            evidence: all(of.evidence),
            risk_level: risk_level.to_owned(),
            risk_reasons: of.risk.reasons,
            undo: of.undo,
            track_record: Some(of.track_record.into()),
            by_hand: of.by_hand,
            lower_is_better: of.lower_is_better,
            decided: of.decided.map(Into::into),
            rollout_id: of.rollout_id.unwrap_or_default(),
            inputs: json(of.inputs),
            proposed_by: of.proposed_by,
            members: all(of.members),
        }
    }
}

impl From<TargetBody> for v1::ChangeTarget {
    fn from(of: TargetBody) -> Self {
        let TargetBody { id, node, kind, name } = of;
        Self { id, node, kind, name }
    }
}

impl From<ChangeBody> for v1::ParameterChange {
    fn from(of: ChangeBody) -> Self {
        let ChangeBody { parameter, from, to, unit } = of;
        Self { parameter, from, to, unit }
    }
}

impl From<PredictionBody> for v1::Prediction {
    fn from(of: PredictionBody) -> Self {
        let PredictionBody { metric, before, after, low, high, unit, confidence } = of;
        Self { metric, before, after, low, high, unit, confidence }
    }
}

impl From<Evidence> for v1::Evidence {
    fn from(of: Evidence) -> Self {
        let Evidence { name, value, unit, window_ms, query } = of;
        Self { name, value, unit, window_ms, query }
    }
}

impl From<TrackRecord> for v1::TrackRecord {
    fn from(of: TrackRecord) -> Self {
        let TrackRecord { tried, promoted, mean_abs_error, coverage, judged } = of;
        Self { tried, promoted, mean_abs_error, coverage, judged }
    }
}

impl From<DecidedBody> for v1::Decision {
    fn from(of: DecidedBody) -> Self {
        let DecidedBody { by, address, at_ms, note } = of;
        Self { by, address, at_ms, note }
    }
}

impl From<RolloutBody> for v1::Rollout {
    fn from(of: RolloutBody) -> Self {
        Self {
            id: of.id,
            suggestion_id: of.suggestion_id,
            state: of.state,
            attempt: of.attempt.into(),
            steps: all(of.steps),
            reason: of.reason,
            kind: of.kind,
            target: of.target.map(Into::into),
            title: of.title.unwrap_or_default(),
            change: all(of.change),
            prediction: of.prediction.map(Into::into),
            stage: of.stage,
            stage_until_ms: of.stage_until_ms,
            paused: of.paused,
            started_at_ms: of.started_at_ms,
            ended_at_ms: of.ended_at_ms,
            members: all(of.members),
            waves: all(of.waves),
        }
    }
}

impl From<MemberBody> for v1::ChangeMember {
    fn from(of: MemberBody) -> Self {
        let MemberBody { target, change } = of;
        Self { target: Some(target.into()), change: all(change) }
    }
}

impl From<RolloutMemberBody> for v1::RolloutMember {
    fn from(of: RolloutMemberBody) -> Self {
        let RolloutMemberBody { target, change, state, locked } = of;
        Self { target: Some(target.into()), change: all(change), state, locked }
    }
}

impl From<WaveBody> for v1::RolloutWave {
    fn from(of: WaveBody) -> Self {
        let WaveBody { targets, controls, state } = of;
        Self { targets, controls, state }
    }
}

impl From<StepBody> for v1::RolloutStep {
    fn from(of: StepBody) -> Self {
        Self {
            nodes: of.nodes,
            started_at_ms: of.started_at_ms,
            revision: of.revision,
            verdicts: all(of.verdicts),
            wave: of.wave as u32,
            step: of.step as u32,
        }
    }
}

impl From<VerdictBody> for v1::Verdict {
    fn from(of: VerdictBody) -> Self {
        Self {
            result: of.result,
            metric: of.metric,
            expected: of.expected.map(Into::into),
            observed: of.observed.map(Into::into),
            samples: of.samples,
            reason: of.reason,
            at_ms: of.at_ms,
        }
    }
}

impl From<IntervalBody> for v1::Interval {
    fn from(of: IntervalBody) -> Self {
        let IntervalBody { value, low, high } = of;
        Self { value, low, high }
    }
}

impl From<TargetAnswer> for v1::UnlockResponse {
    fn from(answer: TargetAnswer) -> Self {
        let TargetAnswer { target, status, failures } = answer;
        Self { target: Some(target.into()), status, failures: failures.into() }
    }
}

impl From<AuditAnswer> for v1::AuditResponse {
    fn from(answer: AuditAnswer) -> Self {
        Self {
            entries: all(answer.entries),
            next_cursor: answer.next_cursor.unwrap_or_default(),
            journal: answer.journal.state,
            journal_reason: answer.journal.reason.unwrap_or_default(),
            verified: answer.verified.map(Into::into),
        }
    }
}

impl From<Verified> for v1::AuditVerified {
    fn from(of: Verified) -> Self {
        let Verified { intact, rows, first, last, hash, broken_at, problem, .. } = of;
        let problem = problem.unwrap_or_default();
        Self { intact, rows, first, last, hash, broken_at, problem }
    }
}

impl From<AuditEntry> for v1::AuditEntry {
    fn from(of: AuditEntry) -> Self {
        Self {
            sequence: of.sequence,
            at_ms: of.at_ms,
            subject: of.subject,
            subject_id: of.subject_id,
            from_state: of.from_state,
            to_state: of.to_state,
            actor: of.actor,
            actor_address: of.actor_address,
            reason: of.reason,
            suggestion_id: of.suggestion_id,
            rollout_id: of.rollout_id,
            verdict: of.verdict,
            nodes: of.nodes,
            revision: of.revision,
            inputs: json(of.inputs),
            prev_hash: of.prev_hash,
            hash: of.hash,
        }
    }
}
