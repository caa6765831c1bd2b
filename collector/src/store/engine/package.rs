//! Which engine, where it lies, and how to tell that it is the right one.

use std::path::{Path, PathBuf};

use crate::store::config::EngineSettings;
use crate::store::error::StoreError;

/// Version of the engine that this collector is built and tested with.
pub const VERSION: &str = "26.7.3-stable.1";
/// Name of the library in its directory.
pub const LIBRARY: &str = "libchdb.so";

/// A published engine for one kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Architecture, as Rust names it.
    pub architecture: &'static str,
    /// Name of the npm package.
    pub name: &'static str,
    /// Size of the packed file.
    pub packed_bytes: u64,
    /// SHA-256 of the packed file, in hexadecimal.
    pub packed_sha256: &'static str,
    /// Size of the library.
    pub library_bytes: u64,
    /// SHA-256 of the library, in hexadecimal.
    pub library_sha256: &'static str,
}

/// The engines that are pinned. Another architecture takes one entry, with the checksums of its package.
pub const PACKAGES: &[Package] = &[Package {
    architecture: "x86_64",
    name: "@chdb/lib-linux-x64-gnu",
    packed_bytes: 177_817_999,
    packed_sha256: "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad",
    library_bytes: 566_330_096,
    library_sha256: "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5",
}];

impl Package {
    /// The engine for this machine.
    ///
    /// # Errors
    /// When none is pinned for it.
    pub fn for_this_machine() -> Result<&'static Self, StoreError> {
        let architecture = std::env::consts::ARCH;
        let found = PACKAGES.iter().find(|package| package.architecture == architecture);
        found.filter(|_| cfg!(target_os = "linux")).ok_or_else(|| StoreError::EngineUnsupported {
            target: format!("{architecture} {}", std::env::consts::OS),
        })
    }
}

/// Directory of this version's engine in the cache that all checkouts share.
///
/// # Errors
/// When neither the settings nor the environment name a cache directory.
pub fn directory(settings: &EngineSettings) -> Result<PathBuf, StoreError> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = settings
        .cache_dir
        .clone()
        .or_else(|| set("FLYBALL_CACHE_DIR"))
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("flyball")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/flyball")));
    let cache = cache.ok_or_else(|| StoreError::Config {
        key: "cache_dir",
        reason: "neither engine.cache_dir, FLYBALL_CACHE_DIR nor HOME is set".to_owned(),
    })?;
    Ok(cache.join("engine").join(VERSION))
}

/// True when the library is there in full. Its checksum was verified when it was fetched, and it took its place by one rename.
pub(super) fn is_complete(library: &Path, package: &Package) -> bool {
    std::fs::metadata(library).is_ok_and(|file| file.len() == package.library_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_cache_directory_wins() {
        let settings =
            EngineSettings { cache_dir: Some("/cache".into()), ..EngineSettings::default() };
        assert_eq!(directory(&settings).unwrap(), Path::new("/cache/engine").join(VERSION));
    }

    #[test]
    fn a_library_of_another_size_is_not_complete() {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join(LIBRARY);
        let package = Package { library_bytes: 3, ..PACKAGES[0] };
        assert!(!is_complete(&library, &package));
        std::fs::write(&library, "ab").unwrap();
        assert!(!is_complete(&library, &package));
        std::fs::write(&library, "abc").unwrap();
        assert!(is_complete(&library, &package));
    }
}
