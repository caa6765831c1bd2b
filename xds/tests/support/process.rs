//! Real data planes as processes, which end with the test.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The environment with Envoy and gRPC that `scripts/need.sh pip:...` makes.
pub(crate) fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    let path = cache.join("flyball/tools/python/bin").join(name);
    assert!(path.exists(), "{} is missing: see need.sh in scripts/test.sh", path.display());
    path
}

/// A directory for one process, and the process.
pub(crate) struct Process {
    pub(crate) directory: TempDir,
    pub(crate) child: Child,
}

impl Process {
    /// Starts a command whose errors go into the file `log` of the directory. It is killed, by its
    /// pid, when this is dropped.
    pub(crate) fn start(directory: TempDir, command: &mut Command) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let child = command.stderr(Stdio::from(log)).kill_on_drop(true).spawn().expect("a process");
        Self { directory, child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            let _ = writeln!(std::io::stderr(), "--- log\n{}", log.unwrap_or_default());
        }
    }
}
