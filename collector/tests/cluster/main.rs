//! ClickHouse servers that are not the collector's own: two of them as the shards of a cluster, one that comes late, goes and comes back, and a collector that is
//! killed while it migrates one.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test's helpers fail the test, and are not a library"
)]

#[allow(dead_code, reason = "shared with the tests of the ingest path")]
#[path = "../ingest/agent.rs"]
mod agent;
mod harness;
mod layout;
mod migration;
mod outage;
#[allow(dead_code, reason = "shared with the tests of the ingest path")]
#[path = "../ingest/proxy.rs"]
mod proxy;
mod server;
mod shards;
