//! What the driver does from time to time: deadlines, hard stops, agents that nobody hears, verdicts, and
//! looks at old rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flyball_model::rollout::{
    Event, Phase, Rollout, RolloutId, Suggestion, SuggestionId, SuggestionStatus, Target, TargetId,
};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{CacheReport, Target as Server};
use tokio::time::Instant;

use super::balancers;
use super::desk::Desk;
use super::judging::Look;
use super::measure::unchanged_since;
use super::words::outcome_of;
use crate::live::now_ms;
use crate::steer::watch::Steering;
use crate::suggest::balancers::is_of_balancers;

/// Time between two reads of the journal where other collectors append to it.
const READ: Duration = Duration::from_millis(300);
/// And where nobody does: only damage could be found.
const READ_ALONE: Duration = Duration::from_secs(15);
/// And while it cannot be read.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Time between two counts of all decisions.
const COUNT: Duration = Duration::from_mins(1);
/// Time between two checks of all decisions.
const CHECK: Duration = Duration::from_hours(1);
/// What ended longer ago is forgotten in memory, milliseconds: 90 days.
const REMEMBER_MS: i64 = 90 * 24 * 3_600_000;
/// That an agent reports to another collector is known here so much later at most, milliseconds.
const ELSEWHERE_LATE_MS: i64 = 15_000;

/// The last report of a target.
fn report(steering: &Steering, target: &Target) -> Option<Arc<CacheReport>> {
    let node = NodeName::new(&target.node).ok()?;
    let server = Server::new(&target.kind, &target.name);
    Some(steering.caches().get(&node, &server)?.report)
}

impl Desk {
    pub(super) async fn tick(&mut self) {
        let now = Instant::now();
        let period = match (self.follower.health().may_decide(), self.parts.is_alone) {
            (false, _) => READ_AGAIN,
            (true, true) => READ_ALONE,
            (true, false) => READ,
        };
        if now >= self.read_at + period {
            self.catch_up().await;
        }
        self.look_back(now).await;
        if !self.follower.health().may_decide() {
            return;
        }
        if std::mem::take(&mut self.missed) {
            self.told_again().await;
        }
        let going: Vec<Rollout> =
            self.follower.log().state().rollouts().filter(|r| r.is_forward()).cloned().collect();
        self.forget(&going);
        for rollout in &going {
            self.stop(rollout).await;
        }
        self.silence(&going).await;
        let due = self.follower.log().state().next_deadline();
        if due.is_some_and(|due| due <= now_ms()) {
            self.machine(Event::Tick).await;
        }
        self.judge(&going, now);
    }

    /// Checks old rows from time to time.
    async fn look_back(&mut self, now: Instant) {
        let all = now >= self.checked_at + CHECK;
        if !all && now < self.counted_at + COUNT {
            return;
        }
        self.counted_at = now;
        if all {
            self.checked_at = now;
        }
        self.follower.check(all).await;
        self.follower.forget(now_ms() - REMEMBER_MS);
        self.tell(&[]);
    }

    /// All outcomes that stand, since some may have been passed over.
    async fn told_again(&mut self) {
        for (node, agent) in self.parts.steering.agents().all() {
            for outcome in &agent.outcomes {
                self.machine(Event::Outcome(outcome_of(&node, outcome))).await;
            }
        }
    }

    fn forget(&mut self, going: &[Rollout]) {
        let ids: Vec<RolloutId> = going.iter().map(|rollout| rollout.id.clone()).collect();
        self.judging.keep(&ids);
        self.balancer_stops.keep(&ids);
        let members = || going.iter().flat_map(|rollout| &rollout.plan.members);
        let targets: Vec<TargetId> = members().map(|member| member.target.id.clone()).collect();
        let predictions = Arc::make_mut(&mut self.predictions);
        predictions.keep(&targets);
        let width = self.parts.judge.window_ms;
        for member in members() {
            let Some(report) = report(&self.parts.steering, &member.target) else { continue };
            let at = (now_ms(), width);
            predictions.take(&member.target.id, &report, &member.revert_to, at);
        }
        self.note_counts(&ids, targets.into_iter().collect());
    }

    /// What servers count is noted before a change as well, so that it is known what is usual.
    fn note_counts(&mut self, going: &[RolloutId], mut targets: BTreeSet<TargetId>) {
        let state = self.follower.log().state();
        let waits = |found: &&Suggestion| found.status == SuggestionStatus::Proposed;
        let waiting = state.suggestions().filter(waits).flat_map(|found| &found.proposal.members);
        let waiting: Vec<Target> = waiting.map(|member| member.target.clone()).collect();
        let held = targets.iter().filter_map(|id| Some(state.target(id)?.target.clone()));
        let all: Vec<Target> = held.chain(waiting).collect();
        targets.extend(all.iter().map(|target| target.id.clone()));
        self.stops.keep(going, &targets);
        self.note(&all);
    }

