//! Transitions as rows and back.
//!
//! `inputs` holds the move itself, so the row's other columns are for people and queries. They are
//! made from the state before and after; [`super::Log`] makes them again when it reads a row, so a
//! row that says one thing in its columns and another in `inputs` is found.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chain::Head;
use super::row::{Row, RowSubject, RowVerdict};
use crate::rollout::{
    Actor, Candidate, Judgement, Move, Proposal, Rollout, State, Subject, Target, TargetId,
    Transition, Verdict,
};

/// A row whose `inputs` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {sequence} cannot be read: {reason}")]
pub struct Unreadable {
    /// Number of the row.
    pub sequence: u64,
    /// Why.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct Inputs {
    r#move: Move,
    inputs: Value,
}

impl TryFrom<&Row> for Transition {
    type Error = Unreadable;

    fn try_from(row: &Row) -> Result<Self, Unreadable> {
        let unreadable = |error: serde_json::Error| Unreadable {
            sequence: row.sequence,
            reason: error.to_string(),
        };
        let inputs: Inputs = serde_json::from_str(&row.inputs).map_err(unreadable)?;
        Ok(Self {
            at_ms: row.at_ms,
            actor: Actor { name: row.actor.clone(), address: row.actor_address.clone() },
            reason: row.reason.clone(),
            inputs: inputs.inputs,
            what: inputs.r#move,
        })
    }
}

/// The row of a transition that led from the state of this name to another one, at the end of a chain.
pub(super) fn row(head: Head, made: &Transition, from_state: String, after: &State) -> Row {
    let about = About::of(made, after);
    let proposal = about.proposal;
    let (subject, subject_id) = match made.what.subject() {
        Subject::Suggestion(id) => (RowSubject::Suggestion, id.0),
        Subject::Rollout(id) => (RowSubject::Rollout, id.0),
        Subject::Target(id) => (RowSubject::Target, id.0),
    };
    let target = about.target;
    let predicted = proposal.map(|of| &of.prediction);
    let verdict = verdict(&made.what);
    let observed = verdict.and_then(|verdict| verdict.observed);
    let text = |of: fn(&Target) -> &str| target.map(of).unwrap_or_default().to_owned();
    let row = Row {
        sequence: 0,
        at_ms: made.at_ms,
        subject,
        subject_id,
        from_state,
        to_state: name(after, made),
        suggestion_id: proposal.map(|of| of.id.0.clone()).unwrap_or_default(),
        rollout_id: about.rollout_id(),
        attempt: about.rollout.map_or(0, |rollout| rollout.attempt),
        kind: proposal.map(|of| of.kind.clone()).unwrap_or_default(),
        target_id: text(|target| &target.id.0),
        target_node: text(|target| &target.node),
        target_kind: text(|target| &target.kind),
        target_name: text(|target| &target.name),
        change: about.change(),
        prediction_metric: predicted.map(|of| of.metric.clone()).unwrap_or_default(),
        prediction_before: predicted.map(|of| of.before),
        prediction_after: predicted.map(|of| of.after),
        prediction_low: predicted.map(|of| of.low),
        prediction_high: predicted.map(|of| of.high),
        prediction_confidence: predicted.map(|of| of.confidence),
        observed_value: observed.map(|of| of.value),
        observed_low: observed.map(|of| of.low),
        observed_high: observed.map(|of| of.high),
        observed_samples: verdict.map_or(0, |verdict| verdict.samples),
        verdict: word(verdict),
        nodes: about.nodes(),
        revision: revision(made, after),
        actor: made.actor.name.clone(),
        actor_address: made.actor.address.clone(),
        reason: made.reason.clone(),
        inputs: json!({ "move": made.what, "inputs": made.inputs }).to_string(),
        prev_hash: [0; 32],
        hash: [0; 32],
    };
    row.linked(head)
}

/// What a transition is about, as far as it is known.
struct About<'a> {
    made: &'a Transition,
    proposal: Option<&'a Proposal>,
    rollout: Option<&'a Rollout>,
    target: Option<&'a Target>,
}

