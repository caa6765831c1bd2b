//! The task that owns the state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flyball_model::rollout::{
    Control, Decision, Event, Held, Limits, Proposal, Push, Refusal, State, SuggestionId, TargetId,
    Values, decide,
};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{PolicyOutcome, Target as Server};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::alarms::Alarms;
use super::balancers;
use super::judging::Judging;
use super::measure::Predictions;
use super::stops::Watch;
use super::words::{is_done, outcome_of};
use super::{DriveError, DriverParts, Proposed, Pushed, View, offers};
use crate::account::Kind;
use crate::balancers::in_force;
use crate::live::{Change, now_ms};
use crate::steer::journal::{Follower, Health, Taken};
use crate::steer::show;
use crate::steer::watch::AgentEvent;
use crate::store::hex;
use crate::suggest::draft::Details;
use crate::suggest::gates;
use crate::suggest::gather::ended_lately;

/// Time between two looks at the clock, at agents and at caches.
const TICK: Duration = Duration::from_millis(500);
/// A report that is older does not say what is in force now.
const FRESH: Duration = Duration::from_mins(1);
/// Parameters that each report reads anew; of others it may tell what was a minute ago.
const READ_ANEW: [&str; 2] = ["maxmemory", "maxmemory-policy"];
/// Decisions anew after another collector was first.
const ROUNDS: u32 = 32;

/// What is left of an event that has happened.
static PASSED: Event = Event::Tick;

/// What a handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    Person { event: Box<Event>, reply: oneshot::Sender<Result<Arc<View>, DriveError>> },
    Push { push: Box<Push>, reply: oneshot::Sender<Result<Pushed, DriveError>> },
    Propose { proposals: Vec<Proposal>, reply: oneshot::Sender<Result<Proposed, DriveError>> },
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) parts: DriverParts,
    pub(super) follower: Follower,
    commands: mpsc::Receiver<Command>,
    publish: watch::Sender<Arc<View>>,
    pub(super) predictions: Arc<Predictions>,
    pub(super) stops: Watch,
    pub(super) balancer_stops: balancers::Stops,
    alarms: Alarms,
    pub(super) judging: Judging,
    pub(super) read_at: Instant,
    pub(super) counted_at: Instant,
    pub(super) checked_at: Instant,
    /// Outcomes that could not be decided on: all are looked at again.
    pub(super) missed: bool,
    pub(super) since_ms: i64,
}

