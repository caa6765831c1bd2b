//! Keys as numbers that do not tell them.
//!
//! Nothing that is kept or sent holds a key, only its hash with a salt that is this agent's own and
//! stays on its disk. XXH3 is no cipher: who has the salt can test a guess, who has not cannot.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rand::RngExt as _;
use twox_hash::XxHash3_64;

const FILE: &str = "salt";

/// Hashes keys of all databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHasher {
    salt: u64,
}

impl KeyHasher {
    /// With a salt of its own, for tests and for what is not kept.
    pub const fn new(salt: u64) -> Self {
        Self { salt }
    }

    /// With the salt of this directory, which is made when it is missing: what was kept before is
    /// understood.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let read = fs::read(&path);
        if let Some(salt) = read.ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            return Ok(Self { salt: u64::from_le_bytes(salt) });
        }
        fs::create_dir_all(dir)?;
        let salt: u64 = rand::rng().random();
        super::write_private(&path, &salt.to_le_bytes())?;
        Ok(Self { salt })
    }

    /// The hash of a key of a database.
    pub fn of(&self, database: u32, key: &[u8]) -> u64 {
        let seed = self.salt ^ u64::from(database).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        XxHash3_64::oneshot_with_seed(seed, key)
    }
}

/// Deletes the salt, so that nothing kept before can be told any more.
///
/// # Errors
/// When it cannot be deleted.
pub fn forget(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(FILE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_outlive_the_agent_and_depend_on_salt_and_database() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("cache");
        let first = KeyHasher::open(&below).unwrap();
        assert_eq!(first, KeyHasher::open(&below).unwrap());
        assert_eq!(first.of(0, b"user:1"), first.of(0, b"user:1"));
        assert_ne!(first.of(0, b"user:1"), first.of(1, b"user:1"));
        assert_ne!(KeyHasher::new(1).of(0, b"k"), KeyHasher::new(2).of(0, b"k"));
        forget(&below).unwrap();
        forget(&below).unwrap();
        assert_ne!(first, KeyHasher::open(&below).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_the_salt() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        KeyHasher::open(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
