//! How an answer was made, for those who ask with `explain`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{CacheLevel, Tier};
use super::plan::Plan;

/// How an answer was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explain {
    /// What was computed: over the series of a group, of each series.
    pub fold: String,
    /// Series that the question selects.
    pub series: usize,
    /// Nodes of these series.
    pub nodes: usize,
    /// The parts of the range, in order: each was asked for or found by itself.
    pub parts: Vec<ExplainPart>,
    /// Time from the question to its values, in milliseconds.
    pub elapsed_ms: f64,
}

/// A part of the range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainPart {
    /// Start, milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// End, not included.
    pub to_ms: i64,
    /// Where its values come from.
    pub cache: CacheLevel,
    /// What the caches found, in words.
    pub outcome: String,
    /// Which tables have it, and for which times: a tier is read as far as it is complete.
    pub sources: Vec<ExplainSource>,
    /// What ClickHouse was asked; its parameters are numbers and bound. Absent when it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Rows that ClickHouse read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_read: Option<u64>,
    /// Bytes that ClickHouse read, uncompressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_read: Option<u64>,
    /// Time that ClickHouse took, in milliseconds, with the transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ms: Option<f64>,
}

/// A table and the part of the time that is read from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainSource {
    /// Which.
    pub tier: Tier,
    /// First millisecond; for rates this is before the part, because they need the sample before.
    pub from_ms: i64,
    /// End, not included.
    pub to_ms: i64,
}

impl ExplainPart {
    /// Of a plan, which was or would be asked.
    pub(super) fn of(plan: &Plan, cache: CacheLevel, outcome: &str) -> Self {
        let sources = plan.sources.iter().map(|source| ExplainSource {
            tier: source.rollup.map_or(Tier::Raw, Tier::from),
            from_ms: source.from_ms,
            to_ms: source.to_ms,
        });
        Self {
            from_ms: plan.buckets.first_ms(),
            to_ms: plan.buckets.end_ms(),
            cache,
            outcome: outcome.to_owned(),
            sources: sources.collect(),
            sql: None,
            rows_read: None,
            bytes_read: None,
            store_ms: None,
        }
    }
}
