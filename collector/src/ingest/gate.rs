//! Whether agents may send: closed while ClickHouse refuses or the queue is nearly full, open again when there is room.
//!
//! Two bounds hold memory: a semaphore over all rows in flight is the hard one (a session without room stops reading, and HTTP/2's flow control stops
//! its agent), and withheld credits are the polite one, which comes first. They close and open at different levels so that they do not flutter.
//!
//! The backlog gives way first: its lane closes at half of the bound, where the live lane opens, and opens at a quarter.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

use super::hello::Lane;
use super::metrics::IngestMetrics;
use crate::live::now_ms;

/// Whether a lane's agents may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    Closed,
}

/// State of the ingest queue, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueHealth {
    /// Rows received and not yet acknowledged.
    pub rows: usize,
    /// Most rows that may be in flight.
    pub max_rows: usize,
    /// Agents are told to pause, on both lanes.
    pub is_closed: bool,
    /// The failure that is being retried.
    pub failure: Option<WriteFailure>,
}

/// A failure to write that is being retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// Since when nothing was written, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// The last error.
    pub error: String,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    room: Arc<Semaphore>,
    max_rows: usize,
    live: watch::Sender<Flow>,
    backlog: watch::Sender<Flow>,
    failure: Mutex<Option<WriteFailure>>,
    metrics: IngestMetrics,
}

impl Gate {
    /// An open gate for at most `max_rows` rows in flight.
    pub(super) fn new(max_rows: usize, metrics: IngestMetrics) -> Self {
        Self {
            room: Arc::new(Semaphore::new(max_rows)),
            max_rows,
            live: watch::Sender::new(Flow::Open),
            backlog: watch::Sender::new(Flow::Open),
            failure: Mutex::new(None),
            metrics,
        }
    }

    /// Waits for room for `rows` rows. Room comes back when the permit is dropped.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub(super) async fn admit(&self, rows: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        let rows = rows.min(self.max_rows) as u32;
        let permit = Arc::clone(&self.room).acquire_many_owned(rows).await?;
        self.update();
        Ok(permit)
    }

    /// Follows whether the agents of a lane may send.
    pub(super) fn watch(&self, lane: Lane) -> watch::Receiver<Flow> {
        match lane {
            Lane::Live => self.live.subscribe(),
            Lane::Backlog => self.backlog.subscribe(),
        }
    }

    /// A write failed and is tried again.
    pub(super) fn failed(&self, error: &str) {
        let mut failure = self.failure.lock();
        let since_ms = failure.as_ref().map_or_else(now_ms, |failure| failure.since_ms);
        *failure = Some(WriteFailure { since_ms, error: error.to_owned() });
        drop(failure);
        self.update();
    }

    /// A write was accepted. Gives the failure that is over with it.
    pub(super) fn succeeded(&self) -> Option<WriteFailure> {
        let failure = self.failure.lock().take();
        self.update();
        failure
    }

    /// Opens or closes after a change. On a failure both lanes close; else the live lane closes at three quarters of the bound and opens at a half, the
    /// backlog at a half and at a quarter.
    pub(super) fn update(&self) {
        let rows = self.rows();
        let failing = self.failure.lock().is_some();
        let quarter = self.max_rows / 4;
        let turn = |flow: &watch::Sender<Flow>, quarters: usize| {
            let (close, open) = (quarter * quarters, quarter * (quarters - 1));
            flow.send_if_modified(|flow| {
                let next = match *flow {
                    _ if failing || rows >= close => Flow::Closed,
                    _ if rows <= open => Flow::Open,
                    unchanged => unchanged,
                };
                std::mem::replace(flow, next) != next
            })
        };
        self.metrics.queue_rows.set(rows as i64);
        turn(&self.backlog, 2);
        if turn(&self.live, 3) {
            let is_closed = self.is_closed();
            self.metrics.credits_withheld.set(i64::from(is_closed));
            self.metrics.pauses.inc_by(u64::from(is_closed));
        }
    }

    /// The present state.
    pub(super) fn health(&self) -> QueueHealth {
        QueueHealth {
            rows: self.rows(),
            max_rows: self.max_rows,
            is_closed: self.is_closed(),
            failure: self.failure.lock().clone(),
        }
    }

    fn is_closed(&self) -> bool {
        *self.live.borrow() == Flow::Closed
    }

    fn rows(&self) -> usize {
        self.max_rows - self.room.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_closes_at_three_quarters_and_opens_at_a_half() {
        let gate = Gate::new(100, IngestMetrics::new(1));
        let flow = gate.watch(Lane::Live);
        let first = gate.admit(50).await.unwrap();
        assert_eq!(*flow.borrow(), Flow::Open);
        let second = gate.admit(25).await.unwrap();
        assert_eq!(*flow.borrow(), Flow::Closed);
        let third = gate.admit(1).await.unwrap();
        drop(second);
        gate.update();
        assert_eq!(*flow.borrow(), Flow::Closed, "51 rows: above a half");
        drop(third);
        gate.update();
        assert_eq!(*flow.borrow(), Flow::Open);
        drop(first);
    }

    #[tokio::test]
    async fn the_backlog_gives_way_before_what_is_measured_now() {
        let gate = Gate::new(100, IngestMetrics::new(1));
        let (live, backlog) = (gate.watch(Lane::Live), gate.watch(Lane::Backlog));
        let flows = || (*live.borrow(), *backlog.borrow());
        let first = gate.admit(49).await.unwrap();
        assert_eq!(flows(), (Flow::Open, Flow::Open));
        let second = gate.admit(1).await.unwrap();
        assert_eq!(flows(), (Flow::Open, Flow::Closed));
        let third = gate.admit(25).await.unwrap();
        assert_eq!(flows(), (Flow::Closed, Flow::Closed));
        drop((second, third));
        gate.update();
        assert_eq!(flows(), (Flow::Open, Flow::Closed), "49 rows: above a quarter");
        drop(first);
        gate.update();
        assert_eq!(flows(), (Flow::Open, Flow::Open));
        gate.failed("down");
        assert_eq!(flows(), (Flow::Closed, Flow::Closed));
    }

    #[tokio::test]
    async fn a_failure_closes_it_until_a_write_succeeds() {
        let gate = Gate::new(100, IngestMetrics::new(1));
        gate.failed("down");
        let since_ms = gate.health().failure.unwrap().since_ms;
        gate.failed("still down");
        let health = gate.health();
        assert!(health.is_closed);
        assert_eq!(health.failure, Some(WriteFailure { since_ms, error: "still down".into() }));
        assert!(gate.succeeded().is_some());
        assert!(!gate.health().is_closed);
        assert_eq!(gate.succeeded(), None);
    }

    #[tokio::test]
    async fn a_frame_larger_than_the_bound_waits_for_all_of_it_and_not_forever() {
        let gate = Gate::new(10, IngestMetrics::new(1));
        let permit = gate.admit(1_000).await.unwrap();
        assert_eq!(gate.health().rows, 10);
        drop(permit);
        assert_eq!(gate.health().rows, 0);
    }
}
