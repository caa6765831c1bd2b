/**
 * The measured hit ratio of a cache by its size: what is drawn, and what it says in words.
 *
 * Between two points it is the straight line over bytes, as the collector reads it. Beyond the reach nothing is
 * known but that more memory serves no less: the curve ends there.
 */
import type { CurvePoint, HitCurve } from "../api/steering";
import { intervalText, rangeText } from "../changes/values";
import type { CurveShown, SizeMark } from "../chart/curvePlot";
import { bytes, points as pointsText, share } from "../lib/format";

/** The curve at a size; `null` outside of what was measured. */
export function curveAt(curve: HitCurve, size: number): CurvePoint | null {
  const { points, reach_bytes: reach } = curve;
  if (size > reach) return null;
  const after = points.findIndex((point) => point.bytes >= size);
  const right = points[after];
  if (!right) return null;
  if (right.bytes === size) return right;
  const left = points[after - 1];
  if (!left) return null;
  const way = (size - left.bytes) / (right.bytes - left.bytes);
  const between = (a: number, b: number): number => a + (b - a) * way;
  return {
    bytes: size,
    hit_ratio: between(left.hit_ratio, right.hit_ratio),
    low: between(left.low, right.low),
    high: between(left.high, right.high),
  };
}

/** The last point within the reach: from there on the ratio is no lower. */
export function endOf({ points, reach_bytes: reach }: HitCurve): CurvePoint | null {
  return points.findLast((point) => point.bytes <= reach) ?? null;
}

/** What is known of sizes beyond the reach. */
export function beyondWords(curve: HitCurve): string {
  const end = endOf(curve);
  return end ? `at least ${share(end.low)} beyond here` : "nothing is known beyond here";
}

/** What the curve says of the present size, of twice as much and of half. */
export function curveWords(curve: HitCurve | null, maxBytes: number | null): string {
  if (!curve || curve.points.length < 2)
    return "Not measured yet: the agent needs some minutes of traffic before it can tell what another size would do.";
  if (!maxBytes) return "It has no limit, so its size decides no hit as long as the host has memory.";
  const here = curveAt(curve, maxBytes);
  if (!here)
    return maxBytes > curve.reach_bytes
      ? `The present ${bytes(maxBytes)} are beyond what could be measured, which ends at ${bytes(curve.reach_bytes)}.`
      : `The present ${bytes(maxBytes)} are below the smallest size that was measured.`;
  const now = `${bytes(maxBytes)} now: ${intervalText({ value: here.hit_ratio, ...ends(here) }, "ratio")}.`;
  const others = [
    otherWords(curve, here, "Twice as much", maxBytes * 2),
    otherWords(curve, here, "Half of it", maxBytes / 2),
  ];
  return [now, ...others].filter(Boolean).join(" ");
}

const ends = ({ low, high }: CurvePoint) => ({ low, high });

function otherWords(curve: HitCurve, here: CurvePoint, name: string, size: number): string {
  const there = curveAt(curve, size);
  if (there) {
    const change = pointsText(there.hit_ratio - here.hit_ratio);
    return `${name}: ${share(there.hit_ratio)} (${rangeText(there.low, there.high, "ratio")}), ${change}.`;
  }
  const end = size > curve.reach_bytes ? endOf(curve) : null;
  return end ? `${name} is beyond what was measured: at least ${share(end.low)}.` : "";
}

/** Room left above and below the band, as a share of its height. */
const AIR = 0.08;

/** A point of the drawn curve in words. */
export function pointWords(curve: HitCurve, shown: CurveShown, at: number): string {
  const point = curve.points.find(({ bytes: size }) => Math.log2(size) === shown.xs[at]);
  if (!point) return "";
  return `${bytes(point.bytes)}: ${share(point.hit_ratio)} (${rangeText(point.low, point.high, "ratio")})`;
}

/** What is drawn: the present size, and one that is suggested. */
export function curveShown(
  curve: HitCurve,
  maxBytes: number | null,
  thenBytes: number | null = null,
): CurveShown {
  const known = curve.points.filter((point) => point.bytes > 0 && point.bytes <= curve.reach_bytes);
  const marks: SizeMark[] = maxBytes
    ? [{ bytes: maxBytes, label: `now ${bytes(maxBytes)}`, kind: "now" }]
    : [];
  if (thenBytes) marks.push({ bytes: thenBytes, label: `then ${bytes(thenBytes)}`, kind: "best" });
  const sizes = [...known, ...marks].map((each) => each.bytes);
  const reach = Math.log2(Math.max(1, curve.reach_bytes, ...known.map((point) => point.bytes)));
  const from = Math.floor(Math.log2(Math.min(...sizes, 2 ** reach)));
  // Room for the hatched part, which says what is not known.
  const to = Math.max(Math.ceil(reach + 0.75), Math.ceil(Math.log2(Math.max(1, ...sizes)) + 0.25));
  const [least, most] = [
    Math.min(...known.map((point) => point.low)),
    Math.max(...known.map((point) => point.high)),
  ];
  const air = (most - least) * AIR + 0.005;
  return {
    xs: known.map((point) => Math.log2(point.bytes)),
    ratios: known.map((point) => point.hit_ratio),
    band: { lows: known.map((point) => point.low), highs: known.map((point) => point.high) },
    from,
    to,
    yFrom: known.length > 0 ? Math.max(0, least - air) : 0,
    yTo: known.length > 0 ? Math.min(1, most + air) : 1,
    isStepped: false,
    marks,
    beyond: { from: reach, label: beyondWords(curve) },
  };
}

/** A place on a small picture: both 0 to 1. */
interface Place {
  at: number;
  level: number;
}

export interface Spark {
  line: Place[];
  lows: Place[];
  highs: Place[];
  /** Where the present size is; null outside of the picture. */
  now: number | null;
  first: CurvePoint;
  last: CurvePoint;
}

/** A curve as a small picture, fitted to what was measured; null when there is nothing to draw. */
export function sparkOf(curve: HitCurve, maxBytes: number | null): Spark | null {
  const known = curve.points.filter((point) => point.bytes > 0 && point.bytes <= curve.reach_bytes);
  const [first, last] = [known[0], known.at(-1)];
  if (!first || !last || first === last) return null;
  const [from, to] = [Math.log2(first.bytes), Math.log2(last.bytes)];
  const least = Math.min(...known.map(({ low }) => low));
  const height = Math.max(0.02, Math.max(...known.map(({ high }) => high)) - least);
  const at = (size: number): number => (Math.log2(size) - from) / (to - from);
  const places = (of: (point: CurvePoint) => number): Place[] =>
    known.map((point) => ({ at: at(point.bytes), level: (of(point) - least) / height }));
  const now = maxBytes ? at(maxBytes) : null;
  return {
    line: places(({ hit_ratio: ratio }) => ratio),
    lows: places(({ low }) => low),
    highs: places(({ high }) => high),
    now: now !== null && now >= 0 && now <= 1 ? now : null,
    first,
    last,
  };
}
