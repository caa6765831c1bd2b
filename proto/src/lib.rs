//! The wire of Flyball: protobuf services, series definitions and the frame codec. No I/O.

pub mod codec;
pub mod frame;
pub mod series;
pub mod steering;

/// Messages and services generated from `flyball/v1/*.proto`; the comments there are their documentation.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("flyball.v1");
}

/// What backends say of their own load, generated from `xds/service/orca/v3/orca.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    reason = "generated code"
)]
pub mod orca {
    tonic::include_proto!("xds.service.orca.v3");
}

/// Descriptors of all services, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/flyball.v1.descriptor.bin"));

/// Version of the frame format that this crate reads and writes.
pub const PROTOCOL_VERSION: u32 = 1;
