-- Measurements: what series exist, and their samples.

-- One row for each series. The newest row of an id counts: a series keeps its id when its unit, kind or scale changes.
CREATE TABLE IF NOT EXISTS {database}.series{local}{on_cluster}
(
    series_id UInt64 COMMENT 'metric_hash (20 bits), node_hash (16), series_hash (28)',
    metric LowCardinality(String),
    unit LowCardinality(String) COMMENT 'UCUM',
    kind Enum8('counter' = 1, 'gauge' = 2),
    scale Int8 COMMENT 'how raw becomes a value: 0 as it is, 1 to 9 divided by 10^scale, -1 to -40 multiplied by 2^-scale, -128 bits of a double',
    node LowCardinality(String),
    attributes Map(LowCardinality(String), String),
    first_seen DateTime64(3, 'UTC'),
    written_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = {replicated}ReplacingMergeTree(written_at)
ORDER BY series_id
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row for each sample; (series_id, ts) is its identity. Read with FINAL: a row that was sent twice is there once.
CREATE TABLE IF NOT EXISTS {database}.performance_metrics{local}{on_cluster}
(
    series_id UInt64 CODEC(ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    raw Int64 CODEC(Delta(8), T64('bit'), ZSTD(1)),
    scale Int8 COMMENT 'as in series, at the time of the sample' CODEC(ZSTD(1)),
    value Float64 ALIAS multiIf(
        scale >= 0, raw / intExp10(scale),
        scale = -128, reinterpretAsFloat64(raw),
        toFloat64(raw) * exp2(-scale))
)
ENGINE = {replicated}ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (series_id, ts)
TTL toDateTime(ts) + toIntervalDay({retention_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    -- A day that has been closed for an hour becomes one part: 1.3 bytes a sample instead of 1.9.
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.series{on_cluster} AS {database}.series_local
ENGINE = Distributed({cluster}, {database}, series_local, series_id);

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.performance_metrics{on_cluster} AS {database}.performance_metrics_local
ENGINE = Distributed({cluster}, {database}, performance_metrics_local, series_id);
