/**
 * How often each layer was hit and missed, over the last ten minutes, from counters read every few seconds.
 *
 * rate = increase / time between two readings. Counters begin at zero with the collector: when any counter of a
 * layer fell, the collector was started anew and all of them count what they gained since. Two readings too far
 * apart give no rate, since nobody knows how the increase was spread over the silence.
 */
import type { LayerStats, Misses, QueryCacheStats } from "../api/performance";
import type { Value } from "../lib/lines";

/** How long readings are kept. */
export const KEPT_MS = 600_000;
/** Readings further apart than this are not joined. */
const SILENCE_MS = 10_000;

export const LAYERS = ["answers", "l1", "l2", "window"] as const;
export type Layer = (typeof LAYERS)[number];

/** Counters of one layer. */
export interface Counts {
  hits: number;
  misses: number;
  stale: number;
}

export type Outcome = keyof Counts;

/** All layers at one moment; one that is off is absent. */
export interface Reading {
  tsMs: number;
  layers: Partial<Record<Layer, Counts>>;
}

/** Moments and what was counted up to each since the one before; both `null` where it is not known. */
export interface Step {
  tsMs: number;
  /** Time that the increases cover. */
  coverMs: number;
  gained: Partial<Record<Layer, Counts>>;
}

/** The counters of an answer. */
export function readingOf(stats: QueryCacheStats, tsMs: number): Reading {
  const { answers, l1, l2, window } = stats;
  const local = (layer: LayerStats): Counts =>
    countsOf(layer.hits, layer.misses, layer.stale_served + layer.stale_on_error);
  const layers: Reading["layers"] = {
    answers: local(answers),
    l1: local(l1),
    window: { hits: window.answers, misses: 0, stale: 0 },
  };
  if (l2) layers.l2 = countsOf(l2.hits, l2.misses, 0);
  return { tsMs, layers };
}

function countsOf(hits: number, { absent, expired, invalidated }: Misses, stale: number): Counts {
  return { hits, misses: absent + expired + invalidated, stale };
}

/** What each counter gained; never negative. */
export function gained(before: Counts, after: Counts): Counts {
  const isAnew = after.hits < before.hits || after.misses < before.misses || after.stale < before.stale;
  if (isAnew) return after;
  return {
    hits: after.hits - before.hits,
    misses: after.misses - before.misses,
    stale: after.stale - before.stale,
  };
}

/** The step from one reading to the next. */
export function stepBetween(before: Reading, after: Reading): Step {
  const step: Step = { tsMs: after.tsMs, coverMs: after.tsMs - before.tsMs, gained: {} };
  if (step.coverMs > SILENCE_MS) return step;
  for (const layer of LAYERS) {
    const [first, second] = [before.layers[layer], after.layers[layer]];
    if (first && second) step.gained[layer] = gained(first, second);
  }
  return step;
}

/** The steps of the last ten minutes. */
export class Traffic {
  steps: readonly Step[] = [];
  private last: Reading | null = null;

  /** Takes the next reading; one that is not later than the last is ignored. */
  push(reading: Reading): void {
    const before = this.last;
    if (before && reading.tsMs <= before.tsMs) return;
    this.last = reading;
    if (!before) return;
    const kept = this.steps.filter(({ tsMs }) => tsMs > reading.tsMs - KEPT_MS);
    this.steps = [...kept, stepBetween(before, reading)];
  }
}

/** One line of a chart, per second. */
export function ratesOf(steps: readonly Step[], layer: Layer, outcome: Outcome): Value[] {
  return steps.map(({ coverMs, gained }) => {
    const counts = gained[layer];
    return counts && coverMs > 0 ? counts[outcome] / (coverMs / 1000) : null;
  });
}

/** Share of the accesses of these steps that was served, by the collector's own definition: fresh or stale. `null` without any. */
export function recentRatio(steps: readonly Step[], layer: Layer): number | null {
  let served = 0;
  let all = 0;
  for (const { gained } of steps) {
    const counts = gained[layer];
    if (!counts) continue;
    served += counts.hits + counts.stale;
    all += counts.hits + counts.stale + counts.misses;
  }
  return all > 0 ? served / all : null;
}
