-- One row for each balancer, group, backend and report. Counts are of the report's window, not cumulative, so they can be summed.
CREATE TABLE IF NOT EXISTS {database}.balancer_stats{local}{on_cluster}
(
    node LowCardinality(String) CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'haproxy, envoy or nginx' CODEC(ZSTD(1)),
    balancer LowCardinality(String) COMMENT 'name of the balancer on its node' CODEC(ZSTD(1)),
    grp LowCardinality(String) COMMENT 'backend of HAProxy, cluster of Envoy, upstream of nginx' CODEC(ZSTD(1)),
    backend LowCardinality(String) COMMENT 'server of the group, as the balancer names it' CODEC(ZSTD(1)),
    address LowCardinality(String) COMMENT 'ADDRESS:PORT, empty when not known' CODEC(ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    window_ms UInt32 CODEC(T64('bit'), ZSTD(1)),
    state LowCardinality(String) COMMENT 'ready, drain, maint, down or ejected' CODEC(ZSTD(1)),
    weight_configured UInt32 CODEC(T64('bit'), ZSTD(1)),
    weight UInt32 COMMENT 'in force, read back' CODEC(T64('bit'), ZSTD(1)),
    requests UInt64 COMMENT 'answered or failed within the window' CODEC(T64('bit'), ZSTD(1)),
    errors UInt64 CODEC(T64('bit'), ZSTD(1)),
    connect_errors UInt64 CODEC(T64('bit'), ZSTD(1)),
    latency_ms Nullable(Float64) COMMENT 'mean of the window' CODEC(ZSTD(1)),
    latency_p50_ms Nullable(Float64) CODEC(ZSTD(1)),
    latency_p99_ms Nullable(Float64) CODEC(ZSTD(1)),
    in_flight Nullable(Float64) COMMENT 'mean of the window' CODEC(ZSTD(1)),
    queue UInt32 CODEC(T64('bit'), ZSTD(1)),
    `limit` Nullable(UInt32) COMMENT 'NULL means none' CODEC(ZSTD(1)),
    utilization Nullable(Float64) CODEC(ZSTD(1)),
    utilization_source LowCardinality(String) COMMENT 'orca, limit or host, empty when not known' CODEC(ZSTD(1)),
    algorithm LowCardinality(String) CODEC(ZSTD(1))
)
ENGINE = {replicated}ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (node, kind, balancer, grp, backend, ts)
TTL toDateTime(ts) + toIntervalDay({retention_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.balancer_stats{on_cluster} AS {database}.balancer_stats_local
ENGINE = Distributed({cluster}, {database}, balancer_stats_local, cityHash64(node, balancer));
