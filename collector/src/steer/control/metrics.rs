//! Control's own metrics, `flyball_control_*`.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of times, in seconds.
const SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Counters of control; clones share them.
#[derive(Debug, Clone)]
pub struct ControlMetrics {
    pushes: Family<By, Counter>,
    held: Family<Why, Counter>,
    left_out: Family<Why, Counter>,
    pools: Family<State, Gauge>,
    append: Histogram,
    confirm: Histogram,
}

/// Label of whose a push is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: &'static str,
}

/// Label of why nothing was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// Label of the state of pools.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

impl Default for ControlMetrics {
    fn default() -> Self {
        Self {
            pushes: Family::default(),
            held: Family::default(),
            left_out: Family::default(),
            pools: Family::default(),
            append: Histogram::new(SECONDS),
            confirm: Histogram::new(SECONDS),
        }
    }
}

impl ControlMetrics {
    /// Makes them part of what a registry prints. The registry's prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix("control");
        own.register(
            "pushes",
            "Pushes in the journal, by this collector or another",
            self.pushes.clone(),
        );
        own.register(
            "held",
            "Windows after which nothing was pushed, by the reason",
            self.held.clone(),
        );
        own.register(
            "left_out",
            "Balancers that were left out after a window in which others could be pushed, by the reason",
            self.left_out.clone(),
        );
        own.register("pools", "Pools under control, by state", self.pools.clone());
        own.register(
            "append_seconds",
            "Time from a push's computation until its policies are offered: the journal's part",
            self.append.clone(),
        );
        own.register(
            "confirm_seconds",
            "Time from the offer of a push's policy until its agent has read it back, of each balancer",
            self.confirm.clone(),
        );
    }

    pub(super) fn pushed(&self, is_own: bool) {
        let by = if is_own { "this" } else { "other" };
        self.pushes.get_or_create(&By { by }).inc();
    }

    pub(super) fn held(&self, reason: &'static str) {
        self.held.get_or_create(&Why { reason }).inc();
    }

    pub(super) fn left_out(&self, reason: &'static str) {
        self.left_out.get_or_create(&Why { reason }).inc();
    }

    pub(super) fn states(&self, running: i64, frozen: i64) {
        self.pools.get_or_create(&State { state: "running" }).set(running);
        self.pools.get_or_create(&State { state: "frozen" }).set(frozen);
    }

    pub(super) fn appended(&self, begun: Instant, left_at: Instant) {
        self.append.observe(left_at.saturating_duration_since(begun).as_secs_f64());
    }

    pub(super) fn confirmed(&self, seconds: f64) {
        self.confirm.observe(seconds);
    }
}
