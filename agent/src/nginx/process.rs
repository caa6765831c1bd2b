//! One nginx: its files, its main process, and the commands that test and load a configuration.
//!
//! nginx tells nobody which configuration its workers have. So before a file is written, what was in it is put beside it, as a mark, which goes when nginx has loaded the new one or
//! surely has not. Whoever finds a mark does not know what the workers have: the agent was killed in between, or nginx has taken too long. Then what is on the disk is loaded anew.
//! nginx loads one configuration after the other, so where what was before has been put back while it may still have been loading the other, workers have it for sure
//! after they have changed twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::command::{Failure, run};
use super::config::NginxConfig;
use super::file::{MAX_FILE_BYTES, Servers};

/// Longest time until new workers have to be there after a reload.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(5);
/// The same where it is not known what the workers have, and waiting is all that is left.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two looks for them.
const LOOK: Duration = Duration::from_millis(20);
/// What is put behind the name of a file to keep what was in it.
const MARK: &str = ".flyball-before";

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

    /// Writes the files that differ, has nginx test them, and loads them. What does not pass the test is put back as it was, and so is what nginx does not load in time; then
    /// [`Self::is_unsure`] until [`Self::settle`] has loaded that again.
    ///
    /// # Errors
    /// When a file cannot be written, the test or the reload fails, or no new worker comes up.
    pub fn load(&self, upstreams: &BTreeMap<String, Servers>) -> Result<(), NginxError> {
        let changes = self.changes(upstreams)?;
        let written = changes.iter().try_for_each(Change::write).and_then(|()| {
            run(&self.config.test)?;
            Ok(())
        });
        let loaded = written.map_err(Untold::No).and_then(|()| self.reload(WORKERS_TIMEOUT));
        if loaded.is_err() {
            changes.iter().for_each(Change::put_back);
        }
        match loaded {
            Ok(()) => changes.iter().try_for_each(|change| unmark(&change.path)),
            Err(Untold::No(error)) => {
                // Where it could not be put back the mark is right.
                let is_back =
                    |change: &&Change| read(&change.path).is_ok_and(|is| is == change.old);
                changes.iter().filter(is_back).try_for_each(|change| unmark(&change.path))?;
                Err(error)
            }
            Err(Untold::Maybe(error)) => {
                Err(NginxError::Refused(format!("{error}; what was before is loaded again")))
            }
        }
    }

    /// True when it is not known whether the workers have what is in the files.
    pub fn is_unsure(&self) -> bool {
        self.marked().next().is_some()
    }

    /// Loads what is in the files until it is known that the workers have it.
    ///
    /// # Errors
    /// When nginx does not test or load it, so that it is still not known.
    pub fn settle(&self) -> Result<(), NginxError> {
        let mut marked: Vec<Change> = Vec::new();
        for path in self.marked() {
            let (old, new) = (read(&mark(path))?, read(path)?);
            marked.push(Change { path: path.to_owned(), old, new });
        }
        if run(&self.config.test).is_err() {
            marked.iter().for_each(Change::put_back);
            run(&self.config.test).map_err(|failure| unknown(failure.into()))?;
        }
        let is_back = |change: &Change| read(&change.path).is_ok_and(|is| is == change.old);
        // See the module.
        let times = if marked.iter().any(is_back) { 2 } else { 1 };
        for _ in 0..times {
            self.reload(SETTLE_TIMEOUT)
                .map_err(|(Untold::No(error) | Untold::Maybe(error))| unknown(error))?;
        }
        marked.iter().try_for_each(|change| unmark(&change.path))
    }

    /// Files that have a mark.
    fn marked(&self) -> impl Iterator<Item = &Path> {
        let files = self.config.upstreams.iter().map(|upstream| upstream.file.as_path());
        files.filter(|path| mark(path).exists())
    }

    fn changes(&self, upstreams: &BTreeMap<String, Servers>) -> Result<Vec<Change>, NginxError> {
        let mut changes = Vec::new();
        for upstream in &self.config.upstreams {
            let Some(servers) = upstreams.get(&upstream.name) else { continue };
            let (old, new) = (read(&upstream.file)?, servers.render());
            if old != new {
                changes.push(Change { path: upstream.file.clone(), old, new });
            }
        }
        Ok(changes)
    }

    /// Has nginx read its configuration, and waits for workers that have it.
    fn reload(&self, patience: Duration) -> Result<(), Untold> {
        let workers = self.workers().map_err(Untold::No)?;
        run(&self.config.reload).map_err(|failure| match failure {
            Failure::TooLong(_) => Untold::Maybe(failure.into()),
            _ => Untold::No(failure.into()),
        })?;
        self.wait_for_workers(&workers, patience).map_err(Untold::Maybe)
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
    fn wait_for_workers(&self, before: &[u32], patience: Duration) -> Result<(), NginxError> {
        let deadline = Instant::now() + patience;
        loop {
            let workers = self.workers()?;
            let (old, new): (Vec<u32>, Vec<u32>) =
                workers.into_iter().partition(|worker| before.contains(worker));
            if !new.is_empty() && old.iter().all(|&worker| self.is_leaving(worker)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seconds = patience.as_secs();
                return Err(NginxError::Refused(format!(
                    "nginx took the reload, and its workers have not changed for {seconds} s: see its error log"
                )));
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
}

struct Stat {
    parent: u32,
    started: String,
}

/// Why a configuration was not loaded.
enum Untold {
    /// nginx was not told to load it.
    No(NginxError),
    /// It was, or may have been: it may do so yet.
    Maybe(NginxError),
}

/// A file that is written.
struct Change {
    path: PathBuf,
    old: String,
    new: String,
}

impl Change {
    /// Writes what is new, behind its mark.
    fn write(&self) -> Result<(), NginxError> {
        write(&mark(&self.path), &self.path, &self.old)?;
        write(&self.path, &self.path, &self.new)
    }

    fn put_back(&self) {
        if let Err(error) = write(&self.path, &self.path, &self.old) {
            tracing::error!(path = %self.path.display(), %error, "cannot put back what was in a file of nginx");
        }
    }
}

/// Where it is kept what was in a file.
fn mark(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(MARK);
    path.with_file_name(name)
}

fn unmark(path: &Path) -> Result<(), NginxError> {
    let path = mark(path);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(NginxError::File { path, source })
        }
        _ => Ok(()),
    }
}

/// It is still not known what the workers have.
fn unknown(error: NginxError) -> NginxError {
    match error {
        NginxError::Refused(words) | NginxError::Away(words) => NginxError::Refused(format!(
            "whether nginx has loaded what is in its files is not known: {words}"
        )),
        error => error,
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

/// Replaces a file as a whole, so that it survives a power cut, with the rights of another one.
fn write(path: &Path, like: &Path, text: &str) -> Result<(), NginxError> {
    let replace = || {
        let rights = fs::metadata(like)?.permissions();
        let new = path.with_extension("flyball-new");
        let mut file = fs::File::create(&new)?;
        file.set_permissions(rights)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
    };
    replace().map_err(|source| NginxError::File { path: path.to_owned(), source })
}
