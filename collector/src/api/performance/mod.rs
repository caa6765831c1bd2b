//! The calls under `/api/performance`.

pub mod alerts;
pub mod cache;
pub mod catalog;
pub mod events;
pub mod last;
pub mod metrics;
pub mod policies;
pub mod queries;
pub mod status;
