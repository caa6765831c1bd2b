//! Compiles the .proto files with `protox` (no protoc needed) and keeps their descriptors for reflection.

use std::path::PathBuf;

use prost::Message as _;

const PROTOS: [&str; 3] =
    ["flyball/v1/telemetry.proto", "flyball/v1/performance.proto", "flyball/v1/steering.proto"];
/// What backends say of their load; not Flyball's, so not among the descriptors.
const ORCA: &str = "xds/service/orca/v3/orca.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("flyball.v1.descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".flyball.v1.Frame")
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::Codec")
        .compile_fds(protox::compile([ORCA], ["."])?)?;
    for proto in PROTOS.into_iter().chain([ORCA]) {
        println!("cargo:rerun-if-changed={proto}");
    }
    Ok(())
}
