//! From a report to a promoted or rolled back change: collectors on a real ClickHouse, and agents whose every message a test decides.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test's helpers fail the test, and are not a library"
)]

mod calls;
mod control;
mod grpc;
#[allow(dead_code, reason = "shared with the tests of the ingest path")]
#[path = "../ingest/harness.rs"]
mod harness;
mod limits;
#[allow(dead_code, reason = "shared with the tests of the ingest path")]
#[path = "../ingest/proxy.rs"]
mod proxy;
mod rollouts;
mod several;
mod waves;
mod world;
