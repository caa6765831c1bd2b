/** Ticks and ends of value axes. */
import type { Unit } from "./format";

/** Tick distances for bytes: powers of two, so that labels are whole KiB, MiB or GiB. */
export const BYTE_INCREMENTS: number[] = Array.from({ length: 60 }, (_, power) => 2 ** power);

/** Least height of an axis, so that noise around zero is not blown up to a full chart. */
const FLOOR: Record<Unit, number> = {
  ratio: 0.01,
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
