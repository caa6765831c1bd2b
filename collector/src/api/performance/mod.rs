//! The calls under `/api/performance`.

pub mod alerts;
pub mod catalog;
pub mod events;
pub mod metrics;
pub mod status;
