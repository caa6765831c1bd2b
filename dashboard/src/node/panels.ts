/** All charts of the node page, section by section. */
import type { Line, Values } from "../lib/lines";
import { combine } from "../lib/stack";
import { each, mirrored, named, type Panel, type Section, single } from "./panel";
import {
  CORE,
  DEVICE,
  DISK_DIRECTION,
  FAULT,
  INTERFACE,
  MEMORY_STATE,
  MODE,
  NETWORK_DIRECTION,
  PAGING_DIRECTION,
  PAGING_STATE,
  PRESSURE_KIND,
  RESOURCE,
  SAMPLER,
} from "./sources";

const CPU: Panel = {
  id: "cpu",
  title: "CPU by mode",
  unit: "ratio",
  about:
    "Share of all CPUs' time spent in each mode. What is empty above is idle; steal is time the hypervisor gave to others.",
  shape: "stack",
  sources: ["cpu"],
  rows: (lines) =>
    named(
      lines("cpu").filter(({ attributes }) => attributes[MODE] !== "idle"),
      MODE,
      [
        ["user", "user", "blue"],
        ["nice", "nice", "sky"],
        ["system", "system", "violet"],
        ["iowait", "iowait", "amber"],
        ["interrupt", "interrupt", "rose"],
        ["softirq", "softirq", "pink"],
        ["steal", "steal", "red"],
      ],
    ),
  top: () => 1,
  absent: "This host reports no CPU time.",
};

/** More cores than this are drawn as a heat map, one row each. */
const CORES_AS_LINES = 4;

const busy = (line: Line): Line => ({
  attributes: line.attributes,
  values: line.values.map((idle) => (idle === null ? null : Math.min(1, Math.max(0, 1 - idle)))),
});

const CORES: Panel = {
  id: "cores",
  title: "Each core",
  unit: "ratio",
  about:
    "Share of each core's time that was not idle. One busy core among quiet ones is a program that uses a single thread.",
  shape: "heat",
  sources: ["coreIdle"],
  rows: (lines) =>
    each(lines("coreIdle").map(busy), CORE).map((row) => ({ ...row, label: `core ${row.id}` })),
  top: () => 1,
  absent: "This host reports no time for single cores.",
};

/** How the cores' chart is drawn for a host with so many rows. */
export function coresShape(rows: number): "lines" | "heat" {
  return rows <= CORES_AS_LINES ? "lines" : "heat";
}

const LOAD: Panel = {
  id: "load",
  title: "Load average",
  unit: "count",
  about:
    "Tasks running, waiting for a CPU or for a disk, averaged over 1, 5 and 15 minutes. Above the number of CPUs, tasks wait.",
  shape: "lines",
  sources: ["load1", "load5", "load15"],
  rows: (lines) => [
    ...single(lines("load1"), "1m", "1 min", "blue"),
    ...single(lines("load5"), "5m", "5 min", "violet"),
    ...single(lines("load15"), "15m", "15 min", "slate"),
  ],
  reference: ({ cpus }) =>
    cpus === null ? null : { value: cpus, label: cpus === 1 ? "1 CPU" : `${cpus} CPUs` },
  absent: "This host reports no load average.",
};

const TASKS: Panel = {
  id: "tasks",
  title: "Processes started",
  unit: "ops/s",
  about:
    "New processes and threads a second. A constant high rate is often a script that starts short-lived commands.",
  shape: "lines",
  sources: ["created"],
  rows: (lines) => single(lines("created"), "created", "started", "teal"),
  absent: "This host does not count started processes.",
};

const MEMORY: Panel = {
  id: "memory",
  title: "Memory by state",
  unit: "bytes",
  about:
    "Physical memory by use. Cached and buffers hold file contents and are given back when programs need room.",
  shape: "stack",
  sources: ["memory"],
  rows: (lines) =>
    named(lines("memory"), MEMORY_STATE, [
      ["used", "used", "blue"],
      ["buffers", "buffers", "violet"],
      ["cached", "cached", "teal"],
      ["slab_reclaimable", "slab", "sky"],
      ["free", "free", "faint"],
    ]),
  top: ({ memoryBytes }) => memoryBytes,
  absent: "This host reports no memory.",
};

const PRESSURE_ROWS = [
  ["cpu", "some", "CPU, some wait", "blue"],
  ["memory", "some", "memory, some wait", "teal"],
  ["memory", "full", "memory, all wait", "green"],
  ["io", "some", "disk, some wait", "amber"],
  ["io", "full", "disk, all wait", "red"],
] as const;

