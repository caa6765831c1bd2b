/** What became of the accesses to a layer, by reason, in words. */
import type { LayerStats, SharedStats } from "../api/performance";

export interface OutcomeRow {
  id: string;
  name: string;
  /** What it means, for readers who ask. */
  help: string;
  count: number;
  /** Share of all accesses; `null` for what is counted besides, or before the first access. */
  share: number | null;
  kind: "served" | "stale" | "missed" | "besides";
}

type Draft = Omit<OutcomeRow, "share">;

const draft = (id: string, name: string, kind: Draft["kind"], count: number, help: string): Draft => ({
  id,
  name,
  help,
  count,
  kind,
});

/** Rows of a layer in this process. Stale on error and waiting are of the misses, so they have no share of their own. */
export function outcomesOf(stats: LayerStats): OutcomeRow[] {
  const { misses } = stats;
  return withShares([
    draft("fresh", "fresh", "served", stats.hits - stats.negative_hits, "Served as it was kept"),
    draft("negative", "negative", "served", stats.negative_hits, "Served: that there is nothing, or why not"),
    draft(
      "stale",
      "stale while refreshing",
      "stale",
      stats.stale_served,
      "Served past being fresh, while it was loaded again behind the caller's back",
    ),
    ...missed(misses.absent, misses.expired, misses.invalidated),
    draft(
      "stale-on-error",
      "stale on error",
      "besides",
      stats.stale_on_error,
      "Of the missed: served past its life, because loading failed",
    ),
    draft(
      "coalesced",
      "coalesced",
      "besides",
      stats.coalesced,
      "Of the missed: waited for a loading that another caller had begun",
    ),
  ]);
}

/** Rows of the layer in Redis. */
export function sharedOutcomesOf({ hits, misses }: SharedStats): OutcomeRow[] {
  return withShares([
    draft("fresh", "fresh", "served", hits, "Found and served"),
    ...missed(misses.absent, misses.expired, misses.invalidated),
  ]);
}

function missed(absent: number, expired: number, invalidated: number): Draft[] {
  return [
    draft("absent", "absent", "missed", absent, "Never there, or made room for others"),
    draft("expired", "expired", "missed", expired, "Past its life"),
    draft(
      "invalidated",
      "invalidated",
      "missed",
      invalidated,
      "Late samples came, or an operator cleared it",
    ),
  ];
}

function withShares(rows: readonly Draft[]): OutcomeRow[] {
  const counted = rows.filter(({ kind }) => kind !== "besides");
  const all = counted.reduce((sum, { count }) => sum + count, 0);
  return rows.map((row) => ({ ...row, share: row.kind === "besides" || all === 0 ? null : row.count / all }));
}
