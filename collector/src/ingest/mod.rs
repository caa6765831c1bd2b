//! The way of samples into the store: streams -> frames -> batches -> ClickHouse -> acknowledgements.
//!
//! ```text
//! agent ==stream==> session (intake: decode, last values) --bounded queue--> batcher --blocks--> ClickHouse
//!   ^                  |  ^                                                    |
//!   '---- ack, credit -'  '------------------- ledger (what settled) ----------'
//! ```
//!
//! A frame is acknowledged after ClickHouse has accepted the block that holds it, never before; the collector keeps nothing that a restart could
//! lose. Memory is bounded by the rows in flight: without room a stream is not read, and before that agents are told to pause.

mod batch;
mod batcher;
mod exiles;
mod gate;
mod hello;
mod intake;
mod ledger;
mod metrics;
mod service;
mod session;
mod settings;
mod slots;
mod sums;

use std::sync::Arc;

use flyball_proto::frame::{Scratch, SeriesPool};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::batcher::Sink;
pub use self::gate::{QueueHealth, WriteFailure};
pub use self::metrics::IngestMetrics;
pub use self::service::Streams;
pub use self::settings::IngestSettings;

use self::batch::Submission;
use self::batcher::{Batcher, Stop};
use self::gate::Gate;
use crate::account::Accounts;
use crate::live::Live;
use crate::store::{CacheRow, Catalog, LateMark, SampleRow, SeriesRow, Store, StoreError};

/// Frames that may wait between the streams and the batcher.
const QUEUE_FRAMES: usize = 8_192;
const DAY_MS: i64 = 86_400_000;

/// The ingest path. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    streams: Streams,
    tasks: TaskTracker,
}

/// What every stream needs.
#[derive(Debug)]
struct Shared {
    /// Name of this collector, for the agents' logs.
    name: String,
    settings: IngestSettings,
    /// Samples older than this are refused, in milliseconds.
    retention_ms: i64,
    live: Live,
    accounts: Accounts,
    catalog: Arc<Catalog>,
    /// Definitions that streams have in common.
    definitions: Arc<SeriesPool>,
    /// Space to decode in: as many as threads have decoded at once.
    scratches: Mutex<Vec<Scratch>>,
    gate: Arc<Gate>,
    queue: mpsc::Sender<Submission>,
    metrics: IngestMetrics,
    stop: Stop,
    /// The batcher has ended: nothing settles any more.
    ended: CancellationToken,
}

/// What [`Ingest::start`] builds upon.
#[derive(Debug)]
pub struct IngestParts {
    /// Name of this collector, for the agents' logs.
    pub name: String,
    /// Section `[ingest]`.
    pub settings: IngestSettings,
    /// Days that samples are kept; older ones are refused.
    pub retention_days: u32,
    /// Last values.
    pub live: Live,
    /// What agents report of their samples.
    pub accounts: Accounts,
    /// Series of the store.
    pub catalog: Arc<Catalog>,
    /// Counters, registered by the caller.
    pub metrics: IngestMetrics,
}

/// Room in the queue for one frame.
struct Room<'a> {
    rows: OwnedSemaphorePermit,
    place: mpsc::Permit<'a, Submission>,
}

impl Sink for Store {
    async fn insert_series(&self, rows: &[SeriesRow], token: &str) -> Result<(), StoreError> {
        Self::insert_series(self, rows, token).await
    }

    async fn insert_samples(&self, rows: &[SampleRow], token: &str) -> Result<(), StoreError> {
        Self::insert_samples(self, rows, token).await
    }

    async fn insert_cache_stats(&self, rows: &[CacheRow], token: &str) -> Result<(), StoreError> {
        Self::insert_cache_stats(self, rows, token).await
    }

    async fn insert_late_marks(&self, marks: &[LateMark], id: u64) -> Result<(), StoreError> {
        Self::insert_late_marks(self, marks, id).await
    }

    fn server_now_ms(&self) -> i64 {
        Self::server_now_ms(self)
    }
}

impl Ingest {
    /// Starts the batcher. Streams come through [`Ingest::service`].
    pub fn start(parts: IngestParts, store: Store) -> Self {
        Self::start_with(parts, store)
    }

    /// As [`Ingest::start`], with another store: how a simulation puts a model in its place.
    pub fn start_with(parts: IngestParts, sink: impl Sink) -> Self {
        let IngestParts { name, settings, retention_days, live, accounts, catalog, metrics } =
            parts;
        let gate = Arc::new(Gate::new(settings.max_rows_in_flight, metrics.clone()));
        let (queue, submissions) = mpsc::channel(QUEUE_FRAMES);
        let (stop, ended) = (Stop::default(), CancellationToken::new());
        let batcher = Batcher {
            sink,
            catalog: Arc::clone(&catalog),
            queue: submissions,
            gate: Arc::clone(&gate),
            settings: settings.clone(),
            metrics: metrics.clone(),
            accounts: accounts.clone(),
            stop: stop.clone(),
        };
        let guard = ended.clone().drop_guard();
        tokio::spawn(async move {
            batcher.run().await;
            drop(guard);
        });
        let retention_ms = i64::from(retention_days) * DAY_MS;
        let shared = Arc::new(Shared {
            name,
            settings,
            retention_ms,
            live,
            accounts,
            catalog,
            definitions: Arc::default(),
            scratches: Mutex::default(),
            gate,
            queue,
            metrics,
            stop,
            ended,
        });
        let tasks = TaskTracker::new();
        let streams = Streams::new(Arc::clone(&shared), tasks.clone());
        Self { shared, streams, tasks }
    }

