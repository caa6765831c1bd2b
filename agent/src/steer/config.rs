//! `[steer]`: how far policies may go on this host. Whatever a collector wants, an agent does no more than this.

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

const MEGABYTE: u64 = 1_000_000;

/// The guard rails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteerConfig {
    /// Largest `maxmemory` as a share of the host's memory, or of the control group's where that is smaller. A change may use as much of what is available, too.
    pub max_memory_share: f64,
    /// Largest `maxmemory` in megabytes, for a server in a container whose limit is not seen from here; 0: by the share alone.
    pub max_memory_mb: u64,
    /// Factor by which one change may make `maxmemory` larger, or smaller.
    pub largest_growth: f64,
    /// Share by which one step may make it smaller; then evictions are waited for.
    pub largest_shrink: f64,
    /// Largest share of a group's requests that one change may put upon servers of a load balancer in addition to what they have.
    pub largest_shift: f64,
    /// Lets promoted settings be written into the server's own configuration file (CONFIG REWRITE).
    pub allow_rewrite: bool,
}

impl Default for SteerConfig {
    fn default() -> Self {
        Self {
            max_memory_share: 0.8,
            max_memory_mb: 0,
            largest_growth: 2.0,
            largest_shrink: 0.05,
            largest_shift: 0.5,
            allow_rewrite: false,
        }
    }
}

impl SteerConfig {
    /// Largest `maxmemory` on a host, or in a control group, with so much memory, in bytes.
    pub fn most_bytes(&self, total_bytes: u64) -> u64 {
        let share = (total_bytes as f64 * self.max_memory_share) as u64;
        match self.max_memory_mb {
            0 => share,
            megabytes => share.min(megabytes.saturating_mul(MEGABYTE)),
        }
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        if !(self.max_memory_share > 0.0 && self.max_memory_share <= 0.95) {
            problems.push("steer.max_memory_share", "must be above 0 and at most 0.95");
        }
        if !(1.01..=16.0).contains(&self.largest_growth) {
            problems.push("steer.largest_growth", "must be 1.01 to 16");
        }
        if !(0.005..=0.5).contains(&self.largest_shrink) {
            problems.push("steer.largest_shrink", "must be 0.005 to 0.5");
        }
        if !(0.01..=1.0).contains(&self.largest_shift) {
            problems.push("steer.largest_shift", "must be 0.01 to 1");
        }
    }
}
