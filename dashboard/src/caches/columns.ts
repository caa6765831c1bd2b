/** The columns of the table of caches, and its order. */
import type { CacheInfo, CacheState } from "../api/steering";
import type { SortDirection } from "../lib/url";
import { natural } from "../node/panel";
import type { HeadColumn } from "../ui/HeadCell";
import type { Tone } from "../ui/Pill";
import { endOf } from "./curve";

export interface CacheColumn extends HeadColumn {
  /** What rows are ordered by; `null` always comes last. */
  key(cache: CacheInfo): number | string | null;
}

function number(
  id: string,
  title: string,
  help: string,
  key: (cache: CacheInfo) => number | null,
): CacheColumn {
  return { id, title, help, key, first: "desc" };
}

function name(id: string, title: string, help: string, key: (cache: CacheInfo) => string): CacheColumn {
  return { id, title, help, key, first: "asc" };
}

/** Share of its limit that is in use; null without a limit. */
export function fullness({ used_bytes: used, max_bytes: most }: CacheInfo): number | null {
  return used !== null && most ? used / most : null;
}

/** States in the order in which they want to be looked at, with words. */
export const CACHE_STATES: Readonly<Record<CacheState, { name: string; tone: Tone; meaning: string }>> = {
  unreachable: { name: "unreachable", tone: "bad", meaning: "The agent cannot connect to it." },
  denied: { name: "denied", tone: "bad", meaning: "It refuses the agent: password or access list." },
  slow: { name: "slow", tone: "warn", meaning: "It does not answer in time." },
  loading: { name: "loading", tone: "warn", meaning: "It is loading its data." },
  up: { name: "up", tone: "good", meaning: "It answers." },
};

/** Urgency of a state, the most urgent first; a cache that says nothing of it is taken for up. */
const urgency = ({ state }: CacheInfo): number => Object.keys(CACHE_STATES).indexOf(state ?? "up");

export const CACHE_COLUMNS: readonly CacheColumn[] = [
  name("cache", "Cache", "Name of the cache, and the node it is on", (c) => `${c.name} ${c.node}`),
  { id: "state", title: "State", help: "How its agent gets on with it", key: urgency, first: "asc" },
  number(
    "hit",
    "Hit ratio",
    "Share of the lookups that found their key, without the agent's own",
    (c) => c.hit_ratio,
  ),
  number("rate", "Requests", "Lookups of keys a second", (c) => c.requests_per_second),
  number("memory", "Memory", "Memory in use, of its limit", (c) => c.used_bytes),
  number("evicted", "Evicted", "Keys a second that made room for others", (c) => c.evictions_per_second),
  number("expired", "Expired", "Keys a second whose time was over", (c) => c.expirations_per_second),
  number("keys", "Keys", "Keys it holds", (c) => c.keys),
  number(
    "misses",
    "Misses",
    "Their most frequent cause. More memory helps against capacity only",
    ({ misses }) => misses?.capacity ?? null,
  ),
  {
    id: "curve",
    title: "By size",
    help: "Hit ratio from the smallest to the largest size that was measured; the line is the present size",
    key: ({ curve }) => (curve && endOf(curve)?.hit_ratio) ?? null,
    first: "desc",
  },
  name("policy", "Policy", "What it evicts when it is full", (c) => c.eviction_policy ?? ""),
  name("version", "Version", "Server, version and role", (c) => `${c.kind} ${c.version}`),
];

/** The table's own order: what is not up first, then by name. */
const OWN_COLUMN = "state";

/** Column and direction that an address means. */
export function cacheOrder(sort: string, direction: SortDirection): [CacheColumn, SortDirection] {
  const found = CACHE_COLUMNS.find(({ id }) => id === sort);
  if (found) return [found, direction];
  return [CACHE_COLUMNS.find(({ id }) => id === OWN_COLUMN) as CacheColumn, "asc"];
}

export function sortCaches(
  caches: readonly CacheInfo[],
  column: CacheColumn,
  direction: SortDirection,
): CacheInfo[] {
  const sign = direction === "asc" ? 1 : -1;
  const byName = (a: CacheInfo, b: CacheInfo): number =>
    natural(a.name, b.name) || natural(a.node, b.node) || natural(a.id, b.id);
  return [...caches].sort((a, b) => {
    const [first, second] = [column.key(a), column.key(b)];
    if (first === null || second === null)
      return (first === null ? 1 : 0) - (second === null ? 1 : 0) || byName(a, b);
    const order =
      typeof first === "number" && typeof second === "number"
        ? first - second
        : natural(String(first), String(second));
    return sign * order || byName(a, b);
  });
}

/** Caches whose names, node, state, policy or version hold every word. */
export function matchesCache(cache: CacheInfo, filter: string): boolean {
  const { name, node, kind, state, eviction_policy: policy, version, role } = cache;
  const text = [name, node, kind, state, policy, version, role].filter(Boolean).join(" ").toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
