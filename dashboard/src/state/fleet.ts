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

export interface FleetNode {
  status: NodeStatus;
  /** CPU utilisation by step, oldest first; `null` where unknown. */
  trend: (number | null)[];
  trendStep: number;
}

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
  const known = fleet.get(status.node);
  const node = known ?? { status, trend: [], trendStep: 0 };
  node.status = status;
  if (!known) fleet.set(status.node, node);
  if (status.up && status.cpu_utilization !== null) extendTrend(node, serverNow(), status.cpu_utilization);
}

function extendTrend(node: FleetNode, tsMs: number, value: number | null): void {
  const step = Math.floor(tsMs / TREND_STEP_MS);
  const missed = node.trend.length === 0 ? 0 : Math.min(TREND_POINTS, step - node.trendStep - 1);
  if (step === node.trendStep && node.trend.length > 0) {
    node.trend[node.trend.length - 1] = value;
    return;
  }
  for (let i = 0; i < missed; i += 1) node.trend.push(null);
  node.trend.push(value);
  node.trendStep = step;
  if (node.trend.length > TREND_POINTS) node.trend.splice(0, node.trend.length - TREND_POINTS);
}

/** The trend as it stands now: what a silent node has not said since is unknown. */
export function trendOf(node: FleetNode): (number | null)[] {
  const silent = Math.floor(serverNow() / TREND_STEP_MS) - node.trendStep - 1;
  if (node.trend.length === 0 || silent <= 1) return node.trend;
  const missing = Math.min(TREND_POINTS, silent);
  return [...node.trend, ...new Array<null>(missing).fill(null)].slice(-TREND_POINTS);
}

/** Fills the trends of a small fleet from history, once, so that they do not begin empty. */
export async function seedTrends(): Promise<void> {
  if (fleet.size === 0 || fleet.size > SEED_AT_MOST_NODES) return;
  const source = {
    metric: "system.cpu.utilization",
    agg: "avg",
    by: ["node"],
    filter: { "cpu.mode": "idle" },
  } as const;
  const toMs = Math.floor(serverNow() / TREND_STEP_MS) * TREND_STEP_MS;
  const fromMs = toMs - TREND_POINTS * TREND_STEP_MS;
  const answer = await fetchMetrics(source, "", fromMs, toMs, TREND_STEP_MS);
  for (const series of answer.series) {
    const node = fleet.get(series.attributes.node ?? "");
    if (!node) continue;
    const live = node.trend;
    const liveStep = node.trendStep;
    node.trend = [];
    node.trendStep = 0;
    for (const [tsMs, idle] of series.points) if (idle !== null) extendTrend(node, tsMs, 1 - idle);
    live.forEach((value, at) => {
      const step = liveStep - live.length + 1 + at;
      if (step > node.trendStep && value !== null) extendTrend(node, step * TREND_STEP_MS, value);
    });
  }
  fleetVersion.value += 1;
}
