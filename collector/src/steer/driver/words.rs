//! Words of the streams and of the judge in the machine's own.

use flyball_model::judge;
use flyball_model::rollout::{
    Applied, Event, Interval, Judgement, Move, Outcome, RolloutId, Verdict,
};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{PolicyOutcome, PolicyResult};

pub(super) fn outcome_of(node: &NodeName, outcome: &PolicyOutcome) -> Outcome {
    let reason = outcome.reason.clone();
    Outcome {
        node: node.as_str().to_owned(),
        kind: outcome.target.kind.clone(),
        name: outcome.target.name.clone(),
        rollout: RolloutId(outcome.rollout_id.clone()),
        revision: outcome.revision.0,
        sequence: outcome.sequence,
        result: match outcome.result {
            PolicyResult::Applying => Applied::Applying,
            PolicyResult::Applied => Applied::Applied,
            PolicyResult::Rejected => Applied::Rejected(reason),
            PolicyResult::Reverted => Applied::Reverted(reason),
            PolicyResult::Drifted => Applied::Drifted(reason),
        },
        in_force: outcome.in_force.clone(),
    }
}

pub(super) fn verdict_of(verdict: &judge::Verdict) -> Verdict {
    let interval = |interval: judge::Interval| Interval {
        value: interval.value,
        low: interval.low,
        high: interval.high,
    };
    Verdict {
        result: match verdict.result {
            judge::Judgement::Pass => Judgement::Pass,
            judge::Judgement::Harm => Judgement::Harm,
            judge::Judgement::Inconclusive => Judgement::Inconclusive,
        },
        metric: verdict.metric.clone(),
        expected: verdict.expected.map(interval),
        observed: verdict.observed.map(interval),
        samples: verdict.samples,
        reason: verdict.reason.clone(),
    }
}

/// Whether a move is the one that an event is about: what follows then follows by itself.
pub(super) fn is_done(event: &Event, what: &Move) -> bool {
    match (event, what) {
        (
            Event::Proposed(proposal) | Event::ProposedBy { proposal, .. },
            Move::Proposed { proposal: made, .. },
        ) => proposal.id == made.id,
        (Event::Confirmed { suggestion, .. }, Move::Confirmed { suggestion: made, .. })
        | (Event::Rejected { suggestion, .. }, Move::Rejected { suggestion: made }) => {
            suggestion == made
        }
        (Event::Pause { rollout, .. }, Move::Paused { rollout: made, .. })
        | (Event::Resume { rollout, .. }, Move::Resumed { rollout: made, .. })
        | (
            Event::RollBack { rollout, .. } | Event::HardStop { rollout, .. },
            Move::Restoring { rollout: made, .. },
        )
        | (Event::Panic { rollout, .. }, Move::Froze { rollout: made, .. }) => rollout == made,
        (Event::Unlock { target, .. }, Move::Unlocked { target: made }) => target == made,
        (Event::Push(push), Move::Pushed { rollout, window_ms, .. }) => {
            (&push.rollout, &push.window_ms) == (rollout, window_ms)
        }
        // A pool has one control that has not ended: the event is about no other move.
        (Event::Freeze { .. }, Move::Froze { by_person: true, .. })
        | (Event::Unfreeze { .. }, Move::Unfroze { .. })
        | (Event::Kill { .. }, Move::Killed { .. }) => true,
        _ => false,
    }
}