impl Desk {
    pub(super) fn new(
        parts: DriverParts,
        commands: mpsc::Receiver<Command>,
        publish: watch::Sender<Arc<View>>,
    ) -> Self {
        let now = Instant::now();
        parts.policies.set_current(false);
        let judging = Judging::new(parts.steering.metrics().clone());
        Self {
            follower: Follower::new(parts.journal.clone()),
            parts,
            commands,
            publish,
            predictions: Arc::default(),
            stops: Watch::default(),
            balancer_stops: balancers::Stops::default(),
            alarms: Alarms::default(),
            judging,
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
                    Ok(AgentEvent::Connected(node)) => self.is_behind(&node).await,
                    Ok(AgentEvent::Gone(_)) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => self.missed = true,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = ticks.tick() => self.tick().await,
                verdict = self.judging.next() => {
                    if let Some(verdict) = verdict {
                        self.machine(verdict).await;
                    }
                }
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Person { event, reply } => {
                let result = self.person(*event).await;
                let _ = reply.send(result.map(|()| Arc::clone(&self.publish.borrow())));
            }
            Command::Push { push, reply } => {
                let _ = reply.send(self.push(*push).await);
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
            self.may_be_heard(suggestion)?;
            self.note_before(suggestion);
        }
        let event = self.with_facts(event);
        self.happen(&event).await
    }

    /// A push that may not happen as far as is known here costs the journal nothing.
    async fn push(&mut self, push: Push) -> Result<Pushed, DriveError> {
        let may = |desk: &Self| desk.follower.log().state().may_push(&push, now_ms());
        let left_out = match may(self) {
            Ok(fit) => fit.left_out,
            Err(held) => return Ok(Pushed::Held(held)),
        };
        let head = self.follower.log().head().sequence;
        let event = Event::Push(Box::new(push.clone()));
        self.happen(&event).await?;
        let left_at = std::time::Instant::now();
        let control = self.follower.log().state().control(&push.rollout);
        let last = control.and_then(|control| control.last);
        let is_ours = |control: &Control| {
            let mut told = control.standing().filter(|m| !left_out.contains_key(&m.target.id));
            told.all(|member| {
                let wanted = push.values.get(&member.target.id);
                wanted.into_iter().flatten().all(|(k, v)| member.values.get(k) == Some(v))
            })
        };
        let is_new = last.is_some_and(|l| l.sequence > head && l.window_ms == push.window_ms);
        if is_new && control.is_some_and(is_ours) {
            let left_out = left_out.into_values().collect();
            return Ok(Pushed::Done { left_at, left_out });
        }
        // Another collector was first, or control was frozen meanwhile.
        Ok(Pushed::Held(may(self).err().unwrap_or(Held::Same)))
    }

    /// The number of a decision that an agent has followed, where this journal does not go as far.
    fn seen_beyond(&self, node: &NodeName) -> Option<u64> {
        let agent = self.parts.steering.agents().get(node)?;
        let seen = agent.in_force.0;
        let head = self.follower.log().head().sequence;
        (agent.journal == self.journal_name() && seen > head).then_some(seen)
    }

    /// An agent that has seen more of this journal than there is takes nothing that is decided now: the
    /// newest decisions are gone, for example since ClickHouse was restored from a backup.
    async fn is_behind(&mut self, node: &NodeName) {
        if self.seen_beyond(node).is_none() {
            return;
        }
        // Another collector may have appended since.
        self.catch_up().await;
        if let Some(seen) = self.seen_beyond(node) {
            let last = self.follower.log().head().sequence;
            tracing::error!(%node, seen, last, "an agent has followed decisions that the journal does not have");
        }
    }

    /// Refuses what agents would not take.
    fn may_be_heard(&self, suggestion: &SuggestionId) -> Result<(), DriveError> {
        let log = self.follower.log();
        let members = log.state().suggestion(suggestion).map(|found| &found.proposal.members);
        for member in members.into_iter().flatten() {
            let Ok(node) = NodeName::new(&member.target.node) else { continue };
            if let Some(seen) = self.seen_beyond(&node) {
                let (node, last) = (member.target.node.clone(), log.head().sequence);
                return Err(Refusal::AgentAhead { node, seen, last }.into());
            }
        }
        Ok(())
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
            let id = member.target.id;
            in_force.extend(self.in_force(&id, &node, &server, state).map(|values| (id, values)));
            if self.silent_ms(&node) > 0 {
                absent.push(member.target.node);
            }
        }
        let nodes_up = Some(self.nodes_up());
        Event::Confirmed { suggestion, by, note, in_force, absent, nodes_up }
    }

    /// Nodes that are heard, here or by another collector.
    fn nodes_up(&self) -> usize {
        let watching = self.parts.steering.agents().all().into_iter();
        let watching = watching.filter(|(_, agent)| agent.is_connected).map(|(node, _)| node);
        let sending = self.parts.live.status(&[]).nodes.into_iter().filter(|status| status.up);
        let sending = sending.filter_map(|status| NodeName::new(&status.node).ok());
        watching.chain(sending).collect::<BTreeSet<_>>().len()
    }

    /// What is in force at a server, as far as it is known.
    fn in_force(
        &self,
        target: &TargetId,
        node: &NodeName,
        server: &Server,
        state: &State,
    ) -> Option<Values> {
        let lately = ended_lately(state, target, now_ms(), FRESH.as_millis() as u64);
        let agent = self.parts.steering.agents().get(node).filter(|_| lately);
        let told = agent.as_ref().and_then(|agent| {
            Some((&agent.outcome(server)?.in_force, *agent.told_at.get(server)?))
        });
        if let Some(report) = self.parts.steering.balancers().get(node, server) {
            // Every report of a balancer reads all of it anew.
            let is_newer = told.is_none_or(|(_, told_at)| report.received > told_at);
            let is_fresh = report.received.elapsed() < FRESH;
            let newer = (is_newer && is_fresh).then(|| in_force::values(&report.report));
            return newer.or_else(|| told.map(|(told, _)| told.clone()));
        }
        let report = self.parts.steering.caches().get(node, server);
        let report = report.filter(|cache| cache.received.elapsed() < FRESH);
        newest(told, report.as_ref().map(|cache| (&cache.report.settings, cache.received)))
    }

