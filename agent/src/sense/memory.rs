//! Memory and swap space, from /proc/meminfo.
//!
//! `used` is `MemTotal - MemAvailable`, as the semantic conventions ask: what applications cannot have. `free`, `cached` and `buffers` are the kernel's own
//! numbers; much of the latter two is available again on demand, so the four do not sum to the limit.

use flyball_proto::series::{Kind, Scale};

use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

const USAGE: Metric = Metric {
    name: "system.memory.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &["system.memory.state"],
    description: "Memory by state: used (what applications cannot have), free, cached, buffers. The states do not sum to the limit.",
};
const UTILIZATION: Metric = Metric {
    name: "system.memory.utilization",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::decimal(4),
    attributes: &["system.memory.state"],
    description: "Memory by state as a share of the limit.",
};
const LIMIT: Metric = Metric {
    name: "system.memory.limit",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &[],
    description: "Memory that the kernel manages.",
};
const AVAILABLE: Metric = Metric {
    name: "system.memory.linux.available",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &[],
    description: "The kernel's estimate of what applications can still have without swapping.",
};
const PAGING_USAGE: Metric = Metric {
    name: "system.paging.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &["system.paging.state"],
    description: "Swap space by state: used, free.",
};

const SHARED: Metric = Metric {
    name: "system.memory.linux.shared",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &[],
    description: "Shared memory, mostly of tmpfs.",
};
const SLAB: Metric = Metric {
    name: "system.memory.linux.slab.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &["system.memory.linux.slab.state"],
    description: "The kernel's caches of its own objects: those it can give up and those it cannot.",
};
const BY_KIND: Metric = Metric {
    name: "flyball.memory.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &["flyball.memory.kind"],
    description: "Memory by what it is used for; the kinds overlap. Committed is what has been promised, which may be more than there is.",
};

/// Everything that both back ends may publish.
pub(super) const METRICS: &[Metric] = &[USAGE, UTILIZATION, LIMIT, AVAILABLE, PAGING_USAGE];

const KEYS: [&[u8]; 21] = [
    b"MemTotal:",
    b"MemFree:",
    b"MemAvailable:",
    b"Buffers:",
    b"Cached:",
    b"SwapTotal:",
    b"SwapFree:",
    b"Shmem:",
    b"SReclaimable:",
    b"SUnreclaim:",
    b"AnonPages:",
    b"Mapped:",
    b"Dirty:",
    b"Writeback:",
    b"PageTables:",
    b"KernelStack:",
    b"Active(file):",
    b"Inactive(file):",
    b"Active(anon):",
    b"Inactive(anon):",
    b"Committed_AS:",
];
/// Kinds of the keys from `AnonPages` on.
const KINDS: [&str; 11] = [
    "anonymous",
    "mapped",
    "dirty",
    "writeback",
    "page_tables",
    "kernel_stack",
    "active_file",
    "inactive_file",
    "active_anonymous",
    "inactive_anonymous",
    "committed",
];
/// Keys from `Shmem` on: shared, two of slabs, the kinds.
const DETAILS: usize = 3 + KINDS.len();

/// Reads /proc/meminfo.
#[derive(Debug)]
pub(super) struct Memory {
    meminfo: Source,
    series: Option<Series>,
    details: Option<[Handle; DETAILS]>,
}

/// Handles of memory and swap, as both back ends publish them.
#[derive(Debug)]
pub(super) struct Series {
    states: Vec<(Handle, Handle)>,
    limit: Handle,
    available: Handle,
    swap: [Handle; 2],
}

/// One reading in KiB; what is `None` stays unknown.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) total: i64,
    pub(super) free: i64,
    pub(super) available: Option<i64>,
    pub(super) cached: Option<i64>,
    pub(super) buffers: Option<i64>,
    pub(super) swap_total: Option<i64>,
    pub(super) swap_free: Option<i64>,
}

impl Memory {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self { meminfo: Source::new(paths.proc.join("meminfo")), series: None, details: None }
    }
}

impl Sampler for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[USAGE, UTILIZATION, LIMIT, AVAILABLE, PAGING_USAGE, SHARED, SLAB, BY_KIND]
    }

    fn cost_rank(&self) -> u8 {
        20
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let values = parse::keyed(self.meminfo.read()?, &KEYS);
        let [total, free, available, buffers, cached, swap_total, swap_free, details @ ..] = values;
        let (Some(total @ 1..), Some(free)) = (total, free) else {
            return Err(self.meminfo.garbled("no MemTotal and MemFree"));
        };
        let usage = Usage { total, free, available, cached, buffers, swap_total, swap_free };
        let states = &["used", "free", "cached", "buffers"];
        self.series.get_or_insert_with(|| Series::define(states, readings)).set(&usage, readings);
        let handles = self.details.get_or_insert_with(|| define_details(readings));
        for (handle, value) in handles.iter().zip(details) {
            if let Some(value) = value {
                readings.set(*handle, value);
            }
        }
        Ok(())
    }
}

fn define_details(readings: &mut Readings) -> [Handle; DETAILS] {
    std::array::from_fn(|index| match index {
        0 => readings.define(&SHARED, &[]),
        1 => readings.define(&SLAB, &[("system.memory.linux.slab.state", "reclaimable")]),
        2 => readings.define(&SLAB, &[("system.memory.linux.slab.state", "unreclaimable")]),
        _ => readings.define(&BY_KIND, &[("flyball.memory.kind", KINDS[index - 3])]),
    })
}

impl Usage {
    /// By the conventions, with their formula for kernels that have no `MemAvailable`.
    fn used(&self) -> Option<i64> {
        let available = self
            .available
            .or_else(|| self.free.checked_add(self.cached?)?.checked_add(self.buffers?));
        Some(self.total - available?).filter(|used| *used >= 0)
    }
}

impl Series {
    /// `states`: the first ones of used, free, cached, buffers that this back end knows.
    pub(super) fn define(states: &[&str], readings: &mut Readings) -> Self {
        let state = |state: &&str| {
            let attributes = [("system.memory.state", *state)];
            (readings.define(&USAGE, &attributes), readings.define(&UTILIZATION, &attributes))
        };
        let states = states.iter().map(state).collect();
        let swap = ["used", "free"]
            .map(|state| readings.define(&PAGING_USAGE, &[("system.paging.state", state)]));
        let limit = readings.define(&LIMIT, &[]);
        Self { states, limit, available: readings.define(&AVAILABLE, &[]), swap }
    }

    /// Sets what is known.
    pub(super) fn set(&self, usage: &Usage, readings: &mut Readings) {
        let by_state = [usage.used(), Some(usage.free), usage.cached, usage.buffers];
        for ((bytes, share), value) in self.states.iter().zip(by_state) {
            let Some(value) = value else { continue };
            readings.set(*bytes, value);
            readings.set_value(*share, value as f64 / usage.total as f64);
        }
        readings.set(self.limit, usage.total);
        let swap_used = usage.swap_total.zip(usage.swap_free).map(|(total, free)| total - free);
        let swap_used = swap_used.filter(|used| *used >= 0);
        let rest = [self.available, self.swap[0], self.swap[1]];
        for (handle, value) in rest.into_iter().zip([usage.available, swap_used, usage.swap_free]) {
            if let Some(value) = value {
                readings.set(handle, value);
            }
        }
    }
}
