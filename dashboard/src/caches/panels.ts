/** Charts of a cache's history: what is asked for, and how it is drawn. */

import type { Line, Source } from "../lib/lines";
import { combine } from "../lib/stack";
import { asShare, named, type Panel, single } from "../node/panel";
import { CAUSES } from "./misses";

/** Metrics whose samples the pages of caches and rollouts draw live. */
export const CACHE_METRICS = ["redis.*", "flyball.redis.*"] as const;

const CACHE = "cache";
const REASON = "flyball.reason";

export type CacheSource =
  | "up"
  | "hits"
  | "misses"
  | "used"
  | "limit"
  | "resident"
  | "evicted"
  | "expired"
  | "reasons";

/** The questions about one cache; its node is given apart. */
export function cacheSources(cache: string): Record<CacheSource, Source> {
  const filter = { [CACHE]: cache };
  const gauge = (metric: string): Source => ({ metric, agg: "avg", by: [], filter });
  const counter = (metric: string): Source => ({ metric, agg: "rate", by: [], filter });
  return {
    up: gauge("flyball.redis.up"),
    hits: counter("redis.keyspace.hits"),
    misses: counter("redis.keyspace.misses"),
    used: gauge("redis.memory.used"),
    limit: gauge("redis.maxmemory"),
    resident: gauge("redis.memory.rss"),
    evicted: counter("redis.keys.evicted"),
    expired: counter("redis.keys.expired"),
    reasons: { metric: "flyball.redis.misses", agg: "rate", by: [REASON], filter },
  };
}

type CachePanel = Panel<CacheSource>;

/** Share of the lookups that found their key; unknown where nothing was looked up. */
export function hitRatioLine(hits: Line | undefined, misses: Line | undefined): Line[] {
  if (!hits || !misses) return [];
  const values = combine((hit, miss) => hit / (hit + miss), hits.values, misses.values);
  return [asShare({ attributes: hits.attributes, values })];
}

export const HIT_RATIO: CachePanel = {
  id: "hit-ratio",
  title: "Hit ratio",
  unit: "share",
  about: "Share of the lookups that found their key. The axis does not begin at zero.",
  shape: "lines",
  isFitted: true,
  sources: ["hits", "misses"],
  rows: (lines) => single(hitRatioLine(lines("hits")[0], lines("misses")[0]), "ratio", "hit ratio", "blue"),
  absent: "No lookups were reported in this range.",
};

const LOOKUPS: CachePanel = {
  id: "lookups",
  title: "Lookups",
  unit: "ops/s",
  about: "Lookups of keys a second. The agent's own are not counted.",
  shape: "stack",
  sources: ["hits", "misses"],
  rows: (lines) => [
    ...single(lines("misses"), "misses", "missed", "amber"),
    ...single(lines("hits"), "hits", "found", "green"),
  ],
  absent: "No lookups were reported in this range.",
};

export const CACHE_MEMORY: CachePanel = {
  id: "cache-memory",
  title: "Memory",
  unit: "bytes",
  about: "What its data takes, its limit, and what its process takes of the host.",
  shape: "lines",
  sources: ["used", "limit", "resident"],
  rows: (lines) => [
    ...single(lines("used"), "used", "in use", "blue"),
    // A limit of zero is none.
    ...single(lines("limit"), "limit", "limit", "slate").flatMap((row) =>
      row.values.some((value) => value !== null && value > 0) ? [{ ...row, dash: [7, 3] }] : [],
    ),
    ...single(lines("resident"), "resident", "resident", "violet"),
  ],
  absent: "Its memory was not reported in this range.",
};

export const EVICTIONS: CachePanel = {
  id: "evictions",
  title: "Keys that left",
  unit: "ops/s",
  about: "Evicted: made room for others. Expired: their time was over.",
  shape: "lines",
  sources: ["evicted", "expired"],
  rows: (lines) => [
    ...single(lines("evicted"), "evicted", "evicted", "amber"),
    ...single(lines("expired"), "expired", "expired", "violet"),
  ],
  absent: "Neither evictions nor expirations were reported in this range.",
};

const REASONS: CachePanel = {
  id: "miss-reasons",
  title: "Misses by cause",
  unit: "ops/s",
  about: "Misses a second by their estimated cause, while the agent observes the cache.",
  shape: "stack",
  sources: ["reasons"],
  rows: (lines) =>
    named(
      lines("reasons"),
      REASON,
      CAUSES.map(({ id, name, color }) => [id, name, color] as const),
    ),
  absent: "The causes of misses were not estimated in this range.",
};

export const CACHE_PANELS: readonly CachePanel[] = [HIT_RATIO, LOOKUPS, CACHE_MEMORY, EVICTIONS, REASONS];
