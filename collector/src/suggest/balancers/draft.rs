//! What an advisor of balancers hands over, and the proposal that becomes of it.

use flyball_model::record::{Better, Records};
use flyball_model::rollout::{Candidate, Prediction, Proposal};
use serde_json::{Value, json};

use super::view::PoolView;
use crate::suggest::draft::{Details, Evidence, Risk, id, key};
use crate::suggest::estimate::{CONFIDENCE, Estimate};
use crate::suggest::gates::touches;

/// A change of several balancers.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolDraft {
    /// Kind of the suggestion, for example `balancer.weights`.
    pub kind: &'static str,
    /// One line for a person.
    pub title: String,
    /// Balancers with their changes; at least one.
    pub members: Vec<Candidate>,
    /// What it is about, for example `balancer.latency_ms`.
    pub metric: &'static str,
    /// For example `ms`.
    pub unit: &'static str,
    /// The metric without the change.
    pub before: f64,
    /// The metric with it.
    pub after: Estimate,
    /// How much wider than by its method the interval was made.
    pub widened_by: f64,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What can go wrong.
    pub risk: Risk,
    /// How it is undone.
    pub undo: String,
    /// What it was computed from besides the view.
    pub inputs: Value,
}

impl PoolDraft {
    /// Whether both change the same parameter of a balancer.
    pub(super) fn touches(&self, other: &Self) -> bool {
        self.members.iter().any(|one| {
            let same = other.members.iter().filter(|two| two.target.id == one.target.id);
            same.into_iter().any(|two| touches(&one.change, &two.change))
        })
    }

    /// The proposal. `sequence` is the number of the journal's last decision.
    pub fn into_proposal(mut self, view: &PoolView, records: Records, sequence: u64) -> Proposal {
        self.members.sort_by(|a, b| a.target.id.cmp(&b.target.id));
        let target = view.target();
        let keys = self.members.iter().map(|one| key(&one.target, self.kind, &one.change));
        let keys = format!("{}\n{}", target.id, keys.collect::<Vec<_>>().join("\n"));
        let details = Details {
            evidence: self.evidence,
            risk: self.risk,
            record: self.kind.to_owned(),
            track_record: records.into(),
            by_hand: false,
            lower_is_better: METRICS_BETTER == Better::Lower,
            widened_by: self.widened_by,
            proposed_by: String::new(),
            inputs: json!({ "view": view.inputs(), "more": self.inputs }),
        };
        Proposal {
            id: id(&keys, sequence),
            kind: self.kind.to_owned(),
            title: self.title,
            target,
            members: self.members,
            prediction: Prediction {
                metric: self.metric.to_owned(),
                before: self.before,
                after: self.after.value,
                low: self.after.low,
                high: self.after.high,
                unit: self.unit.to_owned(),
                confidence: CONFIDENCE,
            },
            undo: self.undo,
            details: serde_json::to_value(details).unwrap_or_default(),
        }
    }
}

/// Of all metrics of balancers.
const METRICS_BETTER: Better = Better::Lower;
