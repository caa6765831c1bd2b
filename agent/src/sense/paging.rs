//! Page faults and swap traffic, from /proc/vmstat.

use flyball_proto::series::{Kind, Scale};

use super::counters::Counters;
use super::source::Source;
use super::{HostPaths, Metric, Readings, SampleError, Sampler, parse};

const FAULTS: Metric = Metric {
    name: "system.paging.faults",
    unit: "{fault}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["system.paging.fault.type"],
    description: "Page faults: major ones waited for a device, minor ones did not.",
};
const OPERATIONS: Metric = Metric {
    name: "system.paging.operations",
    unit: "{operation}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["system.paging.direction"],
    description: "Pages read from and written to swap space.",
};

const KEYS: [&[u8]; 4] = [b"pgfault", b"pgmajfault", b"pswpin", b"pswpout"];

/// Reads /proc/vmstat.
#[derive(Debug)]
pub(super) struct Paging {
    vmstat: Source,
    counters: Option<Counters<4>>,
}

impl Paging {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self { vmstat: Source::new(paths.proc.join("vmstat")), counters: None }
    }
}

impl Sampler for Paging {
    fn name(&self) -> &'static str {
        "paging"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[FAULTS, OPERATIONS]
    }

    fn cost_rank(&self) -> u8 {
        40
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let [faults, major, swapped_in, swapped_out] = parse::keyed(self.vmstat.read()?, &KEYS);
        if [faults, major, swapped_in, swapped_out] == [None; 4] {
            return Err(self.vmstat.garbled("no pgfault, pgmajfault, pswpin, pswpout"));
        }
        let counters = self.counters.get_or_insert_with(|| {
            let fault = |kind| [("system.paging.fault.type", kind)];
            let direction = |direction| [("system.paging.direction", direction)];
            let handles = [
                readings.define(&FAULTS, &fault("major")),
                readings.define(&FAULTS, &fault("minor")),
                readings.define(&OPERATIONS, &direction("in")),
                readings.define(&OPERATIONS, &direction("out")),
            ];
            Counters::new(handles, false)
        });
        // The two are summed over processors one after the other, so minor may seem to step back by what happened between.
        let minor = faults.zip(major).map(|(all, major)| all - major).filter(|n| *n >= 0);
        let minor = minor.map(|now| counters.last()[1].map_or(now, |last| hold(last, now)));
        counters.set([major, minor, swapped_in, swapped_out], readings);
        Ok(())
    }
}

/// Keeps `last` when `now` is less by no more than what one reading can be torn by.
fn hold(last: i64, now: i64) -> i64 {
    if (0..1000).contains(&(last - now)) { last } else { now }
}
