//! What queries tell of themselves at `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Counters of queries; clones share them.
#[derive(Debug, Clone)]
pub struct QueryMetrics {
    /// Queries that ClickHouse was asked.
    pub(super) store_queries: Counter,
    pub(super) store_seconds: Histogram,
    /// Questions that the recent samples in memory answered.
    pub(super) from_memory: Counter,
}

impl Default for QueryMetrics {
    fn default() -> Self {
        Self {
            store_queries: Counter::default(),
            // 1 ms to 16 s.
            store_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            from_memory: Counter::default(),
        }
    }
}

impl QueryMetrics {
    /// Makes the metrics part of what a registry prints; its prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let query = registry.sub_registry_with_prefix("query");
        let queries = "Queries that ClickHouse was asked";
        query.register("store_queries", queries, self.store_queries.clone());
        query.register_with_unit(
            "store_duration",
            "Time that ClickHouse took for a query, with the transfer",
            Unit::Seconds,
            self.store_seconds.clone(),
        );
        let memory = "Questions that the recent samples in memory answered";
        query.register("memory_answers", memory, self.from_memory.clone());
    }
}
