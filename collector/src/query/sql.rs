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
//! From rollups the same comes out: a row of a bucket stands for its samples, with their sum and count, smallest, largest, first and last one, and the rise between
//! first and last. Only between rows are rises laid into buckets by time; what rose within a row rose within the bucket, because the step is a multiple of the row's.
//! Rollups and samples of one query are made alike and then treated alike. Where a series has no rollups of 10 s, being sampled too rarely, its samples are read.
//!
//! `FINAL` makes the answer free of duplicates, whatever has been merged yet. Values that are not finite are not known and are left out.

use super::Fold;
use super::fold::{Across, Within};
use super::source::Source;
use crate::rollup::{RollupTier, SPAN_MS, SPARSE_SCALE};

/// Samples of a counter further apart than this, or than one step, say nothing about the time between them.
pub const LONGEST_GAP_MS: i64 = 5 * 60_000;

/// How far samples of a counter may lie apart and still say something about the time between them.
pub const fn gap_ms(step_ms: i64) -> i64 {
    if step_ms > LONGEST_GAP_MS { step_ms } else { LONGEST_GAP_MS }
}

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

const JOIN: &str = "GROUP BY group, bucket";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Gives a row for each group that has values: its number (`UInt32`), its buckets counted from the first one (`Array(UInt32)`), their values (`Array(Float64)`), and 1 (`UInt8`) when the values may be wrong.
    /// In no order; a row for each value takes ten times as long to read.
    pub sql: String,
    /// What is asked instead when a group says that it may be wrong.
    pub exact: Option<String>,
}

/// The SQL. `alone`: each group is one series, of which nothing has to be joined.
///
/// A rollup that is as wide as a bucket has one row for each, so its rows need not be grouped, which takes longer than all the rest. Only a series whose scale changed within a bucket has two. So it is asked without grouping
/// at first, and once more with it where a group has several scales.
pub fn text(fold: Fold, sources: &[Source], step_ms: i64, alone: bool) -> Text {
    let exact = grouped(&values(fold, sources, alone), "toUInt8(0)");
    let levels = match sources {
        [Source { rollup: Some(tier), .. }, ..] if !fold.needs_samples() => {
            // The one of 10 s lacks sparse series.
            let is_whole = tier.width_ms() == step_ms && *tier != RollupTier::TenSeconds;
            is_whole.then(|| whole(fold.within, sources)).flatten()
        }
        _ => None,
    };
    let Some(levels) = levels else { return Text { sql: exact, exact: None } };
    let Joined { result, end } = Joined::new(fold.across, alone);
    let (low, high) = if alone { ("scale", "scale") } else { ("min(scale)", "max(scale)") };
    let values = format!(
        "\
SELECT {GROUP}, bucket, {result} AS result, {low} AS low, {high} AS high
FROM (
    {levels}
)
{end}"
    );
    let sql = grouped(&values, "toUInt8(ifNull(min(low) != max(high), 0))");
    Text { sql, exact: Some(exact) }
}

/// A row for each group from one for each value.
fn grouped(values: &str, mixed: &str) -> String {
    format!(
        "{PARAMETERS}
SELECT group, groupArray(toUInt32(intDiv(bucket - first_ms, step_ms))) AS buckets, groupArray(result) AS results, {mixed} AS mixed
FROM (
{values}
)
GROUP BY group"
    )
}

/// A row for each value.
fn values(fold: Fold, sources: &[Source], alone: bool) -> String {
    let across = Joined::new(fold.across, alone);
    if !fold.needs_samples() && sources.iter().any(|source| source.rollup.is_some()) {
        return rolled(fold.within, &across, sources);
    }
    match fold.within {
        Within::Mean => leveled("avg(value)", &across),
        Within::Last => leveled("argMax(value, ts)", &across),
        Within::Min => leveled("min(value)", &across),
        Within::Max => leveled("max(value)", &across),
        Within::Rate => rate(&across),
        Within::Samples => samples_of_group(fold.across),
    }
}

/// How the levels of the series of a group become one.
struct Joined {
    /// Of the column `level`.
    result: String,
    /// What follows the levels.
    end: &'static str,
}

impl Joined {
    fn new(over: Across, alone: bool) -> Self {
        if alone {
            return Self { result: "level".to_owned(), end: "" };
        }
        Self { result: format!("{}(level)", across(over)), end: JOIN }
    }
}

/// The function over the levels of a group.
fn across(across: Across) -> String {
    match across {
        Across::Mean => "avg".to_owned(),
        Across::Sum => "sum".to_owned(),
        Across::Min => "min".to_owned(),
        Across::Max => "max".to_owned(),
        Across::Percentile(p) => format!("quantileExactInclusive(0.{p:02})"),
    }
}

