//! The Redis sampler on real servers: what it publishes, and how it says what is wrong.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod cost;
mod facts;
#[allow(dead_code, reason = "shared with the tests of steering")]
mod harness;
mod restarts;
mod rights;
mod silence;
