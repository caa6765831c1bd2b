//! The recorder: one tick from samplers to a frame in the outbox.
//!
//! In a tick the samplers with threads of their own are asked first, so that they read while the inline ones run in order on this thread; then their
//! answers are awaited until a deadline. What has not answered by then publishes nothing in this tick. Everything that was set is encoded into one
//! frame. In the steady state nothing is allocated but the outbox's copy.
//!
//! Once in a window the agent's own cost is held against its budget and at most one sampler is slowed or restored ([`flyball_model::budget`]).

mod entry;
pub(crate) mod overhead;
mod own;
mod record;
mod runner;
mod slots;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use flyball_model::budget::{Limits, Load, Step, Usage, solve};
use flyball_proto::frame::{self, Encoder};
use flyball_proto::v1;

use crate::schedule::Tick;
use crate::sense::{Isolation, Sampler};
use crate::ship::outbox::SharedOutbox;
use crate::spool::NewFrame;

use entry::Entry;
use overhead::Overhead;
use own::Own;
use runner::{Answer, Runner, Thread, sample};
use slots::Slots;

pub use own::METRICS;
pub use record::Record;

/// Part of the interval that threaded samplers may take, and the most that is.
const DEADLINE: (u32, Duration) = (4, Duration::from_millis(200));

/// A sampler and how often it is read.
pub struct Scheduled {
    /// The sampler.
    pub sampler: Box<dyn Sampler>,
    /// Time between two reads; where it is shorter than the interval, the interval.
    pub period: Duration,
}

/// Turns ticks into frames.
pub struct Recorder {
    entries: Vec<Entry>,
    answers: Receiver<Answer>,
    deadline: Duration,
    encoder: Encoder,
    frame_limits: frame::Limits,
    outbox: Arc<SharedOutbox>,
    limits: Limits,
    overhead: Overhead,
    own: Own,
    payload: Vec<u8>,
    record: Option<Record>,
}

