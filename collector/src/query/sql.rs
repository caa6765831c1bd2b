//! The SQL of each aggregation over `performance_metrics`.
//!
//! Every query has two levels: first each series for itself in each bucket, then the series of a group together. So a series that is sampled more often than
//! its neighbours does not weigh more, and `sum` adds levels and not samples. Percentiles are of all samples of the group.
//!
//! Rates: between two neighbouring samples `(t0, v0)` and `(t1, v1)` of a series the counter rose by `v1 - v0`, or by `v1` when it was reset (`v1 < v0`), evenly.
//! The rise is laid into the bucket that holds the moment after `t0` and the one that ends at or holds `t1`, each by its part of the time between; so the rises of
//! all buckets add up to the rise of the counter. A series' rate is the rise over the time that is covered, not over the width of the bucket.
//! Pairs further apart than the gap are not used, and buckets in the midst of a longer pair get nothing: they are not known.
//!
//! `FINAL` makes the answer free of duplicates, whatever has been merged yet. Values that are not finite are not known and are left out.

use super::Agg;

/// Samples of a counter further apart than this, or than one step, say nothing about the time between them.
pub const LONGEST_GAP_MS: i64 = 5 * 60_000;

/// What is bound, in this order. All of it is numbers.
const PARAMETERS: &str = "\
WITH ? AS ids, ? AS groups, toInt64(?) AS step_ms, toInt64(?) AS read_from_ms, toInt64(?) AS read_to_ms,
    toInt64(?) AS first_ms, toInt64(?) AS end_ms, toInt64(?) AS gap_ms";

/// Samples of the wanted series and time.
const SOURCE: &str = "\
FROM performance_metrics FINAL
    WHERE series_id IN ids
      AND ts >= fromUnixTimestamp64Milli(read_from_ms) AND ts < fromUnixTimestamp64Milli(read_to_ms)
      AND isFinite(value)";

/// Number of the group of a series.
const GROUP: &str = "toUInt32(transform(series_id, ids, groups, 0)) AS group";

/// Start of the bucket of a sample.
const BUCKET: &str = "toUnixTimestamp64Milli(ts) - toUnixTimestamp64Milli(ts) % step_ms AS bucket";

const ORDER: &str = "\
GROUP BY group, bucket
ORDER BY group, bucket";

/// SQL that gives rows of group (`UInt32`), start of the bucket (`Int64`) and value (`Float64`), ordered by group and bucket.
pub fn text(agg: Agg) -> String {
    match agg {
        Agg::Avg => leveled("avg(value)", "avg"),
        Agg::Sum => leveled("avg(value)", "sum"),
        Agg::Last => leveled("argMax(value, ts)", "avg"),
        Agg::Min => leveled("min(value)", "min"),
        Agg::Max => leveled("max(value)", "max"),
        Agg::Rate => rate(),
        Agg::Percentile(p) => percentile(p),
    }
}

/// `within` over each series and bucket, `across` over the series of a group.
fn leveled(within: &str, across: &str) -> String {
    format!(
        "\
{PARAMETERS}
SELECT {GROUP}, bucket, {across}(level) AS result
FROM (
    SELECT series_id, {BUCKET}, {within} AS level
    {SOURCE}
    GROUP BY series_id, bucket
)
{ORDER}"
    )
}

fn percentile(p: u8) -> String {
    format!(
        "\
{PARAMETERS}
SELECT {GROUP}, {BUCKET}, quantileExactInclusive(0.{p:02})(value) AS result
    {SOURCE}
{ORDER}"
    )
}

fn rate() -> String {
    format!(
        "\
{PARAMETERS}
SELECT {GROUP}, bucket, sum(level) AS result
FROM (
    SELECT series_id, part.1 AS bucket, 1000 * sum(rise / span * part.2) / sum(part.2) AS level
    FROM (
        SELECT series_id, t, lagInFrame(t, 1, t) OVER pair AS t0, lagInFrame(v, 1, v) OVER pair AS v0,
            t - t0 AS span, if(v < v0, v, v - v0) AS rise
        FROM (
            SELECT series_id, toUnixTimestamp64Milli(ts) AS t, value AS v
            {SOURCE}
        )
        WINDOW pair AS (PARTITION BY series_id ORDER BY t ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
    ARRAY JOIN if(
        intDiv(t0, step_ms) = intDiv(t - 1, step_ms),
        [(t0 - t0 % step_ms, span)],
        [(t0 - t0 % step_ms, step_ms - t0 % step_ms), (t - 1 - (t - 1) % step_ms, (t - 1) % step_ms + 1)]
    ) AS part
    WHERE span > 0 AND span <= gap_ms AND bucket >= first_ms AND bucket < end_ms
    GROUP BY series_id, bucket
)
{ORDER}"
    )
}
