//! Pressure stall information of the whole host, from /proc/pressure (Documentation/accounting/psi.rst).

use std::path::Path;

use flyball_proto::series::{Kind, Scale};

use super::counters::Counters;
use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

const TIME: Metric = Metric {
    name: "flyball.pressure.time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(6),
    attributes: &["flyball.pressure.kind", "flyball.pressure.resource"],
    description: "Time during which some or all (full) tasks that could run waited for the resource.",
};
const AVERAGE: Metric = Metric {
    name: "flyball.pressure.avg10",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::decimal(4),
    attributes: &["flyball.pressure.kind", "flyball.pressure.resource"],
    description: "Share of the last ten seconds during which some or all (full) tasks waited for the resource.",
};

const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];
const KINDS: [&str; 2] = ["some", "full"];

/// Reads /proc/pressure/{cpu,memory,io}.
#[derive(Debug)]
pub(super) struct Pressure {
    resources: [Resource; 3],
}

/// One resource and its file.
#[derive(Debug)]
struct Resource {
    name: &'static str,
    file: Source,
    kinds: [Option<Stall>; 2],
}

#[derive(Debug)]
struct Stall {
    time: Counters<1>,
    average: Handle,
}

impl Pressure {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self { resources: RESOURCES.map(|name| Resource::new(name, &paths.proc)) }
    }
}

impl Sampler for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[TIME, AVERAGE]
    }

    fn cost_rank(&self) -> u8 {
        15
    }

    /// A resource that cannot be read is unknown; only when none can is it an error.
    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let mut failure = None;
        let mut read = false;
        for resource in &mut self.resources {
            match resource.sample(readings) {
                Ok(()) => read = true,
                Err(error) => failure = Some(error),
            }
        }
        failure.filter(|_| !read).map_or(Ok(()), Err)
    }
}

impl Resource {
    fn new(name: &'static str, proc: &Path) -> Self {
        let file = Source::new(proc.join("pressure").join(name));
        Self { name, file, kinds: [None, None] }
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let mut known = false;
        for line in parse::lines(self.file.read()?) {
            let Some((kind, average, time)) = stall(line) else { continue };
            let stall = self.kinds[kind]
                .get_or_insert_with(|| Stall::define(self.name, KINDS[kind], readings));
            stall.time.set([Some(time)], readings);
            readings.set(stall.average, average);
            known = true;
        }
        if known { Ok(()) } else { Err(self.file.garbled("neither `some` nor `full`")) }
    }
}

impl Stall {
    fn define(resource: &str, kind: &str, readings: &mut Readings) -> Self {
        let attributes = [("flyball.pressure.kind", kind), ("flyball.pressure.resource", resource)];
        let time = Counters::new([readings.define(&TIME, &attributes)], false);
        Self { time, average: readings.define(&AVERAGE, &attributes) }
    }
}

/// Kind, average over ten seconds in hundredths of a percent, and microseconds, of `some avg10=0.12 avg60=0.00 avg300=0.00 total=345`.
fn stall(line: &[u8]) -> Option<(usize, i64, i64)> {
    let mut fields = parse::fields(line);
    let kind = fields.next()?;
    let kind = KINDS.iter().position(|known| known.as_bytes() == kind)?;
    let (mut average, mut time) = (None, None);
    for field in fields {
        if let Some(percent) = field.strip_prefix(b"avg10=") {
            average = parse::decimal(percent, 2);
        } else if let Some(microseconds) = field.strip_prefix(b"total=") {
            time = parse::integer(microseconds);
        }
    }
    Some((kind, average?, time?))
}
