/** A short axis for a few values side by side: its ends, and where a value stands on it. */

export interface Scale {
  from: number;
  to: number;
}

/** Share of the width that stays free at either end. */
const AIR = 0.14;

/** Ends around all values. Values that are all the same stand in the middle. */
export function scaleOf(values: readonly number[]): Scale {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return { from: 0, to: 1 };
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const span = most - least || Math.abs(most) * 0.1 || 1;
  return { from: least - span * AIR, to: most + span * AIR };
}

/** Where a value stands, 0 to 1. */
export function placeOn({ from, to }: Scale, value: number): number {
  return Math.min(1, Math.max(0, (value - from) / (to - from)));
}
