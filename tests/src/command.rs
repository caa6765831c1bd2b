//! The operator's command line as a person runs it.

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::process::binary;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// True when it ended with `code` and told `words` on standard error.
    pub fn failed_with(&self, code: i32, words: &[&str]) -> bool {
        self.code == Some(code) && words.iter().all(|word| self.err.contains(word))
    }

    /// True when it ended well and told `words` on standard output.
    pub fn told(&self, words: &[&str]) -> bool {
        self.code == Some(0) && words.iter().all(|word| self.out.contains(word))
    }
}

/// `flyball` with these arguments, not started yet.
///
/// # Errors
/// When it was not built.
pub fn command(server: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary("flyball")?);
    command.args(["--server", server]).args(arguments).kill_on_drop(true);
    Ok(command)
}

/// Runs `flyball` to its end.
///
/// # Errors
/// When it cannot be started.
pub async fn flyball(server: &str, arguments: &[&str]) -> Result<Ran> {
    let output = command(server, arguments)?.output().await.context("start flyball")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}
