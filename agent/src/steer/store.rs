//! Records on disk: one small file for each target, replaced as a whole.
//!
//! A file is a line with a checksum, and JSON that a person can read. It is written beside the old one, synced, renamed over it, and the directory is synced: after a crash
//! there is the old one or the new one. One that cannot be read is moved aside and counts as none: an agent that samples is worth more than one that insists.
//!
//! When a lease ends is in a file of its own, because it changes with every renewal and may be lost: then the lease begins anew.

use std::fs::{File, create_dir_all, read, read_dir, rename};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flyball_proto::steering::Target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::clock::{Clock, Moment};
use super::record::{Followed, Record};

/// First word of a file.
const MAGIC: &str = "flyball-steer-1";
/// Name of the file that is about the whole node.
const NODE: &str = "node";
/// No record is larger; what is was not written here.
const MAX_BYTES: usize = 1024 * 1024;

/// The directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// What is known of the whole node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The log that the revision is of.
    pub journal: String,
    /// The last revision of which everything was applied.
    pub revision: u64,
}

/// When a lease ends.
#[derive(Debug, Serialize, Deserialize)]
struct Lease {
    revision: u64,
    boot: String,
    ends: Moment,
}

impl Store {
    /// Opens the directory, made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// What is known of a target; nothing when there is no file or it cannot be read.
    pub fn load(&self, target: &Target) -> Record {
        self.read(&file_name(target, "json")).unwrap_or_default()
    }

    /// Makes a record survive whatever comes.
    ///
    /// # Errors
    /// When it is not known to be on the medium.
    pub fn save(&self, target: &Target, record: &Record) -> io::Result<()> {
        self.replace(&file_name(target, "json"), record, true)
    }

    /// What is on trial, or on its way back, at targets other than these, with the files that say so.
    pub fn lost(&self, known: &[Target]) -> Vec<(PathBuf, Followed)> {
        let known: Vec<String> = known.iter().map(|target| file_name(target, "json")).collect();
        let Ok(entries) = read_dir(&self.dir) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let records = paths.filter(|path| path.extension().is_some_and(|what| what == "json"));
        let names = records.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        let others = names.filter(|name| !known.contains(name));
        let lost = others.filter_map(|name| {
            let followed = self.read::<Record>(&name)?.followed?;
            let is_trial = followed.lease_ms.is_some() || followed.is_reverting();
            is_trial.then(|| (self.dir.join(name), followed))
        });
        lost.collect()
    }

    /// When the lease of `revision` ends: what an earlier process of this boot has written, but not later than a whole lease from now.
    pub fn lease_end(
        &self,
        target: &Target,
        revision: u64,
        lease: Duration,
        clock: &Clock,
    ) -> Moment {
        let whole = clock.now().after(lease);
        match self.read::<Lease>(&file_name(target, "lease")) {
            Some(known) if known.boot == clock.boot() && known.revision == revision => {
                known.ends.min(whole)
            }
            _ => whole,
        }
    }

    /// Writes when a lease ends. It survives the process, not a power cut, after which it would mean nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_lease(
        &self,
        target: &Target,
        revision: u64,
        ends: Moment,
        clock: &Clock,
    ) -> io::Result<()> {
        let lease = Lease { revision, boot: clock.boot().to_owned(), ends };
        self.replace(&file_name(target, "lease"), &lease, false)
    }

    /// What is known of the node.
    pub fn load_node(&self) -> NodeRecord {
        self.read(NODE).unwrap_or_default()
    }

    /// Writes what is known of the node.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_node(&self, record: &NodeRecord) -> io::Result<()> {
        self.replace(NODE, record, false)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.dir.join(name);
        let reason = match read(&path) {
            Ok(bytes) => match parse(&bytes) {
                Ok(record) => return Some(record),
                Err(reason) => reason,
            },
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        let aside = self.dir.join(format!("{name}.corrupt"));
        let moved = rename(&path, &aside);
        tracing::error!(path = %path.display(), reason, aside = %aside.display(), is_moved = moved.is_ok(), "a record of steering cannot be read and counts as none");
        None
    }

    fn replace<T: Serialize>(&self, name: &str, record: &T, durably: bool) -> io::Result<()> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let mut file = File::create(&new)?;
        file.write_all(&bytes_of(record)?)?;
        if durably {
            file.sync_all()?;
        }
        rename(&new, &path)?;
        if durably {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }
}

/// Names of targets are plain by the rules of the configuration; whatever else one holds is written as its number.
fn file_name(target: &Target, extension: &str) -> String {
    let plain = |name: &str| {
        let each = |c: char| {
            if c.is_ascii_alphanumeric() || "_-".contains(c) {
                c.to_string()
            } else {
                format!("%{:x}", u32::from(c))
            }
        };
        name.chars().map(each).collect::<String>()
    };
    format!("{}.{}.{extension}", plain(&target.kind), plain(&target.name))
}

