//! The samplers of Redis and memcached on real servers: what they publish, and how they say what is wrong.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod cost;
mod facts;
#[allow(dead_code, reason = "shared with the tests of steering")]
mod harness;
mod memcached;
mod restarts;
mod rights;
mod silence;
mod taps;
