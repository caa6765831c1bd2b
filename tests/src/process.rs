//! A server of ours as a child process: started, observed through /proc, stopped by pid.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::wait::Ended;

/// A running child and its log file. Dropping it kills the child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// CPU time of all its threads.
    pub cpu: Duration,
    /// Resident memory.
    pub rss_bytes: u64,
}

/// The directory that holds the binaries of this build: `FLYBALL_BIN_DIR`, or the directory of this executable.
///
/// # Errors
/// When this executable's path is unknown.
pub fn bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("FLYBALL_BIN_DIR") {
        // Processes may be started in directories of their own.
        return std::path::absolute(dir).context("FLYBALL_BIN_DIR");
    }
    let exe = std::env::current_exe().context("path of this executable")?;
    let dir = exe.parent().context("an executable has a directory")?;
    Ok(if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir }.to_owned())
}

/// Path of one of our binaries.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = bin_dir()?.join(name);
    if !path.exists() {
        bail!("{} is not built: run `cargo build --workspace --bins` first", path.display());
    }
    Ok(path)
}

/// Gives an agent that was built without optimization room for its own code, of which more is resident than its budget would allow: it would slow its samplers for that.
pub fn with_room(agent: &mut Command) -> &mut Command {
    if cfg!(debug_assertions) {
        agent.env("FLYBALL_BUDGET_MEMORY_MB", "80").env("FLYBALL_BUDGET_CEILING_MB", "120");
    }
    agent
}

impl Process {
    /// Starts `command` with its output in `DIR/NAME.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: Command, dir: &Path) -> Result<Self> {
        Self::spawn(name, command, dir, Stdio::null())
    }

    /// As [`Process::start`], with an input that stays open until the process is waited for, or until this process ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_held(name: &str, command: Command, dir: &Path) -> Result<Self> {
        Self::spawn(name, command, dir, Stdio::piped())
    }

    fn spawn(name: &str, mut command: Command, dir: &Path, input: Stdio) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(input)
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Process id; `None` once it was reaped.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An error with the log's end when the process has ended by itself.
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(Ended(format!("{} ended with {status}:\n{}", self.name, self.log())).into());
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid as i32));
        let pid = pid.with_context(|| format!("{} is gone", self.name))?;
        kill_process(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let waited = tokio::time::timeout(limit, self.child.wait()).await;
        Ok(waited.with_context(|| format!("{} did not end:\n{}", self.name, self.log()))??)
    }

    /// Stops it as a person would: SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// When it does not end with code 0 within 20 seconds.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait(Duration::from_secs(20)).await?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}", self.name, self.log());
        }
        Ok(())
    }

    /// CPU time and resident memory.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.pid().with_context(|| format!("{} is gone", self.name))?)
    }
}

/// CPU time (by the scheduler's own account, in nanoseconds) and resident memory of a process.
///
/// # Errors
/// When the process is gone.
pub fn usage(pid: u32) -> Result<Usage> {
    let mut cpu_ns = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the read.
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        cpu_ns += schedstat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has a second field")?.parse()?;
    Ok(Usage {
        cpu: Duration::from_nanos(cpu_ns),
        rss_bytes: pages * rustix::param::page_size() as u64,
    })
}

/// Children of a process, direct ones only.
///
/// # Errors
/// When /proc cannot be read.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let ppid =
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if ppid == Some(parent) {
            found.push(pid);
        }
    }
    Ok(found)
}
