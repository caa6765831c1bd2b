//! The steering path's own metrics, `flyball_steering_*`.

use flyball_proto::steering::PolicyResult;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the steering path; clones share them.
#[derive(Debug, Clone, Default)]
pub struct SteeringMetrics {
    pub(super) streams: Gauge,
    pub(super) streams_replaced: Counter,
    pub(super) streams_ended: Family<Code, Counter>,
    pub(super) policies: Counter,
    pub(super) renewals: Counter,
    pub(super) outcomes: Family<Outcome, Counter>,
    pub(super) reports: Counter,
    pub(super) balancer_reports: Counter,
    pub(super) balancer_reports_refused: Counter,
    pub(super) agents: Gauge,
    pub(super) caches: Gauge,
    pub(super) balancers: Gauge,
    judged: Family<Look, Counter>,
}

/// What became of a look at a rollout that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judged {
    /// There is a verdict.
    Judged,
    /// It was not begun, since enough are under way.
    Postponed,
    /// The store did not give what was measured.
    Failed,
    /// It took too long.
    TimedOut,
}

impl Judged {
    const fn name(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Postponed => "postponed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Label of what became of a look.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Look {
    result: &'static str,
}

/// Label of a status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Code {
    pub(super) code: String,
}

/// Label of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) result: &'static str,
}

impl SteeringMetrics {
    /// Makes them part of what a registry prints. The registry's prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix("steering");
        own.register("streams", "Agents that watch for policies", self.streams.clone());
        own.register(
            "streams_replaced",
            "Streams that a newer one of the same node replaced",
            self.streams_replaced.clone(),
        );
        own.register(
            "streams_ended",
            "Streams that ended, by the status they ended with",
            self.streams_ended.clone(),
        );
        own.register(
            "policies",
            "Policies sent with a revision that was new to the agent",
            self.policies.clone(),
        );
        own.register("renewals", "Policies sent again to renew leases", self.renewals.clone());
        own.register(
            "outcomes",
            "Outcomes that agents have told and that were refused here, by result",
            self.outcomes.clone(),
        );
        own.register("cache_reports", "Reports of caches", self.reports.clone());
        own.register(
            "balancer_reports",
            "Reports of load balancers",
            self.balancer_reports.clone(),
        );
        own.register(
            "balancer_reports_refused",
            "Reports of load balancers that could not be taken",
            self.balancer_reports_refused.clone(),
        );
        own.register("balancers", "Load balancers that are known", self.balancers.clone());
        own.register("agents", "Agents that are known", self.agents.clone());
        own.register("caches", "Caches that are known", self.caches.clone());
        own.register(
            "looks",
            "Looks of the judge at rollouts, by what became of them",
            self.judged.clone(),
        );
    }

    /// Counts looks at rollouts that are judged.
    pub fn judged(&self, how: Judged, count: u64) {
        self.judged.get_or_create(&Look { result: how.name() }).inc_by(count);
    }

    /// Looks of which that became.
    pub fn looks(&self, how: Judged) -> u64 {
        self.judged.get_or_create(&Look { result: how.name() }).get()
    }

    pub(super) fn outcome(&self, result: PolicyResult) {
        self.outcomes.get_or_create(&Outcome { result: result.as_str() }).inc();
    }
}
