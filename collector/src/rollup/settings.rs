//! Section `[rollup]`: whether and how this collector computes rollups.

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

/// Least delay: samples that are stored later than half a minute after their ten minutes are marked as late.
const MIN_DELAY_MS: u64 = 60_000;

/// Section `[rollup]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollupSettings {
    /// Take part in computing rollups; of several collectors one does at a time. Without any, queries read the samples themselves.
    pub enabled: bool,
    /// Time from the end of ten minutes to their rollups, in milliseconds. What comes later has them computed again.
    pub delay_ms: u64,
    /// Most memory that ClickHouse may use for it, in bytes.
    pub memory_bytes: u64,
}

impl Default for RollupSettings {
    fn default() -> Self {
        Self { enabled: true, delay_ms: MIN_DELAY_MS, memory_bytes: 300_000_000 }
    }
}

impl RollupSettings {
    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        if !(MIN_DELAY_MS..=86_400_000).contains(&self.delay_ms) {
            problems.push("rollup.delay_ms", "must be 60000 to 86400000");
        }
        if self.memory_bytes < 100_000_000 {
            problems.push("rollup.memory_bytes", "must be at least 100000000");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_breaks_a_bound_is_named() {
        let mut problems = Problems::default();
        RollupSettings::default().validate(&mut problems);
        assert_eq!(problems.as_slice(), []);
        RollupSettings { delay_ms: 59_999, memory_bytes: 1, enabled: true }.validate(&mut problems);
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["rollup.delay_ms", "rollup.memory_bytes"]);
    }
}
