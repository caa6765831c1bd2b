//! One engine process: started, waited for until it answers, stopped.
//!
//! Its input is a pipe of which this process holds the other end. The engine waits on it, so that it leaves when the pipe closes, whatever closes it:
//! an orderly stop, or the death of the collector by any signal.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::files::EngineDir;
use super::package::{self, LIBRARY, Package};
use crate::store::client::Endpoint;
use crate::store::config::EngineSettings;
use crate::store::error::StoreError;

/// First version of `clickhouse local` that serves HTTP.
const FIRST_MAJOR: u32 = 26;
/// From the start to the first answer. Far above the usual half second: loading parts after a crash takes long on a slow disk.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an engine without connections takes to leave, several times over.
const LEAVE_PERIOD: Duration = Duration::from_millis(300);
const POLL_PERIOD: Duration = Duration::from_millis(20);

/// What runs as the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// An installed `clickhouse` program.
    Installed(PathBuf),
    /// `collector engine run library`.
    Library { collector: PathBuf, library: PathBuf },
}

impl Program {
    /// An installed program if it is wanted and new enough, else the fetched library.
    pub(super) async fn find(
        settings: &EngineSettings,
        collector: &Path,
    ) -> Result<Self, StoreError> {
        if settings.prefer_installed
            && let Some(program) = installed().await
        {
            return Ok(Self::Installed(program));
        }
        let package = Package::for_this_machine()?;
        let library = package::directory(settings)?.join(LIBRARY);
        if !package::is_complete(&library, package) {
            return Err(StoreError::EngineNotFound { path: library });
        }
        Ok(Self::Library { collector: collector.to_owned(), library })
    }

    fn command(&self) -> Command {
        match self {
            Self::Installed(program) => {
                let mut command = Command::new(program);
                command.arg("local");
                command
            }
            Self::Library { collector, library } => {
                let mut command = Command::new(collector);
                command.args(["engine", "run"]).arg(library).arg("--");
                command
            }
        }
    }
}

/// A `clickhouse` on the `PATH` whose version is new enough.
async fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program =
        std::env::split_paths(&path).map(|dir| dir.join("clickhouse")).find(|p| p.is_file())?;
    let output = Command::new(&program).args(["local", "--version"]).output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if major(&text).is_some_and(|major| major >= FIRST_MAJOR) {
        return Some(program);
    }
    tracing::info!(program = %program.display(), version = text.trim(), "not using an installed clickhouse: too old");
    None
}

/// The first number of the version in `ClickHouse local version 26.3.1.1.`
fn major(text: &str) -> Option<u32> {
    let version =
        text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split('.').next()?.parse().ok()
}

/// A running engine that answers.
#[derive(Debug)]
pub(super) struct EngineProcess {
    child: Child,
    /// The pipe that keeps the engine running. Apart from `child`, whose `wait` would close it.
    input: Option<ChildStdin>,
}

impl EngineProcess {
    /// Starts the program on `port` and waits until it answers at `endpoint`.
    pub(super) async fn start(
        program: &Program,
        dir: &EngineDir,
        port: u16,
        endpoint: &Endpoint,
    ) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError::EngineStart { reason };
        let output = dir.output()?;
        let errors = dir.output()?;
        let mut child = program
            .command()
            .args(dir.arguments(port))
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            // A group of its own: Ctrl-C in a terminal is for the collector, which stops the engine after it has written what it holds.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot run {program:?}: {error}")))?;
        let input = child.stdin.take();
        let mut process = Self { child, input };
        process.answers(endpoint, dir).await?;
        Ok(process)
    }

    /// Process id, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the engine ends by itself.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the engine to leave and waits a moment; then SIGTERM, and after `grace` SIGKILL.
    ///
    /// An engine with idle connections waits 5 s for them. Nothing that it has accepted depends on that: a block is a part on disk before
    /// its insert is answered.
    pub(super) async fn stop(mut self, grace: Duration) {
        drop(self.input.take());
        if timeout(LEAVE_PERIOD, self.child.wait()).await.is_ok() {
            return;
        }
        tracing::debug!("the engine waits for connections, sending SIGTERM");
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(grace, self.child.wait()).await.is_err() {
            tracing::warn!("the engine does not leave, sending SIGKILL");
            let _ = self.child.kill().await;
        }
    }

    async fn answers(&mut self, endpoint: &Endpoint, dir: &EngineDir) -> Result<(), StoreError> {
        let client = endpoint.bare_client();
        let deadline = Instant::now() + START_TIMEOUT;
        let mut tick = interval(POLL_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                status = self.ended() => {
                    let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                    return Err(StoreError::EngineStart { reason: format!("{status}: {}", dir.last_error()) });
                }
                _ = tick.tick() => {}
            }
            let query = client.query("SELECT 1").fetch_one::<u8>();
            match timeout(Duration::from_secs(1), query).await {
                Ok(Ok(_)) => return Ok(()),
                _ if Instant::now() < deadline => {}
                last => {
                    let reason = match last {
                        Ok(Err(error)) => StoreError::from(error).to_string(),
                        _ => format!("no answer within {} s", START_TIMEOUT.as_secs()),
                    };
                    return Err(StoreError::EngineStart { reason });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_program_prints() {
        assert_eq!(major("ClickHouse local version 26.3.1.1 (official build)."), Some(26));
        assert_eq!(major("ClickHouse local version 18.16.1."), Some(18));
        assert_eq!(major("nothing"), None);
    }
}
