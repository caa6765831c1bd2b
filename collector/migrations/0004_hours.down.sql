-- only: plain
CREATE OR REPLACE TABLE {database}.performance_metrics{local}{on_cluster}
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
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
AS SELECT series_id, ts, raw, scale FROM {database}.performance_metrics{local}
SETTINGS max_partitions_per_insert_block = 0, max_execution_time = 0;

-- only: replicated
-- The copy would be made by every replica, and the new table could not have the old one's path. A replicated cluster is new here, so its table is empty; one that is not
-- is not dropped: the limit of a byte refuses it.
DROP TABLE IF EXISTS {database}.performance_metrics{local}{on_cluster} SYNC SETTINGS max_table_size_to_drop = 1;

-- only: replicated
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
