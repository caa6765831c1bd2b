-- 0008 merges undone

ALTER TABLE flyball.balancer_stats_local
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

ALTER TABLE flyball.cache_stats_local
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

ALTER TABLE flyball.performance_metrics_local
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

-- 0007 balancer_stats undone

DROP TABLE IF EXISTS flyball.balancer_stats SYNC;

DROP TABLE IF EXISTS flyball.balancer_stats_local SYNC;

-- 0006 decisions undone

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
PARTITION BY toYYYYMM(at)
ORDER BY (sequence, hash)
TTL toDateTime(at) + toIntervalDay(3650)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM flyball.optimization_logs_local
SETTINGS max_partitions_per_insert_block = 0, max_execution_time = 0;

-- 0005 rollups undone

DROP TABLE IF EXISTS flyball.rollup_state SYNC;

DROP TABLE IF EXISTS flyball.rollup_marks SYNC;

DROP TABLE IF EXISTS flyball.rollup_1h SYNC;

DROP TABLE IF EXISTS flyball.rollup_1m SYNC;

DROP TABLE IF EXISTS flyball.rollup_10s SYNC;

DROP TABLE IF EXISTS flyball.rollup_state_local SYNC;

DROP TABLE IF EXISTS flyball.rollup_marks_local SYNC;

DROP TABLE IF EXISTS flyball.rollup_1h_local SYNC;

DROP TABLE IF EXISTS flyball.rollup_1m_local SYNC;

DROP TABLE IF EXISTS flyball.rollup_10s_local SYNC;

-- 0004 hours undone

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
PARTITION BY toDate(ts)
ORDER BY (series_id, ts)
TTL toDateTime(ts) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    -- A day that has been closed for an hour becomes one part: 1.3 bytes a sample instead of 1.9.
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
AS SELECT series_id, ts, raw, scale FROM flyball.performance_metrics_local
SETTINGS max_partitions_per_insert_block = 0, max_execution_time = 0;

-- 0003 optimization_logs undone

DROP TABLE IF EXISTS flyball.optimization_logs SYNC;

DROP TABLE IF EXISTS flyball.optimization_logs_local SYNC;

-- 0002 cache_stats undone

DROP TABLE IF EXISTS flyball.cache_stats SYNC;

DROP TABLE IF EXISTS flyball.cache_stats_local SYNC;

-- 0001 measurements undone

DROP TABLE IF EXISTS flyball.performance_metrics SYNC;

DROP TABLE IF EXISTS flyball.series SYNC;

DROP TABLE IF EXISTS flyball.performance_metrics_local SYNC;

DROP TABLE IF EXISTS flyball.series_local SYNC;

