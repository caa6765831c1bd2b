//! The agents that watch, or have watched here: what they may set, and what became of what was wanted. Bounded; those that are gone are forgotten in time.
//!
//! Kept in memory only: an agent tells all of it again on each new stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, Capability, MAX_TARGETS, PolicyOutcome, PolicyResult, Revision, SteeringHello,
    Target,
};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::live::now_ms;

/// An agent that is gone is forgotten after this time.
const GONE: Duration = Duration::from_hours(1);
/// Revisions of a target whose outcomes are kept: one may be in force and a newer one refused.
const STANDING: usize = 2;
/// Events that a slow reader may be behind; then it reads the registry instead.
const EVENTS: usize = 1_024;

/// See the module. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Agents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nodes: Mutex<BTreeMap<NodeName, Agent>>,
    max_nodes: usize,
    events: broadcast::Sender<AgentEvent>,
}

/// Something that happened at an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// It watches.
    Connected(NodeName),
    /// It does not any more.
    Gone(NodeName),
    /// It has told an outcome, maybe again.
    Outcome(NodeName, PolicyOutcome),
}

/// What is known of an agent.
#[derive(Debug, Clone)]
pub struct AgentState {
    /// Version of the agent.
    pub version: String,
    /// It watches now.
    pub is_connected: bool,
    /// Since when it does, or does not, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// What it may set.
    pub capabilities: Arc<[Capability]>,
    /// The newest outcomes of each target, of two revisions at most, the older first.
    pub outcomes: Vec<PolicyOutcome>,
    /// When the newest outcome of each target was told first.
    pub told_at: BTreeMap<Target, Instant>,
    /// The last revision of which everything was in force.
    pub in_force: Revision,
    /// The log that it is of.
    pub journal: String,
    /// When it was last heard of, in milliseconds since the Unix epoch.
    pub heard_ms: i64,
}

#[derive(Debug)]
struct Agent {
    state: AgentState,
    /// The stream that is the current one.
    stream: u64,
    replaced: CancellationToken,
    gone_at: Option<Instant>,
}

/// The place of one stream. When it is dropped the agent is gone, unless a newer stream has taken over.
#[derive(Debug)]
pub(super) struct Place {
    agents: Agents,
    pub(super) node: NodeName,
    stream: u64,
    /// A newer stream has taken over.
    pub(super) replaced: CancellationToken,
}

/// There are as many agents as there may be, and all watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the collector already steers {0} agents, its limit")]
pub(super) struct Full(usize);

impl Agents {
    /// At most `max_nodes` agents.
    pub fn new(max_nodes: usize) -> Self {
        let events = broadcast::Sender::new(EVENTS);
        Self(Arc::new(Inner { nodes: Mutex::default(), max_nodes, events }))
    }

    /// Events from now on. A reader that is too slow is told so, and reads [`Self::get`] then.
    pub fn subscribe(&self) -> broadcast::Receiver<AgentEvent> {
        self.0.events.subscribe()
    }

    /// What is known of one agent.
    pub fn get(&self, node: &NodeName) -> Option<AgentState> {
        self.0.nodes.lock().get(node).map(|agent| agent.state.clone())
    }

    /// What is known of all.
    pub fn all(&self) -> Vec<(NodeName, AgentState)> {
        let nodes = self.0.nodes.lock();
        nodes.iter().map(|(node, agent)| (node.clone(), agent.state.clone())).collect()
    }

    /// Agents that watch.
    pub fn connected(&self) -> usize {
        self.0.nodes.lock().values().filter(|agent| agent.state.is_connected).count()
    }

    /// Forgets agents that have been gone for long. Returns how many are known.
    pub fn sweep(&self, now: Instant) -> usize {
        let mut nodes = self.0.nodes.lock();
        nodes.retain(|_, agent| {
            agent.gone_at.is_none_or(|at| now.saturating_duration_since(at) < GONE)
        });
        nodes.len()
    }

