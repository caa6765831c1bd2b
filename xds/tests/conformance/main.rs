//! Real clients against the server: Envoy, the gRPC library behind C++, Python and others, and the
//! Rust client of gRPC.

mod envoy;
mod grpc;
mod rust;
#[path = "../support/mod.rs"]
mod support;
