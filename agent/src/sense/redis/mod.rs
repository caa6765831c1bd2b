//! Redis and Valkey: INFO in each reading; commands, slow log, latencies and the cluster in every tenth.
//!
//! Each instance is asked on a thread of its own, so one that is gone or hangs delays no other. How an instance is, is a value too: `flyball.redis.up` and
//! `flyball.redis.state`. The lookups that the agent itself makes elsewhere are subtracted from hits and misses ([`kept`]); the sampler's own commands make none.

use std::time::{Duration, SystemTime};

use super::remote::{Status, Watch, Watched};
use super::{Isolation, Metric, Readings, SampleError, Sampler};
use crate::redis::{Instance, State};
use ask::{Answer, Asker};
use series::Series;

pub(super) use kept::Kept;
pub(super) use series::define;

mod ask;
mod commands;
mod databases;
mod detail;
mod extra;
mod kept;
mod metrics;
mod observer;
mod series;

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// The name of the sampler.
pub(super) const NAME: &str = "redis";

/// Reads all instances of the settings.
pub(super) struct Redis {
    instances: Vec<Watched<One>>,
    patience: Duration,
}

/// One instance.
struct One {
    instance: Instance,
    status: Status,
    refused: Vec<&'static str>,
    series: Option<Series>,
}

impl Redis {
    /// Nothing is connected before the first reading. A reading waits for them as long as `patience`.
    pub(super) fn new(instances: &[Instance], patience: Duration) -> Self {
        let one = |instance: &Instance| One {
            instance: instance.clone(),
            status: Status::default(),
            refused: Vec::new(),
            series: None,
        };
        let instances = instances.iter().map(|instance| Watched::new(one(instance))).collect();
        Self { instances, patience }
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
        Watched::sample(&mut self.instances, self.patience, readings)
    }

    fn take_cpu_elsewhere(&mut self) -> Duration {
        Watched::take_cpu(&mut self.instances)
    }
}

impl Watch for One {
    type Remote = Asker;

    fn thread(&self) -> String {
        format!("redis {}", self.instance.name())
    }

    fn remote(&self) -> Asker {
        Asker::new(self.instance.clone())
    }

    fn status(&mut self) -> &mut Status {
        &mut self.status
    }

    fn prepare(answer: &mut Answer, wants_detail: bool) {
        answer.wants_detail = wants_detail;
    }

    fn note(&mut self, answer: &Answer) {
        let Some(suppressed) = self.status.note(answer.state) else { return };
        let (cache, endpoint) = (self.instance.name(), self.instance.endpoint());
        let (state, reason) = (answer.state.as_str(), &answer.reason);
        if answer.state == State::Up {
            tracing::info!(cache, %endpoint, suppressed, "redis answers");
        } else {
            tracing::warn!(cache, %endpoint, state, reason, suppressed, "redis does not serve");
        }
    }

    fn publish(&mut self, answer: &Answer, readings: &mut Readings) -> bool {
        self.note_refused(&answer.refused);
        let instance = &self.instance;
        let series = self.series.get_or_insert_with(|| Series::new(instance, readings));
        series.set(instance, answer, now_ms(), readings);
        if answer.detail.is_there
            && let Err(error) = series.save(instance)
        {
            let file = instance.state_file().display();
            tracing::warn!(%file, %error, "cannot keep the agent's own lookups");
        }
        answer.detail.is_there
    }

    fn publish_state(&mut self, state: Option<State>, readings: &mut Readings) {
        let Some(state) = state else { return };
        let instance = &self.instance;
        let series = self.series.get_or_insert_with(|| Series::new(instance, readings));
        series.set_state(state, readings);
    }
}

impl One {
    fn note_refused(&mut self, refused: &[&'static str]) {
        if refused.iter().any(|command| !self.refused.contains(command)) {
            let (cache, commands) = (self.instance.name(), refused.join(" "));
            tracing::info!(cache, commands, "redis refuses commands: what they tell is missing");
            self.refused.extend(refused);
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if let Some(series) = &mut self.series {
            // It was written not long ago, and there is nobody left to tell.
            let _ = series.save(&self.instance);
        }
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as i64
}
