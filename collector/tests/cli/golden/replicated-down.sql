-- 0008 merges undone

ALTER TABLE flyball.balancer_stats_local ON CLUSTER main
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

ALTER TABLE flyball.cache_stats_local ON CLUSTER main
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

ALTER TABLE flyball.performance_metrics_local ON CLUSTER main
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

-- 0007 balancer_stats undone

DROP TABLE IF EXISTS flyball.balancer_stats ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.balancer_stats_local ON CLUSTER main SYNC;

-- 0006 decisions undone

DROP TABLE IF EXISTS flyball.optimization_logs_local ON CLUSTER main SYNC SETTINGS max_table_size_to_drop = 1;

CREATE TABLE IF NOT EXISTS flyball.optimization_logs_local ON CLUSTER main
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/flyball/optimization_logs_local', '{replica}')
PARTITION BY toYYYYMM(at)
ORDER BY (sequence, hash)
TTL toDateTime(at) + toIntervalDay(3650)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- 0005 rollups undone

DROP TABLE IF EXISTS flyball.rollup_state ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_marks ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_1h ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_1m ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_10s ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_state_local ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_marks_local ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_1h_local ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_1m_local ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.rollup_10s_local ON CLUSTER main SYNC;

-- 0004 hours undone

DROP TABLE IF EXISTS flyball.performance_metrics_local ON CLUSTER main SYNC SETTINGS max_table_size_to_drop = 1;

CREATE TABLE IF NOT EXISTS flyball.performance_metrics_local ON CLUSTER main
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/flyball/performance_metrics_local', '{replica}')
PARTITION BY toDate(ts)
ORDER BY (series_id, ts)
TTL toDateTime(ts) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    -- A day that has been closed for an hour becomes one part: 1.3 bytes a sample instead of 1.9.
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- 0003 optimization_logs undone

DROP TABLE IF EXISTS flyball.optimization_logs ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.optimization_logs_local ON CLUSTER main SYNC;

-- 0002 cache_stats undone

DROP TABLE IF EXISTS flyball.cache_stats ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.cache_stats_local ON CLUSTER main SYNC;

-- 0001 measurements undone

DROP TABLE IF EXISTS flyball.performance_metrics ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.series ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.performance_metrics_local ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.series_local ON CLUSTER main SYNC;

