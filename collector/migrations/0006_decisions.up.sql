-- only: plain
-- Partitions follow from the number of a row. ClickHouse remembers deduplication tokens for each partition by itself: two collectors that append row n at the turn of a
-- month would both have it taken, were the partition that of the time. The rows are copied into a new table that takes the place of the old one at once.
CREATE OR REPLACE TABLE {database}.optimization_logs{local}{on_cluster}
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
ENGINE = {replicated}ReplacingMergeTree
PARTITION BY intDiv(sequence, 10000)
ORDER BY (sequence, hash)
TTL toDateTime(at) + toIntervalDay({decisions_retention_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM {database}.optimization_logs{local}
SETTINGS max_partitions_per_insert_block = 0, max_execution_time = 0;

-- only: replicated
-- The copy would be made by every replica, and the new table could not have the old one's path. Before this migration nothing wrote decisions, so the table is empty, and
-- one that is not is not dropped: the limit of a byte refuses it.
DROP TABLE IF EXISTS {database}.optimization_logs{local}{on_cluster} SYNC SETTINGS max_table_size_to_drop = 1;

-- only: replicated
CREATE TABLE IF NOT EXISTS {database}.optimization_logs{local}{on_cluster}
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
ENGINE = {replicated}ReplacingMergeTree
PARTITION BY intDiv(sequence, 10000)
ORDER BY (sequence, hash)
TTL toDateTime(at) + toIntervalDay({decisions_retention_days})
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
