/** Who hears that suggestions, rollouts, policies or caches changed. */
import type { ChangeKind } from "../api/types";

type Listener = { kinds: readonly ChangeKind[]; onChange(): void };
const listeners = new Set<Listener>();

/** Hears of these kinds; returns how to stop. */
export function hear(kinds: readonly ChangeKind[], onChange: () => void): () => void {
  const listener = { kinds, onChange };
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function announce(kind: ChangeKind): void {
  for (const { kinds, onChange } of listeners) if (kinds.includes(kind)) onChange();
}

/** Events were lost: anything may have changed. */
export function announceAll(): void {
  for (const { onChange } of listeners) onChange();
}
