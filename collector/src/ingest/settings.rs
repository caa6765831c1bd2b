//! Section `[ingest]`: how samples are gathered into inserts, and what a stream may ask for.

use flyball_proto::frame::Limits;
use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use super::hello::Lane;

/// Section `[ingest]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    /// Longest time that samples are gathered before an insert, in milliseconds.
    pub period_ms: u64,
    /// Rows after which an insert is not held back any longer. ClickHouse works best with 100,000 and more.
    pub batch_rows: usize,
    /// Encoded bytes after which an insert is not held back any longer.
    pub batch_bytes: usize,
    /// Most rows that are received and not yet stored, 32 bytes each. Agents pause at three quarters of it.
    pub max_rows_in_flight: usize,
    /// Frames that one agent may have sent and not acknowledged.
    pub credits: u32,
    /// Frames that one agent may have sent and not acknowledged on its backlog lane.
    pub backlog_credits: u32,
    /// Most streams of the live lane.
    pub max_streams: usize,
    /// Most streams of the backlog lane: agents that catch up at the same time. Others wait for their turn.
    pub max_backlog_streams: usize,
    /// Most bytes of one frame.
    pub frame_bytes: usize,
    /// Most series of one agent.
    pub slots: u32,
    /// Most series of one agent that are stored as such, without idle ones; samples of further ones add up in one series for each metric.
    pub max_series_per_agent: usize,
    /// How far ahead of this host's clock a sample may be, in milliseconds. Others are refused for good.
    pub max_future_ms: u64,
}

impl Default for IngestSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            period_ms: 500,
            batch_rows: 250_000,
            batch_bytes: 16 * 1024 * 1024,
            max_rows_in_flight: 1_000_000,
            credits: 64,
            backlog_credits: 32,
            max_streams: 10_000,
            max_backlog_streams: 64,
            frame_bytes: limits.frame_bytes,
            slots: limits.slots,
            max_series_per_agent: 10_000,
            max_future_ms: 600_000,
        }
    }
}

impl IngestSettings {
    /// What a stream may ask for.
    pub fn limits(&self) -> Limits {
        Limits { frame_bytes: self.frame_bytes, slots: self.slots, ..Limits::default() }
    }

    /// Frames that may be unacknowledged at once on a stream of `lane`.
    pub(super) fn credits_of(&self, lane: Lane) -> u32 {
        match lane {
            Lane::Live => self.credits,
            Lane::Backlog => self.backlog_credits,
        }
    }

    /// Most streams of `lane`.
    pub(super) fn max_streams_of(&self, lane: Lane) -> usize {
        match lane {
            Lane::Live => self.max_streams,
            Lane::Backlog => self.max_backlog_streams,
        }
    }

    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        let mut within = |key: &str, value: u64, min: u64, max: u64| {
            if !(min..=max).contains(&value) {
                problems.push(format!("ingest.{key}"), format!("must be {min} to {max}"));
            }
        };
        within("period_ms", self.period_ms, 10, 60_000);
        within("batch_rows", self.batch_rows as u64, 1, 10_000_000);
        within("batch_bytes", self.batch_bytes as u64, 1_024, 1 << 30);
        within("max_rows_in_flight", self.max_rows_in_flight as u64, 40_000, 100_000_000);
        within("credits", u64::from(self.credits), 1, 10_000);
        within("backlog_credits", u64::from(self.backlog_credits), 1, 10_000);
        within("max_backlog_streams", self.max_backlog_streams as u64, 1, 1_000_000);
        within("max_streams", self.max_streams as u64, 1, 1_000_000);
        within("frame_bytes", self.frame_bytes as u64, 1_024, 1 << 20);
        within("slots", u64::from(self.slots), 1, 1_000_000);
        within("max_series_per_agent", self.max_series_per_agent as u64, 1, 1_000_000);
        within("max_future_ms", self.max_future_ms, 1_000, 86_400_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_zeros_are_not() {
        let mut problems = Problems::default();
        IngestSettings::default().validate(&mut problems);
        assert_eq!(problems.as_slice(), []);
        let zeros = IngestSettings {
            period_ms: 0,
            batch_rows: 0,
            batch_bytes: 0,
            max_rows_in_flight: 0,
            credits: 0,
            backlog_credits: 0,
            max_streams: 0,
            max_backlog_streams: 0,
            frame_bytes: 0,
            slots: 0,
            max_series_per_agent: 0,
            max_future_ms: 0,
        };
        zeros.validate(&mut problems);
        assert_eq!(problems.as_slice().len(), 12);
    }
}
