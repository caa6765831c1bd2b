//! The statements that compute rollups, pure so that their text is tested without ClickHouse.
//!
//! A row is one bucket of one series: time and raw integer of its first and last sample, the smallest and the largest one, count and sum. From two neighbouring rows and these
//! alone every aggregation can be computed as from the samples (docs/adr/008-rollups.md), except that a counter may have been reset within the bucket: then `lost`,
//! the sum of the values before each fall, is added to the difference of last and first.
//!
//! To find falls every sample is compared with the one before it, which a window function does at nearly the cost of all the rest. So the bulk of samples is
//! computed without it: `deltaSumTimestamp` adds up all rises, and where that is the difference of last and first nothing has fallen. Otherwise `lost` is NaN, not known;
//! of counters these few are then computed again with the window. `deltaSumTimestamp` needs rows in order: the statements run on one thread over tables that are sorted so.
//!
//! Raw integers of doubles are their bits; these are compared after a mapping that orders them as the doubles are. Everything that varies in the text is a number.

use super::tier::{DENSE_SAMPLES, RollupTier, SPARSE_SCALE};

/// What a statement covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    /// First millisecond, the start of a span.
    pub(super) from_ms: i64,
    /// First millisecond that is not covered, the end of a span.
    pub(super) to_ms: i64,
    /// First and last id.
    pub(super) ids: (u64, u64),
    /// Only series of these nodes; all when empty.
    pub(super) nodes: &'a [u16],
    /// Version of the rows.
    pub(super) version: u64,
}

/// How falls of counters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Falls {
    /// Where there are any, `lost` is NaN.
    Noticed,
    /// `lost` is computed.
    Found,
    /// The same, only for series where falls were noticed and which are counters.
    FoundWhereNoticed,
}

const COLUMNS: &str = "series_id, ts, scale, count, first_ms, last_ms, first, change, below, above, sum, lost, version";

/// The integer by which raws of one scale are ordered; its own inverse.
fn key(raw: &str) -> String {
    format!("if(scale = -128 AND {raw} < 0, bitXor({raw}, toInt64(9223372036854775807)), {raw})")
}

/// A sum of raws as a sum of values.
fn decoded(sum: &str) -> String {
    format!(
        "multiIf(scale >= 0, ({sum}) / intExp10(scale), scale = -128, {sum}, ({sum}) * exp2(-scale))"
    )
}

/// Whether a sample fell below the one before it, within the bucket.
const FELL: &str = "x < px AND pb = b AND pscale = scale";

impl Scope<'_> {
    /// Condition on a column `ts` of milliseconds.
    fn of_samples(&self) -> String {
        let Self { from_ms, to_ms, .. } = self;
        let time = format!(
            "ts >= fromUnixTimestamp64Milli(toInt64({from_ms})) AND ts < fromUnixTimestamp64Milli(toInt64({to_ms}))"
        );
        format!("{time} AND {}", self.of_ids())
    }

    /// Condition on a column `ts` of seconds.
    fn of_buckets(&self) -> String {
        let (from_s, to_s) = (self.from_ms / 1_000, self.to_ms / 1_000);
        format!(
            "ts >= toDateTime({from_s}, 'UTC') AND ts < toDateTime({to_s}, 'UTC') AND {}",
            self.of_ids()
        )
    }

    fn of_ids(&self) -> String {
        let mut text = match self.ids {
            (0, u64::MAX) => "1".to_owned(),
            (first, last) => format!("series_id >= {first} AND series_id <= {last}"),
        };
        if !self.nodes.is_empty() {
            let nodes: Vec<_> = self.nodes.iter().map(u16::to_string).collect();
            let nodes = nodes.join(",");
            text = format!(
                "{text} AND series_id IN (SELECT series_id FROM series WHERE bitAnd(bitShiftRight(series_id, 28), 65535) IN ({nodes}))"
            );
        }
        text
    }
}

/// Computes buckets of `tier`, 10 s or 1 min, from the samples.
pub(super) fn from_samples(tier: RollupTier, scope: &Scope<'_>, falls: Falls) -> String {
    let (width_ms, table) = (tier.width_ms(), tier.table());
    let mut only = String::new();
    if tier == RollupTier::TenSeconds {
        only = format!(" AND series_id IN ({})", dense(scope));
    }
    if falls == Falls::FoundWhereNoticed {
        only = format!(" AND series_id IN ({})", noticed(tier, scope));
    }
    let rows = format!(
        "SELECT series_id, scale, toUnixTimestamp64Milli(ts) AS t, toUInt32(intDiv(t, {width_ms})) AS b, toUInt32(t % {width_ms}) AS o,
        {key} AS x, if(scale = -128, reinterpretAsFloat64(raw), toFloat64(raw)) AS v
    FROM performance_metrics FINAL
    PREWHERE {scope}{only}
    WHERE scale != -128 OR isFinite(reinterpretAsFloat64(raw))",
        key = key("raw"),
        scope = scope.of_samples(),
    );
    let (rows, lost) = if falls == Falls::Noticed {
        (rows, "if(deltaSumTimestamp(x, o) = l - f, 0., nan)".to_owned())
    } else {
        (
            with_previous(&rows, &[("x", "x"), ("v", "v"), ("b", "b"), ("scale", "scale")], "t"),
            decoded(&format!("sumIf(pv, {FELL})")),
        )
    };
    format!(
        "INSERT INTO {table} ({COLUMNS})
WITH argMin(x, o) AS f, argMax(x, o) AS l, {first} AS first_raw, {last} AS last_raw
SELECT series_id, toDateTime(b * {width_s}, 'UTC'), scale, count(), min(o), max(o), first_raw, last_raw - first_raw, {low} - first_raw, {high} - last_raw,
    {sum}, {lost}, {version}
FROM ({rows}) GROUP BY series_id, b, scale",
        width_s = width_ms / 1_000,
        first = key("f"),
        last = key("l"),
        low = key("min(x)"),
        high = key("max(x)"),
        sum = decoded("sum(v)"),
        version = scope.version,
    )
}

