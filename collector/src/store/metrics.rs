//! The store's own metrics, `flyball_store_*` and `flyball_engine_*`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::error::ErrorClass;

/// Counters of the store; clones share them.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    pub(super) inserts: Family<Table, Counter>,
    pub(super) insert_failures: Family<Failure, Counter>,
    pub(super) rows: Family<Table, Counter>,
    pub(super) bytes: Family<Table, Counter>,
    pub(super) insert_seconds: Histogram,
    pub(super) engine_restarts: Counter,
    pub(super) engine_up: Gauge,
    pub(super) series: Gauge,
    /// Series taken over from other collectors.
    pub(super) series_learned: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Table {
    pub(super) table: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Failure {
    table: &'static str,
    class: &'static str,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        Self {
            inserts: Family::default(),
            insert_failures: Family::default(),
            rows: Family::default(),
            bytes: Family::default(),
            insert_seconds: Histogram::new(bounds),
            engine_restarts: Counter::default(),
            engine_up: Gauge::default(),
            series: Gauge::default(),
            series_learned: Counter::default(),
        }
    }
}

impl StoreMetrics {
    /// Makes the metrics part of what a registry prints. The registry's prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("store");
        store.register("inserts", "Inserts that ClickHouse accepted", self.inserts.clone());
        store.register("insert_failures", "Inserts that failed", self.insert_failures.clone());
        store.register("rows", "Rows that ClickHouse accepted", self.rows.clone());
        store.register_with_unit(
            "inserted",
            "Encoded size of the rows",
            Unit::Bytes,
            self.bytes.clone(),
        );
        let help = "Time that an insert took, failed ones included";
        store.register_with_unit(
            "insert_duration",
            help,
            Unit::Seconds,
            self.insert_seconds.clone(),
        );
        store.register("series", "Series in the catalog", self.series.clone());
        let help = "Series that other collectors on the same database wrote first";
        store.register("series_learned", help, self.series_learned.clone());
        let engine = registry.sub_registry_with_prefix("engine");
        let help = "Times that the embedded engine was started again after it had ended";
        engine.register("restarts", help, self.engine_restarts.clone());
        engine.register("up", "1 while the embedded engine answers", self.engine_up.clone());
    }

    pub(super) fn failed(&self, table: &'static str, class: ErrorClass) {
        self.insert_failures.get_or_create(&Failure { table, class: class.as_str() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_start_with_the_registrys_prefix() {
        let mut registry = Registry::with_prefix("flyball");
        let metrics = StoreMetrics::default();
        metrics.register(&mut registry);
        metrics.failed("series", ErrorClass::TooManyParts);
        metrics.engine_restarts.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "flyball_engine_restarts_total 1",
            "flyball_store_insert_failures_total{table=\"series\",class=\"too_many_parts\"} 1",
            "# TYPE flyball_store_insert_duration_seconds histogram",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