    async fn propose(&mut self, proposals: Vec<Proposal>) -> Result<Proposed, DriveError> {
        let mut result = Proposed::default();
        for proposal in proposals {
            let id = proposal.id.clone();
            match self.happen(&Event::Proposed(Box::new(proposal))).await {
                Ok(()) => result.taken.push(id),
                Err(error @ (DriveError::Refused(_) | DriveError::Open(_))) => {
                    result.refused.push((id, error.to_string()));
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
            let decision = match decided(state, event, &self.parts.limits) {
                Ok(decision) => decision,
                Err(refused) => {
                    self.tell(&taken);
                    return Err(refused);
                }
            };
            let mut won = true;
            for transition in decision.transitions {
                let Ok(row) = self.follower.log().row(&transition) else {
                    // Something else was taken meanwhile: decide anew.
                    won = false;
                    break;
                };
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
        self.missed = true;
        Err(DriveError::Journal("is busy: other collectors were first every time".to_owned()))
    }

    /// A machine's event: what cannot be decided now is found again.
    pub(super) async fn machine(&mut self, event: Event) {
        if let Err(error) = self.happen(&event).await {
            tracing::warn!(%error, "nothing was decided");
        }
    }

    async fn told(&mut self, node: &NodeName, outcome: &PolicyOutcome) {
        self.parts.live.change(Change::Policy, show::outcome(node, outcome));
        self.machine(Event::Outcome(outcome_of(node, outcome))).await;
    }

    pub(super) async fn catch_up(&mut self) {
        let was_away = !self.follower.health().may_decide();
        let taken = self.follower.catch_up().await;
        self.read_at = Instant::now();
        if was_away && self.follower.health().may_decide() {
            self.missed = true;
        }
        self.tell(&taken);
    }

    /// Tells everybody what was taken, and what follows from it.
    pub(super) fn tell(&mut self, taken: &[Taken]) {
        let log = self.follower.log();
        let health = self.follower.health();
        let (state, policies) = (log.state(), &self.parts.policies);
        let clocks = self.follower.clocks().map(str::to_owned);
        self.parts.accounts.set(Kind::ClocksDiffer, None, clocks);
        let is_news = {
            let known = self.publish.borrow();
            known.head != log.head()
                || known.health != *health
                || known.first != self.follower.first()
        };
        let is_whole = matches!(health, Health::Whole);
        // Most outcomes of a large fleet change nothing, and looking at every node takes time.
        let changed = if is_whole && is_news {
            offers::publish(state, &self.journal_name(), policies)
        } else {
            Vec::new()
        };
        policies.set_current(is_whole);
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

/// What is in force by what an agent has read back for a rollout and by its last report, each with the
/// time when it came: the newer one counts. Only what every report reads anew can be newer in it.
fn newest(
    told: Option<(&Values, std::time::Instant)>,
    report: Option<(&Values, std::time::Instant)>,
) -> Option<Values> {
    match (told, report) {
        (Some((told, told_at)), Some((report, at))) if at > told_at => {
            let mut values = report.clone();
            let older = told.iter().filter(|(name, _)| !READ_ANEW.contains(&name.as_str()));
            values.extend(older.map(|(name, value)| (name.clone(), value.clone())));
            Some(values)
        }
        (Some((one, _)), _) | (None, Some((one, _))) => Some(one.clone()),
        (None, None) => None,
    }
}

/// What follows from an event now. Of two suggestions for the same parameter of a target only one waits,
/// whoever was first.
fn decided(state: &State, event: &Event, limits: &Limits) -> Result<Decision, DriveError> {
    if let Event::Proposed(proposal) | Event::ProposedBy { proposal, .. } = event
        && let Some(open) = gates::open(proposal, state)
    {
        return Err(DriveError::Open(open));
    }
    Ok(decide(state, event, now_ms(), limits)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_of_report_and_outcome_counts() {
        let values = |limit: &str, samples: &str| -> Values {
            [("maxmemory", limit), ("maxmemory-samples", samples)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        };
        let early = std::time::Instant::now();
        let late = early + Duration::from_millis(1);
        let (told, report) = (values("64", "5"), values("80", "10"));
        assert_eq!(newest(Some((&told, late)), Some((&report, early))), Some(told.clone()));
        let mixed = values("80", "5");
        assert_eq!(newest(Some((&told, early)), Some((&report, late))), Some(mixed));
        assert_eq!(newest(None, Some((&report, late))), Some(report));
        assert_eq!(newest(Some((&told, early)), None), Some(told));
        assert_eq!(newest(None, None), None);
    }
}
