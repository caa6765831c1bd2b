//! A small disk: a tmpfs that can be filled to its last byte and freed again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

const BALLAST: &str = "ballast";

/// A mounted tmpfs. Dropping it takes it away.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a disk of `bytes` on `path`; `None` where this process may not.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn mount(path: &Path, bytes: u64) -> Result<Option<Self>> {
        std::fs::create_dir_all(path)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={bytes}"))
            .arg("flyball-chaos")
            .arg(path)
            .output()
            .context("run mount")?;
        Ok(mounted.status.success().then(|| Self { path: path.to_owned() }))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file until nothing more fits.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.path.join(BALLAST)).context("the file that fills")?;
        // Ends with the first write that finds no room.
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    /// Removes that file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn free(&self) -> Result<()> {
        std::fs::remove_file(self.path.join(BALLAST)).context("the file that fills")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.path).status();
        if let Err(error) = unmounted.map_err(anyhow::Error::from).and_then(|status| {
            ensure!(status.success(), "{status}");
            Ok(())
        }) {
            // A test that has failed already must not fail again here.
            let _ = writeln!(std::io::stderr(), "umount {}: {error}", self.path.display());
        }
    }
}