fn bytes_of<T: Serialize>(record: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_string_pretty(record).map_err(io::Error::other)?;
    Ok(format!("{MAGIC} {:08x}\n{body}\n", crc32c::crc32c(body.as_bytes())).into_bytes())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > MAX_BYTES {
        return Err("too large".to_owned());
    }
    let text = str::from_utf8(bytes).map_err(|_| "not text")?;
    let (head, body) = text.split_once('\n').ok_or("no first line")?;
    let body = body.strip_suffix('\n').ok_or("no end")?;
    let expected = head.strip_prefix(MAGIC).ok_or("another first line")?.trim();
    if expected != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return Err("the checksum does not fit".to_owned());
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::record::{Code, Outcome, Phase};
    use super::*;

    fn record() -> Record {
        let settings = |value: &str| [("maxmemory".to_owned(), value.to_owned())].into();
        let followed = Followed {
            revision: 7,
            rollout_id: "r-1".to_owned(),
            wanted: settings("200"),
            goal: settings("200"),
            before: settings("100"),
            found: settings("150"),
            lease_ms: Some(30_000),
            persist: false,
            identity: "abc".to_owned(),
            phase: Phase::Reverting { result: Code::Reverted, reason: "why".to_owned() },
            is_again: false,
        };
        let outcome = Outcome {
            revision: 7,
            rollout_id: "r-1".to_owned(),
            result: Code::Applied,
            reason: String::new(),
            in_force: settings("200"),
            expected: settings("200"),
        };
        let (journal, followed, outcome) = ("j".to_owned(), Some(followed), Some(outcome));
        Record { journal, seen: 7, followed, refused: outcome.clone(), outcome }
    }

    fn target() -> Target {
        Target::new("redis", "sessions/../1")
    }

    #[test]
    fn a_record_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("steer")).unwrap();
        assert_eq!(store.load(&target()), Record::default());
        store.save(&target(), &record()).unwrap();
        assert_eq!(store.load(&target()), record());
        store.save(&target(), &Record::default()).unwrap();
        assert_eq!(store.load(&target()), Record::default());
        store.save_node(&NodeRecord { journal: "j".to_owned(), revision: 3 }).unwrap();
        assert_eq!(store.load_node().revision, 3);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is written outside");
    }

    #[test]
    fn whatever_is_in_the_file_it_is_moved_aside_and_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.save(&target(), &record()).unwrap();
        let path = dir.path().join(file_name(&target(), "json"));
        let good = read(&path).unwrap();
        let aside = dir.path().join(format!("{}.corrupt", file_name(&target(), "json")));
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        };
        let cut = (0..good.len()).step_by(7).map(|end| good[..end].to_vec());
        let broken = (0..good.len()).map(flipped).chain(cut).chain([vec![b' '; MAX_BYTES + 1]]);
        for bytes in broken {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(store.load(&target()), Record::default());
            assert_eq!(read(&aside).unwrap(), bytes);
            assert!(!path.exists());
        }
        std::fs::write(&path, &good).unwrap();
        assert_eq!(store.load(&target()), record());
    }

    #[test]
    fn trials_of_targets_that_are_gone_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut record = record();
        store.save(&target(), &record).unwrap();
        store.save(&Target::new("redis", "never"), &Record::default()).unwrap();
        let lost = store.lost(&[]);
        let before = record.followed.as_ref().unwrap().before.clone();
        assert_eq!(lost.iter().map(|(_, lost)| &lost.before).collect::<Vec<_>>(), [&before]);
        assert!(lost[0].0.exists());
        assert_eq!(store.lost(&[target()]), []);
        let followed = record.followed.as_mut().unwrap();
        (followed.lease_ms, followed.phase) = (None, Phase::Held);
        store.save(&target(), &record).unwrap();
        assert_eq!(store.lost(&[]), [], "what is permanent is no trial");
    }

    #[test]
    fn a_lease_runs_on_while_the_agent_is_down() {
        let dir = tempfile::tempdir().unwrap();
        let (store, clock) = (Store::open(dir.path()).unwrap(), Clock::host());
        let lease = Duration::from_mins(1);
        let end = |revision| store.lease_end(&target(), revision, lease, &clock);
        assert!(end(7) >= clock.now(), "nothing is known");
        let soon = clock.now().after(Duration::from_millis(5));
        store.save_lease(&target(), 7, soon, &clock).unwrap();
        assert_eq!(end(7), soon);
        assert!(end(8) > soon, "that of another revision means nothing");
        store.save_lease(&target(), 7, clock.now().after(lease * 9), &clock).unwrap();
        assert!(end(7) <= clock.now().after(lease), "never longer than a lease");
        let before_boot = Lease { revision: 7, boot: "another".to_owned(), ends: soon };
        store.replace(&file_name(&target(), "lease"), &before_boot, false).unwrap();
        assert!(end(7) > soon, "that of another boot means nothing");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("gone")).unwrap();
        std::fs::remove_dir(dir.path().join("gone")).unwrap();
        assert!(store.save(&target(), &record()).is_err());
    }
}