const PRESSURE: Panel = {
  id: "pressure",
  title: "Pressure stall",
  unit: "ratio",
  about:
    "Share of time in which tasks stood still for want of CPU, memory or disk: some of them, or all. Anything lasting above a few percent is felt.",
  shape: "lines",
  sources: ["pressure"],
  rows: (lines) =>
    PRESSURE_ROWS.flatMap(([resource, kind, label, color]) =>
      single(
        lines("pressure").filter(
          (line) => line.attributes[RESOURCE] === resource && line.attributes[PRESSURE_KIND] === kind,
        ),
        `${resource}.${kind}`,
        label,
        color,
      ),
    ),
  absent: "This host's kernel reports no pressure (it needs Linux 4.20 with PSI enabled).",
};

const FAULTS: Panel = {
  id: "faults",
  title: "Page faults",
  unit: "faults/s",
  about:
    "Minor faults map memory that is already there and are cheap. Major faults had to read from disk and stall the program.",
  shape: "lines",
  sources: ["faults"],
  rows: (lines) =>
    named(lines("faults"), FAULT, [
      ["major", "major", "red"],
      ["minor", "minor", "blue"],
    ]),
  absent: "This host reports no page faults.",
};

const SWAP: Panel = {
  id: "swap",
  title: "Swap",
  unit: "bytes",
  about: "Swap space in use and free. Being used is harmless; pages moving in and out all the time are not.",
  shape: "stack",
  sources: ["paging"],
  rows: (lines) =>
    named(lines("paging"), PAGING_STATE, [
      ["used", "used", "amber"],
      ["free", "free", "faint"],
    ]),
  absent: "This host has no swap space.",
};

const SWAPPING: Panel = {
  id: "swapping",
  title: "Swap traffic",
  unit: "ops/s",
  about:
    "Pages read back from swap (above) and written to it (below) a second. Reading back is what makes programs slow.",
  shape: "mirror",
  directions: ["in", "out"],
  sources: ["swapping"],
  rows: (lines) =>
    mirrored(
      lines("swapping").map((line) => ({ ...line, attributes: { ...line.attributes, what: "pages" } })),
      "what",
      PAGING_DIRECTION,
      ["in", "out"],
    ),
  absent: "This host has no swap space.",
};

const READ_WRITE = ["read", "write"] as const;
const RECEIVE_TRANSMIT = ["receive", "transmit"] as const;

const DISK_BYTES: Panel = {
  id: "disk",
  title: "Disk throughput",
  unit: "bytes/s",
  about: "Bytes read (above) and written (below) a second by each disk, after the page cache.",
  shape: "mirror",
  directions: READ_WRITE,
  sources: ["diskBytes"],
  rows: (lines) => mirrored(lines("diskBytes"), DEVICE, DISK_DIRECTION, READ_WRITE),
  absent: "This host reports no disks.",
};

const DISK_OPS: Panel = {
  id: "diskops",
  title: "Disk operations",
  unit: "ops/s",
  about:
    "Completed reads (above) and writes (below) a second. Many operations with little throughput are small, scattered ones.",
  shape: "mirror",
  directions: READ_WRITE,
  sources: ["diskOps"],
  rows: (lines) => mirrored(lines("diskOps"), DEVICE, DISK_DIRECTION, READ_WRITE),
  absent: "This host reports no disks.",
};

const DISK_BUSY: Panel = {
  id: "diskbusy",
  title: "Disk busy",
  unit: "ratio",
  about:
    "Share of time with at least one operation in flight. A single spinning disk at 100 % is saturated; an SSD may still have room.",
  shape: "lines",
  sources: ["diskBusy"],
  rows: (lines) => each(lines("diskBusy"), DEVICE),
  absent: "This host reports no disks.",
};

/** Mean time of one operation: time spent / operations done, unknown where nothing was done. */
function operationTime(times: readonly Line[], operations: readonly Line[]): Line[] {
  return times.flatMap((time) => {
    const same = operations.find(
      ({ attributes }) =>
        attributes[DEVICE] === time.attributes[DEVICE] &&
        attributes[DISK_DIRECTION] === time.attributes[DISK_DIRECTION],
    );
    if (!same) return [];
    // A quiet second has no operation to time: 0 says so better than a hole, which would mean "not measured".
    const values: Values = combine((spent, done) => (done > 0 ? spent / done : 0), time.values, same.values);
    return [{ attributes: time.attributes, values }];
  });
}

const DISK_TIME: Panel = {
  id: "disktime",
  title: "Disk time per operation",
  unit: "seconds",
  about:
    "Mean time a read (above) or write (below) took, queueing included; zero when there was none. The number that programs feel.",
  shape: "mirror",
  directions: READ_WRITE,
  sources: ["diskTime", "diskOps"],
  rows: (lines) =>
    mirrored(operationTime(lines("diskTime"), lines("diskOps")), DEVICE, DISK_DIRECTION, READ_WRITE),
  absent: "This host does not time its disks' operations.",
};

