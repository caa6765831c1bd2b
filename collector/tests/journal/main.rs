//! The journal of decisions against the real engine: races, retries, lost answers, and what breaks a chain.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test's helpers fail the test, and are not a library"
)]

mod broken;
mod harness;
#[allow(dead_code, reason = "shared with the tests of the ingest path")]
#[path = "../ingest/proxy.rs"]
mod proxy;
mod race;
mod reading;
