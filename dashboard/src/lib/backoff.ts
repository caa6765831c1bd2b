/** Waits between attempts: doubling, capped, with jitter so that many pages do not come back at once. */

const FIRST_MS = 500;
const LONGEST_MS = 10_000;

/** The wait before attempt `attempt` (from 0); `random` is in [0, 1). */
export function backoffMs(attempt: number, random: number): number {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(full * (0.5 + random / 2));
}
