//! memcached: its statistics in each reading; slab classes and their items in every tenth.
//!
//! Each server is asked on a thread of its own, so one that is gone or hangs delays no other. What the sampler asks for counts as no lookup.

use std::time::Duration;

use super::remote::{Status, Watch, Watched};
use super::{Isolation, Metric, Readings, SampleError, Sampler};
use crate::redis::State;
use ask::{Answer, Asker};
pub use config::{MemcachedConfig, MemcachedServer};
use series::Series;

mod ask;
mod config;
mod link;
mod metrics;
mod series;
mod slabs;

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// The name of the sampler.
pub(super) const NAME: &str = "memcached";

/// Reads all servers of the settings.
pub(super) struct Memcached {
    servers: Vec<Watched<One>>,
    patience: Duration,
}

/// One server.
struct One {
    server: MemcachedServer,
    status: Status,
    series: Option<Series>,
}

impl Memcached {
    /// Nothing is connected before the first reading. A reading waits for them as long as `patience`.
    pub(super) fn new(servers: &[MemcachedServer], patience: Duration) -> Self {
        let one = |server: &MemcachedServer| One {
            server: server.clone(),
            status: Status::default(),
            series: None,
        };
        let servers = servers.iter().map(|server| Watched::new(one(server))).collect();
        Self { servers, patience }
    }
}

impl Sampler for Memcached {
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
        Watched::sample(&mut self.servers, self.patience, readings)
    }

    fn take_cpu_elsewhere(&mut self) -> Duration {
        Watched::take_cpu(&mut self.servers)
    }
}

impl Watch for One {
    type Remote = Asker;

    fn thread(&self) -> String {
        format!("memcached {}", self.server.name)
    }

    fn remote(&self) -> Asker {
        Asker::new(self.server.clone())
    }

    fn status(&mut self) -> &mut Status {
        &mut self.status
    }

    fn prepare(answer: &mut Answer, wants_detail: bool) {
        answer.wants_detail = wants_detail;
    }

    fn note(&mut self, answer: &Answer) {
        let Some(suppressed) = self.status.note(answer.state) else { return };
        let (cache, address) = (&self.server.name, &self.server.address);
        let (state, reason) = (answer.state.as_str(), &answer.reason);
        if answer.state == State::Up {
            tracing::info!(cache, %address, suppressed, "memcached answers");
        } else {
            tracing::warn!(cache, %address, state, reason, suppressed, "memcached does not serve");
        }
    }

    fn publish(&mut self, answer: &Answer, readings: &mut Readings) -> bool {
        let server = &self.server;
        let series = self.series.get_or_insert_with(|| Series::new(server, readings));
        series.set(server, answer, readings);
        if answer.slabs.is_some()
            && let Err(error) = series.save()
        {
            let file = server.state_file.display();
            tracing::warn!(%file, %error, "cannot keep when the counters began");
        }
        answer.slabs.is_some()
    }

    fn publish_state(&mut self, state: Option<State>, readings: &mut Readings) {
        let Some(state) = state else { return };
        let server = &self.server;
        let series = self.series.get_or_insert_with(|| Series::new(server, readings));
        series.set_state(state, readings);
    }
}
