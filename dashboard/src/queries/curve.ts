/**
 * The predicted hit ratio of a cache by its size: its course, the sizes worth a mark, and what it says in words.
 *
 * Between two points the ratio is that of the smaller one: only what fits is found. Sizes are drawn by their
 * binary logarithm.
 */
import type { SizeCurve } from "../api/performance";
import type { SizeMark } from "../chart/curvePlot";
import { bytes, count, percent } from "../lib/format";
import type { Value } from "../lib/lines";

/** Share of the accesses that a cache of `size` could serve; 0 below the first point. */
export function ratioAt({ points }: SizeCurve, size: number): number {
  let best = 0;
  for (const point of points) if (point.bytes <= size) best = Math.max(best, point.hit_ratio);
  return best;
}

/** What the curve says of the present size. */
export function curveSentence(curve: SizeCurve, maxBytes: number): string {
  const { points, best_bytes: best, sampled } = curve;
  const accesses = `${count(sampled)} ${sampled === 1 ? "access" : "accesses"}`;
  if (points.length === 0) return "Nothing was asked twice yet, so nothing is known about other sizes.";
  if (best === null)
    return `Only ${accesses} ${sampled === 1 ? "was" : "were"} looked at so far: too few to say which size is best. The line is a first impression.`;
  const now = `${bytes(maxBytes)} now: ${percent(ratioAt(curve, maxBytes))} of accesses could hit`;
  if (best === maxBytes) return `${now}; no other size is worth a change.`;
  return `${now}; ${bytes(best)} would give ${percent(ratioAt(curve, best))}.`;
}

/** The present size and the best one; one mark when they are the same. */
export function marksOf({ best_bytes: best }: SizeCurve, maxBytes: number): SizeMark[] {
  if (best === maxBytes) return [{ bytes: maxBytes, label: `now and best ${bytes(maxBytes)}`, kind: "now" }];
  const marks: SizeMark[] = [{ bytes: maxBytes, label: `now ${bytes(maxBytes)}`, kind: "now" }];
  if (best !== null) marks.push({ bytes: best, label: `best ${bytes(best)}`, kind: "best" });
  return marks;
}

/** What is drawn: logarithms of sizes, and the ratio from each on. */
export interface CurveLine {
  xs: number[];
  ratios: Value[];
  /** Ends of the axis: whole powers of two around all points and marks. */
  from: number;
  to: number;
}

export function curveLine(curve: SizeCurve, maxBytes: number): CurveLine {
  const points = curve.points.filter((point) => point.bytes > 0);
  const sizes = [...points, ...marksOf(curve, maxBytes)].map((each) => Math.max(1, each.bytes));
  const from = Math.floor(Math.log2(Math.min(...sizes)));
  const to = Math.max(from + 1, Math.ceil(Math.log2(Math.max(...sizes)) + 0.25));
  const xs = points.map((point) => Math.log2(point.bytes));
  const ratios: Value[] = points.map((point) => point.hit_ratio);
  const last = points.at(-1);
  // A larger cache than the last point's holds all of it too.
  if (last && Math.log2(last.bytes) < to) {
    xs.push(to);
    ratios.push(last.hit_ratio);
  }
  return { xs, ratios, from, to };
}
