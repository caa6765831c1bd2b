//! Waits for the medium, where nobody waits for it: `fdatasync` takes milliseconds on a good day and minutes on a disk that hangs.
//!
//! A thread takes one job after the other. Its queue is bounded; what does not fit is not synced now but with the next job, and counted.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::TrySendError::{Disconnected, Full};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::disk::{Disk, DiskFile};
use super::{SegmentId, file_name};

/// Jobs that wait at most.
pub(super) const QUEUE: usize = 4;
/// Stack of the thread. It calls the system and nothing else.
const STACK_BYTES: usize = 64 * 1024;

/// Where syncs happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// On a thread of their own.
    Thread,
    /// Where they are asked for: for tests and simulation, which want one order of events.
    Inline,
}

/// What is to be made durable together.
#[derive(Debug)]
pub(super) struct Job {
    /// A segment with the number of the last frame that it held when this was asked for.
    pub(super) segment: Option<(SegmentId, u64, Arc<dyn DiskFile>)>,
    /// The ledger.
    pub(super) ledger: Option<Arc<dyn DiskFile>>,
    /// The names in the directory as well.
    pub(super) names: bool,
    /// Segments of an earlier process, which may have been killed before it synced them.
    pub(super) found: Vec<SegmentId>,
}

/// What came of a job.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) segment: Option<(SegmentId, u64)>,
    pub(super) ledger: bool,
    pub(super) names: bool,
    pub(super) result: io::Result<()>,
}

/// Runs jobs.
#[derive(Debug)]
pub(super) struct Syncer {
    disk: Arc<dyn Disk>,
    /// Where the thread takes jobs; `None`: they run where they are asked for.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    finished: SyncSender<Done>,
    pending: usize,
}

impl Syncer {
    /// Starts the thread, if there is to be one.
    pub(super) fn start(disk: Arc<dyn Disk>, syncing: Syncing) -> io::Result<Self> {
        let (finished, done) = sync_channel(QUEUE + 1);
        let jobs = match syncing {
            Syncing::Inline => None,
            Syncing::Thread => {
                let (jobs, queue) = sync_channel::<Job>(QUEUE);
                let (disk, finished) = (Arc::clone(&disk), finished.clone());
                std::thread::Builder::new()
                    .name("spool-sync".to_owned())
                    .stack_size(STACK_BYTES)
                    .spawn(move || {
                    while let Ok(job) = queue.recv() {
                        if finished.send(job.run(&*disk)).is_err() {
                            return;
                        }
                    }
                })?;
                Some(jobs)
            }
        };
        Ok(Self { disk, jobs, done, finished, pending: 0 })
    }

    /// Starts a job, or gives it back when too many wait.
    pub(super) fn submit(&mut self, job: Job) -> Result<(), Job> {
        if self.pending == QUEUE {
            return Err(job);
        }
        if let Some(jobs) = &self.jobs {
            jobs.try_send(job).map_err(|(Full(job) | Disconnected(job))| job)?;
        } else {
            let done = job.run(&*self.disk);
            self.finished.try_send(done).expect("there is room for every pending job");
        }
        self.pending += 1;
        Ok(())
    }

    /// The next job that is done.
    pub(super) fn poll(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        self.pending -= 1;
        Some(done)
    }

    /// The next job that is done, waited for until `deadline`; `None` when nothing is under way or it takes longer.
    pub(super) fn wait(&mut self, deadline: Instant) -> Option<Done> {
        if self.pending == 0 {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let done = self.done.recv_timeout(left).ok()?;
        self.pending -= 1;
        Some(done)
    }
}

impl Job {
    /// True when there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.segment.is_none() && self.ledger.is_none() && !self.names && self.found.is_empty()
    }

    /// Does it.
    pub(super) fn run(self, disk: &dyn Disk) -> Done {
        let result = self.sync(disk);
        Done { result, ..self.skipped() }
    }

    /// What came of it when it was not done.
    pub(super) fn skipped(self) -> Done {
        Done {
            segment: self.segment.map(|(id, up_to_seq, _)| (id, up_to_seq)),
            ledger: self.ledger.is_some(),
            names: self.names,
            result: Ok(()),
        }
    }

    /// First what the files hold, then their names: a name never stands for less than was asked for.
    fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        if let Some((_, _, file)) = &self.segment {
            file.sync()?;
        }
        if let Some(ledger) = &self.ledger {
            ledger.sync()?;
        }
        for id in &self.found {
            match disk.open(&file_name(*id)) {
                // Freed in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync()?,
            }
        }
        if self.names { disk.sync() } else { Ok(()) }
    }
}