    fn note(&mut self, targets: &[Target]) {
        for target in targets {
            if let Some(report) = report(&self.parts.steering, target) {
                self.stops.note(&target.id, &report, now_ms());
            }
        }
    }

    /// What servers have counted when their change is confirmed: it may be in force, and have done harm, before the next round.
    pub(super) fn note_before(&mut self, suggestion: &SuggestionId) {
        let found = self.follower.log().state().suggestion(suggestion);
        let members = found.into_iter().flat_map(|found| &found.proposal.members);
        let targets: Vec<Target> = members.map(|member| member.target.clone()).collect();
        self.note(&targets);
    }

    async fn stop(&mut self, rollout: &Rollout) {
        if is_of_balancers(&rollout.kind) {
            return self.stop_at_balancers(rollout).await;
        }
        let reports: BTreeMap<TargetId, _> = rollout
            .plan
            .members
            .iter()
            .filter_map(|member| {
                let report = report(&self.parts.steering, &member.target)?;
                Some((member.target.id.clone(), report))
            })
            .collect();
        let find = |target: &TargetId| reports.get(target).cloned();
        let stop = self.stops.look(rollout, find, &self.parts.judge, now_ms());
        if let Some((reason, inputs)) = stop {
            let rollout = rollout.id.clone();
            self.machine(Event::HardStop { rollout, reason, inputs }).await;
        }
    }

    async fn stop_at_balancers(&mut self, rollout: &Rollout) {
        let state = self.follower.log().state();
        let (judge, since_ms) = (&self.parts.judge, unchanged_since(state, rollout));
        let sight = balancers::sight(&self.parts.pools, rollout, judge, since_ms);
        let facts = (&self.parts.steering, sight.as_ref());
        let stop = self.balancer_stops.look((rollout, state), facts, judge, now_ms());
        if let Some((reason, inputs)) = stop {
            let rollout = rollout.id.clone();
            self.machine(Event::HardStop { rollout, reason, inputs }).await;
        }
    }

    /// Tells the machine of agents that nobody hears.
    async fn silence(&mut self, going: &[Rollout]) {
        let mut nodes: Vec<&str> = going
            .iter()
            .flat_map(|rollout| rollout.plan.members.iter().zip(&rollout.members))
            .filter(|(_, member)| member.is_touched())
            .map(|(planned, _)| planned.target.node.as_str())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let Ok(name) = NodeName::new(node) else { continue };
            let silent_ms = self.silent_ms(&name);
            if silent_ms >= 1_000 {
                self.machine(Event::AgentSilent { node: node.to_owned(), silent_ms }).await;
            }
        }
    }

    /// For how long nobody has heard an agent; 0: it is heard, here or by another collector. Its samples
    /// may come here while it watches elsewhere, and the other way round.
    pub(super) fn silent_ms(&self, node: &NodeName) -> i64 {
        let agent = self.parts.steering.agents().get(node);
        if agent.as_ref().is_some_and(|agent| agent.is_connected) {
            return 0;
        }
        if !self.parts.is_alone && self.parts.live.is_up(node) {
            return 0;
        }
        let since_ms = agent.map_or(self.since_ms, |agent| agent.since_ms);
        let late_ms = if self.parts.is_alone { 0 } else { ELSEWHERE_LATE_MS };
        now_ms().saturating_sub(since_ms).saturating_sub(late_ms).max(1)
    }

    /// Whether the agent of the first target that is judged watches here: that collector has what agents
    /// say the old setting would do. The others leave judging to it.
    fn is_ours(&self, rollout: &Rollout) -> bool {
        if self.parts.is_alone {
            return true;
        }
        let (treated, _) = rollout.compared();
        let node = treated.first().and_then(|target| NodeName::new(&target.node).ok());
        let agent = node.and_then(|node| self.parts.steering.agents().get(&node));
        agent.is_some_and(|agent| agent.is_connected)
    }

    /// Begins to look at those that are judged; what is found comes back as events.
    fn judge(&mut self, going: &[Rollout], now: Instant) {
        let period = Duration::from_millis(u64::from(self.parts.judge.window_ms));
        let is_judged = |rollout: &&Rollout| {
            matches!(rollout.phase, Phase::Validating { .. }) && self.is_ours(rollout)
        };
        let due = self.judging.due(going.iter().filter(is_judged), now, period);
        let state = self.follower.log().state();
        for rollout in due {
            let Some(suggestion) = state.suggestion(&rollout.suggestion) else { continue };
            let since_ms = unchanged_since(state, rollout);
            let sight = is_of_balancers(&rollout.kind)
                .then(|| balancers::sight(&self.parts.pools, rollout, &self.parts.judge, since_ms));
            self.judging.begin(Look {
                store: self.parts.journal.store().clone(),
                rollout: rollout.clone(),
                prediction: suggestion.proposal.prediction.clone(),
                predictions: Arc::clone(&self.predictions),
                settings: self.parts.judge.clone(),
                sight: sight.flatten(),
                times: (since_ms, now_ms()),
            });
        }
    }
}