/// `within` over each series and bucket, `across` over the series of a group.
fn leveled(within: &str, joined: &Joined) -> String {
    let Joined { result, end } = joined;
    format!(
        "\
SELECT {GROUP}, bucket, {result} AS result
FROM (
    SELECT series_id, {BUCKET}, {within} AS level
    {SOURCE}
    GROUP BY series_id, bucket
)
{end}"
    )
}

/// Over all samples of a group.
fn samples_of_group(over: Across) -> String {
    let function = across(over);
    format!(
        "\
SELECT {GROUP}, {BUCKET}, {function}(value) AS result
    {SOURCE}
{JOIN}"
    )
}

fn rate(joined: &Joined) -> String {
    let Joined { result, end } = joined;
    format!(
        "\
SELECT {GROUP}, bucket, {result} AS result
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
{end}"
    )
}

/// What of a row is needed: from rollups, from samples. `b` and `t` are the start of the row's bucket and the time of the sample.
struct Needed {
    rollup: &'static str,
    sample: &'static str,
}

/// How rows become the level of a series in a bucket.
struct Leveled {
    needed: Needed,
    /// Of several rows.
    within: &'static str,
    /// Of the only row, of a rollup: columns, with its scale.
    whole: &'static str,
}

/// Over rollups, and samples where there are none.
fn rolled(within: Within, joined: &Joined, sources: &[Source]) -> String {
    let Some(leveled) = Leveled::of(within) else { return rolled_rate(joined, sources) };
    let (Joined { result, end }, levels) = (joined, leveled.levels(sources));
    format!(
        "\
SELECT {GROUP}, bucket, {result} AS result
FROM (
    {levels}
)
{end}"
    )
}

/// Levels and scales: of the first source as its rows are, of the others grouped; `None` for rates.
fn whole(within: Within, sources: &[Source]) -> Option<String> {
    let leveled = Leveled::of(within)?;
    let (first, rest) = sources.split_first()?;
    let rows = rollups(first.rollup?, first, leveled.whole);
    let whole =
        format!("SELECT series_id, b AS bucket, level, toNullable(scale) AS scale FROM ({rows})");
    if rest.is_empty() {
        return Some(whole);
    }
    let rest = leveled.levels(rest);
    Some(format!(
        "{whole}
    UNION ALL
    SELECT series_id, bucket, level, CAST(NULL, 'Nullable(Int8)') AS scale FROM ({rest})"
    ))
}

impl Leveled {
    /// `None` for rates, which need neighbours.
    const fn of(within: Within) -> Option<Self> {
        match within {
            Within::Mean | Within::Samples => Some(MEAN),
            Within::Last => Some(LAST),
            Within::Min => Some(MIN),
            Within::Max => Some(MAX),
            Within::Rate => None,
        }
    }

    /// The level of each series in each bucket.
    fn levels(&self, sources: &[Source]) -> String {
        // Columns have the names of the first rows.
        let is_rolled = sources.first().is_some_and(|source| source.rollup.is_some());
        let time = if is_rolled { "b" } else { "t" };
        format!(
            "\
SELECT series_id, {time} - {time} % step_ms AS bucket, {within} AS level
    FROM (
        {rows}
    )
    GROUP BY series_id, bucket",
            within = self.within,
            rows = rows(sources, &self.needed),
        )
    }
}

const MEAN: Leveled = Leveled {
    needed: Needed {
        rollup: "sum AS a, toUInt64(count) AS n",
        sample: "value AS a, toUInt64(1) AS n",
    },
    within: "sum(a) / sum(n)",
    whole: "sum / count AS level, scale",
};
const LAST: Leveled = Leveled {
    needed: Needed {
        rollup: "last_value AS a, b + last_ms AS moment",
        sample: "value AS a, t AS moment",
    },
    within: "argMax(a, moment)",
    whole: "last_value AS level, scale",
};
const MIN: Leveled = Leveled {
    needed: Needed { rollup: "min_value AS a", sample: "value AS a" },
    within: "min(a)",
    whole: "min_value AS level, scale",
};
const MAX: Leveled = Leveled {
    needed: Needed { rollup: "max_value AS a", sample: "value AS a" },
    within: "max(a)",
    whole: "max_value AS level, scale",
};
const ENDS: Needed = Needed {
    rollup: "b + first_ms AS t0, first_value AS v0, b + last_ms AS t1, last_value AS v1, v1 - v0 + lost AS rise",
    sample: "t AS t0, value AS v0, t AS t1, value AS v1, 0. AS rise",
};

