/**
 * Rates of cumulative counters, from consecutive live samples.
 *
 * rate = increase / time between the two samples. A counter that goes down was reset (the host or a driver
 * started again): it then counts from zero, so what it shows now is what it gained. Two samples too far apart
 * give no rate: nobody knows how the increase was spread over the silence.
 */

/** Samples further apart than this many usual distances are not joined by one rate. */
const SILENCE_FACTOR = 3;
/** Never call anything shorter than this a silence. */
const SILENCE_FLOOR_MS = 5000;

/** What a counter gained between two readings. */
export function increase(before: number, after: number): number {
  return after >= before ? after - before : after;
}

/** A rate and the time it covers. */
export interface RateObservation {
  /** Per second. */
  rate: number;
  coverMs: number;
}

/** Follows one counter. */
export class CounterRate {
  private lastValue: number | null = null;
  private lastMs = 0;
  private usualMs = 0;

  /** Takes the next reading; `null` when no rate follows from it. */
  push(tsMs: number, value: number): RateObservation | null {
    const before = this.lastValue;
    const coverMs = tsMs - this.lastMs;
    if (before !== null && coverMs <= 0) return null;
    this.lastValue = value;
    this.lastMs = tsMs;
    if (before === null) return null;
    const silent = this.usualMs > 0 && coverMs > Math.max(SILENCE_FLOOR_MS, SILENCE_FACTOR * this.usualMs);
    if (silent) return null;
    this.usualMs = coverMs;
    return { rate: increase(before, value) / (coverMs / 1000), coverMs };
  }
}
