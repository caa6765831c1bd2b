//! A real HAProxy and the real agent: what is told is what happened, what is wanted comes into force and stays through reloads, and nobody's request fails for it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

#[path = "../steer/collector.rs"]
#[allow(dead_code, reason = "shared with the tests of Redis")]
mod collector;
#[path = "../caches/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of Redis")]
mod harness;
mod limits;
mod reports;
mod server;
mod steering;
