//! Where policies are taken apart: each target's part goes to its worker, what is for nobody is refused.

use std::collections::HashMap;
use std::sync::Arc;

use flyball_proto::steering::{
    AgentPolicy, Capability, PolicyOutcome, PolicyResult, Settings, Target, TargetPolicy,
};

use super::brain::Offer;
use super::clock::Clock;
use super::outbox::Outbox;
use super::worker::Mailbox;

/// Knows who is responsible for what.
pub(super) struct Desk {
    seats: HashMap<Target, Arc<Mailbox>>,
    barred: HashMap<Target, String>,
    clock: Clock,
    outbox: Arc<Outbox>,
}

impl Desk {
    pub(super) fn new(barred: Vec<Capability>, clock: Clock, outbox: Arc<Outbox>) -> Self {
        let barred = barred.into_iter().map(|capability| (capability.target, capability.reason));
        Self { seats: HashMap::new(), barred: barred.collect(), clock, outbox }
    }

    /// From now on `mailbox` gets what is for `target`.
    pub(super) fn seat(&mut self, target: Target, mailbox: Arc<Mailbox>) {
        self.seats.insert(target, mailbox);
    }

    /// Takes a policy that was received just now.
    pub(super) fn take(&self, policy: AgentPolicy) {
        self.outbox.acked(policy.acked_sequence);
        if policy.revision.0 == 0 {
            return;
        }
        let received = self.clock.now();
        self.outbox.policy(&policy);
        for target in policy.targets {
            if let Some(mailbox) = self.seats.get(&target.target) {
                let (journal, revision) = (policy.journal.clone(), policy.revision.0);
                mailbox.put(Offer { journal, revision, policy: target }, received);
            } else {
                self.refuse(policy.revision, target);
            }
        }
    }

    fn refuse(&self, revision: flyball_proto::steering::Revision, policy: TargetPolicy) {
        if self.outbox.is_told(&policy.target, revision.0, PolicyResult::Rejected) {
            return;
        }
        let reason = self.barred.get(&policy.target).map_or("no such target here", String::as_str);
        tracing::warn!(server = %policy.target, %revision, reason, "a policy is refused");
        let outcome = PolicyOutcome {
            revision,
            target: policy.target,
            result: PolicyResult::Rejected,
            reason: reason.to_owned(),
            in_force: Settings::new(),
            expected: Settings::new(),
            rollout_id: policy.rollout_id,
            sequence: 0,
        };
        self.outbox.outcome(outcome);
    }
}
