//! When what is synced. See [`super::syncer`] for how.
//!
//! Three things become durable: the frames of a segment, the ledger, and the names in the directory, without which a new file is lost however well it was
//! synced itself. Every job takes along what else is not durable, so there is one at a time in the usual case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::DiskFile;
use super::syncer::{Done, Job};
use super::{PersistedTotals, SegmentId, Spool};

/// Whether the directory's names are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// They are.
    Synced,
    /// They will be when the sync that is under way succeeds.
    Syncing,
    /// There are new ones.
    Changed,
}

impl Spool {
    /// Ends the open segment, commits, and waits until everything is on the medium, `patience` at most. Returns false when something is not known to be.
    pub fn finish(&mut self, totals: &PersistedTotals, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.close();
        let committed = self.commit(totals).is_ok();
        let before = self.health;
        self.wait(deadline);
        // One that was under way may have been of an earlier state.
        self.submit(None);
        self.wait(deadline);
        let failed = self.health.sync_failures + self.health.syncs_skipped
            - before.sync_failures
            - before.syncs_skipped;
        committed && failed == 0 && !self.ledger.is_exposed()
    }

    /// Lets the account that was committed last be synced, without waiting for it: for what a power cut must not undo though no frame is exposed.
    pub fn sync_account(&mut self) {
        self.submit(None);
    }

    fn wait(&mut self, deadline: Instant) {
        while let Some(done) = self.syncer.wait(deadline) {
            self.done(&done);
        }
    }

    /// After a frame: syncs, if the oldest that is exposed has been so for long enough.
    pub(super) fn sync_if_due(&mut self) {
        let fsync = self.settings.fsync;
        let Some(open) = &mut self.open else { return };
        if fsync.is_zero() {
            let (id, seq, file) = (open.id, open.summary.last_seq, Arc::clone(&open.file));
            let done = self.job(Some((id, seq, file))).run(&*self.disk);
            self.done(&done);
        } else if open.is_sync_due() {
            open.syncing = true;
            let segment = (open.id, open.summary.last_seq, Arc::clone(&open.file));
            self.submit(Some(segment));
        }
    }

    /// Starts a sync of a segment up to a frame, or of the ledger alone.
    pub(super) fn submit(&mut self, segment: Option<(SegmentId, u64, Arc<dyn DiskFile>)>) {
        let job = self.job(segment);
        self.start(job);
    }

    /// Starts a sync of segments that an earlier process has left.
    pub(super) fn submit_found(&mut self, found: Vec<SegmentId>) {
        let job = self.job(None);
        self.start(Job { found, ..job });
    }

    fn start(&mut self, job: Job) {
        if job.is_empty() {
            return;
        }
        if let Err(job) = self.syncer.submit(job) {
            self.health.syncs_skipped += 1;
            self.undo(&job.skipped());
        }
        self.poll();
    }

    fn job(&mut self, segment: Option<(SegmentId, u64, Arc<dyn DiskFile>)>) -> Job {
        let names = self.names != Names::Synced;
        if names {
            self.names = Names::Syncing;
        }
        Job { segment, ledger: self.ledger.start_sync(), names, found: Vec::new() }
    }

    /// Takes over what was synced in the meantime.
    pub(super) fn poll(&mut self) {
        while let Some(done) = self.syncer.poll() {
            self.done(&done);
        }
    }

    fn done(&mut self, done: &Done) {
        if let Err(error) = &done.result {
            if self.health.sync_failures == 0 {
                tracing::error!(%error, "cannot sync the spool: what is not stored may be lost in a power cut");
            }
            self.health.sync_failures += 1;
            self.undo(done);
            return;
        }
        self.health.syncs += 1;
        if done.ledger {
            self.ledger.synced(true);
        }
        if done.names && self.names == Names::Syncing {
            self.names = Names::Synced;
        }
        if let (Some(open), Some((id, up_to_seq))) = (&mut self.open, done.segment)
            && open.id == id
        {
            open.syncing = false;
            open.exposure.end(up_to_seq);
        }
    }

    fn undo(&mut self, done: &Done) {
        if done.names {
            self.names = Names::Changed;
        }
        if done.ledger {
            self.ledger.synced(false);
        }
        if let (Some(open), Some((id, _))) = (&mut self.open, done.segment)
            && open.id == id
        {
            open.syncing = false;
            // After a sync that failed, the next one may succeed without the data being there.
            open.suspect |= done.result.is_err();
        }
    }
}