    /// An agent begins to watch; an older stream of it is told to end.
    pub(super) fn connect(&self, hello: &SteeringHello, stream: u64) -> Result<Place, Full> {
        let (node, replaced) = (hello.node.clone(), CancellationToken::new());
        let mut nodes = self.0.nodes.lock();
        let known = nodes.remove(&node);
        if known.is_none() && nodes.len() >= self.0.max_nodes {
            let gone = nodes.iter().filter_map(|(node, agent)| Some((agent.gone_at?, node)));
            let oldest = gone.min().map(|(_, node)| node.clone());
            nodes.remove(&oldest.ok_or(Full(self.0.max_nodes))?);
        }
        let (outcomes, told_at) = known.map_or_else(Default::default, |older| {
            older.replaced.cancel();
            (older.state.outcomes, older.state.told_at)
        });
        let state = AgentState {
            version: hello.agent_version.clone(),
            is_connected: true,
            since_ms: now_ms(),
            capabilities: hello.capabilities.clone().into(),
            outcomes,
            told_at,
            in_force: hello.revision,
            journal: hello.journal.clone(),
            heard_ms: now_ms(),
        };
        let agent = Agent { state, stream, replaced: replaced.clone(), gone_at: None };
        nodes.insert(node.clone(), agent);
        drop(nodes);
        let _ = self.0.events.send(AgentEvent::Connected(node.clone()));
        Ok(Place { agents: self.clone(), node, stream, replaced })
    }
}

impl Place {
    /// The agent has told an outcome. Returns the revision that is in force as a whole now, of `wanted`, when that has changed.
    pub(super) fn outcome(&self, outcome: PolicyOutcome, wanted: &AgentPolicy) -> Option<Revision> {
        let mut nodes = self.agents.0.nodes.lock();
        let agent = nodes.get_mut(&self.node).filter(|agent| agent.stream == self.stream)?;
        agent.state.heard_ms = now_ms();
        agent.state.take(outcome.clone());
        let in_force = agent.state.progress(wanted);
        drop(nodes);
        let _ = self.agents.0.events.send(AgentEvent::Outcome(self.node.clone(), outcome));
        in_force
    }

    /// Something else was wanted. Returns the revision that is in force as a whole now, when that has changed: it may be already.
    pub(super) fn wanted(&self, wanted: &AgentPolicy) -> Option<Revision> {
        let mut nodes = self.agents.0.nodes.lock();
        let agent = nodes.get_mut(&self.node).filter(|agent| agent.stream == self.stream)?;
        agent.state.progress(wanted)
    }

    /// The agent was heard.
    pub(super) fn heard(&self) {
        if let Some(agent) = self.agents.0.nodes.lock().get_mut(&self.node) {
            agent.state.heard_ms = now_ms();
        }
    }

    /// What is known of the agent.
    pub(super) fn state(&self) -> Option<AgentState> {
        self.agents.get(&self.node)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut nodes = self.agents.0.nodes.lock();
        let current = nodes.get_mut(&self.node).filter(|agent| agent.stream == self.stream);
        let Some(agent) = current else { return };
        agent.state.is_connected = false;
        agent.state.since_ms = now_ms();
        agent.gone_at = Some(Instant::now());
        drop(nodes);
        let _ = self.agents.0.events.send(AgentEvent::Gone(self.node.clone()));
    }
}

impl AgentState {
    /// The newest outcome of a target.
    pub fn outcome(&self, target: &Target) -> Option<&PolicyOutcome> {
        self.outcomes.iter().rev().find(|outcome| outcome.target == *target)
    }

    /// Puts an outcome in the place of that of the same revision, or of the oldest one.
    fn take(&mut self, outcome: PolicyOutcome) {
        let is_known = self.outcomes.iter().any(|other| {
            PolicyOutcome {
                // An agent tells its outcomes again on each new stream.
                sequence: other.sequence,
                ..outcome.clone()
            } == *other
        });
        if !is_known {
            self.told_at.insert(outcome.target.clone(), Instant::now());
        }
        let is_same = |other: &PolicyOutcome| other.target == outcome.target;
        self.outcomes.retain(|other| !is_same(other) || other.revision != outcome.revision);
        let count = self.outcomes.iter().filter(|other| is_same(other)).count();
        let is_full = self.outcomes.len() >= MAX_TARGETS * STANDING;
        let place = self.outcomes.iter().position(|other| is_full || is_same(other));
        if let Some(oldest) = place.filter(|_| is_full || count >= STANDING) {
            self.outcomes.remove(oldest);
        }
        self.outcomes.push(outcome);
    }

    /// Notes when all of `wanted` is in force.
    fn progress(&mut self, wanted: &AgentPolicy) -> Option<Revision> {
        let is_applied = |target: &Target| {
            self.outcome(target).is_some_and(|outcome| {
                outcome.revision == wanted.revision && outcome.result == PolicyResult::Applied
            })
        };
        let is_known = (self.in_force, &self.journal) == (wanted.revision, &wanted.journal);
        // Nothing that is wanted cannot come into force.
        let is_none = wanted.revision == Revision::default();
        if is_none || is_known || !wanted.targets.iter().all(|policy| is_applied(&policy.target)) {
            return None;
        }
        self.in_force = wanted.revision;
        self.journal.clone_from(&wanted.journal);
        Some(self.in_force)
    }
}
