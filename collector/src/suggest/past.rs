//! Whether a change could be judged: it is compared with the time since the target was last changed, and
//! without enough of that every rollout would end undecided.

use std::collections::HashMap;

use flyball_model::rollout::{Proposal, State, Target, TargetId};

use super::Skipped;
use super::balancers::is_of_balancers;
use super::draft::Details;
use crate::balancers::watch::PoolWatch;
use crate::steer::driver::JudgeSettings;
use crate::store::{Store, StoreError};

/// What is known of the past of all caches.
#[derive(Debug)]
pub(super) struct Pasts {
    /// By node and name, since when there are samples; not further back than is needed.
    since: HashMap<(String, String), i64>,
    needed_ms: i64,
    pools: PoolWatch,
    /// Windows that are needed of a balancer.
    windows: i64,
    now_ms: i64,
}

impl Pasts {
    /// Reads as much as is needed.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub(super) async fn read(
        store: &Store,
        pools: &PoolWatch,
        judge: &JudgeSettings,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let needed_ms = judge.past_ms();
        // Twice as much: a cache whose oldest sample in there is young enough has no more.
        let rows = store.caches_since(now_ms - 2 * needed_ms).await?;
        let since = rows.into_iter().map(|row| ((row.node, row.cache), row.since_ms)).collect();
        let windows = i64::from(judge.past_windows());
        Ok(Self { since, needed_ms, pools: pools.clone(), windows, now_ms })
    }

    /// Passes over what could not be judged yet.
    pub(super) fn pass_over(
        &self,
        proposals: &mut Vec<Proposal>,
        skipped: &mut Vec<Skipped>,
        state: &State,
    ) {
        proposals.retain(|proposal| {
            let Some(reason) = self.lacks(proposal, state) else { return true };
            let (target, kind) = (proposal.target.id.0.clone(), proposal.kind.clone());
            skipped.push(Skipped { target, kind, reason });
            false
        });
    }

    /// Why a proposal could not be judged now; `None` when it could, or when nobody would.
    pub(super) fn lacks(&self, proposal: &Proposal, state: &State) -> Option<String> {
        if Details::of(proposal).is_some_and(|details| details.by_hand) {
            return None;
        }
        if is_of_balancers(&proposal.kind) {
            return self.of_pool(proposal, state);
        }
        proposal.members.iter().find_map(|member| self.of_target(&member.target, state))
    }

    /// Windows of the past of balancers are in memory.
    fn of_pool(&self, proposal: &Proposal, state: &State) -> Option<String> {
        let width_ms = i64::try_from(self.pools.window_ms()).unwrap_or(i64::MAX);
        proposal.members.iter().find_map(|member| {
            let id = &member.target.id;
            let parameter = member.change.first().map_or("", |change| change.parameter.as_str());
            let past = self.pools.member_past(&id.0, parameter, changed_at(state, id));
            let known = past.len() as i64;
            let lacks_ms = (self.windows - known).max(0).saturating_mul(width_ms);
            (lacks_ms > 0).then(|| {
                format!(
                    "to judge a change {} windows of the time before it are needed, and {known} are known of {id}: in {} s there are enough",
                    self.windows,
                    (lacks_ms + 999) / 1_000
                )
            })
        })
    }

    fn of_target(&self, target: &Target, state: &State) -> Option<String> {
        let place = (target.node.clone(), target.name.clone());
        let Some(&known_ms) = self.since.get(&place) else {
            return Some(format!("nothing of the past of {} is known to judge by", target.id));
        };
        let since_ms = known_ms.max(changed_at(state, &target.id));
        let past_ms = (self.now_ms - since_ms).max(0);
        if past_ms >= self.needed_ms {
            return None;
        }
        let seconds = |ms: i64| (ms + 999) / 1000;
        Some(format!(
            "to judge a change {} s of the time before it are needed, and {} s are known of {}: in {} s there are enough",
            seconds(self.needed_ms),
            past_ms / 1000,
            target.id,
            seconds(self.needed_ms - past_ms)
        ))
    }
}

/// When the last rollout of a target ended, epoch milliseconds.
fn changed_at(state: &State, target: &TargetId) -> i64 {
    let of_target = state
        .rollouts()
        .filter(|rollout| rollout.plan.members.iter().any(|member| member.target.id == *target));
    of_target.filter_map(|rollout| rollout.ended_at_ms).max().unwrap_or(i64::MIN)
}
