/**
 * Last values of all nodes, kept by live events.
 *
 * Nodes are held in a plain map and readers watch `fleetVersion`, which moves at most four times a second:
 * a thousand nodes that each report every second then cost four drawings, not a thousand.
 */
import { signal } from "@preact/signals";
import { fetchMetrics } from "../api/client";
import type { FleetTotals, NodeStatus } from "../api/types";
import { serverNow } from "./clock";

const PUBLISH_EVERY_MS = 250;
/** Sparklines show this long, one point a step. */
export const TREND_POINTS = 60;
const TREND_STEP_MS = 2000;
/** Trends of larger fleets begin empty rather than with a costly question. */
const SEED_AT_MOST_NODES = 200;

/** Never changed in place: a row is drawn again only when its node is another object. */
export interface FleetNode {
  readonly status: NodeStatus;
  readonly trend: Trend;
}

/** CPU utilisation by step, oldest first; `null` where unknown. */
export interface Trend {
  readonly values: readonly (number | null)[];
  /** Number of the newest step. */
  readonly step: number;
}

const NO_TREND: Trend = { values: [], step: 0 };

export const fleet = new Map<string, FleetNode>();
export const fleetVersion = signal(0);
export const totals = signal<FleetTotals | null>(null);

let publishTimer: ReturnType<typeof setTimeout> | undefined;

function publish(): void {
  publishTimer ??= setTimeout(() => {
    publishTimer = undefined;
    fleetVersion.value += 1;
  }, PUBLISH_EVERY_MS);
}

/** Takes the nodes of a status event or answer; `isWhole` also forgets nodes that it does not name. */
export function takeStatus(nodes: readonly NodeStatus[], newTotals: FleetTotals, isWhole: boolean): void {
  if (isWhole) {
    const named = new Set(nodes.map((status) => status.node));
    for (const name of fleet.keys()) if (!named.has(name)) fleet.delete(name);
  }
  for (const status of nodes) takeNode(status);
  totals.value = newTotals;
  if (isWhole) {
    clearTimeout(publishTimer);
    publishTimer = undefined;
    fleetVersion.value += 1;
  } else publish();
}

function takeNode(status: NodeStatus): void {
  const before = fleet.get(status.node)?.trend ?? NO_TREND;
  const isKnown = status.up && status.cpu_utilization !== null;
  const trend = isKnown ? extended(before, serverNow(), status.cpu_utilization) : before;
  fleet.set(status.node, { status, trend });
}

/** A trend with one more value; steps left out in between are unknown. */
export function extended(trend: Trend, tsMs: number, value: number | null): Trend {
  const step = Math.floor(tsMs / TREND_STEP_MS);
  const { values } = trend;
  if (values.length > 0 && step <= trend.step)
    return { values: [...values.slice(0, -1), value], step: trend.step };
  const missed = values.length === 0 ? 0 : Math.min(TREND_POINTS, step - trend.step - 1);
  const unknown = new Array<null>(missed).fill(null);
  return { values: [...values, ...unknown, value].slice(-TREND_POINTS), step };
}

/** The trend as it stands at `tsMs`: what a silent node has not said since is unknown. */
export function trendAt(trend: Trend, tsMs: number): readonly (number | null)[] {
  const silent = Math.floor(tsMs / TREND_STEP_MS) - trend.step - 1;
  if (trend.values.length === 0 || silent <= 1) return trend.values;
  const unknown = new Array<null>(Math.min(TREND_POINTS, silent)).fill(null);
  return [...trend.values, ...unknown].slice(-TREND_POINTS);
}

/** Fills the trends of a small fleet from history, once, so that they do not begin empty. */
export async function seedTrends(): Promise<void> {
  if (fleet.size === 0 || fleet.size > SEED_AT_MOST_NODES) return;
  const toMs = Math.floor(serverNow() / TREND_STEP_MS) * TREND_STEP_MS;
  const fromMs = toMs - TREND_POINTS * TREND_STEP_MS;
  const ask = async (mode: string) => {
    const source = {
      metric: "system.cpu.utilization",
      agg: "avg",
      by: ["node"],
      filter: { "cpu.mode": mode },
    } as const;
    return (await fetchMetrics(source, "", fromMs, toMs, TREND_STEP_MS)).series;
  };
  const [idle, waiting] = await Promise.all([ask("idle"), ask("iowait")]);
  for (const { attributes, points } of idle) {
    const name = attributes.node ?? "";
    const node = fleet.get(name);
    if (!node) continue;
    const same = waiting.find((series) => series.attributes.node === name);
    const waited = new Map(same?.points ?? []);
    const busy = points.map(
      ([tsMs, share]) => [tsMs, share === null ? null : 1 - share - (waited.get(tsMs) ?? 0)] as const,
    );
    fleet.set(name, { ...node, trend: joined(busy, node.trend) });
  }
  fleetVersion.value += 1;
}

/** Busy shares from history, as a trend that goes on with what live events brought meanwhile. */
function joined(points: readonly (readonly [number, number | null])[], live: Trend): Trend {
  let trend = NO_TREND;
  for (const [tsMs, busy] of points) if (busy !== null) trend = extended(trend, tsMs, busy);
  live.values.forEach((value, at) => {
    const step = live.step - live.values.length + 1 + at;
    if (value !== null && step > trend.step) trend = extended(trend, step * TREND_STEP_MS, value);
  });
  return trend;
}
