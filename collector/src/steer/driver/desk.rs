//! The task that owns the state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flyball_model::judge::judge;
use flyball_model::rollout::{Event, Phase, Proposal, Rollout, RolloutId, TargetId, decide};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{CacheReport, PolicyOutcome, Target as Server};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::alarms::Alarms;
use super::measure::{Predictions, measure};
use super::stops::Watch;
use super::trial::{inputs, trial};
use super::words::{is_done, outcome_of, verdict_of};
use super::{DriveError, DriverParts, Proposed, View, offers};
use crate::live::{Change, now_ms};
use crate::steer::journal::{Follower, Health, Taken};
use crate::steer::show;
use crate::steer::watch::AgentEvent;
use crate::store::hex;
use crate::suggest::draft::Details;
use crate::suggest::gates;

/// Time between two looks at the clock, at agents and at caches.
const TICK: Duration = Duration::from_millis(500);
/// Time between two reads of the journal where other collectors append to it.
const READ: Duration = Duration::from_secs(1);
/// And where nobody does: only damage could be found.
const READ_ALONE: Duration = Duration::from_secs(15);
/// Time between two counts of all decisions.
const COUNT: Duration = Duration::from_mins(1);
/// Time between two checks of all decisions.
const CHECK: Duration = Duration::from_hours(1);
/// What ended longer ago is forgotten in memory, milliseconds: 90 days.
const REMEMBER_MS: i64 = 90 * 24 * 3_600_000;
/// Decisions anew after another collector was first.
const ROUNDS: u32 = 32;

/// What is left of an event that has happened.
static PASSED: Event = Event::Tick;

/// What a handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    Person { event: Box<Event>, reply: oneshot::Sender<Result<Arc<View>, DriveError>> },
    Propose { proposals: Vec<Proposal>, reply: oneshot::Sender<Result<Proposed, DriveError>> },
}

#[derive(Debug)]
pub(super) struct Desk {
    parts: DriverParts,
    follower: Follower,
    commands: mpsc::Receiver<Command>,
    publish: watch::Sender<Arc<View>>,
    predictions: Predictions,
    stops: Watch,
    alarms: Alarms,
    judged_at: BTreeMap<RolloutId, Instant>,
    read_at: Instant,
    counted_at: Instant,
    checked_at: Instant,
    /// Outcomes that could not be decided on: all are looked at again.
    missed: bool,
    since_ms: i64,
}

impl Desk {
    pub(super) fn new(
        parts: DriverParts,
        commands: mpsc::Receiver<Command>,
        publish: watch::Sender<Arc<View>>,
    ) -> Self {
        let now = Instant::now();
        parts.policies.set_current(false);
        Self {
            follower: Follower::new(parts.journal.clone()),
            parts,
            commands,
            publish,
            predictions: Predictions::default(),
            stops: Watch::default(),
            alarms: Alarms::default(),
            judged_at: BTreeMap::new(),
            read_at: now,
            counted_at: now,
            checked_at: now,
            missed: true,
            since_ms: now_ms(),
        }
    }