const NET_BYTES: Panel = {
  id: "net",
  title: "Network throughput",
  unit: "bytes/s",
  about: "Bytes received (above) and sent (below) a second by each interface.",
  shape: "mirror",
  directions: RECEIVE_TRANSMIT,
  sources: ["netBytes"],
  rows: (lines) => mirrored(lines("netBytes"), INTERFACE, NETWORK_DIRECTION, RECEIVE_TRANSMIT),
  absent: "This host reports no network interfaces.",
};

const NET_PACKETS: Panel = {
  id: "netpackets",
  title: "Network packets",
  unit: "packets/s",
  about:
    "Packets received (above) and sent (below) a second. Many small packets cost CPU where bytes do not.",
  shape: "mirror",
  directions: RECEIVE_TRANSMIT,
  sources: ["netPackets"],
  rows: (lines) => mirrored(lines("netPackets"), INTERFACE, NETWORK_DIRECTION, RECEIVE_TRANSMIT),
  absent: "This host reports no network interfaces.",
};

/** Errors and drops of both directions of each interface. */
function troubles(errors: readonly Line[], dropped: readonly Line[]): Line[] {
  return [...errors, ...dropped].map((line, at) => ({
    values: line.values,
    attributes: {
      what: `${line.attributes[INTERFACE] ?? "?"} ${at < errors.length ? "errors" : "drops"}`,
      [NETWORK_DIRECTION]: line.attributes[NETWORK_DIRECTION] ?? "",
    },
  }));
}

const NET_ERRORS: Panel = {
  id: "neterrors",
  title: "Network errors and drops",
  unit: "packets/s",
  about:
    "Packets that were broken or thrown away on receiving (above) and sending (below). A healthy host shows a flat zero.",
  shape: "mirror",
  directions: RECEIVE_TRANSMIT,
  sources: ["netErrors", "netDropped"],
  rows: (lines) =>
    mirrored(troubles(lines("netErrors"), lines("netDropped")), "what", NETWORK_DIRECTION, RECEIVE_TRANSMIT),
  absent: "This host reports no network errors.",
};

/** The agent's default budget: share of one core, and bytes. */
const BUDGET_CPU = 0.005;
const BUDGET_MEMORY_BYTES = 25 * 1024 * 1024;

const AGENT_CPU: Panel = {
  id: "agentcpu",
  title: "Agent's CPU",
  unit: "ratio",
  about:
    "What measuring costs, as a share of one core. Above its budget the agent slows its dearest samplers.",
  shape: "lines",
  sources: ["agentCpu"],
  rows: (lines) => single(lines("agentCpu"), "cpu", "of one core", "teal"),
  reference: () => ({ value: BUDGET_CPU, label: "default budget 0.5 %" }),
  absent: "The agent does not report its own CPU time.",
};

const AGENT_MEMORY: Panel = {
  id: "agentmemory",
  title: "Agent's memory",
  unit: "bytes",
  about: "Memory the agent holds now (resident set). It must stay flat for as long as the agent runs.",
  shape: "lines",
  sources: ["agentMemory"],
  rows: (lines) => single(lines("agentMemory"), "memory", "resident", "blue"),
  reference: () => ({ value: BUDGET_MEMORY_BYTES, label: "default budget 25 MiB" }),
  absent: "The agent does not report its own memory.",
};

const AGENT_JITTER: Panel = {
  id: "agentjitter",
  title: "Sampling jitter",
  unit: "seconds",
  about: "How late sampling began after its appointed time. Rises when the host is starved of CPU.",
  shape: "lines",
  sources: ["agentJitter"],
  rows: (lines) => single(lines("agentJitter"), "jitter", "late by", "violet"),
  absent: "The agent does not report its jitter.",
};

const SAMPLERS: Panel = {
  id: "samplers",
  title: "Time of each sampler",
  unit: "seconds",
  about: "How long each kind of measurement took. A sampler that hangs shows here before anything else.",
  shape: "lines",
  sources: ["samplerDuration"],
  rows: (lines) => each(lines("samplerDuration"), SAMPLER),
  absent: "The agent does not report its samplers' times.",
};

/** Stands beside the tables of processes. */
export { TASKS };

export const SECTIONS = {
  cpu: { id: "cpu", title: "CPU", panels: [CPU, CORES, LOAD, PRESSURE] },
  memory: { id: "memory", title: "Memory", panels: [MEMORY, FAULTS, SWAP, SWAPPING] },
  disks: { id: "disks", title: "Disks", panels: [DISK_BYTES, DISK_OPS, DISK_BUSY, DISK_TIME] },
  network: { id: "network", title: "Network", panels: [NET_BYTES, NET_PACKETS, NET_ERRORS] },
  agent: {
    id: "agent",
    title: "The agent itself",
    panels: [AGENT_CPU, AGENT_MEMORY, AGENT_JITTER, SAMPLERS],
  },
} as const satisfies Record<string, Section>;
