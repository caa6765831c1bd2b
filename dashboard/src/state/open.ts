/** How much waits for somebody: open suggestions and rollouts under way, for the header of every page. */
import { signal } from "@preact/signals";
import { fetchRollouts, fetchSuggestions } from "../api/changes";
import { isOver } from "../changes/words";
import { hear } from "./changes";

/** Null while it is not known. */
export const openSuggestions = signal<number | null>(null);
export const runningRollouts = signal<number | null>(null);

/** Events come in bursts; what is shown here may be this old. */
const CLOSEST_MS = 1000;
let timer: ReturnType<typeof setTimeout> | undefined;

async function load(): Promise<void> {
  const [suggestions, rollouts] = await Promise.all([
    fetchSuggestions({ status: "proposed" }),
    fetchRollouts({}),
  ]);
  openSuggestions.value = suggestions.items.length;
  runningRollouts.value = rollouts.items.filter(({ state }) => !isOver(state)).length;
}

function loadNow(): void {
  load().catch(() => {
    // A help only; the pages themselves tell of failing questions.
  });
}

function loadSoon(): void {
  if (timer !== undefined) return;
  timer = setTimeout(() => {
    timer = undefined;
    loadNow();
  }, CLOSEST_MS);
}

/** Counts now and after every change. */
export function keepCounting(): () => void {
  loadNow();
  return hear(["suggestion", "rollout"], loadSoon);
}