/// Computes an hour of `rollup_1h` from `rollup_1m`. `scope` is that hour.
///
/// Falls between two minutes are found in arrays of the minutes' first and last values. Sixty of them are few enough for that, and it costs less than a window.
pub(super) fn from_minutes(scope: &Scope<'_>) -> String {
    format!(
        "INSERT INTO rollup_1h ({COLUMNS})
WITH argMin(f, o) AS first_raw, argMax(l, o1) AS last_raw, NOT isNaN(lost) AS known,
    arrayPopFront(groupArrayIf(f, known)) AS firsts, arrayPopBack(groupArrayIf(l, known)) AS lasts, arrayPopBack(groupArrayIf(lv, known)) AS values
SELECT series_id, toDateTime({from_s}, 'UTC'), scale, sum(n), min(o), max(o1), first_raw, last_raw - first_raw, {low} - first_raw, {high} - last_raw,
    sum(v), sum(lost) + arraySum((f, l, v) -> if({first} < {last}, v, 0.), firsts, lasts, values), {version}
FROM (SELECT series_id, scale, toUInt32((toUnixTimestamp(ts) - {from_s}) * 1000 + first_ms) AS o, toUInt32((toUnixTimestamp(ts) - {from_s}) * 1000 + last_ms) AS o1,
        first AS f, first + change AS l, {low_of_row} AS lo, {high_of_row} AS hi, count AS n, sum AS v, lost, last_value AS lv
    FROM rollup_1m FINAL
    PREWHERE {scope}) GROUP BY series_id, scale",
        from_s = scope.from_ms / 1_000,
        low = key("min(lo)"),
        high = key("max(hi)"),
        first = key("f"),
        last = key("l"),
        low_of_row = key("(first + below)"),
        high_of_row = key("(first + change + above)"),
        version = scope.version,
        scope = scope.of_buckets(),
    )
}

/// Notes which series have no rows in `rollup_10s`, because they would be as many as their samples. `scope` is one span.
pub(super) fn sparse(scope: &Scope<'_>) -> String {
    let from_s = scope.from_ms / 1_000;
    format!(
        "INSERT INTO rollup_10s ({COLUMNS})
SELECT series_id, toDateTime({from_s}, 'UTC'), {SPARSE_SCALE}, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}
FROM rollup_1m FINAL PREWHERE {} GROUP BY series_id HAVING sum(count) < {DENSE_SAMPLES} * count()",
        scope.version,
        scope.of_buckets(),
    )
}

/// The first id of every `every` series that have rows in `rollup_10s`, as one array. `scope` is one span.
pub(super) fn dense_bounds(scope: &Scope<'_>, every: usize) -> String {
    format!("SELECT {}", bounds(&dense(scope), every))
}

/// The first id of every `every` series of the scope's nodes, as one array.
pub(super) fn series_bounds(scope: &Scope<'_>, every: usize) -> String {
    format!(
        "SELECT {}",
        bounds(&format!("SELECT series_id FROM series WHERE {}", scope.of_ids()), every)
    )
}

/// Whether there is a sample in the time of the scope, from the index alone.
pub(super) fn any_sample(scope: &Scope<'_>) -> String {
    let scope = Scope { ids: (0, u64::MAX), nodes: &[], ..*scope };
    format!(
        "SELECT count() > 0 FROM (SELECT 1 FROM performance_metrics WHERE {} LIMIT 1)",
        scope.of_samples()
    )
}

fn bounds(ids: &str, every: usize) -> String {
    format!(
        "arrayFilter((id, i) -> i % {every} = 1, arraySort(groupArray(series_id)) AS ids, arrayEnumerate(ids)) FROM ({ids})"
    )
}

fn dense(scope: &Scope<'_>) -> String {
    let scope = scope.of_buckets();
    format!(
        "SELECT series_id FROM rollup_1m FINAL PREWHERE {scope} GROUP BY series_id HAVING sum(count) >= {DENSE_SAMPLES} * count()"
    )
}

/// Counters of which `lost` is not known.
fn noticed(tier: RollupTier, scope: &Scope<'_>) -> String {
    format!(
        "SELECT DISTINCT series_id FROM {} FINAL PREWHERE {} WHERE isNaN(lost) AND series_id IN (SELECT series_id FROM series WHERE kind = 'counter' AND {})",
        tier.table(),
        scope.of_buckets(),
        Scope { nodes: &[], ..*scope }.of_ids(),
    )
}

/// The rows, each with columns of the one before it in its series, whose names begin with `p`; the first one with the columns of its own that stand beside them.
fn with_previous(rows: &str, columns: &[(&str, &str)], order: &str) -> String {
    let lags: Vec<_> = columns
        .iter()
        .map(|(column, own)| format!("lagInFrame({column}, 1, {own}) OVER pair AS p{column}"))
        .collect();
    format!(
        "SELECT *, {} FROM ({rows}) WINDOW pair AS (PARTITION BY series_id ORDER BY {order} ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        lags.join(", ")
    )
}
