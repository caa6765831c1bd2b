/** Charts of CPU: where its time goes, and who waits for it. */
import type { Line } from "../../lib/lines";
import { asShare, each, named, type Panel, single } from "../panel";
import { CORE, MODE, PRESSURE_KIND, RESOURCE } from "../sources";

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

const busy = ({ attributes, values }: Line): Line =>
  asShare({ attributes, values: values.map((idle) => (idle === null ? null : 1 - idle)) });

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
        lines("pressure")
          .map(asShare)
          .filter(
            (line) => line.attributes[RESOURCE] === resource && line.attributes[PRESSURE_KIND] === kind,
          ),
        `${resource}.${kind}`,
        label,
        color,
      ),
    ),
  absent: "This host's kernel reports no pressure (it needs Linux 4.20 with PSI enabled).",
};

export const CPU_PANELS: readonly Panel[] = [CPU, CORES, LOAD, PRESSURE];
