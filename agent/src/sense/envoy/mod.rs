//! Envoy: publishes what its watch has found last ([`crate::envoy`]). Asking happens there, so a reading never waits.

use std::time::Duration;

use super::{Metric, Readings, SampleError, Sampler};
use crate::envoy::{Envoy, SpentCpu};
use series::Series;

mod metrics;
mod series;

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// The name of the sampler.
pub(super) const NAME: &str = "envoy";
/// What was found is published so long.
const MAX_AGE: Duration = Duration::from_secs(3);

/// All Envoys of the settings.
pub(super) struct Envoys {
    each: Vec<(Envoy, Option<Series>)>,
    cpu: SpentCpu,
    counted: Duration,
}

impl Envoys {
    pub(super) fn new(envoys: &[Envoy], cpu: SpentCpu) -> Self {
        let each = envoys.iter().map(|envoy| (envoy.clone(), None)).collect();
        Self { each, cpu, counted: Duration::ZERO }
    }
}

impl Sampler for Envoys {
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
        let now = self.cpu.get();
        now.saturating_sub(std::mem::replace(&mut self.counted, now))
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        for (envoy, series) in &mut self.each {
            let known = envoy.known();
            let known = known.filter(|known| known.at.is_some_and(|at| at.elapsed() < MAX_AGE));
            let (Some(known), served) = (known, envoy.served()) else { continue };
            let series = series.get_or_insert_with(|| Series::new(envoy, readings));
            series.set(&known, served.as_deref(), readings);
        }
        Ok(())
    }
}
