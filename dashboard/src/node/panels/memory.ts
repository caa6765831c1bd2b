/** Charts of memory and swap. */
import type { Line } from "../../lib/lines";
import { combine, peak } from "../../lib/stack";
import { each, mirrored, named, type Panel, type Row } from "../panel";
import { FAULT, MEMORY_STATE, PAGING_DIRECTION, PAGING_STATE } from "../sources";

/**
 * Memory in three parts that sum to all of it. The states as published overlap: "used" is what programs cannot
 * have, while some cache cannot be had either. So the cache drawn is what is neither used nor free.
 */
function memoryRows(states: readonly Line[], limit: Line | undefined): Row[] {
  const state = (name: string) => states.find(({ attributes }) => attributes[MEMORY_STATE] === name);
  const [used, free] = [state("used"), state("free")];
  if (!used || !free || !limit) return each(states, MEMORY_STATE);
  const cache = combine(
    (all, taken, left) => Math.max(0, all - taken - left),
    limit.values,
    used.values,
    free.values,
  );
  const parts = [
    { attributes: { state: "used" }, values: used.values },
    { attributes: { state: "cache" }, values: cache },
    { attributes: { state: "free" }, values: free.values },
  ];
  return named(parts, "state", [
    ["used", "used", "blue"],
    ["cache", "cache", "teal"],
    ["free", "free", "faint"],
  ]);
}

const MEMORY: Panel = {
  id: "memory",
  title: "Memory by state",
  unit: "bytes",
  about:
    "Physical memory: used by programs and the kernel, cache that is given back when programs need room, and free.",
  shape: "stack",
  sources: ["memory", "memoryLimit"],
  rows: (lines) => memoryRows(lines("memory"), lines("memoryLimit")[0]),
  top: ({ memoryBytes }) => memoryBytes,
  absent: "This host reports no memory.",
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

/** A host without swap space reports zero bytes of it. */
function hasSwap(lines: readonly Line[]): boolean {
  return peak(lines.map((line) => line.values)) > 0;
}

const SWAP: Panel = {
  id: "swap",
  title: "Swap",
  unit: "bytes",
  about: "Swap space in use and free. Being used is harmless; pages moving in and out all the time are not.",
  shape: "stack",
  sources: ["paging"],
  rows: (lines) =>
    hasSwap(lines("paging"))
      ? named(lines("paging"), PAGING_STATE, [
          ["used", "used", "amber"],
          ["free", "free", "faint"],
        ])
      : [],
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
  sources: ["swapping", "paging"],
  rows: (lines) =>
    mirrored(
      (hasSwap(lines("paging")) ? lines("swapping") : []).map((line) => ({
        ...line,
        attributes: { ...line.attributes, what: "pages" },
      })),
      "what",
      PAGING_DIRECTION,
      ["in", "out"],
    ),
  absent: "This host has no swap space.",
};

export const MEMORY_PANELS: readonly Panel[] = [MEMORY, FAULTS, SWAP, SWAPPING];
