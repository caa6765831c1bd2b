/** The history of a pool as charts draw it. Pure. */
import type { BackendHistory, PoolHistory } from "../api/balancers";
import type { ChartModel } from "../chart/model";
import { axisTop } from "../lib/axis";
import type { Unit } from "../lib/format";
import { peak } from "../lib/stack";
import { paletteColor, type Row } from "../node/panel";

export type Measure = Exclude<keyof BackendHistory, "id">;

export interface PoolPanel {
  id: string;
  title: string;
  unit: Unit;
  about: string;
  measure: Measure;
  /** From the unit of the API to that of the chart. */
  scale?: number;
}

export const POOL_PANELS: readonly PoolPanel[] = [
  {
    id: "pool-weights",
    title: "Share that the weights ask for",
    unit: "share",
    about: "Of all requests, over all balancers by their traffic. A step is a new set of weights.",
    measure: "weight_share",
  },
  {
    id: "pool-utilization",
    title: "In use",
    unit: "share",
    about:
      "Share of each backend's capacity that is in use, from the best source that is known. Even lines are what good weights bring.",
    measure: "utilization",
  },
  {
    id: "pool-share",
    title: "Share of the traffic",
    unit: "share",
    about: "What each backend got of all requests.",
    measure: "share",
  },
  {
    id: "pool-latency",
    title: "Latency",
    unit: "seconds",
    about: "Mean time to the answer, weighted by requests.",
    measure: "latency_ms",
    scale: 1 / 1_000,
  },
];

/** A regular axis over the windows in which anything was reported, in seconds; windows between them are gaps. */
export function axis({ times_ms: times, step_ms: step }: PoolHistory): number[] {
  const [first, last] = [times[0], times.at(-1)];
  if (first === undefined || last === undefined || step <= 0) return [];
  return Array.from(
    { length: Math.round((last - first) / step) + 1 },
    (_, at) => (first + at * step) / 1_000,
  );
}

export function rowsOf(history: PoolHistory, { measure, scale = 1 }: PoolPanel): Row[] {
  const places = new Map(history.times_ms.map((time, at) => [time / 1_000, at]));
  const xs = axis(history);
  return history.backends.map((backend, n) => ({
    id: backend.id,
    label: backend.id,
    color: paletteColor(n),
    values: xs.map((x) => {
      const at = places.get(x);
      const value = at === undefined ? null : (backend[measure][at] ?? null);
      return value === null ? null : value * scale;
    }),
  }));
}

export function modelOf(history: PoolHistory, panel: PoolPanel, hidden: ReadonlySet<string>): ChartModel {
  const rows = rowsOf(history, panel);
  const visible = rows.filter((row) => !hidden.has(`${panel.id}:${row.id}`));
  const xs = axis(history);
  const [from, to] = [xs[0] ?? 0, xs.at(-1) ?? 1];
  return {
    shape: "lines",
    xs,
    fromSeconds: from,
    toSeconds: Math.max(to, from + 1),
    rows,
    omitted: 0,
    visible,
    unknown: [],
    yMin: 0,
    yMax: axisTop(peak(visible.map((row) => row.values)), panel.unit),
    reference: null,
    isLoading: false,
  };
}

/** The newest value of a row that is known. */
export function newest(row: Row): number | null {
  for (let at = row.values.length - 1; at >= 0; at -= 1) {
    const value = row.values[at];
    if (value != null) return value;
  }
  return null;
}
