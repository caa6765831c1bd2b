//! What has to be served after the agent was killed: on disk before it is pushed.
//!
//! Only what differs from the configuration is kept, so a change of the configuration comes into force at the next start, and settings of endpoints that are gone are forgotten.

use std::fs::{File, create_dir_all, rename};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use flyball_proto::steering::Settings;
use serde::{Deserialize, Serialize};

/// Larger than settings of a target can be.
const MAX_BYTES: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// What is wanted now: pushed, or about to be.
    pub(super) wanted: Settings,
    /// What all clients had acknowledged, or what was pushed while there was none.
    pub(super) good: Settings,
    /// It is the way back to what was before: served whoever refuses it.
    #[serde(default)]
    pub(super) is_back: bool,
}

/// The file of one.
#[derive(Debug)]
pub(super) struct Keeper {
    dir: PathBuf,
    name: String,
}

impl Keeper {
    /// A file below `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(dir: &Path, name: &str) -> io::Result<Self> {
        create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), name: name.to_owned() })
    }

    /// What was kept; nothing where there is none. What cannot be read is moved aside and counts as none.
    pub(super) fn load(&self) -> Kept {
        let path = self.path();
        let read = || -> io::Result<Option<Kept>> {
            match std::fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
                Ok(meta) if meta.len() > MAX_BYTES => return Err(io::Error::other("too large")),
                Ok(_) => {}
            }
            let kept = serde_json::from_slice(&std::fs::read(&path)?)?;
            Ok(Some(kept))
        };
        match read() {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                let aside = path.with_extension("json.corrupt");
                let is_moved = rename(&path, &aside).is_ok();
                tracing::error!(path = %path.display(), %error, aside = %aside.display(), is_moved, "what was served cannot be read: the configuration is served");
                Kept::default()
            }
        }
    }

    /// Writes it, so that it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save(&self, kept: &Kept) -> io::Result<()> {
        let (path, new) = (self.path(), self.path().with_extension("json.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(kept)?)?;
        file.sync_all()?;
        rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::open(&dir.path().join("xds"), "edge").unwrap();
        assert_eq!(keeper.load(), Kept::default());
        let settings = |value: &str| [("weight:a/b".to_owned(), value.to_owned())].into();
        let kept = Kept { wanted: settings("2"), good: settings("1"), is_back: true };
        keeper.save(&kept).unwrap();
        assert_eq!(keeper.load(), kept);
        std::fs::write(keeper.path(), b"{").unwrap();
        assert_eq!(keeper.load(), Kept::default());
        assert!(dir.path().join("xds/edge.json.corrupt").exists());
        keeper.save(&kept).unwrap();
        assert_eq!(keeper.load(), kept);
    }
}
