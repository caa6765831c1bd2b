//! Flyball's decisions as pure functions: same input, same output. No I/O, no clock, no async.

pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod emulate;
pub mod hit_curve;
pub mod journal;
pub mod judge;
mod log_linear;
mod mix;
pub mod record;
pub mod reuse;
pub mod rollout;