fn rolled_rate(joined: &Joined, sources: &[Source]) -> String {
    let Joined { result, end } = joined;
    format!(
        "\
SELECT {GROUP}, bucket, {result} AS result
FROM (
    SELECT series_id, part.1 AS bucket, 1000 * sum(part.3) / sum(part.2) AS level
    FROM (
        SELECT series_id, t0, t1, rise, lagInFrame(t1, 1, t0) OVER pair AS p, lagInFrame(v1, 1, v0) OVER pair AS pv,
            t0 - p AS span, if(v0 < pv, v0, v0 - pv) AS gained
        FROM (
        {rows}
        )
        WINDOW pair AS (PARTITION BY series_id ORDER BY t0 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
    ARRAY JOIN arrayConcat(
        if(t1 > t0, [(t0 - t0 % step_ms, t1 - t0, rise)], []),
        multiIf(
            span <= 0 OR span > gap_ms, [],
            intDiv(p, step_ms) = intDiv(t0 - 1, step_ms), [(p - p % step_ms, span, gained)],
            [(p - p % step_ms, step_ms - p % step_ms, gained / span * (step_ms - p % step_ms)),
             (t0 - 1 - (t0 - 1) % step_ms, (t0 - 1) % step_ms + 1, gained / span * ((t0 - 1) % step_ms + 1))])
    ) AS part
    WHERE bucket >= first_ms AND bucket < end_ms
    GROUP BY series_id, bucket
)
{end}",
        rows = rows(sources, &ENDS),
    )
}

/// The rows of all sources, alike.
fn rows(sources: &[Source], needed: &Needed) -> String {
    let mut parts = Vec::new();
    for source in sources {
        match source.rollup {
            None => parts.push(samples(source, needed, "")),
            Some(RollupTier::TenSeconds) => {
                // The mark of a sparse series is at the start of its ten minutes, which may be before what is read.
                let marks =
                    Source { from_ms: source.from_ms - source.from_ms % SPAN_MS, ..*source };
                let sparse = |columns: &str| {
                    let rows = of_rollup(RollupTier::TenSeconds, &marks);
                    format!("(SELECT {columns} {rows} AND scale = {SPARSE_SCALE})")
                };
                let spans = sparse("series_id, toUInt32(intDiv(toUnixTimestamp(ts), 600))");
                let dense = format!(
                    " AND scale != {SPARSE_SCALE} AND (series_id, toUInt32(intDiv(toUnixTimestamp(ts), 600))) NOT IN {spans}"
                );
                parts.push(rollups(RollupTier::TenSeconds, source, needed.rollup) + &dense);
                let only = format!(
                    " AND series_id IN {} AND (series_id, toUInt32(intDiv(toUnixTimestamp64Milli(ts), 600000))) IN {spans}",
                    sparse("series_id"),
                );
                parts.push(samples(source, needed, &only));
            }
            Some(tier) => parts.push(rollups(tier, source, needed.rollup)),
        }
    }
    parts.join("\n        UNION ALL\n        ")
}

fn rollups(tier: RollupTier, source: &Source, columns: &str) -> String {
    let rows = of_rollup(tier, source);
    format!("SELECT series_id, toInt64(toUnixTimestamp(ts)) * 1000 AS b, {columns} {rows}")
}

fn of_rollup(tier: RollupTier, source: &Source) -> String {
    let (table, from_s, to_s) = (tier.table(), source.from_ms / 1_000, source.to_ms / 1_000);
    format!(
        "FROM {table} FINAL WHERE series_id IN ids AND ts >= toDateTime({from_s}, 'UTC') AND ts < toDateTime({to_s}, 'UTC')"
    )
}

fn samples(source: &Source, needed: &Needed, only: &str) -> String {
    let Source { from_ms, to_ms, .. } = source;
    format!(
        "SELECT series_id, toUnixTimestamp64Milli(ts) AS t, {} FROM performance_metrics FINAL WHERE series_id IN ids \
         AND ts >= fromUnixTimestamp64Milli(toInt64({from_ms})) AND ts < fromUnixTimestamp64Milli(toInt64({to_ms})) AND isFinite(value){only}",
        needed.sample
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_sparse_series_are_looked_for_from_the_start_of_their_ten_minutes() {
        let tier = Some(RollupTier::TenSeconds);
        let source = Source { rollup: tier, from_ms: SPAN_MS + 180_000, to_ms: SPAN_MS + 190_000 };
        let text = rows(&[source], &LAST.needed);
        let marks = "ts >= toDateTime(600, 'UTC') AND ts < toDateTime(790, 'UTC') AND scale = 127";
        assert_eq!(text.matches(marks).count(), 3, "{text}");
        let buckets =
            "ts >= toDateTime(780, 'UTC') AND ts < toDateTime(790, 'UTC') AND scale != 127";
        assert_eq!(text.matches(buckets).count(), 1, "{text}");
        assert_eq!(text.matches("toInt64(780000)").count(), 1, "{text}");
    }
}
