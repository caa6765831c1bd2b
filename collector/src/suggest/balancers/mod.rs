//! Suggests for load balancers: from what is known of a pool to new weights, a drain or limits, with the evidence and what is predicted.
//!
//! A pool is what is suggested for; its balancers are the members, each with its own changes from what is in force there. An [`Advisor`] is a pure function of a
//! [`PoolView`]. Where it has nothing to suggest it says why: where each balancer sees the queues itself, where weights mean nothing, with too few
//! requests, backends of one class, or balancers that may not be set.
//!
//! Properties, each a test: (a) same inputs, same suggestions with the same ids, in whatever order pools come; (b) suggesting again with the first answer in the
//! journal gives nothing new; (c) of a pool whose balancers cannot be reached or are silent nothing is suggested, and the reason is told; (d) every change is
//! within what its agent may set and from the value in force; (e) what is suggested passes [`Proposal::check`](flyball_model::rollout::Proposal::check).

mod draft;
pub mod drain;
pub mod gather;
pub mod limits;
pub mod predict;
#[cfg(test)]
mod tests;
pub mod view;
pub mod weights;

use flyball_model::record::{muted, records};
use flyball_model::rollout::{Candidate, State, Target};

pub use self::draft::PoolDraft;
pub use self::view::{PoolView, Reach};
use super::gates::{self, Wanted};
use super::{Advice, Context};

/// Every advisor. Of two drafts that touch the same parameter of a balancer the first one counts.
pub const ADVISORS: &[&dyn Advisor] = &[&drain::Drain, &weights::Weights, &limits::Limits];

/// What all kinds of suggestions for balancers begin with.
pub const OF_BALANCERS: &str = "balancer.";

/// Finds changes of one kind.
pub trait Advisor: std::fmt::Debug + Sync {
    /// Kind of its suggestions.
    fn kind(&self) -> &'static str;

    /// Changes of a pool that are worth it.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn advise(
        &self,
        view: &PoolView,
        context: &Context<'_>,
        state: &State,
    ) -> Result<Vec<PoolDraft>, String>;
}

/// Everything that is to be suggested for these pools, and why nothing else is.
pub fn advise(views: &[PoolView], context: &Context<'_>, state: &State) -> Advice {
    let mut advice = Advice::default();
    let mut order: Vec<&PoolView> = views.iter().collect();
    order.sort_by(|a, b| a.estimate.pool.name.cmp(&b.estimate.pool.name));
    for view in order {
        let target = view.target();
        let mut taken: Vec<PoolDraft> = Vec::new();
        for advisor in ADVISORS {
            match advisor.advise(view, context, state) {
                Ok(drafts) => {
                    for draft in drafts {
                        let kind = draft.kind;
                        if let Err(reason) = admit(draft, &mut taken, &target, context, state) {
                            advice.skip(&target, kind, reason);
                        }
                    }
                }
                Err(reason) => advice.skip(&target, advisor.kind(), reason),
            }
        }
        for draft in taken {
            let records = records(context.trials, draft.kind, &target.id.0);
            let proposal = draft.into_proposal(view, records, state.sequence());
            match proposal.check() {
                Ok(()) => advice.proposals.push(proposal),
                Err(bad) => advice.skip(&target, &proposal.kind, bad.to_string()),
            }
        }
    }
    advice
}

/// Whether a kind is one of balancers.
pub fn is_of_balancers(kind: &str) -> bool {
    kind.starts_with(OF_BALANCERS)
}

fn admit(
    draft: PoolDraft,
    taken: &mut Vec<PoolDraft>,
    target: &Target,
    context: &Context<'_>,
    state: &State,
) -> Result<(), String> {
    for Candidate { target, change, .. } in &draft.members {
        let wanted = Wanted { kind: draft.kind, change };
        gates::may(&wanted, target, context.now_ms, state)
            .map_err(|reason| format!("{}: {reason}", target.id))?;
    }
    if let Some(reason) = muted(context.trials, draft.kind, &target.id.0, context.now_ms) {
        return Err(reason);
    }
    if let Some(other) = taken.iter().find(|other| other.touches(&draft)) {
        return Err(format!("\"{}\" comes first", other.title));
    }
    taken.push(draft);
    Ok(())
}
