//! Made-up series that come and go, encoded and appended as the recorder does it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use flyball_agent::schedule::{Next, Now, Schedule};
use flyball_agent::ship::outbox::SharedOutbox;
use flyball_agent::spool::NewFrame;
use flyball_proto::frame::{Encoder, Limits, Slot};
use flyball_proto::series::{Kind, Scale, Series};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::journal::{Epoch, Frame, Sample, SharedJournal, key};
use crate::kernel;

/// Longest sleep of the sampling loop, as in the agent.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What an agent measures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Series at a time.
    pub(crate) series: u32,
    /// Share of the ticks in which a series ends and another one begins.
    pub(crate) churn: f64,
    /// Share of the samples that are missing.
    pub(crate) holes: f64,
}

/// A host's wall clock, which people may set.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    ahead_ms: AtomicI64,
}

/// See the module.
pub(super) struct Producer {
    agent: String,
    load: Load,
    rng: StdRng,
    encoder: Encoder,
    active: Vec<Active>,
    /// Series ever defined, so that each one has a name of its own.
    named: u32,
    outbox: Arc<SharedOutbox>,
    journal: SharedJournal,
    epoch: Epoch,
    payload: Vec<u8>,
}

/// A series that is measured at present.
struct Active {
    slot: Slot,
    key: Arc<str>,
    scale: Scale,
    raw: i64,
}

impl WallClock {
    pub(super) fn step(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    fn now(&self) -> Now {
        let monotonic = kernel::elapsed().as_nanos() as i64;
        let wall_ms = kernel::wall_ms() + self.ahead_ms.load(Ordering::Relaxed);
        Now { wall_ns: wall_ms * 1_000_000 + monotonic % 1_000_000, monotonic_ns: monotonic }
    }
}

impl Producer {
    pub(super) fn new(
        agent: &str,
        epoch: Epoch,
        load: Load,
        rng: StdRng,
        outbox: Arc<SharedOutbox>,
        journal: SharedJournal,
    ) -> Self {
        Self {
            agent: agent.to_owned(),
            load,
            rng,
            encoder: Encoder::new(Limits::default()),
            active: Vec::new(),
            named: 0,
            outbox,
            journal,
            epoch,
            payload: Vec::new(),
        }
    }

    /// Samples when the schedule says so, until it is stopped.
    pub(super) async fn run(
        mut self,
        interval: Duration,
        clock: Arc<WallClock>,
        stop: CancellationToken,
    ) {
        let mut schedule = Schedule::new(interval, clock.now());
        while !stop.is_cancelled() {
            match schedule.next(clock.now()) {
                Next::Fire(tick) => {
                    let stamp_ms = self.outbox.lock().stamp(tick.scheduled_ms, tick.step);
                    if let Some(stamp_ms) = stamp_ms {
                        self.tick(stamp_ms);
                    }
                }
                Next::Wait(time) => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = sleep(time.min(LONGEST_WAIT)) => {}
                    }
                }
            }
        }
    }

    fn tick(&mut self, ts_ms: i64) {
        self.churn();
        let mut samples = Vec::with_capacity(self.active.len());
        for active in &mut self.active {
            if self.rng.random_bool(self.load.holes) {
                continue;
            }
            active.raw = active.raw.wrapping_add(self.rng.random_range(-3..1_000));
            self.encoder.set(active.slot, active.raw);
            let (key, raw, scale) = (Arc::clone(&active.key), active.raw, active.scale.code());
            samples.push(Sample { key, raw, scale });
        }
        self.append(ts_ms, samples);
    }

    /// Ends a series and begins another one, now and then, and fills up to what the load says.
    fn churn(&mut self) {
        if !self.active.is_empty() && self.rng.random_bool(self.load.churn) {
            let gone = self.rng.random_range(0..self.active.len());
            self.encoder.retire(self.active.swap_remove(gone).slot);
        }
        while self.active.len() < self.load.series as usize {
            let series = self.next_series();
            let (key, scale) = (key(&self.agent, &series), series.scale);
            let Ok(slot) = self.encoder.define(series) else { return };
            self.active.push(Active { slot, key, scale, raw: self.rng.random_range(0..1 << 40) });
        }
    }

    /// The same names come again in the next process, so that it goes on with the same series.
    fn next_series(&mut self) -> Series {
        let number = self.named;
        self.named += 1;
        let (metric, kind, scale) = match number % 3 {
            0 => ("sim.requests", Kind::Counter, Scale::UNIT),
            1 => ("sim.memory", Kind::Gauge, Scale::KIBI),
            _ => ("sim.temperature", Kind::Gauge, Scale::decimal(2)),
        };
        let attributes = vec![("instance".to_owned(), number.to_string())];
        Series { metric: metric.to_owned(), unit: "1".to_owned(), kind, scale, attributes }
    }

    /// As the recorder's last step.
    fn append(&mut self, ts_ms: i64, samples: Vec<Sample>) {
        if self.encoder.needs_new_dictionary() {
            let renumbering = self.encoder.restart_dictionary();
            self.active.retain_mut(|active| match renumbering.get(active.slot) {
                Some(slot) => {
                    active.slot = slot;
                    true
                }
                None => false,
            });
        }
        let mut outbox = self.outbox.lock();
        if outbox.keyframe_wanted() {
            self.encoder.request_keyframe();
        }
        while let Some(define) = self.encoder.pending_define() {
            outbox.define(define);
        }
        self.payload.clear();
        let info = self.encoder.encode(ts_ms, &mut self.payload);
        assert_eq!((info.samples, info.remaining), (samples.len(), 0), "one frame for each tick");
        let (seq, keyframe) = (info.seq, info.keyframe);
        let frame = Frame { epoch: self.epoch, seq, ts_ms, samples, at: kernel::elapsed() };
        self.journal.lock().produced(&self.agent, frame);
        let samples = info.samples as u32;
        outbox.append(&NewFrame { seq, ts_ms, samples, keyframe, payload: &self.payload });
        drop(outbox);
        self.outbox.notify();
    }
}
