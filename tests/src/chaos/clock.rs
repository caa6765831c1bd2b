//! A wall clock of its own for one process: libfaketime before the C library, steered by a file that it reads at each look at the clock.
//!
//! The monotonic clock stays the real one, as when an administrator or NTP sets the time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

/// One process' wall clock.
#[derive(Debug, Clone)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
    offset_ms: i64,
}

impl Clock {
    /// A clock that is `offset_ms` from the right time, steered by a file in `dir`; `None` where libfaketime is not installed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(dir: &Path, offset_ms: i64) -> Result<Option<Self>> {
        let Some(library) = library() else { return Ok(None) };
        let mut clock = Self { library, file: dir.join("clock"), offset_ms: 0 };
        clock.step(offset_ms)?;
        Ok(Some(clock))
    }

    /// Makes `command` see this clock.
    pub fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// Sets the clock by `by_ms` from where it is.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn step(&mut self, by_ms: i64) -> Result<()> {
        self.offset_ms += by_ms;
        let (sign, ms) = (if self.offset_ms < 0 { '-' } else { '+' }, self.offset_ms.abs());
        // By a rename: a reader must never see half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{sign}{}.{:03}\n", ms / 1_000, ms % 1_000))?;
        std::fs::rename(&new, &self.file).context("set the clock")
    }
}

fn library() -> Option<PathBuf> {
    let directories = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut found = directories.map(|d| d.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists())
}
