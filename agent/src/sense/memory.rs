//! Memory and swap space, from /proc/meminfo.
//!
//! `used` is `MemTotal - MemAvailable`, as the semantic conventions ask: what applications cannot have. `free`, `cached` and `buffers` are the kernel's own
//! numbers; much of the latter two is available again on demand, so the four do not sum to the limit.

use flyball_proto::series::{Kind, Scale};

use super::source::Source;
use super::table::{self, Table, Wanted, wanted};
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler};

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

const SHARED: Metric =
    Metric::memory("system.memory.linux.shared", &[], "Shared memory, mostly of tmpfs.");
const SLAB: Metric = Metric::memory(
    "system.memory.linux.slab.usage",
    &["system.memory.linux.slab.state"],
    "The kernel's caches of its own objects: those it can give up and those it cannot.",
);
const BY_KIND: Metric = Metric::memory(
    "flyball.memory.usage",
    &["flyball.memory.kind"],
    "Memory by what it is used for; the kinds overlap. Committed is what has been promised, which may be more than there is.",
);
const COMMIT_LIMIT: Metric = Metric::memory(
    "flyball.memory.commit_limit",
    &[],
    "Most memory that may be promised where the kernel is told not to promise more than there is.",
);
const ZSWAP: Metric = Metric::memory(
    "flyball.memory.zswap",
    &["flyball.memory.zswap.size"],
    "Swapped memory that is kept compressed in memory: what it was (original) and what it takes (compressed).",
);
const HUGE_LIMIT: Metric =
    huge("system.memory.linux.hugepages.limit", &[], "Huge pages that are set aside.");
const HUGE_USAGE: Metric = huge(
    "system.memory.linux.hugepages.usage",
    &["system.memory.linux.hugepages.state"],
    "Huge pages that were set aside by state: used, free.",
);
const HUGE_RESERVED: Metric = huge(
    "system.memory.linux.hugepages.reserved",
    &[],
    "Free huge pages that are promised to a process.",
);
const HUGE_SURPLUS: Metric = huge(
    "system.memory.linux.hugepages.surplus",
    &[],
    "Huge pages that were made beyond the number set aside.",
);

const fn huge(
    name: &'static str,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    let (kind, scale) = (Kind::Gauge, Scale::UNIT);
    Metric { name, unit: "{page}", kind, scale, attributes, description }
}

/// Everything that both back ends may publish.
pub(super) const METRICS: &[Metric] = &[USAGE, UTILIZATION, LIMIT, AVAILABLE, PAGING_USAGE];

/// Of these, series are made by both back ends.
const ESSENTIALS: [&[&str]; 7] = [
    &["MemTotal"],
    &["MemFree"],
    &["MemAvailable"],
    &["Buffers"],
    &["Cached"],
    &["SwapTotal"],
    &["SwapFree"],
];
/// Of huge pages: all, free, reserved, surplus.
const HUGE: [&[&str]; 4] =
    [&["HugePages_Total"], &["HugePages_Free"], &["HugePages_Rsvd"], &["HugePages_Surp"]];
static DETAILS: [Wanted; 27] = [
    wanted(&["Shmem"], &SHARED, &[]),
    wanted(&["SReclaimable"], &SLAB, &[("system.memory.linux.slab.state", "reclaimable")]),
    wanted(&["SUnreclaim"], &SLAB, &[("system.memory.linux.slab.state", "unreclaimable")]),
    wanted(&["CommitLimit"], &COMMIT_LIMIT, &[]),
    wanted(&["Zswapped"], &ZSWAP, &[("flyball.memory.zswap.size", "original")]),
    wanted(&["Zswap"], &ZSWAP, &[("flyball.memory.zswap.size", "compressed")]),
    kind(&["AnonPages"], &[("flyball.memory.kind", "anonymous")]),
    kind(&["Mapped"], &[("flyball.memory.kind", "mapped")]),
    kind(&["Dirty"], &[("flyball.memory.kind", "dirty")]),
    kind(&["Writeback"], &[("flyball.memory.kind", "writeback")]),
    kind(&["PageTables"], &[("flyball.memory.kind", "page_tables")]),
    kind(&["SecPageTables"], &[("flyball.memory.kind", "secondary_page_tables")]),
    kind(&["KernelStack"], &[("flyball.memory.kind", "kernel_stack")]),
    kind(&["Active(file)"], &[("flyball.memory.kind", "active_file")]),
    kind(&["Inactive(file)"], &[("flyball.memory.kind", "inactive_file")]),
    kind(&["Active(anon)"], &[("flyball.memory.kind", "active_anonymous")]),
    kind(&["Inactive(anon)"], &[("flyball.memory.kind", "inactive_anonymous")]),
    kind(&["Unevictable"], &[("flyball.memory.kind", "unevictable")]),
    kind(&["Mlocked"], &[("flyball.memory.kind", "locked")]),
    kind(&["SwapCached"], &[("flyball.memory.kind", "swap_cached")]),
    kind(&["Percpu"], &[("flyball.memory.kind", "per_cpu")]),
    kind(&["VmallocUsed"], &[("flyball.memory.kind", "vmalloc")]),
    kind(&["AnonHugePages"], &[("flyball.memory.kind", "anonymous_huge")]),
    kind(&["FileHugePages"], &[("flyball.memory.kind", "file_huge")]),
    kind(&["ShmemHugePages"], &[("flyball.memory.kind", "shared_huge")]),
    kind(&["HardwareCorrupted"], &[("flyball.memory.kind", "corrupted")]),
    kind(&["Committed_AS"], &[("flyball.memory.kind", "committed")]),
];
const NAMES: usize = ESSENTIALS.len() + HUGE.len() + DETAILS.len();

