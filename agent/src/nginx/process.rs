//! One nginx: its files, its main process, and the commands that test and load a configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::config::NginxConfig;
use super::file::{MAX_FILE_BYTES, Servers};

/// Longest time that a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time until new workers have to be there after a reload.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks for either.
const LOOK: Duration = Duration::from_millis(20);
/// What is kept of a command's words.
const MAX_WORDS: usize = 512;

/// Why nginx could not be read or told.
#[derive(Debug, thiserror::Error)]
pub enum NginxError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file holds what is not understood.
    #[error("{path}: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// The line and what is wrong.
        reason: String,
    },
    /// There is no main process.
    #[error("nginx does not run: {0}")]
    Absent(String),
    /// A command has refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// A command took too long, or could not be started.
    #[error("{0}")]
    Away(String),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Nginx {
    config: NginxConfig,
    proc: PathBuf,
}

impl Nginx {
    /// An nginx of this host; `proc` is where /proc is.
    pub fn new(config: NginxConfig, proc: &Path) -> Self {
        Self { config, proc: proc.to_owned() }
    }

    /// Its settings.
    pub const fn config(&self) -> &NginxConfig {
        &self.config
    }

    /// Number and start of the main process: another one after a restart.
    ///
    /// # Errors
    /// [`NginxError::Absent`] when it does not run.
    pub fn identity(&self) -> Result<String, NginxError> {
        let pid = self.main()?;
        let stat = self.stat(pid).ok_or_else(|| {
            NginxError::Absent(format!("there is no process {pid} of {}", self.pid_file()))
        })?;
        Ok(format!("{pid}@{}", stat.started))
    }

    /// The servers of each upstream, as its file has them.
    ///
    /// # Errors
    /// When a file cannot be read or understood.
    pub fn upstreams(&self) -> Result<BTreeMap<String, Servers>, NginxError> {
        let read = |upstream: &super::UpstreamConfig| {
            let text = read(&upstream.file)?;
            let servers = Servers::parse(&text);
            let servers = servers
                .map_err(|reason| NginxError::Content { path: upstream.file.clone(), reason })?;
            Ok((upstream.name.clone(), servers))
        };
        self.config.upstreams.iter().map(read).collect()
    }

    /// Writes the files that differ, has nginx test them, and loads them. What does not pass the test is put back as it was.
    ///
    /// # Errors
    /// When a file cannot be written, the test or the reload fails, or no new worker comes up.
    pub fn load(&self, upstreams: &BTreeMap<String, Servers>) -> Result<(), NginxError> {
        let mut before = Vec::new();
        let written = self.write(upstreams, &mut before);
        let loaded = written.and_then(|()| self.run(&self.config.test)).and_then(|()| {
            let workers = self.workers()?;
            self.run(&self.config.reload)?;
            self.wait_for_workers(&workers)
        });
        if loaded.is_err() {
            for (path, text) in &before {
                if let Err(error) = write(path, text) {
                    tracing::error!(path = %path.display(), %error, "cannot put back what was in a file of nginx");
                }
            }
        }
        loaded
    }

    fn write(
        &self,
        upstreams: &BTreeMap<String, Servers>,
        before: &mut Vec<(PathBuf, String)>,
    ) -> Result<(), NginxError> {
        for upstream in &self.config.upstreams {
            let Some(servers) = upstreams.get(&upstream.name) else { continue };
            let (old, new) = (read(&upstream.file)?, servers.render());
            if old != new {
                before.push((upstream.file.clone(), old));
                write(&upstream.file, &new)?;
            }
        }
        Ok(())
    }

    fn pid_file(&self) -> String {
        self.config.pid_file.display().to_string()
    }

    fn main(&self) -> Result<u32, NginxError> {
        let text = read(&self.config.pid_file).map_err(|e| NginxError::Absent(e.to_string()))?;
        let pid = text.trim().parse().ok();
        pid.ok_or_else(|| NginxError::Absent(format!("{} holds no number", self.pid_file())))
    }

    /// Processes whose parent is the main one.
    fn workers(&self) -> Result<Vec<u32>, NginxError> {
        let main = self.main()?;
        let file = |source| NginxError::File { path: self.proc.clone(), source };
        let entries = fs::read_dir(&self.proc).map_err(file)?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(pids.filter(|&pid| self.stat(pid).is_some_and(|stat| stat.parent == main)).collect())
    }

    /// nginx answers a reload before it has happened: it has when there is a worker that was not there before, and the old ones take no new connections.
    fn wait_for_workers(&self, before: &[u32]) -> Result<(), NginxError> {
        let deadline = Instant::now() + WORKERS_TIMEOUT;
        loop {
            let workers = self.workers()?;
            let (old, new): (Vec<u32>, Vec<u32>) =
                workers.into_iter().partition(|worker| before.contains(worker));
            if !new.is_empty() && old.iter().all(|&worker| self.is_leaving(worker)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let reason =
                    "nginx took the reload, and its workers have not changed: see its error log";
                return Err(NginxError::Refused(reason.to_owned()));
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// True when a worker only ends what it has begun, which it says in its title, or is gone.
    fn is_leaving(&self, pid: u32) -> bool {
        let title = fs::read(self.proc.join(pid.to_string()).join("cmdline"));
        title.map_or(true, |title| {
            title.is_empty() || String::from_utf8_lossy(&title).contains("shutting down")
        })
    }

    fn stat(&self, pid: u32) -> Option<Stat> {
        let text = fs::read_to_string(self.proc.join(pid.to_string()).join("stat")).ok()?;
        // The name of the command is in brackets and may hold anything.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        Some(Stat { parent: fields.nth(1)?.parse().ok()?, started: fields.nth(17)?.to_owned() })
    }

    #[expect(clippy::unused_self, reason = "a command is nginx's, whichever it is")]
    fn run(&self, words: &[String]) -> Result<(), NginxError> {
        let away = |error: &dyn std::fmt::Display| {
            NginxError::Away(format!("{}: {error}", words.join(" ")))
        };
        let command = words.first().ok_or_else(|| away(&"no command"))?;
        let child = Command::new(command)
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| away(&error))?;
        let status = wait(&mut child).map_err(|error| away(&error))?;
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        if let Some(errors) = child.stderr.take() {
            // What it said is for people only.
            let _ = errors.take(MAX_WORDS as u64).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Err(NginxError::Refused(format!("{}: {status}: {said}", words.join(" "))))
    }
}

struct Stat {
    parent: u32,
    started: String,
}

/// Waits for a command, and ends it when it takes too long.
fn wait(child: &mut Child) -> io::Result<std::process::ExitStatus> {
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            let seconds = COMMAND_TIMEOUT.as_secs();
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("took over {seconds} s")));
        }
        std::thread::park_timeout(LOOK);
    }
}

fn read(path: &Path) -> Result<String, NginxError> {
    let file = |source| NginxError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let mut limited = fs::File::open(path).map_err(file)?.take(MAX_FILE_BYTES + 1);
    limited.read_to_string(&mut text).map_err(file)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        let reason = format!("is larger than {MAX_FILE_BYTES} bytes");
        return Err(NginxError::Content { path: path.to_owned(), reason });
    }
    Ok(text)
}

/// Replaces a file as a whole, with the rights of the old one.
fn write(path: &Path, text: &str) -> Result<(), NginxError> {
    let replace = || {
        let rights = fs::metadata(path)?.permissions();
        let new = path.with_extension("flyball-new");
        let mut file = fs::File::create(&new)?;
        file.set_permissions(rights)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    replace().map_err(|source| NginxError::File { path: path.to_owned(), source })
}
