//! What every draft has to pass before anybody is asked about it.
//!
//! - It is worth it: the lower end of the gain clears the threshold ([`worth`]).
//! - Its target is free: not changing, resting after a failure, or locked. That holds for what people do by
//!   hand too: what was measured while a change is tried, or nobody knows what is in force, tells nothing.
//! - It is not open already: one that touches the same parameters there waits for a decision.
//! - A person has not said no to it lately, while the same value is in force.
//! - The agent has not refused these values before.
//! - Changes of its kind have not promised too much again and again.

use flyball_model::record::muted;
use flyball_model::rollout::{
    Change, Proposal, State, Suggestion, SuggestionId, SuggestionStatus, Target, TargetBook, Values,
};

use super::Context;
use super::draft::{Draft, Gain, percent};
use super::settings::SuggestSettings;

/// A change that a person rejected is not suggested again for this time, milliseconds: 30 days.
pub const REJECTED_FOR_MS: i64 = 30 * 24 * 3_600_000;
/// Share of the load that must go away at least.
const LEAST_LOAD: f64 = 0.1;

/// Whether a gain is worth a change.
///
/// # Errors
/// Why not, in words.
pub fn worth(gain: &Gain, settings: &SuggestSettings) -> Result<(), String> {
    match *gain {
        Gain::HitRatio { low, misses } => {
            let needed = settings.min_gain.min(settings.min_miss_share * misses);
            if low >= needed && low > 0.0 {
                return Ok(());
            }
            let (low, needed) = (percent(low), percent(needed));
            Err(format!("it would gain {low} of hit ratio at least, and {needed} are needed"))
        }
        Gain::Memory { share, loss } => {
            if loss > settings.max_loss || loss.is_nan() {
                return Err(format!("it could lose {} of hit ratio", percent(loss)));
            }
            if share >= settings.min_saved {
                return Ok(());
            }
            Err(format!("it would give back {} of its memory only", percent(share)))
        }
        Gain::Load { low } => {
            if low >= LEAST_LOAD {
                return Ok(());
            }
            Err(format!("it would take {} of the load away at least, too little", percent(low)))
        }
        Gain::Danger => Ok(()),
    }
}

/// Whether a draft may be suggested.
///
/// # Errors
/// Why not, in words.
pub fn pass(
    draft: &Draft,
    target: &Target,
    context: &Context<'_>,
    state: &State,
) -> Result<(), String> {
    worth(&draft.gain, context.settings)?;
    may(&Wanted { kind: draft.kind, change: &draft.change }, target, context.now_ms, state)?;
    match muted(context.trials, draft.record, &target.id.0, context.now_ms) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// A change of one target that is to be suggested.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Kind of the suggestion.
    pub kind: &'a str,
    /// Parameters.
    pub change: &'a [Change],
}

/// Whether a target is free for a change that nobody has said no to, and that does not wait already.
///
/// # Errors
/// Why not, in words.
pub fn may(wanted: &Wanted<'_>, target: &Target, now_ms: i64, state: &State) -> Result<(), String> {
    if let Some(book) = state.target(&target.id) {
        free(wanted, book, now_ms)?;
    }
    for suggestion in state.suggestions() {
        repeats(wanted, target, suggestion, now_ms)?;
    }
    Ok(())
}

fn free(draft: &Wanted<'_>, book: &TargetBook, now_ms: i64) -> Result<(), String> {
    if let Some(rollout) = &book.held_by {
        return Err(format!("rollout {rollout} is changing it"));
    }
    let attempts = book.attempts.get(draft.kind).copied().unwrap_or_default();
    if book.broken || attempts.locked {
        return Err("it is locked until a person unlocks it".to_owned());
    }
    if now_ms < attempts.cool_until_ms {
        let minutes = (attempts.cool_until_ms - now_ms) / 60_000 + 1;
        let failures = attempts.failures;
        return Err(format!("it rests for {minutes} minutes after {failures} failed attempts"));
    }
    let values: Values = draft.change.iter().map(|c| (c.parameter.clone(), c.to.clone())).collect();
    if book.rejected.contains(&values) {
        return Err("its agent has refused these values before".to_owned());
    }
    Ok(())
}

fn repeats(
    draft: &Wanted<'_>,
    target: &Target,
    suggestion: &Suggestion,
    now_ms: i64,
) -> Result<(), String> {
    let proposal = &suggestion.proposal;
    let of_target = proposal.members.iter().find(|member| member.target.id == target.id);
    let Some(member) = of_target else { return Ok(()) };
    let id = &proposal.id;
    if suggestion.status == SuggestionStatus::Proposed && touches(draft.change, &member.change) {
        return Err(format!("suggestion {id} waits for a decision"));
    }
    let said = suggestion.decided.as_ref().map_or(i64::MIN, |(_, at_ms, _)| *at_ms);
    let is_recent = now_ms < said.saturating_add(REJECTED_FOR_MS);
    let is_same = proposal.kind == draft.kind && from(draft.change) == from(&member.change);
    if suggestion.status == SuggestionStatus::Rejected && is_recent && is_same {
        return Err(format!("a person has rejected suggestion {id}"));
    }
    Ok(())
}

/// A suggestion that waits for a decision and touches the same parameters of a target.
pub fn open(proposal: &Proposal, state: &State) -> Option<SuggestionId> {
    let waits = state.suggestions().filter(|found| found.status == SuggestionStatus::Proposed);
    let mut touching = waits.filter(|found| {
        let members = found.proposal.members.iter();
        members.into_iter().any(|theirs| {
            let same = proposal.members.iter().filter(|ours| ours.target.id == theirs.target.id);
            same.into_iter().any(|ours| touches(&ours.change, &theirs.change))
        })
    });
    touching.next().map(|found| found.proposal.id.clone())
}

/// Whether two changes have a parameter in common.
pub fn touches(one: &[Change], other: &[Change]) -> bool {
    one.iter().any(|a| other.iter().any(|b| a.parameter == b.parameter))
}

/// What is changed, and from what.
fn from(change: &[Change]) -> Vec<(&str, &str)> {
    change.iter().map(|c| (c.parameter.as_str(), c.from.as_str())).collect()
}
