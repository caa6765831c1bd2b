//! What estimators were shown of a server, kept so that changed ones can be shown it again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flyball_agent::cache::watch::Watch;
use flyball_model::emulate::{Expiry, Request, What};
use flyball_model::reuse::{Ages, Ghosts, Present};
use serde::{Deserialize, Serialize};

use super::scenario::Scenario;

/// Time, hash, kind, size, kind of expiry and its time.
const REQUEST_BYTES: usize = 8 + 8 + 1 + 4 + 1 + 8;

/// The files of a scenario.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    path: PathBuf,
}

/// What both estimators are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) present: Present,
    /// When the watch ended.
    pub(super) ended_ms: u64,
    /// Sizes of keys.
    pub(super) sizes: HashMap<u64, u32>,
    /// From when on requests count, and the hit ratio of the real server in that time.
    pub(super) from_ms: u64,
    pub(super) counted: f64,
}

impl Shown {
    pub(super) fn new(dir: &Path, scenario: &Scenario) -> Self {
        Self { path: dir.join(scenario.file_name()) }
    }

    fn of(&self, ending: &str) -> PathBuf {
        self.path.with_extension(ending)
    }

    pub(super) fn keep_watch(&self, watch: &Watch) -> Result<()> {
        fs::write(self.of("ages"), watch.ages.encode())?;
        Ok(fs::write(self.of("ghosts"), watch.ghosts.encode())?)
    }

    /// What was kept of a watch that ended at this time.
    pub(super) fn watched(&self, ended_ms: u64) -> Result<(Ages, Ghosts)> {
        let ages = Ages::decode(&fs::read(self.of("ages"))?)?;
        Ok((ages, Ghosts::decode(&fs::read(self.of("ghosts"))?, ended_ms)?))
    }

    pub(super) fn keep_told(&self, told: &Told) -> Result<()> {
        Ok(fs::write(self.of("json"), serde_json::to_vec(told)?)?)
    }

    pub(super) fn told(&self) -> Result<Told> {
        let path = self.of("json");
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// A file that takes [requests](write()).
    pub(super) fn requests_file(&self) -> Result<BufWriter<File>> {
        Ok(BufWriter::new(File::create(self.of("requests"))?))
    }

    /// Gives all requests that were kept.
    pub(super) fn requests(&self, mut each: impl FnMut(&Request)) -> Result<()> {
        let mut file = BufReader::new(File::open(self.of("requests"))?);
        let mut bytes = [0; REQUEST_BYTES];
        loop {
            match file.read_exact(&mut bytes) {
                Ok(()) => each(&decode(&bytes)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Appends a request.
pub(super) fn write(file: &mut BufWriter<File>, request: &Request) -> Result<()> {
    let (kind, bytes, expiry) = match request.what {
        What::Read => (0, 0, Expiry::Never),
        What::Write { bytes, expiry } => (1, bytes, expiry),
        What::Delete => (2, 0, Expiry::Never),
        What::Expire(expiry) => (3, 0, expiry),
    };
    let (when, ms) = match expiry {
        Expiry::Never => (0, 0),
        Expiry::After(ms) => (1, ms),
        Expiry::At(ms) => (2, ms),
        Expiry::Keep => (3, 0),
    };
    file.write_all(&request.at_ms.to_le_bytes())?;
    file.write_all(&request.key_hash.to_le_bytes())?;
    file.write_all(&[kind])?;
    file.write_all(&u32::to_le_bytes(bytes))?;
    file.write_all(&[when])?;
    Ok(file.write_all(&u64::to_le_bytes(ms))?)
}

fn decode(bytes: &[u8; REQUEST_BYTES]) -> Request {
    let long = |from: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[from + i]));
    let expiry = match bytes[21] {
        0 => Expiry::Never,
        1 => Expiry::After(long(22)),
        2 => Expiry::At(long(22)),
        _ => Expiry::Keep,
    };
    let size = u32::from_le_bytes(std::array::from_fn(|i| bytes[17 + i]));
    let what = match bytes[16] {
        0 => What::Read,
        1 => What::Write { bytes: size, expiry },
        2 => What::Delete,
        _ => What::Expire(expiry),
    };
    Request { at_ms: long(0), key_hash: long(8), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_as_they_were() {
        let dir = crate::bench::temporary().unwrap();
        let shown = Shown { path: dir.path().join("A") };
        let whats = [
            What::Read,
            What::Write { bytes: 300, expiry: Expiry::Never },
            What::Write { bytes: u32::MAX, expiry: Expiry::Keep },
            What::Delete,
            What::Expire(Expiry::After(15_000)),
            What::Expire(Expiry::At(u64::MAX)),
        ];
        let requests: Vec<_> = (0..)
            .zip(whats)
            .map(|(i, what)| Request { at_ms: 1_700_000_000_000 + i, key_hash: u64::MAX - i, what })
            .collect();
        let mut file = shown.requests_file().unwrap();
        for request in &requests {
            write(&mut file, request).unwrap();
        }
        drop(file);
        let mut read = Vec::new();
        shown.requests(|request| read.push(*request)).unwrap();
        assert_eq!(read, requests);
    }
}
