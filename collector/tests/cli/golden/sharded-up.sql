-- before the first migration

CREATE DATABASE IF NOT EXISTS flyball;

CREATE TABLE IF NOT EXISTS flyball.migrations
(
    sequence UInt64,
    version UInt32,
    name String,
    checksum String,
    direction Enum8('up' = 1, 'down' = 2),
    at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY sequence;

-- 0001 measurements

CREATE TABLE IF NOT EXISTS flyball.series_local
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
ENGINE = ReplacingMergeTree(written_at)
ORDER BY series_id
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS flyball.performance_metrics_local
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
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (series_id, ts)
TTL toDateTime(ts) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    -- A day that has been closed for an hour becomes one part: 1.3 bytes a sample instead of 1.9.
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

CREATE TABLE IF NOT EXISTS flyball.series AS flyball.series_local
ENGINE = Distributed(main, flyball, series_local, series_id);

CREATE TABLE IF NOT EXISTS flyball.performance_metrics AS flyball.performance_metrics_local
ENGINE = Distributed(main, flyball, performance_metrics_local, series_id);

-- 0002 cache_stats

CREATE TABLE IF NOT EXISTS flyball.cache_stats_local
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
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (node, cache, ts)
TTL toDateTime(ts) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS flyball.cache_stats AS flyball.cache_stats_local
ENGINE = Distributed(main, flyball, cache_stats_local, cityHash64(node, cache));

-- 0003 optimization_logs

CREATE TABLE IF NOT EXISTS flyball.optimization_logs_local
(
    sequence UInt64 COMMENT 'place in the chain, from 1',
    at DateTime64(3, 'UTC'),
    subject Enum8('suggestion' = 1, 'rollout' = 2, 'target' = 3),
    subject_id String,
    from_state LowCardinality(String) COMMENT 'empty for the first transition',
    to_state LowCardinality(String),
    suggestion_id String,
    rollout_id String,
    attempt UInt8,
    kind LowCardinality(String) COMMENT 'for example cache.size',
    target_id String,
    target_node LowCardinality(String),
    target_kind LowCardinality(String),
    target_name LowCardinality(String),
    change String COMMENT 'JSON: parameter, from, to and unit of each parameter',
    prediction_metric LowCardinality(String),
    prediction_before Nullable(Float64),
    prediction_after Nullable(Float64),
    prediction_low Nullable(Float64),
    prediction_high Nullable(Float64),
    prediction_confidence Nullable(Float64),
    observed_value Nullable(Float64),
    observed_low Nullable(Float64),
    observed_high Nullable(Float64),
    observed_samples UInt64,
    verdict Enum8('none' = 0, 'pass' = 1, 'harm' = 2, 'inconclusive' = 3),
    nodes Array(LowCardinality(String)) COMMENT 'that the step covers',
    revision UInt64 COMMENT 'of the policy, 0 when none is involved',
    actor LowCardinality(String) COMMENT 'user, or the part of the collector that decided',
    actor_address String,
    reason String,
    inputs String COMMENT 'JSON: all that the decision was computed from',
    prev_hash FixedString(32),
    hash FixedString(32)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (sequence, hash)
TTL toDateTime(at) + toIntervalDay(3650)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS flyball.optimization_logs AS flyball.optimization_logs_local
ENGINE = Distributed(main, flyball, optimization_logs_local, sequence);

-- 0004 hours

CREATE OR REPLACE TABLE flyball.performance_metrics_local
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
ENGINE = ReplacingMergeTree
PARTITION BY toStartOfHour(ts)
ORDER BY (series_id, ts)
TTL toDateTime(ts) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    -- An hour that has been closed for an hour becomes one part: 1.3 bytes a sample instead of 1.9.
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
AS SELECT series_id, ts, raw, scale FROM flyball.performance_metrics_local
SETTINGS max_partitions_per_insert_block = 0, max_execution_time = 0;

-- 0005 rollups

CREATE TABLE IF NOT EXISTS flyball.rollup_10s_local
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
ENGINE = ReplacingMergeTree(version)
PARTITION BY toStartOfInterval(ts, toIntervalHour(4))
ORDER BY (series_id, ts, scale)
TTL toDateTime(ts) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

CREATE TABLE IF NOT EXISTS flyball.rollup_1m_local
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
ENGINE = ReplacingMergeTree(version)
PARTITION BY toStartOfInterval(ts, toIntervalHour(4))
ORDER BY (series_id, ts, scale)
TTL toDateTime(ts) + toIntervalDay(180)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

CREATE TABLE IF NOT EXISTS flyball.rollup_1h_local
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
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(ts)
ORDER BY (series_id, ts, scale)
TTL toDateTime(ts) + toIntervalDay(1825)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

CREATE TABLE IF NOT EXISTS flyball.rollup_marks_local
(
    span DateTime('UTC') COMMENT 'start of the ten minutes',
    node UInt16 COMMENT 'bits 28 to 43 of the ids of the series of a node',
    id UInt64 COMMENT 'of the insert that was late',
    marked_at DateTime64(3, 'UTC') DEFAULT now64(3),
    sign Int8
)
ENGINE = CollapsingMergeTree(sign)
ORDER BY (span, node, id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS flyball.rollup_state_local
(
    name LowCardinality(String) COMMENT 'roller',
    sequence UInt64,
    holder String COMMENT 'the collector that computes',
    lease_until DateTime64(3, 'UTC') COMMENT 'by the clock of the server, then another one may take over',
    fine_until DateTime64(3, 'UTC') COMMENT 'rollup_10s and rollup_1m are complete before this',
    hours_until DateTime64(3, 'UTC') COMMENT 'rollup_1h is complete before this',
    version UInt64 COMMENT 'above every version in the rollups'
)
ENGINE = ReplacingMergeTree(sequence)
ORDER BY name
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS flyball.rollup_10s AS flyball.rollup_10s_local
ENGINE = Distributed(main, flyball, rollup_10s_local, series_id);

CREATE TABLE IF NOT EXISTS flyball.rollup_1m AS flyball.rollup_1m_local
ENGINE = Distributed(main, flyball, rollup_1m_local, series_id);

CREATE TABLE IF NOT EXISTS flyball.rollup_1h AS flyball.rollup_1h_local
ENGINE = Distributed(main, flyball, rollup_1h_local, series_id);

CREATE TABLE IF NOT EXISTS flyball.rollup_marks AS flyball.rollup_marks_local
ENGINE = Distributed(main, flyball, rollup_marks_local, node);

CREATE TABLE IF NOT EXISTS flyball.rollup_state AS flyball.rollup_state_local
ENGINE = Distributed(main, flyball, rollup_state_local, 0);

-- 0006 decisions

CREATE OR REPLACE TABLE flyball.optimization_logs_local
(
    sequence UInt64 COMMENT 'place in the chain, from 1',
    at DateTime64(3, 'UTC'),
    subject Enum8('suggestion' = 1, 'rollout' = 2, 'target' = 3),
    subject_id String,
    from_state LowCardinality(String) COMMENT 'empty for the first transition',
    to_state LowCardinality(String),
    suggestion_id String,
    rollout_id String,
    attempt UInt8,
    kind LowCardinality(String) COMMENT 'for example cache.size',
    target_id String,
    target_node LowCardinality(String),
    target_kind LowCardinality(String),
    target_name LowCardinality(String),
    change String COMMENT 'JSON: parameter, from, to and unit of each parameter',
    prediction_metric LowCardinality(String),
    prediction_before Nullable(Float64),
    prediction_after Nullable(Float64),
    prediction_low Nullable(Float64),
    prediction_high Nullable(Float64),
    prediction_confidence Nullable(Float64),
    observed_value Nullable(Float64),
    observed_low Nullable(Float64),
    observed_high Nullable(Float64),
    observed_samples UInt64,
    verdict Enum8('none' = 0, 'pass' = 1, 'harm' = 2, 'inconclusive' = 3),
    nodes Array(LowCardinality(String)) COMMENT 'that the step covers',
    revision UInt64 COMMENT 'of the policy, 0 when none is involved',
    actor LowCardinality(String) COMMENT 'user, or the part of the collector that decided',
    actor_address String,
    reason String,
    inputs String COMMENT 'JSON: all that the decision was computed from',
    prev_hash FixedString(32),
    hash FixedString(32)
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(sequence, 10000)
ORDER BY (sequence, hash)
TTL toDateTime(at) + toIntervalDay(3650)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM flyball.optimization_logs_local
SETTINGS max_partitions_per_insert_block = 0, max_execution_time = 0;

-- 0007 balancer_stats

CREATE TABLE IF NOT EXISTS flyball.balancer_stats_local
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
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (node, kind, balancer, grp, backend, ts)
TTL toDateTime(ts) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS flyball.balancer_stats AS flyball.balancer_stats_local
ENGINE = Distributed(main, flyball, balancer_stats_local, cityHash64(node, balancer));

-- 0008 merges

ALTER TABLE flyball.performance_metrics_local
MODIFY SETTING min_parts_to_merge_at_once = 30, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0;

ALTER TABLE flyball.cache_stats_local
MODIFY SETTING min_parts_to_merge_at_once = 30, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0;

ALTER TABLE flyball.balancer_stats_local
MODIFY SETTING min_parts_to_merge_at_once = 30, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0;

