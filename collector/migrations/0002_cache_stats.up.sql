-- One row for each cache and tick: its columns are fixed and read together. Counters are cumulative since the cache's start.
CREATE TABLE IF NOT EXISTS {database}.cache_stats{local}{on_cluster}
(
    node LowCardinality(String) CODEC(ZSTD(1)),
    cache LowCardinality(String) COMMENT 'name of the cache on its node' CODEC(ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    kind LowCardinality(String) COMMENT 'redis' CODEC(ZSTD(1)),
    version LowCardinality(String) CODEC(ZSTD(1)),
    started_at DateTime64(3, 'UTC') COMMENT 'a new value means that the counters began again at zero' CODEC(ZSTD(1)),
    eviction_policy LowCardinality(String) CODEC(ZSTD(1)),
    max_bytes UInt64 COMMENT '0 means no limit' CODEC(ZSTD(1)),
    used_bytes UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    resident_bytes UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    keys UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    keys_with_ttl UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    clients UInt32 CODEC(Delta(4), T64('bit'), ZSTD(1)),
    requests UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    hits UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    misses UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    misses_capacity UInt64 COMMENT 'estimated share of misses: the key had been evicted' CODEC(Delta(8), T64('bit'), ZSTD(1)),
    misses_expired UInt64 COMMENT 'the key had expired' CODEC(Delta(8), T64('bit'), ZSTD(1)),
    misses_invalidated UInt64 COMMENT 'the key had been deleted or overwritten' CODEC(Delta(8), T64('bit'), ZSTD(1)),
    misses_cold UInt64 COMMENT 'the key had never been there' CODEC(Delta(8), T64('bit'), ZSTD(1)),
    evictions UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    expirations UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    received_bytes UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    sent_bytes UInt64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    cpu_seconds Float64 CODEC(Delta(8), ZSTD(1)),
    latency_bounds_us Array(UInt32) COMMENT 'upper bounds of the buckets below' CODEC(ZSTD(1)),
    latency_counts Array(UInt64) CODEC(ZSTD(1))
)
ENGINE = {replicated}ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (node, cache, ts)
TTL toDateTime(ts) + toIntervalDay({retention_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.cache_stats{on_cluster} AS {database}.cache_stats_local
ENGINE = Distributed({cluster}, {database}, cache_stats_local, cityHash64(node, cache));
