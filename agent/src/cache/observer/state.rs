//! What outlives the agent: clocks of evicted keys, ages, what was reported last, and what was spent.
//!
//! A file for each cache, readable by this user only, replaced as a whole. It holds hashes and no key. A file that cannot be read counts as none; one that was written under other
//! settings of the server, or of another run of it, is of another server and worth nothing but for what was spent.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use flyball_model::reuse::{Ages, Ghosts};
use flyball_proto::steering::CacheReport;
use flyball_proto::v1;
use prost::Message as _;

use super::look::Regime;
use crate::cache::{now_ms, write_private};

const MAGIC: &[u8; 8] = b"fbcache1";
/// No file is larger; what is was not written here.
const MAX_BYTES: u64 = 128 << 20;

/// The state of one cache.
#[derive(Debug)]
pub(super) struct Saved {
    /// The server that it is of.
    pub(super) run_id: String,
    /// What it was told to do.
    pub(super) regime: Regime,
    /// Processor time that is to be rested off, and when that was, in milliseconds since the Unix epoch.
    pub(super) debt_s: f64,
    /// What an event is believed to cost.
    pub(super) event_s: f64,
    /// Clocks of evicted keys.
    pub(super) ghosts: Option<Ghosts>,
    /// Ages of the last window, and those of all the time.
    pub(super) ages: [Option<Ages>; 2],
    /// What was reported last.
    pub(super) report: Option<CacheReport>,
    /// When it was written.
    pub(super) at_ms: u64,
}

/// The same before it is written.
pub(super) struct ToSave<'a> {
    pub(super) run_id: &'a str,
    pub(super) regime: &'a Regime,
    pub(super) debt_s: f64,
    pub(super) event_s: f64,
    pub(super) ghosts: &'a Ghosts,
    pub(super) ages: [&'a Ages; 2],
    pub(super) report: Option<&'a CacheReport>,
}

/// The file of a cache below the agent's data directory.
pub(super) fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.state"))
}

/// Writes the state. Returns its size in bytes.
///
/// # Errors
/// The system's answer.
pub(super) fn save(path: &Path, state: &ToSave<'_>) -> io::Result<u64> {
    let mut body = Vec::new();
    body.extend(now_ms().to_le_bytes());
    body.extend(state.debt_s.to_le_bytes());
    body.extend(state.event_s.to_le_bytes());
    body.extend(state.regime.maxmemory.to_le_bytes());
    let report = state.report.map(|report| v1::CacheReport::from(report.clone()).encode_to_vec());
    let parts: [Vec<u8>; 7] = [
        state.run_id.as_bytes().to_vec(),
        state.regime.policy.as_bytes().to_vec(),
        state.regime.samples.as_bytes().to_vec(),
        state.ghosts.encode(),
        state.ages[0].encode(),
        state.ages[1].encode(),
        report.unwrap_or_default(),
    ];
    for part in &parts {
        body.extend((part.len() as u64).to_le_bytes());
        body.extend(part);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32c::crc32c(&body).to_le_bytes());
    bytes.extend(body);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    write_private(path, &bytes)?;
    Ok(bytes.len() as u64)
}

/// Reads the state; `None` when there is none or it is damaged, which is logged.
pub(super) fn load(path: &Path) -> Option<Saved> {
    let bytes = match fs::metadata(path).and_then(|meta| {
        if meta.len() > MAX_BYTES { Err(ErrorKind::FileTooLarge.into()) } else { fs::read(path) }
    }) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(file = %path.display(), %error, "cannot read what was learned of a cache");
            }
            return None;
        }
    };
    let saved = parse(&bytes);
    if saved.is_none() {
        tracing::warn!(file = %path.display(), "what was learned of a cache is damaged and counts as nothing");
    }
    saved
}

fn parse(bytes: &[u8]) -> Option<Saved> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (crc, body) = rest.split_first_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (at_ms, rest) = body.split_first_chunk::<8>()?;
    let (debt_s, rest) = rest.split_first_chunk::<8>()?;
    let (event_s, rest) = rest.split_first_chunk::<8>()?;
    let (maxmemory, mut rest) = rest.split_first_chunk::<8>()?;
    let mut part = || -> Option<&[u8]> {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let (part, after) =
            after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some(part)
    };
    let mut text = || Some(String::from_utf8_lossy(part()?).into_owned());
    let (run_id, policy, samples) = (text()?, text()?, text()?);
    let (ghosts, window_ages, ages, report) = (part()?, part()?, part()?, part()?);
    let at_ms = u64::from_le_bytes(*at_ms);
    let report = v1::CacheReport::decode(report).ok();
    let number =
        |bytes: [u8; 8]| Some(f64::from_le_bytes(bytes)).filter(|n| n.is_finite() && *n >= 0.0);
    Some(Saved {
        run_id,
        regime: Regime { maxmemory: u64::from_le_bytes(*maxmemory), policy, samples },
        debt_s: number(*debt_s)?,
        event_s: number(*event_s)?,
        ghosts: Ghosts::decode(ghosts, at_ms).ok(),
        ages: [Ages::decode(window_ages).ok(), Ages::decode(ages).ok()],
        report: report.and_then(|report| CacheReport::try_from(report).ok()),
        at_ms,
    })
}

#[cfg(test)]
mod tests {
    use flyball_model::reuse::{Cause, Drawn, Lifetime, Sampling};
    use flyball_proto::steering::{CacheState, Target};

    use super::*;

    fn write(path: &Path) -> (Ghosts, Ages) {
        let mut ghosts = Ghosts::new(Sampling::default());
        ghosts.open(1);
        ghosts.gone(7, Cause::Evicted, 5);
        let mut ages = Ages::default();
        ages.observe(Drawn { idle_s: 3, bytes: 100, lifetime: Lifetime::Forever });
        let regime = Regime { maxmemory: 9, policy: "p".to_owned(), samples: "5".to_owned() };
        let report = CacheReport::new(Target::new("redis", "a"), CacheState::Up, 4);
        let state = ToSave {
            run_id: "r",
            regime: &regime,
            debt_s: 1.5,
            event_s: 4e-6,
            ghosts: &ghosts,
            ages: [&ages, &ages],
            report: Some(&report),
        };
        assert_eq!(save(path, &state).unwrap(), fs::metadata(path).unwrap().len());
        (ghosts, ages)
    }

    #[test]
    fn what_is_written_comes_back_and_is_for_this_user_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir.path().join("below"), "a");
        assert!(load(&path).is_none());
        let (mut ghosts, ages) = write(&path);
        let saved = load(&path).unwrap();
        ghosts.close(saved.at_ms);
        assert_eq!((saved.ghosts, saved.run_id.as_str()), (Some(ghosts), "r"));
        assert_eq!(saved.ages, [Some(ages.clone()), Some(ages)]);
        assert_eq!((saved.regime.maxmemory, saved.regime.samples.as_str()), (9, "5"));
        assert!((saved.debt_s - 1.5).abs() < 1e-9 && saved.report.unwrap().measured_at_ms == 4);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn whatever_is_damaged_counts_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a");
        write(&path);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(parse(&bytes).is_none(), "byte {at}");
            assert!(parse(&good[..at]).is_none(), "cut at {at}");
        }
        assert!(parse(&good).is_some());
    }
}