    pub(super) async fn run(mut self, ending: CancellationToken) {
        let mut agents = self.parts.steering.agents().subscribe();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.catch_up().await;
        loop {
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                Some(command) = self.commands.recv() => self.command(command).await,
                event = agents.recv() => match event {
                    Ok(AgentEvent::Outcome(node, outcome)) => self.told(&node, &outcome).await,
                    Ok(AgentEvent::Connected(_) | AgentEvent::Gone(_)) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => self.missed = true,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = ticks.tick() => self.tick().await,
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Person { event, reply } => {
                let result = self.person(*event).await;
                let _ = reply.send(result.map(|()| Arc::clone(&self.publish.borrow())));
            }
            Command::Propose { proposals, reply } => {
                let _ = reply.send(self.propose(proposals).await);
            }
        }
    }

    async fn person(&mut self, event: Event) -> Result<(), DriveError> {
        if let Event::Confirmed { suggestion, .. } = &event {
            // Another collector may have appended since.
            self.catch_up().await;
            let found = self.follower.log().state().suggestion(suggestion);
            if found.and_then(|found| Details::of(&found.proposal)).is_some_and(|d| d.by_hand) {
                return Err(DriveError::ByHand(suggestion.clone()));
            }
        }
        let event = self.with_facts(event);
        self.happen(&event).await
    }

    /// A confirmation with what is known of its targets.
    fn with_facts(&self, event: Event) -> Event {
        let Event::Confirmed { suggestion, by, note, .. } = event else { return event };
        let state = self.follower.log().state();
        let members =
            state.suggestion(&suggestion).map(|s| s.proposal.members.clone()).unwrap_or_default();
        let (mut in_force, mut absent) = (Vec::new(), Vec::new());
        for member in members {
            let Ok(node) = NodeName::new(&member.target.node) else { continue };
            let server = Server::new(&member.target.kind, &member.target.name);
            if let Some(cache) = self.parts.steering.caches().get(&node, &server) {
                in_force.push((member.target.id.clone(), cache.report.settings.clone()));
            }
            if self.silent_ms(&node) > 0 {
                absent.push(member.target.node);
            }
        }
        Event::Confirmed { suggestion, by, note, in_force, absent }
    }

    async fn propose(&mut self, proposals: Vec<Proposal>) -> Result<Proposed, DriveError> {
        let mut result = Proposed::default();
        for proposal in proposals {
            let id = proposal.id.clone();
            if let Some(open) = gates::open(&proposal, self.follower.log().state()) {
                result.refused.push((id, format!("suggestion {open} waits for a decision")));
                continue;
            }
            match self.happen(&Event::Proposed(Box::new(proposal))).await {
                Ok(()) => result.taken.push(id),
                Err(DriveError::Refused(refusal)) => {
                    result.refused.push((id, refusal.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(result)
    }

    /// Decides on an event and appends what follows, anew while other collectors are first.
    async fn happen(&mut self, event: &Event) -> Result<(), DriveError> {
        let mut event = event;
        let mut taken = Vec::new();
        for _ in 0..ROUNDS {
            if !self.follower.health().may_decide() {
                self.catch_up().await;
            }
            if !self.follower.health().may_decide() {
                return Err(DriveError::Journal(self.follower.health().describe()));
            }
            let state = self.follower.log().state();
            let decision = match decide(state, event, now_ms(), &self.parts.limits) {
                Ok(decision) => decision,
                Err(refusal) => {
                    self.tell(&taken);
                    return Err(refusal.into());
                }
            };
            let mut won = true;
            for transition in decision.transitions {
                let Ok(row) = self.follower.log().row(&transition) else { break };
                let sequence = row.sequence;
                match self.follower.append(&row).await {
                    Ok(true) => {
                        if is_done(event, &transition.what) {
                            event = &PASSED;
                        }
                        taken.push(Taken { sequence, transition: Some(transition) });
                    }
                    Ok(false) => {
                        won = false;
                        break;
                    }
                    Err(error) => {
                        self.tell(&taken);
                        self.missed = true;
                        return Err(DriveError::Journal(format!("did not take it: {error}")));
                    }
                }
            }
            if won {
                self.tell(&taken);
                return Ok(());
            }
            taken.extend(self.follower.catch_up().await);
        }
        self.tell(&taken);
        Err(DriveError::Journal("is busy: other collectors were first every time".to_owned()))
    }

    /// A machine's event: what cannot be decided now is found again.
    async fn machine(&mut self, event: Event) {
        if let Err(error) = self.happen(&event).await {
            tracing::warn!(%error, "nothing was decided");
        }
    }

    async fn told(&mut self, node: &NodeName, outcome: &PolicyOutcome) {
        self.parts.live.change(Change::Policy, show::outcome(node, outcome));
        self.machine(Event::Outcome(outcome_of(node, outcome))).await;
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        let period = if self.parts.is_alone { READ_ALONE } else { READ };
        let is_well = self.follower.health().may_decide();
        if now >= self.read_at + if is_well { period } else { READ } {
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
        for rollout in &going {
            self.judge(rollout, now).await;
        }
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
        self.judged_at.retain(|id, _| ids.contains(id));
        self.stops.keep(&ids);
        let members = going.iter().flat_map(|rollout| &rollout.plan.members);
        let targets: Vec<TargetId> = members.map(|member| member.target.id.clone()).collect();
        self.predictions.keep(&targets);
        let width = self.parts.judge.window_ms;
        for member in going.iter().flat_map(|rollout| &rollout.plan.members) {
            let Some(report) =
                self.report(&member.target.node, &member.target.kind, &member.target.name)
            else {
                continue;
            };
            let at = (now_ms(), width);
            self.predictions.take(&member.target.id, &report, &member.revert_to, at);
        }
    }

    fn report(&self, node: &str, kind: &str, name: &str) -> Option<Arc<CacheReport>> {
        let node = NodeName::new(node).ok()?;
        Some(self.parts.steering.caches().get(&node, &Server::new(kind, name))?.report)
    }

    async fn stop(&mut self, rollout: &Rollout) {
        let reports: BTreeMap<TargetId, _> = rollout
            .plan
            .members
            .iter()
            .filter_map(|member| {
                let target = &member.target;
                let report = self.report(&target.node, &target.kind, &target.name)?;
                Some((target.id.clone(), report.as_ref().clone()))
            })
            .collect();
        let find = |target: &TargetId| reports.get(target).cloned();
        let stop = self.stops.look(rollout, find, &self.parts.judge, now_ms());
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

    /// For how long nobody has heard an agent; 0: it is heard, here or by another collector.
    fn silent_ms(&self, node: &NodeName) -> i64 {
        let agent = self.parts.steering.agents().get(node);
        if agent.as_ref().is_some_and(|agent| agent.is_connected) {
            return 0;
        }
        if !self.parts.live.elsewhere(std::slice::from_ref(node)).is_empty() {
            return 0;
        }
        let since_ms = agent.map_or(self.since_ms, |agent| agent.since_ms);
        now_ms().saturating_sub(since_ms).max(1)
    }

    async fn judge(&mut self, rollout: &Rollout, now: Instant) {
        if !matches!(rollout.phase, Phase::Validating { .. }) {
            return;
        }
        let period = Duration::from_millis(u64::from(self.parts.judge.window_ms));
        if self.judged_at.get(&rollout.id).is_some_and(|last| now < *last + period) {
            return;
        }
        self.judged_at.insert(rollout.id.clone(), now);
        let (store, settings) = (self.parts.journal.store(), &self.parts.judge);
        let at_ms = now_ms();
        let measured = measure(store, rollout, &self.predictions, settings, at_ms).await;
        let measured = match measured {
            Ok(measured) => measured,
            Err(error) => {
                tracing::warn!(%error, rollout = %rollout.id, "what is to be judged cannot be read");
                return;
            }
        };
        let state = self.follower.log().state();
        let Some(suggestion) = state.suggestion(&rollout.suggestion) else { return };
        let prediction = &suggestion.proposal.prediction;
        let Some(trial) = trial(rollout, prediction, &measured, settings) else { return };
        let verdict = judge(&trial, at_ms);
        let event = Event::Judged {
            rollout: rollout.id.clone(),
            revision: rollout.revision(),
            verdict: verdict_of(&verdict),
            inputs: inputs(&trial),
        };
        self.machine(event).await;
    }

    async fn catch_up(&mut self) {
        let was_away = !self.follower.health().may_decide();
        let taken = self.follower.catch_up().await;
        self.read_at = Instant::now();
        if was_away && self.follower.health().may_decide() {
            self.missed = true;
        }
        self.tell(&taken);
    }

    /// Tells everybody what was taken, and what follows from it.
    fn tell(&mut self, taken: &[Taken]) {
        let log = self.follower.log();
        let health = self.follower.health();
        let (state, policies) = (log.state(), &self.parts.policies);
        let changed = if matches!(health, Health::Whole) {
            let nodes = offers::publish(state, &self.journal_name(), policies);
            policies.set_current(true);
            nodes
        } else {
            policies.set_current(false);
            Vec::new()
        };
        let is_news = {
            let known = self.publish.borrow();
            known.head != log.head()
                || known.health != *health
                || known.first != self.follower.first()
        };
        if is_news {
            self.alarms.tell(state, health, &self.parts.accounts);
            self.publish.send_replace(Arc::new(View {
                state: state.clone(),
                head: log.head(),
                first: self.follower.first(),
                health: health.clone(),
                odd: self.follower.odd().to_vec(),
            }));
        }
        for (about, body) in show::events(state, taken) {
            self.parts.live.change(about, body);
        }
        for node in changed {
            let revision = state.policy(&node).revision;
            self.parts.live.change(Change::Policy, show::wanted(&node, revision));
        }
    }

    /// Tells agents when numbering begins anew.
    fn journal_name(&self) -> String {
        let hash = self.follower.origin();
        hash.map(|hash| hex::encode(&hash[..8])).unwrap_or_default()
    }
}
