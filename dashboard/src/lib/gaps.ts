/**
 * What is unknown, as opposed to zero.
 *
 * A sampler may run more slowly than the chart's step, so empty buckets between its samples are not yet unknown:
 * runs no longer than the line's own usual spacing allows are bridged with the value before. Longer runs stay
 * `null`, break the line, and where every line of a chart is unknown at once the time is hatched.
 */
import type { Value, Values } from "./lines";

/**
 * Number of buckets from one known value to the next, as three quarters of them have it; 1 when there are too
 * few to tell. Not the median: a slow counter's rates stand at both ends of each interval, one apart and far apart in turn.
 */
export function usualSpacing(values: Values): number {
  const distances: number[] = [];
  let last = -1;
  for (let at = 0; at < values.length; at += 1) {
    if (values[at] === null) continue;
    if (last >= 0) distances.push(at - last);
    last = at;
  }
  if (distances.length < 2) return 1;
  distances.sort((a, b) => a - b);
  return distances[Math.floor((distances.length - 1) * 0.75)] ?? 1;
}

/** The longest run of empty buckets that is only the sampler's own pace. */
export function bridgeLength(spacing: number): number {
  return spacing - 1 + Math.floor(spacing / 2);
}

/** `values` with runs of at most `longest` nulls between two known values (or at the end) held at the value before. */
export function bridged(values: Values, longest: number): Values {
  if (longest <= 0) return values;
  const result = values.slice() as Value[];
  let known = -1;
  for (let at = 0; at <= values.length; at += 1) {
    const isEnd = at === values.length;
    if (!isEnd && values[at] === null) continue;
    if (known >= 0 && at - known - 1 <= longest) result.fill(values[known] ?? null, known + 1, at);
    known = at;
  }
  return result;
}

/** Bridges a line at its own pace. */
export function bridgedAtOwnPace(values: Values): Values {
  return bridged(values, bridgeLength(usualSpacing(values)));
}

/** Stretches of time in which nothing is known, in units of `xs`; they reach from the last known point to the next. */
export function unknownSpans(
  lines: readonly Values[],
  xs: readonly number[],
  from: number,
  to: number,
  slack: number,
): [number, number][] {
  const spans: [number, number][] = [];
  let known = from;
  let knownAt = -1;
  for (let at = 0; at < xs.length; at += 1) {
    if (!lines.some((values) => values[at] !== null && values[at] !== undefined)) continue;
    const x = xs[at] ?? 0;
    const isNext = knownAt >= 0 && at === knownAt + 1;
    if (!isNext && x - known > (knownAt < 0 ? slack : 0)) spans.push([known, x]);
    known = Math.max(known, x);
    knownAt = at;
  }
  if (to - known > slack) spans.push([known, to]);
  return spans.filter(([begin, end]) => end > from && begin < to && end > begin);
}
