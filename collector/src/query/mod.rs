//! Questions about the past: one typed model for HTTP and gRPC, from what was asked to the numbers.
//!
//! [`ask::MetricsAsk`] is what a caller wrote; [`validate`] turns it into a [`MetricsQuery`] or lists everything that is wrong with it;
//! [`plan`](plan::plan) picks the series from the catalog in memory and writes the SQL, which holds numbers only, never text of the caller;
//! [`run`] asks ClickHouse and lays the rows out on the grid of buckets. What each aggregation means: docs/adr/004-query-semantics.md.

pub mod agg;
pub mod answer;
pub mod ask;
pub mod bucket;
pub mod error;
pub mod explain;
mod fetch;
pub mod fold;
mod kept;
mod last;
pub mod limits;
pub(crate) mod memory;
mod metrics;
mod parts;
pub mod plan;
pub mod run;
pub mod slow;
pub mod source;
pub mod sql;
pub mod table;
mod tags;
pub mod time;
pub mod validate;

pub use agg::Agg;
pub use answer::{MetricsAnswer, SeriesAnswer};
pub use ask::MetricsAsk;
pub use bucket::Buckets;
pub use error::{FieldError, QueryError, Violations};
pub use fold::Fold;
pub use limits::QueryLimits;
pub use metrics::QueryMetrics;
pub use run::{Answered, Querier, QueryParts, SharedParts};
pub use table::Table;
pub use tags::of_operator;
pub use validate::MetricsQuery;

/// Most points of one series in an answer.
pub const MAX_POINTS: i64 = 11_000;
/// Most series that one query may read.
pub const MAX_SERIES_READ: usize = 20_000;
/// Most points of one answer over all its series, unknown ones included.
pub const MAX_ANSWER_POINTS: usize = 1_000_000;
/// Most points of a part of an answer, which may begin before the answer.
const MAX_PART_POINTS: usize = 2 * MAX_ANSWER_POINTS;
