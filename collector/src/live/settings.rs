//! Section `[live]`: what is held in memory of the present.

use std::time::Duration;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use super::window::Span;

/// `[live]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveSettings {
    /// Most nodes whose last values are kept. Above it nodes that are not connected are forgotten, the longest silent first.
    pub max_nodes: usize,
    /// Time of which all samples are kept in memory, in milliseconds; 0: none, every question goes to ClickHouse.
    pub window_ms: u64,
    /// Most memory for them, in bytes. When it does not hold the time above, all nodes keep less of it.
    pub window_bytes: usize,
}

/// Longest window: more than a day in memory is what the store is for.
const MAX_WINDOW: Duration = Duration::from_hours(24);
/// Shortest window that is one: a block is five minutes.
const MIN_WINDOW: Duration = Duration::from_mins(5);

impl Default for LiveSettings {
    fn default() -> Self {
        Self { max_nodes: 10_000, window_ms: 3_600_000, window_bytes: 192 << 20 }
    }
}

impl LiveSettings {
    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        if self.max_nodes == 0 {
            problems.push("live.max_nodes", "must be at least 1");
        }
        let window = Duration::from_millis(self.window_ms);
        if !window.is_zero() && !(MIN_WINDOW..=MAX_WINDOW).contains(&window) {
            problems.push("live.window_ms", "must be 0, or 300000 to 86400000");
        }
        if self.window_bytes < 1 << 20 {
            problems.push("live.window_bytes", "must be at least 1048576");
        }
    }

    /// Longest span of the windows.
    pub(super) fn span(&self) -> Span {
        Span::new(self.window_ms as i64)
    }
}
