//! The API over real HTTP and gRPC, with the real engine behind it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "all of this is a test"
)]

mod errors;
mod events;
mod grpc;
mod harness;
mod metrics;
mod openapi;
mod operation;
mod reference;
