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
    pub(super) agents: Gauge,
    pub(super) caches: Gauge,
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
        own.register("agents", "Agents that are known", self.agents.clone());
        own.register("caches", "Caches that are known", self.caches.clone());
    }

    pub(super) fn outcome(&self, result: PolicyResult) {
        self.outcomes.get_or_create(&Outcome { result: result.as_str() }).inc();
    }
}
