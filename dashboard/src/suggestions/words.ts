/** Findings and evidence in words and addresses. */
import type { OptimizeAnswer, Skipped } from "../api/steering";
import { kindWords } from "../changes/words";

/** What a look found, in words. */
export function foundWords({ suggestions, skipped }: OptimizeAnswer): string {
  const found =
    suggestions.length === 0
      ? "nothing new to suggest"
      : `${suggestions.length} new ${suggestions.length === 1 ? "suggestion" : "suggestions"}`;
  return skipped.length > 0 ? `${found}; below is why not more` : found;
}

/** The address in a query such as `GET /api/…`, relative so that it works behind a path prefix; null without one. */
export function queryHref(query: string): string | null {
  const address = /^GET \/(\S+)/.exec(query)?.[1];
  return address ? `./${address}` : null;
}

/** Why nothing is suggested for one target. */
export interface SkippedTarget {
  target: string;
  /** What was looked for, in words, and why there is none; those with the same reason together. */
  reasons: { kinds: string; reason: string }[];
}

/** What was passed over, by target, in the order in which it came. */
export function skippedTargets(skipped: readonly Skipped[]): SkippedTarget[] {
  const targets = new Map<string, Map<string, string[]>>();
  for (const { target, kind, reason } of skipped) {
    const reasons = targets.get(target) ?? new Map<string, string[]>();
    targets.set(target, reasons);
    const kinds = reasons.get(reason) ?? [];
    reasons.set(reason, kinds);
    if (kind) kinds.push(kindWords(kind));
  }
  return [...targets].map(([target, reasons]) => ({
    target,
    reasons: [...reasons].map(([reason, kinds]) => ({ kinds: kinds.join(", "), reason })),
  }));
}
