//! What people read while it goes on.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::process::binary;

/// Writes to the terminal, with the seconds since the beginning.
#[derive(Debug)]
pub(super) struct Story {
    begun: Instant,
    colour: bool,
}

impl Story {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), colour: stdout().is_terminal() }
    }

    /// A headline.
    pub(super) fn chapter(&self, title: &str) -> Result<()> {
        let (bold, plain) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        Ok(writeln!(stdout(), "\n{bold}{title}{plain}")?)
    }

    /// What has happened.
    pub(super) fn tell(&self, what: &str) -> Result<()> {
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok(writeln!(stdout(), "{seconds:6.1} s  {what}")?)
    }

    /// A line that belongs to what was told before.
    pub(super) fn show(line: &str) -> Result<()> {
        Ok(writeln!(stdout(), "          {line}")?)
    }

    /// Runs a command of `flyball` as a person would, and shows it with its answer.
    pub(super) async fn flyball(&self, server: &str, arguments: &[&str]) -> Result<()> {
        let failed = self.try_flyball(server, arguments).await?;
        ensure!(
            failed.is_none(),
            "flyball {}: {}",
            arguments.join(" "),
            failed.unwrap_or_default()
        );
        Ok(())
    }

    /// The same for one that may fail: then nothing is shown, and what it says is given.
    pub(super) async fn try_flyball(
        &self,
        server: &str,
        arguments: &[&str],
    ) -> Result<Option<String>> {
        let mut command = Command::new(binary("flyball")?);
        command.args(["--server", server]).args(arguments).kill_on_drop(true);
        let output = command.output().await?;
        if !output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let shown: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        writeln!(stdout(), "          $ flyball {}", shown.join(" "))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            writeln!(stdout(), "            {line}")?;
        }
        Ok(None)
    }
}

fn quoted(word: &str) -> String {
    let is_plain =
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_.:/=".contains(c));
    if is_plain { word.to_owned() } else { format!("'{word}'") }
}
