-- Rollups: whole closed buckets of each series, computed again from what is stored and never added to. The newest version of a bucket counts.
-- Samples of one bucket with different scales make one row for each scale.

-- Only series with two samples and more in a bucket: for ten minutes of any other there is one row with count 0 and scale 127, and its samples are read instead.
CREATE TABLE IF NOT EXISTS {database}.rollup_10s{local}{on_cluster}
(
    series_id UInt64 CODEC(ZSTD(1)),
    ts DateTime('UTC') COMMENT 'start of the bucket' CODEC(Delta(4), ZSTD(1)),
    scale Int8 COMMENT 'as in performance_metrics' CODEC(ZSTD(1)),
    count UInt32 COMMENT 'samples' CODEC(T64, ZSTD(1)),
    first_ms UInt32 COMMENT 'time of the first sample after the start of the bucket' CODEC(T64, ZSTD(1)),
    last_ms UInt32 COMMENT 'time of the last sample after the start of the bucket' CODEC(T64, ZSTD(1)),
    first Int64 COMMENT 'raw of the first sample' CODEC(Delta(8), T64('bit'), ZSTD(1)),
    change Int64 COMMENT 'raw of the last sample minus first. Differences wrap around, so that they also hold between the bits of doubles' CODEC(T64('bit'), ZSTD(1)),
    below Int64 COMMENT 'raw of the smallest sample minus first' CODEC(T64('bit'), ZSTD(1)),
    above Int64 COMMENT 'raw of the largest sample minus that of the last' CODEC(T64('bit'), ZSTD(1)),
    sum Float64 COMMENT 'of the values' CODEC(Delta(8), ZSTD(1)),
    lost Float64 COMMENT 'sum of the values before each fall, which are resets of a counter. NaN where it is not known, as for gauges' CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    first_value Float64 ALIAS multiIf(scale >= 0, first / intExp10(scale), scale = -128, reinterpretAsFloat64(first), toFloat64(first) * exp2(-scale)),
    last_value Float64 ALIAS multiIf(scale >= 0, (first + change) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + change), toFloat64(first + change) * exp2(-scale)),
    min_value Float64 ALIAS multiIf(scale >= 0, (first + below) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + below), toFloat64(first + below) * exp2(-scale)),
    max_value Float64 ALIAS multiIf(scale >= 0, (first + change + above) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + change + above), toFloat64(first + change + above) * exp2(-scale))
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toStartOfInterval(ts, toIntervalHour(4))
ORDER BY (series_id, ts, scale)
TTL toDateTime(ts) + toIntervalDay({rollup_10s_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- From the samples.
CREATE TABLE IF NOT EXISTS {database}.rollup_1m{local}{on_cluster}
(
    series_id UInt64 CODEC(ZSTD(1)),
    ts DateTime('UTC') COMMENT 'start of the bucket' CODEC(Delta(4), ZSTD(1)),
    scale Int8 COMMENT 'as in performance_metrics' CODEC(ZSTD(1)),
    count UInt32 COMMENT 'samples' CODEC(T64, ZSTD(1)),
    first_ms UInt32 COMMENT 'time of the first sample after the start of the bucket' CODEC(T64, ZSTD(1)),
    last_ms UInt32 COMMENT 'time of the last sample after the start of the bucket' CODEC(T64, ZSTD(1)),
    first Int64 COMMENT 'raw of the first sample' CODEC(Delta(8), T64('bit'), ZSTD(1)),
    change Int64 COMMENT 'raw of the last sample minus first. Differences wrap around, so that they also hold between the bits of doubles' CODEC(T64('bit'), ZSTD(1)),
    below Int64 COMMENT 'raw of the smallest sample minus first' CODEC(T64('bit'), ZSTD(1)),
    above Int64 COMMENT 'raw of the largest sample minus that of the last' CODEC(T64('bit'), ZSTD(1)),
    sum Float64 COMMENT 'of the values' CODEC(Delta(8), ZSTD(1)),
    lost Float64 COMMENT 'sum of the values before each fall, which are resets of a counter. NaN where it is not known, as for gauges' CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    first_value Float64 ALIAS multiIf(scale >= 0, first / intExp10(scale), scale = -128, reinterpretAsFloat64(first), toFloat64(first) * exp2(-scale)),
    last_value Float64 ALIAS multiIf(scale >= 0, (first + change) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + change), toFloat64(first + change) * exp2(-scale)),
    min_value Float64 ALIAS multiIf(scale >= 0, (first + below) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + below), toFloat64(first + below) * exp2(-scale)),
    max_value Float64 ALIAS multiIf(scale >= 0, (first + change + above) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + change + above), toFloat64(first + change + above) * exp2(-scale))
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toStartOfInterval(ts, toIntervalHour(4))
ORDER BY (series_id, ts, scale)
TTL toDateTime(ts) + toIntervalDay({rollup_1m_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- From rollup_1m.
CREATE TABLE IF NOT EXISTS {database}.rollup_1h{local}{on_cluster}
(
    series_id UInt64 CODEC(ZSTD(1)),
    ts DateTime('UTC') COMMENT 'start of the bucket' CODEC(Delta(4), ZSTD(1)),
    scale Int8 COMMENT 'as in performance_metrics' CODEC(ZSTD(1)),
    count UInt32 COMMENT 'samples' CODEC(T64, ZSTD(1)),
    first_ms UInt32 COMMENT 'time of the first sample after the start of the bucket' CODEC(T64, ZSTD(1)),
    last_ms UInt32 COMMENT 'time of the last sample after the start of the bucket' CODEC(T64, ZSTD(1)),
    first Int64 COMMENT 'raw of the first sample' CODEC(Delta(8), T64('bit'), ZSTD(1)),
    change Int64 COMMENT 'raw of the last sample minus first. Differences wrap around, so that they also hold between the bits of doubles' CODEC(T64('bit'), ZSTD(1)),
    below Int64 COMMENT 'raw of the smallest sample minus first' CODEC(T64('bit'), ZSTD(1)),
    above Int64 COMMENT 'raw of the largest sample minus that of the last' CODEC(T64('bit'), ZSTD(1)),
    sum Float64 COMMENT 'of the values' CODEC(Delta(8), ZSTD(1)),
    lost Float64 COMMENT 'sum of the values before each fall, which are resets of a counter. NaN where it is not known, as for gauges' CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    first_value Float64 ALIAS multiIf(scale >= 0, first / intExp10(scale), scale = -128, reinterpretAsFloat64(first), toFloat64(first) * exp2(-scale)),
    last_value Float64 ALIAS multiIf(scale >= 0, (first + change) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + change), toFloat64(first + change) * exp2(-scale)),
    min_value Float64 ALIAS multiIf(scale >= 0, (first + below) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + below), toFloat64(first + below) * exp2(-scale)),
    max_value Float64 ALIAS multiIf(scale >= 0, (first + change + above) / intExp10(scale), scale = -128, reinterpretAsFloat64(first + change + above), toFloat64(first + change + above) * exp2(-scale))
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(ts)
ORDER BY (series_id, ts, scale)
TTL toDateTime(ts) + toIntervalDay({rollup_1h_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- Late samples: which ten minutes of which nodes are to be computed again. A row of sign -1 takes back the one of sign 1 with the same id.
CREATE TABLE IF NOT EXISTS {database}.rollup_marks{local}{on_cluster}
(
    span DateTime('UTC') COMMENT 'start of the ten minutes',
    node UInt16 COMMENT 'bits 28 to 43 of the ids of the series of a node',
    id UInt64 COMMENT 'of the insert that was late',
    marked_at DateTime64(3, 'UTC') DEFAULT now64(3),
    sign Int8
)
ENGINE = {replicated}CollapsingMergeTree(sign)
ORDER BY (span, node, id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row: who computes rollups, and how far they are computed.
CREATE TABLE IF NOT EXISTS {database}.rollup_state{local}{on_cluster}
(
    name LowCardinality(String) COMMENT 'roller',
    sequence UInt64,
    holder String COMMENT 'the collector that computes',
    lease_until DateTime64(3, 'UTC') COMMENT 'by the clock of the server, then another one may take over',
    fine_until DateTime64(3, 'UTC') COMMENT 'rollup_10s and rollup_1m are complete before this',
    hours_until DateTime64(3, 'UTC') COMMENT 'rollup_1h is complete before this',
    version UInt64 COMMENT 'above every version in the rollups'
)
ENGINE = {replicated}ReplacingMergeTree(sequence)
ORDER BY name
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.rollup_10s{on_cluster} AS {database}.rollup_10s_local
ENGINE = Distributed({cluster}, {database}, rollup_10s_local, series_id);

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.rollup_1m{on_cluster} AS {database}.rollup_1m_local
ENGINE = Distributed({cluster}, {database}, rollup_1m_local, series_id);

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.rollup_1h{on_cluster} AS {database}.rollup_1h_local
ENGINE = Distributed({cluster}, {database}, rollup_1h_local, series_id);

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.rollup_marks{on_cluster} AS {database}.rollup_marks_local
ENGINE = Distributed({cluster}, {database}, rollup_marks_local, node);

-- only: cluster
CREATE TABLE IF NOT EXISTS {database}.rollup_state{on_cluster} AS {database}.rollup_state_local
ENGINE = Distributed({cluster}, {database}, rollup_state_local, 0);
