//! The rollups' own metrics, `flyball_rollup_*`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::tier::RollupTier;

/// Counters of the rollups; clones share them.
#[derive(Debug, Clone, Default)]
pub struct RollupMetrics {
    /// Ten minutes computed for the first time, empty ones included.
    pub(super) spans: Counter,
    /// Ten minutes computed again for nodes with late samples.
    pub(super) late_spans: Counter,
    /// Marks of late samples that were settled.
    pub(super) late_marks_settled: Counter,
    /// Marks of late samples that wait.
    pub(super) late_marks_waiting: Gauge,
    /// Marks of samples whose ten minutes were about to be deleted.
    pub(super) late_marks_expired: Counter,
    /// Rows written.
    pub(super) rows: Family<Table, Counter>,
    /// Time spent waiting for statements.
    pub(super) seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    /// How far the rollups are behind the clock of the server.
    pub(super) lag_seconds: Gauge,
    /// 1 while this collector computes.
    pub(super) holder: Gauge,
    /// Steps that failed.
    pub(super) failures: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Table {
    table: &'static str,
}

impl RollupMetrics {
    /// Makes the metrics part of what a registry prints. The registry's prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let rollup = registry.sub_registry_with_prefix("rollup");
        rollup.register("spans", "Ten minutes rolled up for the first time", self.spans.clone());
        let help = "Ten minutes rolled up again for nodes with late samples";
        rollup.register("late_spans", help, self.late_spans.clone());
        let help = "Marks of late samples that were settled";
        rollup.register("late_marks_settled", help, self.late_marks_settled.clone());
        let help = "Marks of late samples that wait to be settled";
        rollup.register("late_marks_waiting", help, self.late_marks_waiting.clone());
        let help = "Marks of late samples that were about to be deleted";
        rollup.register("late_marks_expired", help, self.late_marks_expired.clone());
        rollup.register("rows", "Rows of rollups written", self.rows.clone());
        let help = "Time spent waiting for statements that compute rollups";
        rollup.register_with_unit("busy", help, Unit::Seconds, self.seconds.clone());
        let help = "Age of the newest sample that rollups of ten minutes hold all of";
        rollup.register_with_unit("lag", help, Unit::Seconds, self.lag_seconds.clone());
        rollup.register("holder", "1 while this collector computes rollups", self.holder.clone());
        rollup.register("failures", "Steps that failed and are tried again", self.failures.clone());
    }

    /// `rows` rows of a tier were written.
    pub(super) fn wrote(&self, tier: RollupTier, rows: u64) {
        self.rows.get_or_create(&Table { table: tier.table() }).inc_by(rows);
    }
}
