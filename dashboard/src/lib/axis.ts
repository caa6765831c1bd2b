/** Ticks and ends of value axes. */
import type { Unit } from "./format";
import type { Values } from "./lines";

/** Tick distances for bytes: powers of two, so that labels are whole KiB, MiB or GiB. */
export const BYTE_INCREMENTS: number[] = Array.from({ length: 60 }, (_, power) => 2 ** power);

/** Least height of an axis, so that noise around zero is not blown up to a full chart. */
const FLOOR: Record<Unit, number> = {
  ratio: 0.01,
  share: 0.02,
  bytes: 1024,
  "bytes/s": 1024,
  "ops/s": 1,
  "packets/s": 1,
  "faults/s": 1,
  seconds: 0.001,
  count: 1,
};

/** The upper end for values up to `most`: a little air above, never below the unit's floor. */
export function axisTop(most: number, unit: Unit): number {
  return Math.max(FLOOR[unit], most * 1.08);
}

/** Ends around all values, with a little air and no lower than zero; shares end at one. */
export function fittedEnds(lines: readonly Values[], unit: Unit): [number, number] {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const values of lines) {
    for (const value of values) {
      if (value === null) continue;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
  }
  const isShare = unit === "share" || unit === "ratio";
  if (least > most) return [0, isShare ? 1 : FLOOR[unit]];
  const air = Math.max((most - least) * 0.12, (FLOOR[unit] - (most - least)) / 2);
  const [from, to] = [Math.max(0, least - air), most + air];
  return [from, isShare && to > 1 ? Math.max(1, most) : to];
}
