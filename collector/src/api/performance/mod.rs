//! The calls under `/api/performance`.

pub mod catalog;
pub mod events;
pub mod metrics;
pub mod status;
