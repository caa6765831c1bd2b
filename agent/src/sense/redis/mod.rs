//! Redis and Valkey: INFO in each reading; commands, slow log, latencies and the cluster in every tenth.
//!
//! Each instance is asked on a thread of its own, so one that is gone or hangs delays no other. How an instance is, is a value too: `flyball.redis.up` and
//! `flyball.redis.state`. The lookups that the agent itself makes elsewhere are subtracted from hits and misses ([`kept`]); the sampler's own commands make none.

use std::time::{Duration, Instant, SystemTime};

use super::remote::{Announcer, Worker, patience};
use super::{Isolation, Metric, Readings, SampleError, Sampler};
use crate::redis::{Instance, State};
use ask::{Answer, Asker};
use series::Series;

mod ask;
mod commands;
mod databases;
mod detail;
mod extra;
mod kept;
mod metrics;
mod series;

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// One of so many readings also asks for what costs more.
const DETAIL_EVERY: u32 = 10;
/// The name of the sampler.
pub(super) const NAME: &str = "redis";

/// Reads all instances of the settings.
pub(super) struct Redis {
    instances: Vec<Watched>,
    patience: Duration,
}

/// One instance.
struct Watched {
    instance: Instance,
    worker: Option<Worker<Answer>>,
    cpu: Duration,
    /// Readings until the next one with the detail.
    detail_in: u32,
    state: Option<State>,
    announcer: Announcer,
    refused: Vec<&'static str>,
    series: Option<Series>,
}

impl Redis {
    /// Nothing is connected before the first reading. `interval` is that of the agent.
    pub(super) fn new(instances: &[Instance], interval: Duration) -> Self {
        let instances = instances.iter().cloned().map(Watched::new).collect();
        Self { instances, patience: patience(interval) }
    }
}

impl Sampler for Redis {
    fn name(&self) -> &'static str {
        NAME
    }

    fn metrics(&self) -> &'static [Metric] {
        metrics::METRICS
    }

    fn isolation(&self) -> Isolation {
        Isolation::Thread
    }

    fn period(&self) -> Option<Duration> {
        Some(PERIOD)
    }

    fn cost_rank(&self) -> u8 {
        40
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        for watched in &mut self.instances {
            watched.ask(readings)?;
        }
        let deadline = Instant::now() + self.patience;
        for watched in &mut self.instances {
            watched.take(deadline, readings);
        }
        Ok(())
    }

    fn take_cpu_elsewhere(&mut self) -> Duration {
        self.instances.iter_mut().map(Watched::take_cpu).sum()
    }
}

impl Watched {
    fn new(instance: Instance) -> Self {
        Self {
            instance,
            worker: None,
            cpu: Duration::ZERO,
            detail_in: 0,
            state: None,
            announcer: Announcer::default(),
            refused: Vec::new(),
            series: None,
        }
    }

    /// Asks, unless the question before is not answered yet.
    fn ask(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        if self.series.is_none() {
            self.series = Some(Series::new(&self.instance, readings));
        }
        let mut worker = match self.worker.take() {
            Some(worker) if !worker.is_gone() => worker,
            _ => {
                let name = format!("redis {}", self.instance.name());
                Worker::start(&name, Asker::new(self.instance.clone()))?
            }
        };
        let now = Instant::now();
        if let Some(late) = worker.late() {
            self.note(late.state, &late.reason, now);
        }
        self.detail_in = self.detail_in.saturating_sub(1);
        let wants_detail = self.detail_in == 0;
        worker.ask(|answer| answer.wants_detail = wants_detail);
        self.worker = Some(worker);
        Ok(())
    }

    /// Takes the answer if it comes by the deadline, and publishes.
    fn take(&mut self, deadline: Instant, readings: &mut Readings) {
        let Some(mut worker) = self.worker.take() else { return };
        if let Some(answer) = worker.answer(deadline) {
            self.publish(answer, readings);
        }
        self.worker = Some(worker);
        if let (Some(state), Some(series)) = (self.state, &self.series) {
            series.set_state(state, readings);
        }
    }

    fn publish(&mut self, answer: &Answer, readings: &mut Readings) {
        let now = Instant::now();
        self.note(answer.state, &answer.reason, now);
        self.note_refused(&answer.refused);
        let Some(series) = &mut self.series else { return };
        series.set(&self.instance, answer, now_ms(), readings);
        if answer.detail.is_there {
            self.detail_in = DETAIL_EVERY;
            if let Err(error) = series.save(&self.instance) {
                let file = self.instance.state_file().display();
                tracing::warn!(%file, %error, "cannot keep the agent's own lookups");
            }
        }
    }

    fn note(&mut self, state: State, reason: &str, now: Instant) {
        self.state = Some(state);
        let Some(suppressed) = self.announcer.note(state.as_str(), now) else { return };
        let (cache, endpoint) = (self.instance.name(), self.instance.endpoint());
        if state == State::Up {
            tracing::info!(cache, %endpoint, suppressed, "redis answers");
        } else {
            let state = state.as_str();
            tracing::warn!(cache, %endpoint, state, reason, suppressed, "redis does not serve");
        }
    }

    fn note_refused(&mut self, refused: &[&'static str]) {
        if refused.iter().any(|command| !self.refused.contains(command)) {
            let cache = self.instance.name();
            tracing::info!(
                cache,
                commands = refused.join(" "),
                "redis refuses these commands: what they tell is missing"
            );
            self.refused.extend(refused);
        }
    }

    fn take_cpu(&mut self) -> Duration {
        let now = self.worker.as_ref().map_or(Duration::ZERO, Worker::cpu);
        let before = std::mem::replace(&mut self.cpu, now);
        now.saturating_sub(before)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(series) = &mut self.series {
            // Ten seconds ago it was written too, and there is nobody left to tell.
            let _ = series.save(&self.instance);
        }
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as i64
}
