//! The directory that an agent keeps its state in, locked so that no two agents share it.

use std::fs::{File, OpenOptions, create_dir_all};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Name of the lock file. It stays when the agent ends; the lock does not.
const LOCK: &str = "lock";

/// A directory that is this process's alone as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("cannot use data directory {path}: {source}; choose another one with --data-dir")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another agent uses it.
    #[error(
        "data directory {path} is in use by another flyball-agent; stop that one, or choose another directory with --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

impl DataDir {
    /// Makes the directory where it is missing and locks it.
    ///
    /// # Errors
    /// When it cannot be written or another agent holds it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        create_dir_all(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(DataDirError::InUse { path: path.to_owned() }),
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_agent_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(error.to_string().contains("in use by another flyball-agent"), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().join("below");
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot use data directory {}", path.display())),
            "{error}"
        );
        assert!(error.contains("--data-dir"), "{error}");
    }
}
