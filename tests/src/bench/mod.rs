//! Benchmarks of the shipped binaries, each beside its peer or its bar, as one table.

mod account;
pub mod agent;
pub mod balance;
pub mod cache;
pub mod cache_cost;
pub mod conditions;
pub mod confirm;
pub mod disk;
pub mod harm;
pub mod judge;
pub mod latency;
pub mod outage;
pub mod query;
pub mod replay;
pub mod screenshot;
pub mod start;
pub mod steer;
pub mod table;
pub mod victoria;

/// Where a benchmark puts its files; removed at its end.
///
/// # Errors
/// When the directory cannot be made.
pub fn temporary() -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("flyball-bench-").tempdir()
}

/// Tells people how long something will take. May be lost.
fn progress(what: &str, time: std::time::Duration) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}, {} s", time.as_secs());
}
