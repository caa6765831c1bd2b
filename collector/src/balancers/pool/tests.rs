//! Pools of made-up reports.
