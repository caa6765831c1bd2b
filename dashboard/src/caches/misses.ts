/** Why requests miss, in words that say what would help. */
import type { MissShares } from "../api/steering";

export interface MissRow {
  id: "capacity" | "expired" | "invalidated" | "cold";
  name: string;
  /** What it means and what would help. */
  meaning: string;
  /** Name of a colour in the style sheet, without `--series-`. */
  color: string;
  /** Of all misses. */
  share: number;
}

/** Causes in their fixed order. */
export const CAUSES: readonly Omit<MissRow, "share">[] = [
  {
    id: "capacity",
    name: "capacity",
    meaning: "The key had been evicted to make room. More memory or another policy would have kept it.",
    color: "amber",
  },
  {
    id: "expired",
    name: "expired",
    meaning: "Its time to live was over. Only a longer one would have kept it.",
    color: "violet",
  },
  {
    id: "invalidated",
    name: "invalidated",
    meaning: "The application had deleted it. No setting of the cache changes that.",
    color: "sky",
  },
  {
    id: "cold",
    name: "cold",
    meaning: "It was asked for the first time. No cache of any size has it yet.",
    color: "slate",
  },
];

/** Rows in their fixed order. */
export function missRows(misses: MissShares): MissRow[] {
  return CAUSES.map((cause) => ({ ...cause, share: misses[cause.id] }));
}

/** What the largest cause means, in a sentence. */
export function missSentence(misses: MissShares): string {
  const largest = missRows(misses).reduce((most, row) => (row.share > most.share ? row : most));
  if (largest.share <= 0) return "Nothing missed.";
  const part = largest.share >= 0.9 ? "Nearly all" : largest.share > 0.5 ? "Most" : "The largest part";
  const what: Record<MissRow["id"], string> = {
    capacity: "of the misses are for want of room",
    expired: "of the misses are keys whose time was over",
    invalidated: "of the misses are keys that the application had deleted",
    cold: "of the misses are first requests",
  };
  return `${part} ${what[largest.id]}.`;
}
