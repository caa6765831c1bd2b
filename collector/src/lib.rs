//! Stores samples in ClickHouse and serves the API and the dashboard: ingest -> store -> query -> api.

pub mod api;
pub mod live;
pub mod query;
pub mod store;
