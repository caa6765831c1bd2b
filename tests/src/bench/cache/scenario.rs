//! A server, its workload, and how long it is looked at.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::load::cache::{Kind, Load};

/// Seeds of the truth are other ones.
const OTHER_SEED: u64 = 1_000_000;

/// A server at its present size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scenario {
    /// What it serves.
    pub load: Load,
    /// `maxmemory`.
    pub bytes: u64,
    /// How long.
    pub times: Times,
}

/// How long each part takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From an empty server to the first look.
    pub warm: Duration,
    /// Watching for events and ages.
    pub watch: Duration,
    /// Emulating requests, and serving for the truth.
    pub serve: Duration,
    /// The last part of that, which counts.
    pub count: Duration,
}

impl Times {
    /// Eleven minutes for a scenario. Each server is looked at when it is as old as the others: its
    /// first requests for a key become fewer with time. What is watched and what counts are whole
    /// minutes: keys of one kind expire at each.
    pub const FULL: Self = Self {
        warm: Duration::from_secs(100),
        watch: Duration::from_mins(4),
        serve: Duration::from_secs(340),
        count: Duration::from_mins(3),
    };
}

impl Scenario {
    /// Every workload at two sizes with these seeds.
    pub fn grid(seeds: Range<u64>) -> Vec<Self> {
        let mut all = Vec::new();
        for seed in seeds {
            for kind in Kind::ALL {
                let megabytes = if kind == Kind::Sized { [20, 26] } else { [8, 10] };
                for megabytes in megabytes {
                    let load = Load { kind, keys: 100_000, per_second: 4000.0, seed };
                    all.push(Self { load, bytes: megabytes << 20, times: Times::FULL });
                }
            }
        }
        all
    }

    /// A name for its files.
    pub(super) fn file_name(&self) -> String {
        let Load { kind, seed, .. } = self.load;
        format!("{}-{}mb-{seed}", kind.letter(), self.bytes >> 20)
    }

    /// The same workload with another order of requests.
    pub(super) fn other_load(&self) -> Load {
        Load { seed: self.load.seed + OTHER_SEED, ..self.load }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { kind, seed, keys, .. } = self.load;
        write!(f, "{} {} MB, {}k keys, seed {seed}", kind.letter(), self.bytes >> 20, keys / 1000)
    }
}
