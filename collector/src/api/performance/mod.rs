//! The calls under `/api/performance`.

pub mod alerts;
pub mod audit;
pub mod balancers;
pub mod cache;
pub mod catalog;
pub mod control;
pub mod events;
pub mod fleet_caches;
pub mod last;
pub mod metrics;
pub mod policies;
pub mod pools;
pub mod propose;
pub mod queries;
pub mod rollouts;
pub mod status;
pub mod suggestions;