const fn kind(
    names: &'static [&'static str],
    attributes: &'static [(&'static str, &'static str)],
) -> Wanted {
    wanted(names, &BY_KIND, attributes)
}

/// Reads /proc/meminfo.
#[derive(Debug)]
pub(super) struct Memory {
    meminfo: Source,
    table: Table<NAMES>,
    series: Option<Series>,
    huge: Option<[Handle; HUGE.len() + 1]>,
    details: Option<[Handle; DETAILS.len()]>,
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
        let mut groups =
            ESSENTIALS.into_iter().chain(HUGE).chain(DETAILS.each_ref().map(Wanted::names));
        let groups = std::array::from_fn(|_| groups.next().expect("as many as were counted"));
        Self {
            meminfo: Source::new(paths.proc.join("meminfo")),
            table: Table::of(groups),
            series: None,
            huge: None,
            details: None,
        }
    }
}

impl Sampler for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            USAGE,
            UTILIZATION,
            LIMIT,
            AVAILABLE,
            PAGING_USAGE,
            SHARED,
            SLAB,
            BY_KIND,
            COMMIT_LIMIT,
            ZSWAP,
            HUGE_LIMIT,
            HUGE_USAGE,
            HUGE_RESERVED,
            HUGE_SURPLUS,
        ]
    }

    fn cost_rank(&self) -> u8 {
        20
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let values = self.table.lines(self.meminfo.read()?);
        let [total, free, available, buffers, cached, swap_total, swap_free, rest @ ..] = values;
        let (Some(total @ 1..), Some(free)) = (total, free) else {
            return Err(self.meminfo.garbled("no MemTotal and MemFree"));
        };
        let usage = Usage { total, free, available, cached, buffers, swap_total, swap_free };
        let states = &["used", "free", "cached", "buffers"];
        self.series.get_or_insert_with(|| Series::define(states, readings)).set(&usage, readings);
        let [huge_total, huge_free, huge_reserved, huge_surplus, details @ ..] = rest;
        let huge_used = huge_total.zip(huge_free).map(|(total, free)| total - free);
        let huge = [huge_total, huge_free, huge_used, huge_reserved, huge_surplus];
        set_known(self.huge.get_or_insert_with(|| define_huge(readings)), &huge, readings);
        let handles = self.details.get_or_insert_with(|| table::define(&DETAILS, readings));
        set_known(handles, &details, readings);
        Ok(())
    }
}

fn define_huge(readings: &mut Readings) -> [Handle; HUGE.len() + 1] {
    let state = |state| [("system.memory.linux.hugepages.state", state)];
    [
        readings.define(&HUGE_LIMIT, &[]),
        readings.define(&HUGE_USAGE, &state("free")),
        readings.define(&HUGE_USAGE, &state("used")),
        readings.define(&HUGE_RESERVED, &[]),
        readings.define(&HUGE_SURPLUS, &[]),
    ]
}

fn set_known(handles: &[Handle], values: &[Option<i64>], readings: &mut Readings) {
    for (handle, value) in handles.iter().zip(values) {
        if let Some(value) = value {
            readings.set(*handle, *value);
        }
    }
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
