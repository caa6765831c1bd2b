/** The collector's time: this browser's clock corrected by what live events show. */
import { signal } from "@preact/signals";

/** Ticks once a second, for texts such as "12 s ago". */
export const nowMs = signal(Date.now());

const WINDOW = 32;
const offsets: number[] = [];
let offsetMs = 0;

setInterval(() => {
  nowMs.value = serverNow();
}, 1000);

/** Learns from an event sent at `tsMs`. The largest recent offset is the one least delayed on its way. */
export function learnOffset(tsMs: number): void {
  offsets.push(tsMs - Date.now());
  if (offsets.length > WINDOW) offsets.shift();
  const least = Math.max(...offsets);
  // Below a second it is delay and rounding, not a wrong clock.
  offsetMs = Math.abs(least) < 1000 ? 0 : least;
}

export function serverNow(): number {
  return Date.now() + offsetMs;
}
