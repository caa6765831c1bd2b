/** Findings and evidence in words and addresses. */
import type { OptimizeAnswer } from "../api/steering";

/** What a look found, in words. */
export function foundWords({ suggestions, skipped }: OptimizeAnswer): string {
  const found =
    suggestions.length === 0
      ? "nothing new to suggest"
      : `${suggestions.length} new ${suggestions.length === 1 ? "suggestion" : "suggestions"}`;
  return skipped.length > 0 ? `${found}, ${skipped.length} passed over` : found;
}

/** The address in a query such as `GET /api/…`, relative so that it works behind a path prefix; null without one. */
export function queryHref(query: string): string | null {
  const address = /^GET \/(\S+)/.exec(query)?.[1];
  return address ? `./${address}` : null;
}
