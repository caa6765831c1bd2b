/** What a suggestion was computed from, of one cache or of several. Pure. */
import type { HitCurve, Inputs, Suggestion } from "../api/steering";

/** Those of the first cache. */
function firstOf({ inputs }: Suggestion): Inputs | null {
  if (Array.isArray(inputs)) return inputs[0]?.inputs ?? null;
  return inputs ?? null;
}

/** What the person who proposed it said. */
export function noteOf(suggestion: Suggestion): string {
  return firstOf(suggestion)?.note ?? "";
}

/** The curve that a change of size rests on; of several caches there is none that is of all. */
export function curveOf(suggestion: Suggestion): HitCurve | null {
  return Array.isArray(suggestion.inputs) ? null : (firstOf(suggestion)?.more?.curve ?? null);
}