    /// The gRPC service that agents stream to.
    pub fn service(&self) -> Streams {
        self.streams.clone()
    }

    /// State of the queue, for `/readyz`.
    pub fn health(&self) -> QueueHealth {
        self.shared.gate.health()
    }

    /// Ends when the batcher has ended: nothing is stored any more.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.shared.ended.clone().cancelled_owned()
    }

    /// Reads no more frames, writes what was read, sends the last acknowledgements and ends all streams. When `patience` is over first, what ClickHouse
    /// has not accepted stays with the agents. True when everything was acknowledged.
    pub async fn stop(&self, patience: impl Future<Output = ()>) -> bool {
        let stop = &self.shared.stop;
        stop.drain.cancel();
        self.tasks.close();
        tokio::pin!(patience);
        let drained = tokio::select! {
            biased;
            () = self.tasks.wait() => true,
            () = &mut patience => false,
        };
        if !drained {
            stop.give_up.cancel();
        }
        stop.close.cancel();
        // Frames of streams that broke may still be tried, with nobody left who waits for them.
        let written = tokio::select! {
            biased;
            () = self.shared.ended.cancelled() => true,
            () = &mut patience, if drained => false,
        };
        if !written {
            stop.give_up.cancel();
            self.shared.ended.cancelled().await;
        }
        self.tasks.wait().await;
        drained && written
    }
}

impl Shared {
    /// Waits for room for a frame of at most this weight; `None` when the batcher has ended.
    async fn room(&self, most_weight: usize) -> Option<Room<'_>> {
        let rows = self.gate.admit(most_weight).await.ok()?;
        let place = self.queue.reserve().await.ok()?;
        Some(Room { rows, place })
    }

    /// Refuses times that no clock of this fleet can have meant, and those that would be deleted at once.
    fn check_time(&self, ts_ms: i64, now_ms: i64) -> Result<(), String> {
        if ts_ms > now_ms + self.settings.max_future_ms as i64 {
            return Err(format!("more than {} ms in the future", self.settings.max_future_ms));
        }
        if ts_ms < now_ms - self.retention_ms {
            return Err("older than samples are kept".to_owned());
        }
        Ok(())
    }
}

impl Room<'_> {
    /// From here on the frame counts as received: one that is given up before was never taken, and its agent sends it again.
    fn submit(mut self, mut submission: Submission) {
        let excess = self.rows.num_permits().saturating_sub(submission.weight());
        drop(self.rows.split(excess));
        submission.ledger.submitted(submission.samples);
        submission.room = Some(self.rows);
        self.place.send(submission);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ledger::Ledger;
    use super::*;

    /// Takes everything, when a batch's half second is over.
    struct Nowhere;

    impl Sink for Nowhere {
        async fn insert_series(&self, _: &[SeriesRow], _: &str) -> Result<(), StoreError> {
            Ok(())
        }

        async fn insert_samples(&self, _: &[SampleRow], _: &str) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// Never answers.
    struct Silent;

    impl Sink for Silent {
        async fn insert_series(&self, _: &[SeriesRow], _: &str) -> Result<(), StoreError> {
            std::future::pending().await
        }

        async fn insert_samples(&self, _: &[SampleRow], _: &str) -> Result<(), StoreError> {
            std::future::pending().await
        }
    }

    /// What streams share, over a store that takes everything.
    pub(super) fn shared(max_series_per_agent: usize) -> Arc<Shared> {
        Arc::clone(&Ingest::start_with(parts(max_series_per_agent), Nowhere).shared)
    }

    fn parts(max_series_per_agent: usize) -> IngestParts {
        let live = Live::new(10);
        IngestParts {
            name: "test".to_owned(),
            settings: IngestSettings { max_series_per_agent, ..IngestSettings::default() },
            retention_days: 1,
            live: live.clone(),
            accounts: Accounts::new(live, 10),
            catalog: Arc::new(Catalog::new(100)),
            metrics: IngestMetrics::new(10),
        }
    }

    /// A frame of three samples, of a stream that is not there any more.
    fn submission(shared: &Shared) -> Submission {
        let row = SampleRow { series_id: 1, ts_ms: 0, raw: 0, scale: 0 };
        Submission {
            ledger: Arc::new(Ledger::new(shared.metrics.account("a"), 0)),
            epoch: [0; 16],
            seq: 1,
            series: Vec::new(),
            samples: 3,
            rows: vec![row; 3],
            caches: Vec::new(),
            refused: Vec::new(),
            room: None,
        }
    }

    #[tokio::test]
    async fn to_stop_waits_for_its_patience_and_not_for_frames_of_broken_streams() {
        let ingest = Ingest::start_with(parts(10), Silent);
        let room = ingest.shared.room(3).await.unwrap();
        room.submit(submission(&ingest.shared));
        let stopped = ingest.stop(tokio::time::sleep(Duration::from_millis(20)));
        let written = tokio::time::timeout(Duration::from_secs(20), stopped).await;
        assert!(!written.expect("it ends"), "nothing was accepted");
    }

    #[tokio::test]
    async fn room_that_a_frame_did_not_need_is_given_back() {
        let shared = shared(10);
        let room = shared.room(100).await.unwrap();
        assert_eq!(shared.gate.health().rows, 100, "as many as its dictionary has slots");
        room.submit(submission(&shared));
        assert_eq!(shared.gate.health().rows, 3);
    }
}
