//! Damage to an agent's spool, as a failing disk does it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Changes one byte of one file below `dir`; `at` chooses which. Gives the file, or `None` when there is nothing to damage.
///
/// # Errors
/// When a file cannot be read or written.
pub fn corrupt(dir: &Path, at: u64) -> Result<Option<PathBuf>> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Ok(None);
    }
    let (path, bytes) = &files[(at % files.len() as u64) as usize];
    let offset = (at / files.len() as u64) % bytes;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).with_context(|| format!("read {}", path.display()))?;
    byte[0] ^= 1 << (at % 8);
    file.write_all_at(&byte, offset).with_context(|| format!("damage {}", path.display()))?;
    Ok(Some(path.clone()))
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            collect(&entry.path(), files)?;
        } else if meta.len() > 0 {
            files.push((entry.path(), meta.len()));
        }
    }
    Ok(())
}
