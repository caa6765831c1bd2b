//! Asking for the capacity of mounts that may never answer (a server that is gone, a program that has died).
//!
//! Each such mount has a thread of its own with one question at a time: one that hangs in the kernel cannot be interrupted, so it is left alone until it returns, and
//! nobody waits for it longer than the patience of one reading. The number of threads is bounded; mounts beyond it are not asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use super::{CapacityBytes, Probe};

/// Threads for mounts that may hang, those of mounts that are gone but still hang included.
pub(super) const MAX_THREADS: usize = 16;
/// Enough for a system call.
const STACK_BYTES: usize = 64 * 1024;

/// Bounds the threads of one sampler.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads(Arc<AtomicUsize>);

/// One thread and what it was asked.
#[derive(Debug)]
pub(super) struct Guard {
    questions: SyncSender<()>,
    answers: Receiver<std::io::Result<CapacityBytes>>,
    waiting: bool,
}

/// Counts a thread for as long as it runs.
struct Place(Threads);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Threads {
    /// Starts a thread for `path`; `None` when there are too many.
    pub(super) fn guard(&self, path: &Path, probe: Probe) -> Option<Guard> {
        let place = self.place()?;
        let path: PathBuf = path.into();
        let (questions, asked) = sync_channel::<()>(1);
        let (answer, answers) = sync_channel(1);
        let work = move || {
            let _place = place;
            while asked.recv().is_ok() && answer.send(probe(&path)).is_ok() {}
        };
        let builder = std::thread::Builder::new().name("flyball-mount".into());
        builder.stack_size(STACK_BYTES).spawn(work).ok()?;
        Some(Guard { questions, answers, waiting: false })
    }

    fn place(&self) -> Option<Place> {
        let taken = self.0.fetch_add(1, Ordering::AcqRel);
        let place = Place(self.clone());
        (taken < MAX_THREADS).then_some(place)
    }
}

impl Guard {
    /// Asks, unless the last question is still open. An answer that came after the last reading gave up is taken by the next one, so it is at most one period old.
    pub(super) fn ask(&mut self) {
        if !self.waiting {
            self.waiting = self.questions.try_send(()).is_ok();
        }
    }

    /// The answer, if it comes before `deadline`.
    pub(super) fn answer(&mut self, deadline: Instant) -> Option<std::io::Result<CapacityBytes>> {
        let patience = deadline.saturating_duration_since(Instant::now());
        let answer = self.answers.recv_timeout(patience).ok()?;
        self.waiting = false;
        Some(answer)
    }
}
