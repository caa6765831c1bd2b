//! `[spool]`

use std::time::Duration;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use super::SpoolSettings;

/// Bounds of `max_mb`: less than a few segments is no spool, more than a terabyte is a typing error.
const MAX_MB: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// Longest `fsync_seconds`.
const MAX_FSYNC_SECONDS: u32 = 3600;
const MEGABYTE: u64 = 1_000_000;

/// How frames are kept on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// Room on disk, in megabytes. When it is full the oldest frames are dropped and counted.
    pub max_mb: u32,
    /// Seconds after which a frame that is not acknowledged is synced to the medium; 0: each frame at once.
    pub fsync_seconds: u32,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { max_mb: 256, fsync_seconds: 5 }
    }
}

impl SpoolConfig {
    /// The settings as the spool takes them.
    pub fn settings(&self) -> SpoolSettings {
        SpoolSettings {
            limit_bytes: u64::from(self.max_mb) * MEGABYTE,
            fsync: Duration::from_secs(u64::from(self.fsync_seconds)),
        }
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        if !MAX_MB.contains(&self.max_mb) {
            problems
                .push("spool.max_mb", format!("must be {} to {}", MAX_MB.start(), MAX_MB.end()));
        }
        if self.fsync_seconds > MAX_FSYNC_SECONDS {
            problems.push("spool.fsync_seconds", format!("must be 0 to {MAX_FSYNC_SECONDS}"));
        }
    }
}
