//! Benchmarks of the shipped binaries, each beside its peer or its bar, as one table.

pub mod agent;
pub mod disk;
pub mod latency;
pub mod screenshot;
pub mod start;
pub mod table;
pub mod victoria;

/// Where a benchmark puts its files; removed at its end.
///
/// # Errors
/// When the directory cannot be made.
pub fn temporary() -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("flyball-bench-").tempdir()
}
