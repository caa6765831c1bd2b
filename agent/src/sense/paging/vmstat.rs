//! What /proc/vmstat has that answers a question, and the series of it.

use flyball_proto::series::{Kind, Scale};

use super::super::Metric;
use super::super::table::{Wanted, wanted};

const FAULTS: Metric = Metric::counter(
    "system.paging.faults",
    "{fault}",
    &["system.paging.fault.type"],
    "Page faults: major ones waited for a device, minor ones did not.",
);
const OPERATIONS: Metric = Metric::counter(
    "system.paging.operations",
    "{operation}",
    &["system.paging.direction"],
    "Pages read from and written to swap space.",
);
const IO: Metric = Metric {
    name: "flyball.paging.io",
    unit: "By",
    kind: Kind::Counter,
    scale: Scale::KIBI,
    attributes: &["system.paging.direction"],
    description: "Bytes read from (in) and written to (out) all block devices, page cache and swap included.",
};
const DIRTIED: Metric = Metric::counter(
    "flyball.memory.dirty_pages",
    "{page}",
    &["flyball.memory.dirty_pages.step"],
    "Pages that were changed (dirtied) and that were written to their file (written).",
);
const ALLOCATIONS: Metric = Metric::counter(
    "flyball.memory.allocations",
    "{page}",
    &["flyball.memory.allocation.step"],
    "Pages that the kernel gave out (allocated) and got back (freed).",
);
const ALLOCATION_STALLS: Metric = Metric::counter(
    "flyball.memory.allocation_stalls",
    "{stall}",
    &[],
    "Times that a process had to make room itself before it got memory: direct reclaim.",
);
const THROTTLED: Metric = Metric::counter(
    "flyball.memory.reclaim_throttled",
    "{stall}",
    &[],
    "Times that a process in direct reclaim was made to wait for the background one.",
);
const RECLAIM: Metric = Metric::counter(
    "flyball.memory.reclaim",
    "{page}",
    &["flyball.memory.reclaim.by", "flyball.memory.reclaim.step"],
    "Pages that the kernel looked at (scanned) and took back (reclaimed) to make room: in the background (kswapd), or while a process waited (direct).",
);
const RECLAIM_KINDS: Metric = Metric::counter(
    "flyball.memory.reclaim_by_kind",
    "{page}",
    &["flyball.memory.kind", "flyball.memory.reclaim.step"],
    "Pages scanned and reclaimed by what they held: file (page cache) or anonymous (memory of processes).",
);
const KSWAPD: Metric = Metric::counter(
    "flyball.memory.kswapd_runs",
    "{run}",
    &[],
    "Times that reclaim in the background began to work.",
);
const SLABS: Metric = Metric::counter(
    "flyball.memory.slab_objects_scanned",
    "{object}",
    &[],
    "Objects in the kernel's caches that were looked at to make room.",
);
const DROPPED: Metric = Metric::counter(
    "flyball.memory.cache_drops",
    "{drop}",
    &["flyball.memory.kind"],
    "Times that somebody told the kernel to drop its caches: of files (pages) or of its own objects (slab).",
);
const REFAULTS: Metric = Metric::counter(
    "flyball.memory.refaults",
    "{page}",
    &["flyball.memory.kind"],
    "Pages that were needed again soon after they had been taken back: the page cache is smaller than the working set.",
);
const ACTIVATIONS: Metric = Metric::counter(
    "flyball.memory.refault_activations",
    "{page}",
    &["flyball.memory.kind"],
    "Refaulted pages that belong to the working set, because they were gone for a short time only.",
);
const RESTORES: Metric = Metric::counter(
    "flyball.memory.refault_restores",
    "{page}",
    &["flyball.memory.kind"],
    "Refaulted pages that had been in active use when they were taken back: thrashing.",
);
const KILLS: Metric = Metric::counter(
    "flyball.memory.oom_kills",
    "{process}",
    &[],
    "Processes that the kernel killed because memory had run out.",
);
const HUGE_PAGES: Metric = Metric::counter(
    "flyball.memory.huge_page_faults",
    "{fault}",
    &["flyball.memory.huge_page.outcome"],
    "Faults for which a transparent huge page was wanted: allocated, or fallen back to small ones.",
);
const COLLAPSES: Metric = Metric::counter(
    "flyball.memory.huge_page_collapses",
    "{page}",
    &["flyball.memory.huge_page.outcome"],
    "Small pages that were to be made one transparent huge page later: allocated, or failed.",
);
const SPLITS: Metric = Metric::counter(
    "flyball.memory.huge_page_splits",
    "{page}",
    &[],
    "Transparent huge pages that were split into small ones.",
);
const STALLS: Metric = Metric::counter(
    "flyball.memory.compaction_stalls",
    "{stall}",
    &[],
    "Times that a process waited for memory to be made contiguous.",
);
const COMPACTIONS: Metric = Metric::counter(
    "flyball.memory.compactions",
    "{run}",
    &["flyball.memory.compaction.outcome"],
    "Runs to make memory contiguous while a process waited: success, failure.",
);
const COMPACTION_WAKES: Metric = Metric::counter(
    "flyball.memory.compaction_wakes",
    "{run}",
    &[],
    "Times that compaction in the background was woken.",
);
const MIGRATIONS: Metric = Metric::counter(
    "flyball.memory.migrations",
    "{page}",
    &["flyball.memory.migration.outcome"],
    "Pages that were to be moved, for compaction or to another node: success, failure.",
);
const NUMA: Metric = Metric::counter(
    "flyball.memory.numa.allocations",
    "{page}",
    &["flyball.memory.numa.outcome"],
    "Pages by where they came from: on the node that was wanted (hit) or not (miss); on the node of the processor (local) or not (other).",
);
const NUMA_HINTS: Metric = Metric::counter(
    "flyball.memory.numa.hint_faults",
    "{fault}",
    &[],
    "Faults that the kernel provoked to learn which node uses a page; its balancing costs them.",
);
const NUMA_LOCAL: Metric = Metric::counter(
    "flyball.memory.numa.hint_faults_local",
    "{fault}",
    &[],
    "Provoked faults that found the page on the node of the processor.",
);
const NUMA_MIGRATED: Metric = Metric::counter(
    "flyball.memory.numa.migrated",
    "{page}",
    &[],
    "Pages that balancing moved to another node.",
);
const ZSWAP: Metric = Metric::counter(
    "flyball.memory.zswap_operations",
    "{page}",
    &["flyball.memory.zswap.operation"],
    "Pages that went into compressed swap (in), came back (out), or were passed on to the swap device (written_back).",
);
const BALLOON: Metric = Metric::counter(
    "flyball.memory.balloon",
    "{page}",
    &["flyball.memory.balloon.operation"],
    "Pages that the hypervisor took from this virtual machine (inflate) and gave back (deflate).",
);
const DIRTY_LIMIT: Metric = Metric::memory(
    "flyball.memory.dirty_limit",
    &["flyball.memory.dirty_limit.effect"],
    "Changed memory from which on the kernel writes it in the background, and from which on those who change more have to wait (throttle).",
);

