//! The API over real HTTP and gRPC, with the real engine behind it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "all of this is a test"
)]

mod cached;
mod errors;
mod events;
#[path = "../store/rollups/fleet.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod fleet;
mod grpc;
mod harness;
mod memory;
mod metrics;
mod openapi;
mod operation;
mod policies;
mod protection;
mod reference;
mod rollups;
