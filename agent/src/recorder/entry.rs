//! What the recorder knows of one sampler: when it is due, what it costs, how it fares, where its series went.

use std::time::{Duration, Instant};

use flyball_model::budget::Load;
use flyball_proto::frame::Encoder;

use super::runner::{Cost, Failure, Runner, Thread};
use super::slots::Slots;
use crate::sense::SampleError;

/// Time between two reads of a source that this host does not have.
const UNSUPPORTED_PERIOD: Duration = Duration::from_mins(1);
/// Time between two log lines about one sampler.
const LOG_PERIOD: Duration = Duration::from_mins(1);
/// Weight of the latest read in the average cost.
const COST_WEIGHT: f64 = 0.3;

/// One sampler.
pub(super) struct Entry {
    /// Its name.
    pub(super) name: &'static str,
    /// The sampler itself.
    pub(super) runner: Runner,
    /// Reads that failed since the agent started.
    pub(super) errors: u64,
    /// Reads that missed their deadline since the agent started.
    pub(super) timeouts: u64,
    /// Where its series are.
    pub(super) slots: Slots,
    rank: u8,
    period: Duration,
    multiplier: u32,
    due_ms: i64,
    asked_ms: i64,
    cost: Option<Duration>,
    window: Window,
    /// CPU time of the reads in the budget's window.
    cpu: Duration,
    trouble: Option<Trouble>,
}

/// Reads since the last look at them.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    reads: u32,
    wall: Duration,
}

/// A sampler that publishes nothing at present.
#[derive(Debug)]
struct Trouble {
    logged_at: Instant,
    silent: u64,
}

impl Entry {
    /// A sampler that is due at once.
    pub(super) fn new(name: &'static str, rank: u8, runner: Runner, period: Duration) -> Self {
        Self {
            name,
            rank,
            runner,
            errors: 0,
            timeouts: 0,
            slots: Slots::default(),
            period,
            multiplier: 1,
            due_ms: i64::MIN,
            asked_ms: i64::MIN,
            cost: None,
            window: Window::default(),
            cpu: Duration::ZERO,
            trouble: None,
        }
    }

    /// Time between two reads at present.
    pub(super) fn period(&self) -> Duration {
        self.period * self.multiplier
    }

    /// True when it is to be read in the tick at `ts_ms`; then it is due next at a multiple of its period. A clock that went back makes it due.
    pub(super) fn take_due(&mut self, ts_ms: i64) -> bool {
        let due = ts_ms >= self.due_ms || ts_ms < self.asked_ms;
        if due {
            self.asked_ms = ts_ms;
            self.due_ms = self.next_due_ms();
        }
        due
    }

    /// The first multiple of its period after the last read.
    fn next_due_ms(&self) -> i64 {
        let period_ms = self.period().as_millis() as i64;
        (self.asked_ms.div_euclid(period_ms) + 1) * period_ms
    }

    /// The sampler as the budget sees it.
    pub(super) fn load(&self) -> Load {
        Load {
            cost: self.cost.unwrap_or_default(),
            period: self.period,
            multiplier: self.multiplier,
            rank: self.rank,
        }
    }

    /// Reads it every `multiplier` of its periods from now on.
    pub(super) fn set_multiplier(&mut self, multiplier: u32) {
        if multiplier != self.multiplier && self.asked_ms != i64::MIN {
            self.multiplier = multiplier;
            self.due_ms = self.next_due_ms();
        }
    }

    /// CPU time of the reads since the last call.
    pub(super) fn take_cpu(&mut self) -> Duration {
        std::mem::take(&mut self.cpu)
    }

    /// Mean wall time of the reads since the last call; `None` when there was none.
    pub(super) fn take_mean_duration(&mut self) -> Option<Duration> {
        let Window { reads, wall } = std::mem::take(&mut self.window);
        (reads > 0).then(|| wall / reads)
    }

    /// Notes how a read went.
    pub(super) fn record(
        &mut self,
        outcome: Result<Cost, Failure>,
        encoder: &mut Encoder,
        ts_ms: i64,
    ) {
        match outcome {
            Ok(cost) => self.succeeded(cost),
            Err(Failure::Error(SampleError::Unsupported(what))) => {
                self.due_ms = ts_ms.saturating_add(UNSUPPORTED_PERIOD.as_millis() as i64);
                if self.trouble.is_none() {
                    tracing::info!(sampler = self.name, %what, "not available on this host");
                    self.trouble = Some(Trouble { logged_at: Instant::now(), silent: 0 });
                }
            }
            Err(Failure::Error(error)) => {
                self.errors += 1;
                self.complain(&error);
            }
            Err(Failure::Panic(message)) => {
                self.errors += 1;
                tracing::error!(sampler = self.name, %message, "sampler panicked and is disabled");
                self.disable(encoder);
            }
        }
    }

    /// The deadline of a tick: counts it as missed if the sampler was asked and has not answered.
    pub(super) fn deadline(&mut self) {
        if let Runner::Threaded { state, .. } = &mut self.runner
            && matches!(state, Thread::Asked)
        {
            *state = Thread::Late;
            self.timeouts += 1;
            self.complain(&"no answer by the deadline");
        }
    }

    /// Never asks it again and ends its series.
    pub(super) fn disable(&mut self, encoder: &mut Encoder) {
        self.runner = Runner::Disabled;
        self.slots.retire_all(encoder);
    }

    fn succeeded(&mut self, cost: Cost) {
        let average = self.cost.unwrap_or(cost.cpu);
        self.cost = Some(average.mul_f64(1.0 - COST_WEIGHT) + cost.cpu.mul_f64(COST_WEIGHT));
        self.window.reads += 1;
        self.window.wall += cost.wall;
        self.cpu += cost.cpu;
        // One that fails every other time says so once in a while, not twice each time.
        if self.trouble.take_if(|trouble| trouble.logged_at.elapsed() >= LOG_PERIOD).is_some() {
            tracing::info!(sampler = self.name, "sampler works again");
        }
    }

    /// Logs a failure at once when it is the first one, and then seldom.
    fn complain(&mut self, reason: &dyn std::fmt::Display) {
        let now = Instant::now();
        match &mut self.trouble {
            Some(trouble) if now.duration_since(trouble.logged_at) < LOG_PERIOD => {
                trouble.silent += 1;
            }
            trouble => {
                let suppressed = trouble.as_ref().map_or(0, |t| t.silent);
                tracing::warn!(sampler = self.name, %reason, suppressed, "sampler failed");
                *trouble = Some(Trouble { logged_at: now, silent: 0 });
            }
        }
    }
}
