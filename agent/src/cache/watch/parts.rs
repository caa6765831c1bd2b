//! What a watch is told, what it tells, and what it asks of a server.

use std::path::PathBuf;
use std::time::Duration;

use flyball_model::emulate::Policy;
use flyball_model::reuse::{Present, Sampling};

use super::Watch;
use crate::cache::now_ms;
use crate::cache::probe::Prober;
use crate::redis::{Error, Info, Reply};

/// What a server spends on the histogram of a command's times, from its first use on (measured, Redis
/// 7.0). `used_memory` has it and nothing tells it; a dozen of ours are 0.3 MB.
pub(super) const HISTOGRAM_BYTES: f64 = 24_688.0;
/// What is believed of bytes of INFO for each byte of `MEMORY USAGE`.
pub(super) const SCALES: std::ops::RangeInclusive<f64> = 0.9..=1.2;

/// How closely to watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Keys drawn a second.
    pub draws_per_second: f64,
    /// Keys looked at a second after they were filled.
    pub fills_per_second: f64,
    /// Length of a block; [`BLOCKS`](flyball_model::reuse::BLOCKS) are kept.
    pub block: Duration,
    /// Databases that are heard.
    pub databases: Vec<u32>,
    /// How many ghosts are kept.
    pub sampling: Sampling,
    /// Where the setting of events is kept that was there before.
    pub lease_file: PathBuf,
}

/// What an instance did in one block, without our own lookups.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Block {
    /// Its length.
    pub seconds: f64,
    /// Reads that found their key.
    pub hits: f64,
    /// Reads that did not.
    pub misses: f64,
    /// Keys evicted.
    pub evicted: f64,
    /// Keys expired.
    pub expired: f64,
}

/// A key that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Its hash.
    pub hash: u64,
    /// The hash of its kind: keys that are named alike.
    pub kind: u64,
    /// What `MEMORY USAGE` says.
    pub bytes: u32,
    /// Its type, of large keys; else empty.
    pub data_type: &'static str,
    /// Seconds since its last use, if that is known.
    pub idle_s: Option<u64>,
    /// Milliseconds until it expires, if it does.
    pub left_ms: Option<u64>,
    /// Milliseconds that keys of its kind are given, if that is known and always about the same.
    pub given_ms: Option<u64>,
    /// It was drawn at random, and not looked at because it had been filled.
    pub is_drawn: bool,
}

/// Settings that decide what is evicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) policy: Option<Policy>,
    pub(super) samples: u32,
}

impl Plan {
    /// Fifty keys a second of each kind and blocks of ten seconds.
    pub fn new(lease_file: PathBuf) -> Self {
        Self {
            draws_per_second: 50.0,
            fills_per_second: 50.0,
            block: Duration::from_secs(10),
            databases: vec![0],
            sampling: Sampling::default(),
            lease_file,
        }
    }

    /// How long a watch must be to know twice the size: about 1.6 times the time in which as many
    /// keys are evicted as there are. `None` when nothing is evicted.
    pub fn turnover(present: &Present) -> Option<Duration> {
        let seconds = 1.6 * present.keys / present.evictions_per_second;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Watch {
    /// So many requests came in so many seconds up to now: keys of an age are those of its time.
    pub fn served(&mut self, seconds: f64, requests: f64) {
        self.rates.add(now_ms(), seconds, requests);
    }

    /// Whether it is known how many requests there were so many seconds ago.
    pub fn knows_rate_of(&self, age_s: f64) -> bool {
        self.rates.between(now_ms(), 0.5 * age_s, 1.5 * age_s).is_some()
    }
}

/// What INFO says at present.
pub(super) fn read_info(prober: &mut Prober) -> Result<Info, Error> {
    let mut info = Info::default();
    for section in ["default", "latencystats"] {
        let reply = prober.connection().call(&[b"INFO", section.as_bytes()])?;
        info.read(reply.text().unwrap_or_default());
    }
    Ok(info)
}

pub(super) fn read_settings(prober: &mut Prober, info: &Info) -> Result<Settings, Error> {
    let reply = prober.connection().call(&[b"CONFIG", b"GET", b"maxmemory-samples"])?;
    let samples = reply.parts().get(1).and_then(Reply::integer).unwrap_or(0);
    let samples = u32::try_from(samples).unwrap_or(0);
    Ok(Settings { policy: Policy::parse(&info.eviction_policy), samples })
}

/// Time between things of which so many are due each second.
pub(super) fn interval(things: f64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(things / per_second).unwrap_or(Duration::MAX / 4)
}
