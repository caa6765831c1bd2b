//! HAProxy: what its watcher has read in the last second (`crate::haproxy`). Nothing is asked here, so nothing can hang.

use std::time::Duration;

use super::{Metric, Readings, SampleError, Sampler};
use crate::haproxy::Haproxy;
use series::Series;

mod metrics;
mod series;

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// The name of the sampler.
pub(super) const NAME: &str = "haproxy";

/// Publishes all processes of the settings.
pub(super) struct Balancers {
    all: Vec<One>,
}

/// One process.
struct One {
    haproxy: Haproxy,
    series: Option<Series>,
    /// Number of the reading that was published last.
    number: u64,
    cpu: Duration,
}

impl Balancers {
    pub(super) fn new(all: &[Haproxy]) -> Self {
        let one = |haproxy: &Haproxy| One {
            haproxy: haproxy.clone(),
            series: None,
            number: 0,
            cpu: Duration::ZERO,
        };
        Self { all: all.iter().map(one).collect() }
    }
}

impl Sampler for Balancers {
    fn name(&self) -> &'static str {
        NAME
    }

    fn metrics(&self) -> &'static [Metric] {
        metrics::METRICS
    }

    fn period(&self) -> Option<Duration> {
        Some(PERIOD)
    }

    fn cost_rank(&self) -> u8 {
        40
    }

    fn take_cpu_elsewhere(&mut self) -> Duration {
        let of = |one: &mut One| {
            let now = one.haproxy.cpu();
            now.saturating_sub(std::mem::replace(&mut one.cpu, now))
        };
        self.all.iter_mut().map(of).sum()
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        for One { haproxy, series, number, .. } in &mut self.all {
            let latest = haproxy.latest();
            let Some(state) = latest.state else { continue };
            let series =
                series.get_or_insert_with(|| Series::new(&haproxy.config().name, readings));
            series.set_state(state, readings);
            if let Some((snapshot, took)) = latest.read
                && std::mem::replace(number, latest.number) != latest.number
            {
                series.set(&snapshot, took, readings);
            }
        }
        Ok(())
    }
}
