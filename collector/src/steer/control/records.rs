//! The newest pushes of a pool, and which balancers have them in force by their agents' word.
//!
//! In memory: the journal has the pushes, and confirmations of each would be as many rows again for every balancer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use flyball_model::rollout::{Control, TargetId, Values};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{PolicyResult, Target as Server};

use super::metrics::ControlMetrics;
use super::step::Weights;
use crate::live::now_ms;
use crate::steer::watch::Agents;

/// Pushes of a pool that are kept.
const KEPT: usize = 20;

/// What is known of a pool's pushes.
#[derive(Debug, Default)]
pub(super) struct Records {
    pushes: VecDeque<PushRecord>,
    /// Why nothing was pushed after the last window, or who was left out.
    pub(super) waits: String,
    /// What this collector has pushed to all but those that it left out, with the push's number.
    pub(super) aim: Option<(u64, Weights)>,
}

/// One push.
#[derive(Debug, Clone)]
pub struct PushRecord {
    /// Number of its row in the journal, and of the policies that carry it.
    pub sequence: u64,
    /// When it was decided, epoch milliseconds.
    pub pushed_at_ms: i64,
    /// End of the windows that it was computed from, epoch milliseconds.
    pub window_ms: i64,
    /// Weights that are wanted since.
    pub balancers: BTreeMap<TargetId, Confirmation>,
    left_at: Instant,
}

/// What became of a push at a balancer.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// Its node.
    pub node: String,
    /// Weights that are wanted of it.
    pub values: Values,
    /// When its agent had read them back, epoch milliseconds; a newer push may have come before.
    pub confirmed_at_ms: Option<i64>,
    /// From the offer of the policy until then, milliseconds.
    pub took_ms: Option<f64>,
    server: Server,
}

impl Records {
    /// What all balancers are to have, unless another collector has pushed since.
    pub(super) fn aim(&self, control: &Control) -> Option<Weights> {
        let (sequence, aim) = self.aim.as_ref()?;
        (control.last?.sequence == *sequence).then(|| aim.clone())
    }

    /// Takes note of a push that is new. True when there is one.
    pub(super) fn note(&mut self, control: &Control, left_at: Instant) -> bool {
        let Some(last) = control.last else { return false };
        if self.pushes.back().is_some_and(|known| known.sequence >= last.sequence) {
            return false;
        }
        let balancers = control.standing().map(|member| {
            let of = Confirmation {
                node: member.target.node.clone(),
                values: member.values.clone(),
                confirmed_at_ms: None,
                took_ms: None,
                server: Server::new(&member.target.kind, &member.target.name),
            };
            (member.target.id.clone(), of)
        });
        self.pushes.push_back(PushRecord {
            sequence: last.sequence,
            pushed_at_ms: last.at_ms,
            window_ms: last.window_ms,
            balancers: balancers.collect(),
            left_at,
        });
        if self.pushes.len() > KEPT {
            self.pushes.pop_front();
        }
        true
    }

    /// Only the newest can be confirmed: an agent answers for what is wanted last.
    pub(super) fn confirm(&mut self, agents: &Agents, metrics: &ControlMetrics) {
        let Some(push) = self.pushes.back_mut() else { return };
        for of in push.balancers.values_mut().filter(|of| of.confirmed_at_ms.is_none()) {
            let agent = NodeName::new(&of.node).ok().and_then(|node| agents.get(&node));
            let Some(agent) = agent else { continue };
            let Some(outcome) = agent.outcome(&of.server) else { continue };
            let shows =
                |(name, value): (&String, &String)| outcome.in_force.get(name) == Some(value);
            if outcome.revision.0 < push.sequence
                || outcome.result != PolicyResult::Applied
                || !of.values.iter().all(shows)
            {
                continue;
            }
            let told_at = agent.told_at.get(&of.server).copied().unwrap_or_else(Instant::now);
            let took = told_at.saturating_duration_since(push.left_at).as_secs_f64();
            of.confirmed_at_ms = Some(now_ms() - told_at.elapsed().as_millis() as i64);
            of.took_ms = Some(took * 1_000.0);
            metrics.confirmed(took);
        }
    }

    pub(super) fn newest_first(&self) -> Vec<PushRecord> {
        self.pushes.iter().rev().cloned().collect()
    }
}