impl Recorder {
    /// Prepares samplers, with threads where they need them.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(
        samplers: Vec<Scheduled>,
        interval: Duration,
        limits: Limits,
        outbox: Arc<SharedOutbox>,
    ) -> std::io::Result<Self> {
        let threads =
            samplers.iter().filter(|s| s.sampler.isolation() == Isolation::Thread).count();
        // One answer of each thread at most is under way, so none ever waits for room.
        let (answer, answers) = sync_channel(threads.max(1));
        let mut entries = Vec::with_capacity(samplers.len());
        for (index, Scheduled { sampler, period }) in samplers.into_iter().enumerate() {
            let (name, rank) = (sampler.name(), sampler.cost_rank());
            let runner = Runner::new(sampler, index, &answer)?;
            entries.push(Entry::new(name, rank, runner, period.max(interval)));
        }
        let mut encoder = Encoder::new(frame::Limits::default());
        Ok(Self {
            own: Own::new(&entries, &mut encoder),
            entries,
            answers,
            deadline: DEADLINE.1.min(interval / DEADLINE.0),
            encoder,
            frame_limits: frame::Limits::default(),
            outbox,
            limits,
            overhead: Overhead::start(),
            payload: Vec::new(),
            record: None,
        })
    }

    /// Also writes everything that is produced to `record`, if there is one.
    #[must_use]
    pub fn with_record(mut self, record: Option<Record>) -> Self {
        self.record = record;
        self
    }

    /// Samples what is due and appends a frame.
    pub fn tick(&mut self, tick: &Tick) {
        let deadline = Instant::now() + self.deadline;
        let ts_ms = tick.scheduled_ms;
        let mut outbox = self.outbox.lock();
        let (stamp_ms, limits) = (outbox.stamp(ts_ms, tick.step), outbox.take_limits());
        drop(outbox);
        if let Some(limits) = limits {
            self.keep_to(&limits);
        }
        if let Some(step) = tick.step {
            tracing::warn!(now_ms = ts_ms, ?step, ?stamp_ms, "the wall clock was set");
        }
        let Some(stamp_ms) = stamp_ms else {
            self.own.missed(tick);
            return;
        };
        while let Ok(late) = self.answers.try_recv() {
            self.take(late, ts_ms);
        }
        let mut awaited = self.ask(ts_ms);
        self.read_inline(ts_ms);
        while awaited > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(answer) = self.answers.recv_timeout(left) else { break };
            awaited -= usize::from(self.take(answer, ts_ms));
        }
        if awaited > 0 {
            self.entries.iter_mut().for_each(Entry::deadline);
        }
        if self.overhead.is_due() {
            let sampled = self.entries.iter_mut().map(Entry::take_cpu).sum();
            let average = self.entries.iter().map(|entry| entry.load().present_share()).sum();
            if let Some(usage) = self.overhead.window(sampled, average) {
                self.govern(&usage);
            }
        }
        let outbox = self.outbox.lock();
        let (totals, steps) = (outbox.totals(), outbox.clock_steps());
        drop(outbox);
        self.own.tick(tick, &totals, steps, &mut self.entries, &mut self.encoder);
        self.append(stamp_ms);
    }

    /// Asks the threaded samplers that are due. Returns how many answers are to be awaited.
    fn ask(&mut self, ts_ms: i64) -> usize {
        let mut asked = 0;
        for entry in &mut self.entries {
            if !matches!(entry.runner, Runner::Threaded { .. }) || !entry.take_due(ts_ms) {
                continue;
            }
            let Runner::Threaded { ask, state } = &mut entry.runner else { continue };
            let Thread::Idle(readings) = std::mem::replace(state, Thread::Asked) else {
                entry.deadline();
                continue;
            };
            if ask.try_send(readings).is_ok() {
                asked += 1;
            } else {
                // Its thread has ended without an answer, which nothing but the end of the agent does.
                entry.disable(&mut self.encoder);
            }
        }
        asked
    }

    fn read_inline(&mut self, ts_ms: i64) {
        for entry in &mut self.entries {
            if !matches!(entry.runner, Runner::Inline { .. }) || !entry.take_due(ts_ms) {
                continue;
            }
            let Runner::Inline { sampler, readings } = &mut entry.runner else { continue };
            let outcome = sample(&mut **sampler, readings);
            entry.slots.publish(readings, &mut self.encoder);
            entry.record(outcome, &mut self.encoder, ts_ms);
        }
    }

    /// Takes what a sampler's thread has read, and its buffer back. Returns false when that was for an earlier tick; then its values are dropped.
    fn take(&mut self, answer: Answer, ts_ms: i64) -> bool {
        let Answer { index, mut readings, outcome } = answer;
        let entry = &mut self.entries[index];
        let timely = matches!(entry.runner, Runner::Threaded { state: Thread::Asked, .. });
        if !timely {
            readings.discard_values();
        }
        entry.slots.publish(&mut readings, &mut self.encoder);
        if let Runner::Threaded { state, .. } = &mut entry.runner {
            *state = Thread::Idle(readings);
        }
        entry.record(outcome, &mut self.encoder, ts_ms);
        timely
    }

    /// Holds the agent's usage against its budget.
    fn govern(&mut self, usage: &Usage) {
        let mut loads: Vec<Load> = self.entries.iter().map(Entry::load).collect();
        let step = solve(&self.limits, usage, &loads);
        step.apply(&mut loads);
        let changed = self.entries.iter().zip(&loads).any(|(e, load)| e.load() != *load);
        for (entry, load) in self.entries.iter_mut().zip(&loads) {
            entry.set_multiplier(load.multiplier);
        }
        let (cpu_percent, memory_bytes) = (usage.cpu_share * 100.0, usage.memory_bytes);
        match step {
            Step::Hold => {}
            Step::Slow(i) | Step::Restore(i) => {
                let (sampler, period) = (self.entries[i].name, self.entries[i].period());
                tracing::info!(
                    cpu_percent,
                    memory_bytes,
                    sampler,
                    ?period,
                    "sampler's period changed to keep the budget"
                );
            }
            Step::Ceiling => {
                let samples = self.outbox.lock().relieve();
                // Over the ceiling for long, it has said so once.
                if changed {
                    tracing::error!(
                        memory_bytes,
                        samples,
                        "over the memory ceiling: all samplers slowed, samples that are in memory only dropped"
                    );
                }
            }
        }
    }

    /// Keeps to the limits of a collector: series that it does not take are left out, and those that another one did not take come back.
    fn keep_to(&mut self, limits: &v1::Limits) {
        let limits = frame::Limits::default().tightened(limits);
        if limits == self.frame_limits {
            return;
        }
        tracing::info!(?limits, "the collector's limits");
        self.frame_limits = limits;
        self.encoder.set_limits(limits);
        let excess: HashMap<_, _> = self.encoder.excess().into_iter().collect();
        if !excess.is_empty() {
            tracing::warn!(series = excess.len(), "series left out for the collector's limits");
            for entry in &mut self.entries {
                entry.slots.leave_out(&excess, &mut self.encoder);
            }
            self.own.slots.leave_out(&excess, &mut self.encoder);
        }
        self.restart_dictionary();
    }

    /// Starts a new version of the dictionary, with room for what was left out.
    fn restart_dictionary(&mut self) {
        let renumbering = self.encoder.restart_dictionary();
        self.own.slots.renumber(&renumbering);
        self.entries.iter_mut().for_each(|entry| entry.slots.renumber(&renumbering));
        self.own.slots.take_in(&mut self.encoder);
        self.entries.iter_mut().for_each(|entry| entry.slots.take_in(&mut self.encoder));
    }

    fn slots(&self) -> impl Iterator<Item = &Slots> {
        self.entries.iter().map(|entry| &entry.slots).chain([&self.own.slots])
    }

    /// Encodes what was set in this tick and appends it to the outbox.
    fn append(&mut self, ts_ms: i64) {
        let is_left_out = self.slots().any(|slots| slots.left_out() > 0);
        if self.encoder.needs_new_dictionary()
            || is_left_out && self.encoder.has_room_after_restart()
        {
            self.restart_dictionary();
        }
        let mut outbox = self.outbox.lock();
        if outbox.keyframe_wanted() {
            self.encoder.request_keyframe();
        }
        while let Some(define) = self.encoder.pending_define() {
            if let Some(record) = &mut self.record {
                record.define(&define);
            }
            outbox.define(define);
        }
        loop {
            self.payload.clear();
            let info = self.encoder.encode(ts_ms, &mut self.payload);
            outbox.append(&NewFrame {
                seq: info.seq,
                ts_ms,
                samples: info.samples as u32,
                keyframe: info.keyframe,
                payload: &self.payload,
            });
            if let Some(record) = &mut self.record {
                record.frame(&self.payload);
            }
            if info.remaining == 0 {
                break;
            }
        }
        drop(outbox);
        self.outbox.notify();
        if let Some(record) = &mut self.record {
            record.commit();
        }
    }
}

#[cfg(test)]
mod tests;