impl<'a> About<'a> {
    fn of(made: &'a Transition, after: &'a State) -> Self {
        let subject = made.what.subject();
        let book = match &subject {
            Subject::Target(id) => after.target(id),
            _ => None,
        };
        let rollout = match (&made.what, &subject) {
            (Move::Confirmed { .. }, _) => None,
            (_, Subject::Rollout(id)) => after.rollout(id),
            (
                Move::InForce { rollout, .. }
                | Move::Upset { rollout, .. }
                | Move::Restored { rollout, .. }
                | Move::Stuck { rollout, .. },
                _,
            ) => after.rollout(rollout),
            (
                Move::Freed { target } | Move::Cooling { target, .. } | Move::Locked { target },
                _,
            ) => {
                after.rollouts().filter(|r| r.place(target).is_some()).max_by_key(|r| r.ended_at_ms)
            }
            _ => None,
        };
        let suggestion = match &subject {
            Subject::Suggestion(id) => after.suggestion(id),
            _ => rollout.and_then(|rollout| after.suggestion(&rollout.suggestion)),
        };
        let proposal = suggestion.map(|suggestion| &suggestion.proposal);
        let target = book.map(|book| &book.target).or(proposal.map(|of| &of.target));
        Self { made, proposal, rollout, target }
    }

    fn rollout_id(&self) -> String {
        match (&self.made.what, self.rollout) {
            (Move::Confirmed { suggestion, .. }, _) => suggestion.rollout().0,
            (_, Some(rollout)) => rollout.id.0.clone(),
            _ => String::new(),
        }
    }

    /// The member's that the row is about, else the first one's. Of a push the first one's that it reaches.
    fn change(&self) -> String {
        if let Move::Pushed { values, .. } = &self.made.what {
            let first = values.first_key_value().map(|(_, values)| values);
            let show = |(name, to): (&String, &String)| json!({ "parameter": name, "from": "", "to": to, "unit": "weight" });
            return Value::Array(first.into_iter().flatten().map(show).collect()).to_string();
        }
        let Some(proposal) = self.proposal else { return "[]".to_owned() };
        let is_it = |member: &&Candidate| Some(&member.target) == self.target;
        let member = proposal.members.iter().find(is_it).or(proposal.members.first());
        let changes = member.map(|member| member.change.as_slice()).unwrap_or_default();
        let show = |change: &crate::rollout::Change| {
            json!({
                "parameter": change.parameter, "from": change.from, "to": change.to,
                "unit": change.unit,
            })
        };
        Value::Array(changes.iter().map(show).collect()).to_string()
    }

    fn nodes(&self) -> Vec<String> {
        if let Subject::Target(_) = self.made.what.subject() {
            return self.target.map(|target| target.node.clone()).into_iter().collect();
        }
        let Some(rollout) = self.rollout else { return Vec::new() };
        if let Move::Pushed { values, .. } = &self.made.what {
            let members = rollout.plan.members.iter().map(|planned| &planned.target);
            let pushed = members.filter(|target| values.contains_key(&target.id));
            let nodes: BTreeSet<String> = pushed.map(|target| target.node.clone()).collect();
            return nodes.into_iter().collect();
        }
        if let Move::Started { .. } | Move::Stepped { .. } | Move::Judged { .. } = self.made.what {
            return rollout.steps.last().map(|step| step.nodes.clone()).unwrap_or_default();
        }
        let members = rollout.plan.members.iter().zip(&rollout.members);
        let touched = members.filter(|(_, member)| member.is_touched());
        let mut nodes: Vec<_> = touched.map(|(planned, _)| planned.target.node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }
}

/// What a transition's subject is at present.
pub(super) fn name(state: &State, made: &Transition) -> String {
    match made.what.subject() {
        Subject::Suggestion(id) => state.suggestion(&id).map(|found| found.status.name()),
        Subject::Rollout(id) => state.rollout(&id).map(|found| found.state.name()),
        Subject::Target(id) => state.target(&id).map(|found| found.status(made.at_ms)),
    }
    .unwrap_or_default()
    .to_owned()
}

fn verdict(what: &Move) -> Option<&Verdict> {
    match what {
        Move::Judged { verdict, .. } => Some(verdict),
        _ => None,
    }
}

fn word(verdict: Option<&Verdict>) -> RowVerdict {
    match verdict.map(|verdict| verdict.result) {
        None => RowVerdict::None,
        Some(Judgement::Pass) => RowVerdict::Pass,
        Some(Judgement::Harm) => RowVerdict::Harm,
        Some(Judgement::Inconclusive) => RowVerdict::Inconclusive,
    }
}

/// The new revision where something else is wanted now, else the one that a member reported on.
fn revision(made: &Transition, after: &State) -> u64 {
    let of = |id: &TargetId| after.target(id).map_or(0, |book| book.revision);
    let changed = after.concerned(&made.what).iter().any(|id| of(id) == after.sequence());
    match made.what.subject() {
        _ if changed => after.sequence(),
        Subject::Target(id) => of(&id),
        _ => 0,
    }
}
