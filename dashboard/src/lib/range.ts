/**
 * Time ranges and the step that goes with each.
 *
 * A range either follows the present (`live`, a length) or stands still (`fixed`, two ends). The step is the
 * smallest of a fixed ladder that keeps a chart within MAX_POINTS; its rungs fit the collector's tiers.
 */

export type TimeRange = { kind: "live"; lengthMs: number } | { kind: "fixed"; fromMs: number; toMs: number };

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The ranges offered by name, in order. */
export const PRESETS: readonly { name: string; lengthMs: number }[] = [
  { name: "5m", lengthMs: 5 * MINUTE },
  { name: "15m", lengthMs: 15 * MINUTE },
  { name: "1h", lengthMs: HOUR },
  { name: "6h", lengthMs: 6 * HOUR },
  { name: "24h", lengthMs: DAY },
];

export const DEFAULT_RANGE: TimeRange = { kind: "live", lengthMs: 5 * MINUTE };

/** A chart is about this many pixels wide; more points would only cost. */
export const MAX_POINTS = 480;
/** The shortest range that a zoom may reach. */
export const MIN_LENGTH_MS = 5 * SECOND;
/** The longest range that can be asked for. */
export const MAX_LENGTH_MS = 400 * DAY;

const STEPS_MS = [
  ...[1, 2, 5, 10, 20, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 20, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  DAY,
];

/** The distance between points for a range of `lengthMs`. */
export function stepFor(lengthMs: number): number {
  return STEPS_MS.find((step) => lengthMs / step <= MAX_POINTS) ?? DAY;
}

export function lengthOf(range: TimeRange): number {
  return range.kind === "live" ? range.lengthMs : range.toMs - range.fromMs;
}

/** The two ends of a range when the present is `nowMs`. */
export function endsOf(range: TimeRange, nowMs: number): { fromMs: number; toMs: number } {
  return range.kind === "live"
    ? { fromMs: nowMs - range.lengthMs, toMs: nowMs }
    : { fromMs: range.fromMs, toMs: range.toMs };
}

/** A fixed range with its ends in order, whole milliseconds, neither too short nor too long. */
export function fixedRange(aMs: number, bMs: number): TimeRange {
  let fromMs = Math.round(Math.min(aMs, bMs));
  let toMs = Math.round(Math.max(aMs, bMs));
  if (toMs - fromMs < MIN_LENGTH_MS) {
    const middle = (fromMs + toMs) / 2;
    fromMs = Math.round(middle - MIN_LENGTH_MS / 2);
    toMs = fromMs + MIN_LENGTH_MS;
  }
  return { kind: "fixed", fromMs: Math.max(fromMs, toMs - MAX_LENGTH_MS), toMs };
}

/** The range of `factor` times the length around the same middle (a live one stays live). */
export function scaleRange(range: TimeRange, factor: number): TimeRange {
  const length = Math.min(MAX_LENGTH_MS, Math.max(MIN_LENGTH_MS, lengthOf(range) * factor));
  if (range.kind === "live") return { kind: "live", lengthMs: Math.round(length) };
  const middle = (range.fromMs + range.toMs) / 2;
  return fixedRange(middle - length / 2, middle + length / 2);
}

/** The range moved by `share` of its length; a live one starts to stand still. */
export function shiftRange(range: TimeRange, share: number, nowMs: number): TimeRange {
  const { fromMs, toMs } = endsOf(range, nowMs);
  const by = (toMs - fromMs) * share;
  return fixedRange(fromMs + by, toMs + by);
}

const LENGTH = /^(\d{1,9})(s|m|h|d)$/;
const LENGTH_UNIT_MS: Record<string, number> = { s: SECOND, m: MINUTE, h: HOUR, d: DAY };

/** Reads `90s`, `15m`, `6h`, `2d`; `null` when it is none of these or out of bounds. */
export function parseLength(text: string): number | null {
  const found = LENGTH.exec(text);
  if (!found) return null;
  const ms = Number(found[1]) * (LENGTH_UNIT_MS[found[2] ?? ""] ?? Number.NaN);
  return ms >= MIN_LENGTH_MS && ms <= MAX_LENGTH_MS ? ms : null;
}

/** The shortest exact name of a length: `15m`, `24h`, `90s`. */
export function lengthName(ms: number): string {
  const preset = PRESETS.find((p) => p.lengthMs === ms);
  if (preset) return preset.name;
  for (const [size, unit] of [
    [DAY, "d"],
    [HOUR, "h"],
    [MINUTE, "m"],
  ] as const) {
    if (ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${Math.round(ms / SECOND)}s`;
}
