//! What became of earlier suggestions, as the journal's state says it: the trials of the track record.

use flyball_model::record::{Better, Trial};
use flyball_model::rollout::{RolloutState, State, StepRecord};

use super::draft::Details;

/// A trial for each rollout of an advisor's suggestion that has ended, the oldest first. What a person
/// proposed tells nothing of how well advisors predict.
pub fn trials(state: &State) -> Vec<Trial> {
    let ended = state.rollouts().filter_map(|rollout| {
        let ended_at_ms = rollout.ended_at_ms?;
        let proposal = &state.suggestion(&rollout.suggestion)?.proposal;
        let details = Details::of(proposal);
        if details.as_ref().is_some_and(|details| !details.proposed_by.is_empty()) {
            return None;
        }
        let judged = rollout.steps.iter().rev().find_map(StepRecord::verdict);
        let observed = judged.filter(|verdict| verdict.metric == proposal.prediction.metric);
        let lower = details.as_ref().is_some_and(|details| details.lower_is_better);
        let kind = details.as_ref().map_or(&*rollout.kind, |d| d.counts_as(&rollout.kind));
        Some(Trial {
            kind: kind.to_owned(),
            target: proposal.target.id.0.clone(),
            ended_at_ms,
            predicted: proposal.prediction.after,
            low: proposal.prediction.low,
            high: proposal.prediction.high,
            widened_by: details.map_or(1.0, |details| details.widened_by),
            observed: observed.and_then(|verdict| Some(verdict.observed?.value)),
            better: if lower { Better::Lower } else { Better::Higher },
            promoted: rollout.state == RolloutState::Promoted,
        })
    });
    let mut trials: Vec<_> = ended.collect();
    trials.sort_by(|a, b| {
        (a.ended_at_ms, &a.target, &a.kind).cmp(&(b.ended_at_ms, &b.target, &b.kind))
    });
    trials
}
