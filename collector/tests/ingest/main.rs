//! The ingest path against the real engine, with real streams: what is acknowledged is stored, once, and nothing else is disturbed by those who do wrong.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test's helpers fail the test, and are not a library"
)]

mod account;
mod acknowledgement;
mod agent;
mod caches;
mod caps;
mod faults;
mod harness;
mod lanes;
mod outage;
#[allow(dead_code, reason = "shared with the tests of decisions")]
mod proxy;
mod shutdown;
