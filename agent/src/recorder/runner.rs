//! Running one sampler: on the sampling thread, or on a thread of its own that is asked and answers.
//!
//! A panic is caught here, so that one sampler cannot take the agent with it. A sampler that hangs keeps its own thread and nothing else: nobody waits for
//! it past the deadline, and it is not asked again until it has answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::sense::{Isolation, Readings, SampleError, Sampler};

/// Stack of a sampler's thread. Only what is touched becomes resident.
const STACK_BYTES: usize = 256 * 1024;

/// What a read took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// From the call to its return.
    pub(super) wall: Duration,
    /// CPU time of the thread, and of those that the sampler has besides.
    pub(super) cpu: Duration,
}

/// Why a read published nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The sampler said so.
    Error(SampleError),
    /// The sampler panicked, with this message.
    Panic(String),
}

/// A sampler with the buffer it reads into.
pub(super) enum Runner {
    /// On the sampling thread.
    Inline {
        /// The sampler.
        sampler: Box<dyn Sampler>,
        /// Its buffer.
        readings: Readings,
    },
    /// On its own thread, which has the buffer while it is busy.
    Threaded {
        /// Where it is asked.
        ask: SyncSender<Readings>,
        /// Where its buffer is.
        state: Thread,
    },
    /// Not asked any more.
    Disabled,
}

/// What a sampler's thread is doing.
pub(super) enum Thread {
    /// Waiting to be asked.
    Idle(Readings),
    /// Reading for this tick.
    Asked,
    /// Still reading for an earlier tick.
    Late,
}

/// What a sampler's thread has read.
pub(super) struct Answer {
    /// Number of the sampler.
    pub(super) index: usize,
    /// What it read.
    pub(super) readings: Readings,
    /// How it went.
    pub(super) outcome: Result<Cost, Failure>,
}

impl Runner {
    /// Prepares a sampler, with a thread where it needs one.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn new(
        sampler: Box<dyn Sampler>,
        index: usize,
        answers: &SyncSender<Answer>,
    ) -> std::io::Result<Self> {
        if sampler.isolation() == Isolation::Inline {
            return Ok(Self::Inline { sampler, readings: Readings::default() });
        }
        let (ask, asked) = sync_channel(1);
        let answers = answers.clone();
        std::thread::Builder::new()
            .name(sampler.name().to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || work(sampler, index, &asked, &answers))?;
        Ok(Self::Threaded { ask, state: Thread::Idle(Readings::default()) })
    }
}

/// Reads once and measures it.
pub(super) fn sample(sampler: &mut dyn Sampler, readings: &mut Readings) -> Result<Cost, Failure> {
    let (wall, cpu) = (Instant::now(), thread_cpu());
    // A panic leaves the sampler in any state, but then it is never called again.
    let result = catch_unwind(AssertUnwindSafe(|| sampler.sample(readings)));
    let failure = match result {
        Ok(Ok(())) => {
            let cpu = thread_cpu().saturating_sub(cpu) + sampler.take_cpu_elsewhere();
            return Ok(Cost { wall: wall.elapsed(), cpu });
        }
        Ok(Err(error)) => Failure::Error(error),
        Err(panic) => Failure::Panic(message(&*panic)),
    };
    readings.discard_values();
    Err(failure)
}

/// A sampler's thread: reads when asked, ends with the recorder or with a panic.
fn work(
    mut sampler: Box<dyn Sampler>,
    index: usize,
    asked: &Receiver<Readings>,
    answers: &SyncSender<Answer>,
) {
    while let Ok(mut readings) = asked.recv() {
        let outcome = sample(&mut *sampler, &mut readings);
        let last = matches!(outcome, Err(Failure::Panic(_)));
        if answers.send(Answer { index, readings, outcome }).is_err() || last {
            return;
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
