//! Gathers frames into batches, while the batches before are being written.
//!
//! A batch is handed on when it is large enough or its period is over, and not before there is a place for it among those that are written. Until then it
//! grows: the slower ClickHouse is, the larger the inserts, which is what ClickHouse needs then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep_until;

use super::super::IngestSettings;
use super::super::batch::{Batch, Submission};
use super::Stop;

/// Frames taken from the queue at once.
const TAKE: usize = 256;
/// Part of the period by which a flush may come early, so that several collectors do not insert in step.
const JITTER: f64 = 0.1;

/// See the module.
pub(super) struct Gatherer {
    pub(super) queue: mpsc::Receiver<Submission>,
    pub(super) settings: IngestSettings,
    pub(super) stop: Stop,
    /// Places for batches that are written at the same time.
    pub(super) places: Arc<Semaphore>,
    pub(super) batches: mpsc::Sender<Gathered>,
}

/// A batch to be written, in its place.
pub(super) struct Gathered {
    pub(super) batch: Batch,
    pub(super) place: OwnedSemaphorePermit,
}

impl Gatherer {
    /// Runs until nothing is left and nothing will come, or nobody writes any more.
    pub(super) async fn run(mut self) {
        let mut taken = Vec::with_capacity(TAKE);
        loop {
            tokio::select! {
                biased;
                count = self.queue.recv_many(&mut taken, TAKE) => if count == 0 { return },
                () = self.stop.close.cancelled() => return,
            }
            let Some(gathered) = self.gather(&mut taken).await else { return };
            if self.batches.send(gathered).await.is_err() {
                return;
            }
        }
    }

    /// Fills a batch, beginning with `taken`, until it may be written.
    async fn gather(&mut self, taken: &mut Vec<Submission>) -> Option<Gathered> {
        let mut batch = Batch::default();
        let deadline = tokio::time::Instant::now() + self.period();
        let (mut is_due, mut is_open) = (false, true);
        loop {
            let now = Instant::now();
            for submission in taken.drain(..) {
                batch.add(submission, now);
            }
            let is_full = batch.rows() >= self.settings.batch_rows
                || batch.bytes() >= self.settings.batch_bytes;
            tokio::select! {
                biased;
                place = Arc::clone(&self.places).acquire_owned(), if is_due || is_full => {
                    return Some(Gathered { batch, place: place.ok()? });
                }
                () = sleep_until(deadline), if !is_due => is_due = true,
                () = self.stop.drain.cancelled(), if !is_due => is_due = true,
                count = self.queue.recv_many(taken, TAKE), if is_open && !is_full => {
                    is_open = count > 0;
                    is_due |= !is_open;
                }
            }
        }
    }

    fn period(&self) -> Duration {
        let early = JITTER * rand::random::<f64>();
        Duration::from_millis(self.settings.period_ms).mul_f64(1.0 - early)
    }
}
