//! What the log says of the connection: one line when it is lost, one when it is back, one more when it turns into a refusal. Retries are silent.

use std::time::Duration;

use flyball_proto::v1;
use tokio::time::Instant;
use tonic::transport::Uri;

use super::verdict::{End, Verdict};

/// Time between two log lines about rejected samples.
const REJECTION_PERIOD: Duration = Duration::from_mins(1);

/// State of the connection to the collector.
#[derive(Debug)]
pub(super) struct Link {
    collector: String,
    down: Option<Outage>,
    progressed: bool,
    rejection_logged: Option<Instant>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    attempts: u32,
    logged: Option<Verdict>,
}

impl Link {
    /// Not connected yet.
    pub(super) fn new() -> Self {
        Self {
            collector: String::new(),
            down: Some(Outage { since: Instant::now(), attempts: 0, logged: None }),
            progressed: false,
            rejection_logged: None,
        }
    }

    /// A connection to this collector is tried.
    pub(super) fn towards(&mut self, collector: &Uri) {
        self.collector = collector.to_string();
    }

    /// The collector has answered.
    pub(super) fn up(&mut self, collector_name: &str, backlog_frames: u64) {
        let Some(outage) = self.down.take() else { return };
        tracing::info!(
            collector = %self.collector,
            name = collector_name,
            after_ms = outage.since.elapsed().as_millis() as u64,
            failed_attempts = outage.attempts,
            backlog_frames,
            "connected"
        );
    }

    /// The stream has ended or could not be opened.
    pub(super) fn down(&mut self, end: &End, verdict: Verdict) {
        let outage = self.down.get_or_insert_with(|| Outage {
            since: Instant::now(),
            attempts: 0,
            logged: None,
        });
        outage.attempts = outage.attempts.saturating_add(1);
        if outage.logged.replace(verdict) == Some(verdict) {
            tracing::debug!(collector = %self.collector, reason = %end, attempts = outage.attempts, "still not connected");
            return;
        }
        if verdict == Verdict::RetrySeldom {
            tracing::error!(collector = %self.collector, reason = %end, "the collector refuses this agent; trying again seldom");
        } else {
            tracing::warn!(collector = %self.collector, reason = %end, "not connected; samples are kept and sending is tried again");
        }
    }

    /// How long the collector has not been reached; `None` while it is.
    pub(super) fn down_for(&self) -> Option<Duration> {
        self.down.as_ref().map(|outage| outage.since.elapsed())
    }

    /// Frames were stored.
    pub(super) fn progress(&mut self) {
        self.progressed = true;
    }

    /// True when frames were stored since the last call.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progressed)
    }

    /// Samples were refused for good.
    pub(super) fn rejected(&mut self, rejection: &v1::Rejection) {
        if self.rejection_logged.is_some_and(|at| at.elapsed() < REJECTION_PERIOD) {
            return;
        }
        self.rejection_logged = Some(Instant::now());
        tracing::warn!(
            slot = rejection.slot,
            samples = rejection.samples,
            reason = %rejection.reason,
            "the collector refuses samples"
        );
    }
}