/// Everything that may be published.
pub(super) const METRICS: &[Metric] = &[
    FAULTS,
    OPERATIONS,
    IO,
    DIRTIED,
    ALLOCATIONS,
    ALLOCATION_STALLS,
    THROTTLED,
    RECLAIM,
    RECLAIM_KINDS,
    KSWAPD,
    SLABS,
    DROPPED,
    REFAULTS,
    ACTIVATIONS,
    RESTORES,
    KILLS,
    HUGE_PAGES,
    COLLAPSES,
    SPLITS,
    STALLS,
    COMPACTIONS,
    COMPACTION_WAKES,
    MIGRATIONS,
    NUMA,
    NUMA_HINTS,
    NUMA_LOCAL,
    NUMA_MIGRATED,
    ZSWAP,
    BALLOON,
    DIRTY_LIMIT,
];

const DIRECTION: &str = "system.paging.direction";
const KIND: &str = "flyball.memory.kind";
const BY: &str = "flyball.memory.reclaim.by";
const STEP: &str = "flyball.memory.reclaim.step";
const HUGE_OUTCOME: &str = "flyball.memory.huge_page.outcome";
const NUMA_OUTCOME: &str = "flyball.memory.numa.outcome";

/// Places of the two kinds of faults in [`COUNTERS`].
pub(super) const MAJOR: usize = 0;
pub(super) const MINOR: usize = 1;
/// Counters, in the order in which the sampler sets them.
pub(super) static COUNTERS: [Wanted; 54] = [
    wanted(&["pgmajfault"], &FAULTS, &[("system.paging.fault.type", "major")]),
    wanted(&["pgfault"], &FAULTS, &[("system.paging.fault.type", "minor")]),
    wanted(&["pswpin"], &OPERATIONS, &[(DIRECTION, "in")]),
    wanted(&["pswpout"], &OPERATIONS, &[(DIRECTION, "out")]),
    wanted(&["pgpgin"], &IO, &[(DIRECTION, "in")]),
    wanted(&["pgpgout"], &IO, &[(DIRECTION, "out")]),
    wanted(&["nr_dirtied"], &DIRTIED, &[("flyball.memory.dirty_pages.step", "dirtied")]),
    wanted(&["nr_written"], &DIRTIED, &[("flyball.memory.dirty_pages.step", "written")]),
    wanted(
        &[
            "pgalloc_dma",
            "pgalloc_dma32",
            "pgalloc_normal",
            "pgalloc_high",
            "pgalloc_movable",
            "pgalloc_device",
        ],
        &ALLOCATIONS,
        &[("flyball.memory.allocation.step", "allocated")],
    ),
    wanted(&["pgfree"], &ALLOCATIONS, &[("flyball.memory.allocation.step", "freed")]),
    wanted(
        &[
            "allocstall",
            "allocstall_dma",
            "allocstall_dma32",
            "allocstall_normal",
            "allocstall_high",
            "allocstall_movable",
            "allocstall_device",
        ],
        &ALLOCATION_STALLS,
        &[],
    ),
    wanted(&["pgscan_direct_throttle"], &THROTTLED, &[]),
    wanted(
        &[
            "pgscan_kswapd",
            "pgscan_kswapd_dma",
            "pgscan_kswapd_dma32",
            "pgscan_kswapd_normal",
            "pgscan_kswapd_high",
            "pgscan_kswapd_movable",
        ],
        &RECLAIM,
        &[(BY, "kswapd"), (STEP, "scanned")],
    ),
    wanted(
        &[
            "pgscan_direct",
            "pgscan_direct_dma",
            "pgscan_direct_dma32",
            "pgscan_direct_normal",
            "pgscan_direct_high",
            "pgscan_direct_movable",
        ],
        &RECLAIM,
        &[(BY, "direct"), (STEP, "scanned")],
    ),
    wanted(
        &[
            "pgsteal_kswapd",
            "pgsteal_kswapd_dma",
            "pgsteal_kswapd_dma32",
            "pgsteal_kswapd_normal",
            "pgsteal_kswapd_high",
            "pgsteal_kswapd_movable",
        ],
        &RECLAIM,
        &[(BY, "kswapd"), (STEP, "reclaimed")],
    ),
    wanted(
        &[
            "pgsteal_direct",
            "pgsteal_direct_dma",
            "pgsteal_direct_dma32",
            "pgsteal_direct_normal",
            "pgsteal_direct_high",
            "pgsteal_direct_movable",
        ],
        &RECLAIM,
        &[(BY, "direct"), (STEP, "reclaimed")],
    ),
    wanted(&["pgscan_file"], &RECLAIM_KINDS, &[(KIND, "file"), (STEP, "scanned")]),
    wanted(&["pgscan_anon"], &RECLAIM_KINDS, &[(KIND, "anonymous"), (STEP, "scanned")]),
    wanted(&["pgsteal_file"], &RECLAIM_KINDS, &[(KIND, "file"), (STEP, "reclaimed")]),
    wanted(&["pgsteal_anon"], &RECLAIM_KINDS, &[(KIND, "anonymous"), (STEP, "reclaimed")]),
    wanted(&["pageoutrun"], &KSWAPD, &[]),
    wanted(&["slabs_scanned"], &SLABS, &[]),
    wanted(&["drop_pagecache"], &DROPPED, &[(KIND, "pages")]),
    wanted(&["drop_slab"], &DROPPED, &[(KIND, "slab")]),
    wanted(&["workingset_refault_file", "workingset_refault"], &REFAULTS, &[(KIND, "file")]),
    wanted(&["workingset_refault_anon"], &REFAULTS, &[(KIND, "anonymous")]),
    wanted(&["workingset_activate_file", "workingset_activate"], &ACTIVATIONS, &[(KIND, "file")]),
    wanted(&["workingset_activate_anon"], &ACTIVATIONS, &[(KIND, "anonymous")]),
    wanted(&["workingset_restore_file", "workingset_restore"], &RESTORES, &[(KIND, "file")]),
    wanted(&["workingset_restore_anon"], &RESTORES, &[(KIND, "anonymous")]),
    wanted(&["oom_kill"], &KILLS, &[]),
    wanted(&["thp_fault_alloc"], &HUGE_PAGES, &[(HUGE_OUTCOME, "allocated")]),
    wanted(&["thp_fault_fallback"], &HUGE_PAGES, &[(HUGE_OUTCOME, "fallen_back")]),
    wanted(&["thp_collapse_alloc"], &COLLAPSES, &[(HUGE_OUTCOME, "allocated")]),
    wanted(&["thp_collapse_alloc_failed"], &COLLAPSES, &[(HUGE_OUTCOME, "failed")]),
    wanted(&["thp_split_page"], &SPLITS, &[]),
    wanted(&["compact_stall"], &STALLS, &[]),
    wanted(&["compact_success"], &COMPACTIONS, &[("flyball.memory.compaction.outcome", "success")]),
    wanted(&["compact_fail"], &COMPACTIONS, &[("flyball.memory.compaction.outcome", "failure")]),
    wanted(&["compact_daemon_wake"], &COMPACTION_WAKES, &[]),
    wanted(&["pgmigrate_success"], &MIGRATIONS, &[("flyball.memory.migration.outcome", "success")]),
    wanted(&["pgmigrate_fail"], &MIGRATIONS, &[("flyball.memory.migration.outcome", "failure")]),
    wanted(&["numa_hit"], &NUMA, &[(NUMA_OUTCOME, "hit")]),
    wanted(&["numa_miss"], &NUMA, &[(NUMA_OUTCOME, "miss")]),
    wanted(&["numa_local"], &NUMA, &[(NUMA_OUTCOME, "local")]),
    wanted(&["numa_other"], &NUMA, &[(NUMA_OUTCOME, "other")]),
    wanted(&["numa_hint_faults"], &NUMA_HINTS, &[]),
    wanted(&["numa_hint_faults_local"], &NUMA_LOCAL, &[]),
    wanted(&["numa_pages_migrated"], &NUMA_MIGRATED, &[]),
    wanted(&["zswpout"], &ZSWAP, &[("flyball.memory.zswap.operation", "in")]),
    wanted(&["zswpin"], &ZSWAP, &[("flyball.memory.zswap.operation", "out")]),
    wanted(&["zswpwb"], &ZSWAP, &[("flyball.memory.zswap.operation", "written_back")]),
    wanted(&["balloon_inflate"], &BALLOON, &[("flyball.memory.balloon.operation", "inflate")]),
    wanted(&["balloon_deflate"], &BALLOON, &[("flyball.memory.balloon.operation", "deflate")]),
];
/// In pages.
pub(super) static LIMITS: [Wanted; 2] = [
    wanted(
        &["nr_dirty_background_threshold"],
        &DIRTY_LIMIT,
        &[("flyball.memory.dirty_limit.effect", "background")],
    ),
    wanted(
        &["nr_dirty_threshold"],
        &DIRTY_LIMIT,
        &[("flyball.memory.dirty_limit.effect", "throttle")],
    ),
];
