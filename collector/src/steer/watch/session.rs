//! One stream of an agent, from its Hello to its end.
//!
//! It sends what is wanted when that changes, and again at a third of the shortest lease, so that two of three may be lost; without canaries at leisure, so that
//! the agent knows that somebody is there. A message that the connection does not take in time ends the stream: the agent opens another one.

use std::sync::Arc;
use std::time::Duration;

use flyball_proto::steering::{AgentPolicy, AgentSteering, PolicyOutcome, Revision};
use flyball_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};

use super::agents::Place;
use super::offer::{Offer, offer};
use super::service::Shared;

/// Longest time between two messages.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Shortest, whatever the lease.
const LEAST_RENEWAL: Duration = Duration::from_millis(30);
/// Messages in a lease: so many may be lost but one.
const RENEWALS: u32 = 3;
/// Longest time that the connection may take for a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent.
pub(super) type Message = Result<v1::AgentPolicy, Status>;
/// Where it is put.
pub(super) type Outbound = mpsc::Sender<Message>;

/// See the module.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) inbound: Streaming<v1::AgentSteering>,
    pub(super) outbound: Outbound,
    /// The last outcome that was taken.
    pub(super) acked: u64,
    /// What was sent last.
    pub(super) sent: Option<Arc<AgentPolicy>>,
    /// A message was due while it was not known what is wanted.
    pub(super) owes: bool,
}

impl Session {
    /// Until the stream ends.
    pub(super) async fn run(mut self) -> Result<(), Status> {
        let mut changes = self.shared.policies.changes();
        let mut renew_at = self.send(&mut changes).await?;
        loop {
            tokio::select! {
                () = self.place.replaced.cancelled() => {
                    return Err(Status::aborted("a newer stream of this node has taken over"));
                }
                () = self.shared.shutdown.cancelled() => {
                    return Err(Status::unavailable("the collector is stopping"));
                }
                change = changes.changed() => {
                    change.map_err(|_| Status::unavailable("the collector is stopping"))?;
                    if self.is_news() {
                        renew_at = self.send(&mut changes).await?;
                    }
                }
                () = sleep_until(renew_at) => renew_at = self.send(&mut changes).await?,
                message = self.inbound.message() => match message? {
                    Some(message) => self.take(message)?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// True when something else is wanted than was sent, or a message is overdue and can be sent now.
    fn is_news(&self) -> bool {
        let wanted = self.shared.policies.wanted(&self.place.node);
        let is_other = |sent: &Arc<AgentPolicy>| !Arc::ptr_eq(sent, &wanted) && **sent != *wanted;
        self.shared.policies.is_current() && (self.owes || self.sent.as_ref().is_none_or(is_other))
    }

    /// Sends what is wanted. Returns when it is to be sent again.
    async fn send(&mut self, changes: &mut watch::Receiver<u64>) -> Result<Instant, Status> {
        changes.mark_unchanged();
        self.owes = !self.shared.policies.is_current();
        if self.owes {
            return Ok(Instant::now() + HEARTBEAT);
        }
        let wanted = self.shared.policies.wanted(&self.place.node);
        let Some(state) = self.place.state() else { return Ok(Instant::now() + HEARTBEAT) };
        let Offer { mut policy, refused } = offer(&wanted, &state.capabilities, &state.outcomes);
        let is_new = self.sent.as_ref().is_none_or(|sent| sent.revision != wanted.revision);
        self.sent = Some(Arc::clone(&wanted));
        self.settle(self.place.wanted(&wanted));
        for outcome in &refused {
            self.outcome(outcome);
        }
        let period = renewal(&policy);
        policy.renew = Some(period);
        policy.acked_sequence = self.acked;
        let metrics = &self.shared.metrics;
        if is_new && wanted.revision != Revision::default() {
            metrics.policies.inc();
        } else {
            metrics.renewals.inc();
        }
        match timeout(SEND_TIMEOUT, self.outbound.send(Ok(policy.into()))).await {
            Ok(Ok(())) => Ok(Instant::now() + period),
            Ok(Err(_)) => Err(Status::cancelled("the agent is gone")),
            Err(_) => Err(Status::deadline_exceeded("the agent does not read")),
        }
    }

    fn take(&mut self, message: v1::AgentSteering) -> Result<(), Status> {
        let message = match AgentSteering::try_from(message) {
            Ok(message) => message,
            Err(invalid) if invalid.field.starts_with("balancer.") => {
                // A balancer may say what nobody expected; that ends no trial of other targets.
                self.place.heard();
                self.shared.metrics.balancer_reports_refused.inc();
                tracing::warn!(node = %self.place.node, %invalid, "a report of a load balancer is refused");
                return Ok(());
            }
            Err(invalid) => return Err(Status::invalid_argument(invalid.to_string())),
        };
        match message {
            AgentSteering::Outcome(outcome) => {
                self.acked = self.acked.max(outcome.sequence);
                self.outcome(&outcome);
            }
            AgentSteering::Cache(report) => {
                self.place.heard();
                self.shared.metrics.reports.inc();
                self.shared.caches.set(&self.place.node, *report);
            }
            AgentSteering::Balancer(report) => {
                self.place.heard();
                self.shared.metrics.balancer_reports.inc();
                self.shared.balancers.set(&self.place.node, *report);
            }
            AgentSteering::Hello(_) => return Err(Status::invalid_argument("a second hello")),
        }
        Ok(())
    }

    fn outcome(&self, outcome: &PolicyOutcome) {
        let node = &self.place.node;
        tracing::debug!(
            %node,
            server = %outcome.target,
            revision = %outcome.revision,
            result = outcome.result.as_str(),
            reason = outcome.reason,
            "outcome"
        );
        self.shared.metrics.outcome(outcome.result);
        let wanted = self.shared.policies.wanted(node);
        self.settle(self.place.outcome(outcome.clone(), &wanted));
        self.shared.policies.outcome(node, outcome);
    }

    /// Shows which revision is in force.
    fn settle(&self, in_force: Option<Revision>) {
        if let Some(revision) = in_force {
            self.shared.live.policy(&self.place.node, revision.0);
        }
    }
}

/// When a policy is to be sent again.
fn renewal(policy: &AgentPolicy) -> Duration {
    let lease = policy.shortest_lease().map(|lease| lease / RENEWALS);
    lease.unwrap_or(HEARTBEAT).clamp(LEAST_RENEWAL, HEARTBEAT)
}
