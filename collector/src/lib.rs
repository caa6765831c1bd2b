//! Stores samples in ClickHouse and serves the API and the dashboard: ingest -> store -> query -> api.

pub mod account;
pub mod api;
pub mod balancers;
pub mod cache;
mod caches;
pub mod cli;
pub mod config;
pub mod ingest;
pub mod live;
pub mod overload;
pub mod query;
mod recall;
pub mod rollup;
pub mod run;
mod share;
pub mod steer;
pub mod store;
pub mod suggest;
