//! Programs of the Python environment that `scripts/need.sh pip:...` makes.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Where a program of it would be; whether it is there is another question.
///
/// # Errors
/// Without a home directory.
pub(super) fn tool(name: &str) -> Result<PathBuf> {
    let set = |key| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(cache.context("HOME is set")?.join("flyball/tools/python/bin").join(name))
}
