//! Load averages and uptime, from /proc/loadavg and /proc/uptime.

use flyball_proto::series::{Kind, Scale};

use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

const AVERAGE_1M: Metric = average("system.cpu.load_average.1m", "Load average over one minute.");
const AVERAGE_5M: Metric = average("system.cpu.load_average.5m", "Load average over five minutes.");
const AVERAGE_15M: Metric =
    average("system.cpu.load_average.15m", "Load average over fifteen minutes.");
const UPTIME: Metric = Metric {
    name: "system.uptime",
    unit: "s",
    kind: Kind::Gauge,
    scale: Scale::decimal(2),
    attributes: &[],
    description: "Time since boot, suspension included.",
};

const fn average(name: &'static str, description: &'static str) -> Metric {
    Metric {
        name,
        unit: "{thread}",
        kind: Kind::Gauge,
        scale: Scale::decimal(2),
        attributes: &[],
        description,
    }
}

/// Everything that the sampler of either back end may publish.
pub(super) const METRICS: &[Metric] = &[AVERAGE_1M, AVERAGE_5M, AVERAGE_15M, UPTIME];

/// Reads /proc/loadavg and /proc/uptime.
#[derive(Debug)]
pub(super) struct Load {
    loadavg: Source,
    uptime: Source,
    series: Option<Series>,
}

/// Handles of load and uptime, as both back ends publish them.
#[derive(Debug)]
pub(super) struct Series {
    averages: [Handle; 3],
    uptime: Handle,
}

impl Series {
    pub(super) fn define(readings: &mut Readings) -> Self {
        let averages = [AVERAGE_1M, AVERAGE_5M, AVERAGE_15M].map(|m| readings.define(&m, &[]));
        Self { averages, uptime: readings.define(&UPTIME, &[]) }
    }

    /// Hundredths, both.
    pub(super) fn set(&self, averages: [i64; 3], uptime: i64, readings: &mut Readings) {
        self.averages.iter().zip(averages).for_each(|(handle, raw)| readings.set(*handle, raw));
        readings.set(self.uptime, uptime);
    }
}

impl Load {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self {
            loadavg: Source::new(paths.proc.join("loadavg")),
            uptime: Source::new(paths.proc.join("uptime")),
            series: None,
        }
    }
}

impl Sampler for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn cost_rank(&self) -> u8 {
        10
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let Some(averages) = averages(self.loadavg.read()?) else {
            return Err(self.loadavg.garbled("not three load averages"));
        };
        let uptime = parse::fields(self.uptime.read()?).next();
        let Some(uptime) = uptime.and_then(|field| parse::decimal(field, 2)) else {
            return Err(self.uptime.garbled("not a number of seconds"));
        };
        let series = self.series.get_or_insert_with(|| Series::define(readings));
        series.set(averages, uptime, readings);
        Ok(())
    }
}

/// The first three numbers, in hundredths.
fn averages(text: &[u8]) -> Option<[i64; 3]> {
    let mut averages = [0; 3];
    let mut fields = parse::fields(text);
    for average in &mut averages {
        *average = parse::decimal(fields.next()?, 2)?;
    }
    Some(averages)
}
