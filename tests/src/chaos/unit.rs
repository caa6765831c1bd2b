//! One process under test: started, hit by faults, started again, with the proxies, clock, disk and namespace around it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::sleep;

use super::check::Hits;
use super::clock::Clock;
use super::disk::Disk;
use super::fault::Fault;
use super::namespace::Namespace;
use super::spool;
use crate::process::Process;
use crate::proxy::{Mode, Proxy};

/// Longest that a process may take to end after SIGTERM: its own grace period of 10 s, and a busy machine.
const STOPPED: Duration = Duration::from_secs(30);
/// From a start to the next kill in a storm.
const STORM_GAP: Duration = Duration::from_millis(150);

/// Time between two looks whether it still runs.
const LOOK: Duration = Duration::from_millis(200);

type MakeCommand = Box<dyn Fn() -> Result<Command> + Send + Sync>;

/// How a process is ended in order, and whether it may end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By SIGTERM, with code 0; never by itself.
    Signal,
    /// By SIGTERM; also by itself, for example a collector that starts while ClickHouse is away. A service manager starts it again.
    SignalOrItself,
    /// By the end of its input, with any code; also by itself: ClickHouse 26.7 aborts when it ends, and now and then when a client is gone before it has its
    /// answer (`Terminate called for uncaught exception: Broken pipe`). What it has accepted must be there all the same.
    Input,
}

/// A process and what is around it.
pub struct Unit {
    /// Its name in plans and tables.
    pub name: String,
    /// Proxies that its connections go through.
    pub links: Vec<Proxy>,
    /// Its wall clock, if that can be set.
    pub clock: Option<Clock>,
    /// The small disk that its spool is on.
    pub disk: Option<Disk>,
    /// The network namespace that it runs in.
    pub namespace: Option<Namespace>,
    /// Directory of its spool.
    pub spool: Option<PathBuf>,
    /// What it has suffered.
    pub hits: Hits,
    /// Times that it ended by itself and was started again, as a service manager would.
    pub revivals: u32,
    ending: Ending,
    command: MakeCommand,
    dir: PathBuf,
    process: Option<Process>,
}

impl Unit {
    /// A process that `command` starts, with its log in `dir`.
    pub fn new(
        name: &str,
        dir: &Path,
        ending: Ending,
        command: impl Fn() -> Result<Command> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            links: Vec::new(),
            clock: None,
            disk: None,
            namespace: None,
            spool: None,
            hits: Hits::default(),
            revivals: 0,
            ending,
            command: Box::new(command),
            dir: dir.to_owned(),
            process: None,
        }
    }

    /// Starts it, when it is not running.
    ///
    /// # Errors
    /// When it cannot be started, or has ended by itself and may not.
    pub fn run(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            let Err(ended) = process.check_running() else { return Ok(()) };
            if !self.may_end() {
                return Err(ended);
            }
            self.revivals += 1;
        }
        self.process = Some(Process::start_held(&self.name, (self.command)()?, &self.dir)?);
        Ok(())
    }

    /// Its process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn process(&mut self) -> Result<&mut Process> {
        let process = self.process.as_mut();
        process.with_context(|| format!("{} is not running", self.name))
    }

    /// Everything that it has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join(format!("{}.log", self.name))).unwrap_or_default()
    }

    /// Waits for `time` and starts it again whenever it ends by itself, as a service manager does.
    ///
    /// # Errors
    /// When it ends by itself and may not.
    pub async fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.run()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LOOK)).await;
        }
    }

    /// Lets a fault happen and waits until it is over.
    ///
    /// # Errors
    /// When the process ends in a way that the fault does not explain.
    pub async fn strike(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(down) => {
                self.kill().await?;
                sleep(down).await;
                self.run()
            }
            Fault::Restart(down) => {
                self.stop().await?;
                sleep(down).await;
                self.run()
            }
            Fault::Storm(times) => {
                for _ in 0..times {
                    self.kill().await?;
                    self.run()?;
                    sleep(STORM_GAP).await;
                }
                Ok(())
            }
            Fault::Pause(time) => {
                self.signal(Signal::STOP)?;
                sleep(time).await;
                self.signal(Signal::CONT)
            }
            Fault::Link(mode, time) => {
                self.links.iter().for_each(|link| link.set(mode));
                sleep(time).await;
                self.links.iter().for_each(|link| link.set(Mode::Pass));
                Ok(())
            }
            Fault::Partition(time) => {
                let namespace = self.namespace.as_ref().context("it has a namespace")?;
                namespace.set_link(false).await?;
                sleep(time).await;
                namespace.set_link(true).await
            }
            Fault::Clock(by_ms) => self.clock.as_mut().context("it has a clock")?.step(by_ms),
            Fault::Corrupt(at) => {
                self.kill().await?;
                let spool = self.spool.as_deref().context("it has a spool")?;
                self.hits.damages += u64::from(spool::corrupt(spool, at)?.is_some());
                self.run()
            }
            Fault::FullDisk(time) => {
                let disk = self.disk.as_ref().context("it has a disk")?;
                disk.fill()?;
                sleep(time).await;
                disk.free()
            }
        }
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When it had ended by itself and may not.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            if let Err(ended) = process.check_running() {
                ensure!(self.may_end(), "{ended}");
                self.revivals += 1;
            } else {
                process.signal(Signal::KILL)?;
                process.wait(STOPPED).await?;
            }
            self.hits.kills += 1;
        }
        Ok(())
    }

    /// Ends it in order. An agent must end with code 0.
    ///
    /// # Errors
    /// When it does not.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if self.ending != Ending::Input && process.check_running().is_ok() {
            process.signal(Signal::TERM)?;
        }
        // Waiting closes its input.
        let status = process.wait(STOPPED).await?;
        if !status.success() && self.ending == Ending::Signal {
            bail!("{} ended with {status}:\n{}", self.name, process.log());
        }
        Ok(())
    }

    fn may_end(&self) -> bool {
        self.ending != Ending::Signal
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.may_end() && self.process()?.check_running().is_err() {
            return Ok(());
        }
        self.process()?.signal(signal)
    }
}
