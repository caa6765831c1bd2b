/** Sums for stacked areas, and the choice of the busiest lines where there are too many to draw. */
import type { Value, Values } from "./lines";

/** Running sums from the first line up. Where a line is unknown it adds nothing; where all are, the sum is unknown. */
export function stacked(lines: readonly Values[]): Value[][] {
  const length = lines[0]?.length ?? 0;
  const sums = new Array<number>(length).fill(0);
  const isKnown = Array.from({ length }, (_, at) => lines.some((values) => isNumber(values[at])));
  return lines.map((values) =>
    sums.map((sum, at) => {
      const value = values[at];
      if (isNumber(value)) sums[at] = sum + value;
      return isKnown[at] ? (sums[at] ?? null) : null;
    }),
  );
}

/** Mean of what is known; `null` when nothing is. */
export function mean(values: Values): Value {
  let sum = 0;
  let known = 0;
  for (const value of values) {
    if (value === null) continue;
    sum += value;
    known += 1;
  }
  return known > 0 ? sum / known : null;
}

/** The last known value. */
export function lastKnown(values: Values): Value {
  for (let at = values.length - 1; at >= 0; at -= 1) {
    const value = values[at];
    if (isNumber(value)) return value;
  }
  return null;
}

/** The largest value of all lines; 0 when nothing is known. */
export function peak(lines: readonly Values[]): number {
  let most = 0;
  for (const values of lines) for (const value of values) if (value !== null && value > most) most = value;
  return most;
}

/** Applies `f` bucket by bucket to lines of equal length; unknown where any of them is. */
export function combine(f: (...values: number[]) => number, ...lines: readonly Values[]): Value[] {
  const length = Math.min(...lines.map((values) => values.length));
  return Array.from({ length }, (_, at) => {
    const values = lines.map((line) => line[at] ?? null);
    const result = values.every(isNumber) ? f(...values) : Number.NaN;
    return Number.isFinite(result) ? result : null;
  });
}

function isNumber(value: Value | undefined): value is number {
  return value !== null && value !== undefined;
}
