//! What queries may cost: the section `[query]` of the configuration.

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

/// Bounds of one query and of all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryLimits {
    /// Questions that are asked of ClickHouse at once, each with one query or two.
    pub running: usize,
    /// Questions that wait for their turn; further ones are refused.
    pub waiting: usize,
    /// Longest time that ClickHouse may work on one query, in milliseconds.
    pub time_ms: u64,
    /// Most rows that one query may read.
    pub rows: u64,
    /// Most bytes that one query may read.
    pub read_bytes: u64,
    /// Most memory that ClickHouse may use for one query, in bytes.
    pub memory_bytes: u64,
    /// Time from which on a query counts as slow, in milliseconds.
    pub slow_ms: u64,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            running: 3,
            waiting: 128,
            time_ms: 10_000,
            rows: 500_000_000,
            read_bytes: 20_000_000_000,
            memory_bytes: 500_000_000,
            slow_ms: 100,
        }
    }
}

impl QueryLimits {
    /// What no single key shows. Problems are named by keys of the section `section`.
    pub fn validate(&self, section: &str, problems: &mut Problems) {
        let least = [
            ("running", self.running as u64, 1),
            ("time_ms", self.time_ms, 100),
            ("rows", self.rows, 1),
            ("read_bytes", self.read_bytes, 1),
            ("memory_bytes", self.memory_bytes, 10_000_000),
            ("slow_ms", self.slow_ms, 1),
        ];
        for (key, value, least) in least {
            if value < least {
                problems.push(format!("{section}.{key}"), format!("must be at least {least}"));
            }
        }
    }

    /// The settings of ClickHouse that enforce the bounds of one query.
    pub(super) fn settings(&self) -> [(&'static str, String); 9] {
        [
            ("max_execution_time", format!("{:.3}", self.time_ms as f64 / 1_000.0)),
            ("max_rows_to_read", self.rows.to_string()),
            ("max_bytes_to_read", self.read_bytes.to_string()),
            ("max_memory_usage", self.memory_bytes.to_string()),
            // Ids of 20,000 series.
            ("max_query_size", "2000000".to_owned()),
            // All tables of a cluster are sharded by series.
            ("distributed_product_mode", "local".to_owned()),
            // So that what was read is known, and an error comes before the first row.
            ("wait_end_of_query", "1".to_owned()),
            ("readonly", "2".to_owned()),
            ("cancel_http_readonly_queries_on_client_close", "1".to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_nothing_may_be_nothing() {
        let mut problems = Problems::default();
        QueryLimits::default().validate("query", &mut problems);
        assert_eq!(problems.as_slice(), []);
        let none = QueryLimits {
            running: 0,
            waiting: 0,
            time_ms: 0,
            rows: 0,
            read_bytes: 0,
            memory_bytes: 0,
            slow_ms: 0,
        };
        none.validate("query", &mut problems);
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "query.running",
                "query.time_ms",
                "query.rows",
                "query.read_bytes",
                "query.memory_bytes",
                "query.slow_ms"
            ]
        );
    }
}
