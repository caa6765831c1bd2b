//! Page faults, swap traffic and what the kernel does to make room, from /proc/vmstat.

use flyball_proto::series::{Kind, Scale};

use super::counters::Counters;
use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

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

const RECLAIM: Metric = Metric {
    name: "flyball.memory.reclaim",
    unit: "{page}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["flyball.memory.reclaim.by", "flyball.memory.reclaim.step"],
    description: "Pages that the kernel looked at (scanned) and took back (reclaimed) to make room: in the background (kswapd), or while a process waited (direct).",
};
const REFAULTS: Metric = Metric {
    name: "flyball.memory.refaults",
    unit: "{page}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["flyball.memory.kind"],
    description: "Pages that were needed again soon after they had been taken back: the page cache is smaller than the working set.",
};
const KILLS: Metric = Metric {
    name: "flyball.memory.oom_kills",
    unit: "{process}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Processes that the kernel killed because memory had run out.",
};
const HUGE_PAGES: Metric = Metric {
    name: "flyball.memory.huge_page_faults",
    unit: "{fault}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["flyball.memory.huge_page.outcome"],
    description: "Faults for which a transparent huge page was wanted: allocated, or fallen back to small ones.",
};
const STALLS: Metric = Metric {
    name: "flyball.memory.compaction_stalls",
    unit: "{stall}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Times that a process waited for memory to be made contiguous.",
};

const KEYS: [&[u8]; 14] = [
    b"pgmajfault",
    b"pgfault",
    b"pswpin",
    b"pswpout",
    b"pgscan_kswapd",
    b"pgscan_direct",
    b"pgsteal_kswapd",
    b"pgsteal_direct",
    b"workingset_refault_file",
    b"workingset_refault_anon",
    b"oom_kill",
    b"thp_fault_alloc",
    b"thp_fault_fallback",
    b"compact_stall",
];
/// Places of the two kinds of faults in [`KEYS`].
const MAJOR: usize = 0;
const MINOR: usize = 1;

/// Reads /proc/vmstat.
#[derive(Debug)]
pub(super) struct Paging {
    vmstat: Source,
    counters: Option<Counters<{ KEYS.len() }>>,
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
        &[FAULTS, OPERATIONS, RECLAIM, REFAULTS, KILLS, HUGE_PAGES, STALLS]
    }

    fn cost_rank(&self) -> u8 {
        40
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let mut now = parse::keyed(self.vmstat.read()?, &KEYS);
        if now == [None; KEYS.len()] {
            return Err(self.vmstat.garbled("no counter of pages that is known"));
        }
        let counters = self.counters.get_or_insert_with(|| Counters::new(define(readings), false));
        // The file has all faults. Both are summed over processors one after the other, so minor ones may seem to step back by what happened between.
        let minor = now[MINOR].zip(now[MAJOR]).map(|(all, major)| all - major);
        let last = counters.last()[MINOR];
        now[MINOR] = minor.filter(|minor| *minor >= 0);
        now[MINOR] = now[MINOR].map(|now| last.map_or(now, |last| hold(last, now)));
        counters.set(now, readings);
        Ok(())
    }
}

/// One series for each key.
fn define(readings: &mut Readings) -> [Handle; KEYS.len()] {
    let mut one =
        |metric: &Metric, attributes: &[(&str, &str)]| readings.define(metric, attributes);
    let fault = |kind| [("system.paging.fault.type", kind)];
    let direction = |direction| [("system.paging.direction", direction)];
    let reclaim =
        |by, step| [("flyball.memory.reclaim.by", by), ("flyball.memory.reclaim.step", step)];
    let kind = |kind| [("flyball.memory.kind", kind)];
    let outcome = |outcome| [("flyball.memory.huge_page.outcome", outcome)];
    [
        one(&FAULTS, &fault("major")),
        one(&FAULTS, &fault("minor")),
        one(&OPERATIONS, &direction("in")),
        one(&OPERATIONS, &direction("out")),
        one(&RECLAIM, &reclaim("kswapd", "scanned")),
        one(&RECLAIM, &reclaim("direct", "scanned")),
        one(&RECLAIM, &reclaim("kswapd", "reclaimed")),
        one(&RECLAIM, &reclaim("direct", "reclaimed")),
        one(&REFAULTS, &kind("file")),
        one(&REFAULTS, &kind("anonymous")),
        one(&KILLS, &[]),
        one(&HUGE_PAGES, &outcome("allocated")),
        one(&HUGE_PAGES, &outcome("fallen_back")),
        one(&STALLS, &[]),
    ]
}

/// Keeps `last` when `now` is less by no more than what one reading can be torn by.
fn hold(last: i64, now: i64) -> i64 {
    if (0..1000).contains(&(last - now)) { last } else { now }
}
