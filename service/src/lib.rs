//! What Flyball's binaries share: layered configuration that reports every error at once, the start of a program, logging, shutdown and the endpoints file.

pub mod config;
pub mod endpoints;
pub mod logging;
pub mod program;
pub mod shutdown;

/// Exit code of a run that failed after it had started.
pub const EXIT_FAILED: u8 = 1;
/// Exit code for wrong usage or configuration.
pub const EXIT_USAGE: u8 = 2;
