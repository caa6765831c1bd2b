/** What the collector tells of its own questions and caches (see /openapi.json). Counters are since its start. */

/** Why something was not served. */
export interface Misses {
  absent: number;
  expired: number;
  invalidated: number;
}

/** Hit ratio by size, predicted from a sample of the accesses. */
export interface SizeCurve {
  /** By growing size. */
  points: { bytes: number; hit_ratio: number }[];
  /** Smallest size that is about as good as any; null when not enough was seen. */
  best_bytes: number | null;
  /** Accesses that were looked at. */
  sampled: number;
}

/** A cache in the collector's process. */
export interface LayerStats {
  /** Null before the first access. */
  hit_ratio: number | null;
  /** With the negative ones. */
  hits: number;
  negative_hits: number;
  stale_served: number;
  /** Also counted as misses. */
  stale_on_error: number;
  misses: Misses;
  /** Also counted as misses. */
  coalesced: number;
  refreshes: number;
  loads: number;
  load_errors: number;
  invalidations: number;
  entries: number;
  bytes: number;
  max_bytes: number;
  evictions: number;
  curve: SizeCurve;
}

export type BreakerState = "closed" | "half_open" | "open";

/** The cache in Redis. */
export interface SharedStats {
  breaker: BreakerState;
  breaker_opened: number;
  connected: boolean;
  heard: boolean;
  hit_ratio: number | null;
  hits: number;
  misses: Misses;
  refused: number;
  errors: number;
  timeouts: number;
  skipped: number;
  written: number;
  not_written: number;
  leases_taken: number;
  leases_waited: number;
  messages_sent: number;
  messages_heard: number;
  gaps: number;
  unsent: number;
}

/** The samples of the recent past in memory. */
export interface WindowShare {
  /** 0: none. */
  span_ms: number;
  configured_ms: number;
  bytes: number;
  max_bytes: number;
  answers: number;
}

export interface QueryCacheStats {
  answers: LayerStats;
  l1: LayerStats;
  l2: SharedStats | null;
  window: WindowShare;
}

export interface CacheAnswer {
  query_cache: QueryCacheStats;
}

/** Queries to ClickHouse that differ in times, nodes and filters only. */
export interface QueryShape {
  shape: string;
  /** Tables that were read, the coarsest first: `1h`, `1m`, `10s`, `raw`. */
  tiers: string[];
  count: number;
  slow: number;
  failed: number;
  total_ms: number;
  max_ms: number;
  /** Of the slowest, like bytes, series, range_ms and sql. */
  rows: number;
  bytes: number;
  series: number;
  range_ms: number;
  last_at_ms: number;
  sql: string;
  advice: string[];
}

export interface QueriesAnswer {
  slow_ms: number;
  shapes: QueryShape[];
}

export interface CatalogAnswer {
  metrics: { name: string; nodes: string[] }[];
}
