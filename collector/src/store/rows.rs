//! Rows of the measurement tables, as the rest of the collector hands them over.

use clickhouse::Row;
use flyball_proto::series::{Invalid, Kind, NodeName, Scale, Series};
use serde::{Deserialize, Serialize};

use super::catalog::SeriesId;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// Milliseconds of an hour: a partition of `performance_metrics` is one hour in UTC.
pub const HOUR_MS: i64 = 3_600_000;

/// One sample, a row of `performance_metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleRow {
    /// Id from the catalog.
    pub series_id: u64,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// Raw integer; `scale` says what it stands for.
    pub raw: i64,
    /// Code of the series' [`Scale`].
    pub scale: i8,
}

impl SampleRow {
    /// Number of the hour in UTC that the sample belongs to, counted from the Unix epoch: its partition.
    pub const fn hour(&self) -> i64 {
        self.ts_ms.div_euclid(HOUR_MS)
    }
}

/// Ten minutes of a node that are to be rolled up again, because samples came after that had been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LateMark {
    /// Start of the ten minutes, milliseconds since the Unix epoch.
    pub span_ms: i64,
    /// The node as the ids of its series have it; nodes that share it are rolled up again together.
    pub node: u16,
}

impl LateMark {
    /// Length of what is rolled up at once, in milliseconds.
    pub const SPAN_MS: i64 = 600_000;

    /// The mark for a sample.
    pub const fn of(row: &SampleRow) -> Self {
        let span_ms = row.ts_ms - row.ts_ms.rem_euclid(Self::SPAN_MS);
        Self { span_ms, node: SeriesId::from_raw(row.series_id).node_hash() }
    }

    /// First millisecond after the ten minutes.
    pub const fn end_ms(&self) -> i64 {
        self.span_ms + Self::SPAN_MS
    }
}

/// One series, a row of `series`.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct SeriesRow {
    /// Id from the catalog.
    pub series_id: u64,
    /// Name of the metric.
    pub metric: String,
    /// Unit in UCUM.
    pub unit: String,
    /// 1 counter, 2 gauge: the codes of the column's `Enum8`.
    kind: i8,
    /// Code of the series' [`Scale`].
    pub scale: i8,
    /// Name of the node.
    pub node: String,
    /// Sorted by key.
    pub attributes: Vec<(String, String)>,
    /// When the series was first seen, milliseconds since the Unix epoch.
    pub first_seen: i64,
}

impl SeriesRow {
    /// The row of a series that was first seen at `first_seen_ms`.
    pub fn new(id: SeriesId, node: &NodeName, series: &Series, first_seen_ms: i64) -> Self {
        Self {
            series_id: id.get(),
            metric: series.metric.clone(),
            unit: series.unit.clone(),
            kind: Self::kind_code(series.kind),
            scale: series.scale.code(),
            node: node.as_str().to_owned(),
            attributes: series.attributes.clone(),
            first_seen: first_seen_ms,
        }
    }

    /// The code of a kind in the table.
    pub(super) const fn kind_code(kind: Kind) -> i8 {
        match kind {
            Kind::Counter => 1,
            Kind::Gauge => 2,
        }
    }

    /// Node and series that the row describes.
    ///
    /// # Errors
    /// When the row breaks a rule, which no row that [`SeriesRow::new`] made does.
    pub fn into_series(self) -> Result<(SeriesId, NodeName, Series), Invalid> {
        let kind = match self.kind {
            1 => Kind::Counter,
            2 => Kind::Gauge,
            _ => return Err(Invalid::new("kind", "neither counter nor gauge")),
        };
        let scale = Scale::from_code(i32::from(self.scale))?;
        let mut attributes = self.attributes;
        attributes.sort();
        let series = Series { metric: self.metric, unit: self.unit, kind, scale, attributes };
        Ok((SeriesId::from(self.series_id), NodeName::new(&self.node)?, series))
    }
}

/// A cache at one tick, a row of `cache_stats`. Counters are cumulative since `started_at`; what is not known of a cache is 0.
#[derive(Debug, Clone, Default, PartialEq, Row, Serialize, Deserialize)]
pub struct CacheRow {
    /// Name of the node.
    pub node: String,
    /// Name of the cache on its node.
    pub cache: String,
    /// Milliseconds since the Unix epoch.
    pub ts: i64,
    /// `redis` or `memcached`.
    pub kind: String,
    /// Version of the server.
    pub version: String,
    /// When the counters began, milliseconds since the Unix epoch.
    pub started_at: i64,
    /// What is evicted when the cache is full.
    pub eviction_policy: String,
    /// Limit of the memory; 0: none.
    pub max_bytes: u64,
    /// Memory used.
    pub used_bytes: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Keys that expire.
    pub keys_with_ttl: u64,
    /// Connections.
    pub clients: u32,
    /// Lookups: hits and misses.
    pub requests: u64,
    /// Lookups that found their key.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Misses of keys that had been evicted, estimated, as the next three.
    pub misses_capacity: u64,
    /// Misses of keys that had expired.
    pub misses_expired: u64,
    /// Misses of keys that had been deleted or overwritten.
    pub misses_invalidated: u64,
    /// Misses of keys that had never been there.
    pub misses_cold: u64,
    /// Keys evicted.
    pub evictions: u64,
    /// Keys expired.
    pub expirations: u64,
    /// Bytes from clients.
    pub received_bytes: u64,
    /// Bytes to clients.
    pub sent_bytes: u64,
    /// CPU time.
    pub cpu_seconds: f64,
    /// Upper bounds of the buckets of `latency_counts`, ascending; only in the ticks in which latencies were read.
    pub latency_bounds_us: Vec<u32>,
    /// Calls by how long they took.
    pub latency_counts: Vec<u64>,
}

impl CacheRow {
    /// Number of the day in UTC, counted from the Unix epoch: its partition.
    pub const fn day(&self) -> i64 {
        self.ts.div_euclid(DAY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_the_series_it_was_made_of() {
        let node = NodeName::new("a").unwrap();
        let series = Series {
            metric: "system.cpu.time".into(),
            unit: "s".into(),
            kind: Kind::Counter,
            scale: Scale::decimal(2),
            attributes: vec![("cpu.mode".into(), "user".into())],
        };
        let id = SeriesId::from(7);
        let row = SeriesRow::new(id, &node, &series, 1);
        assert_eq!(row.clone().into_series().unwrap(), (id, node, series));
        let broken = SeriesRow { kind: 3, ..row.clone() };
        assert_eq!(broken.into_series().unwrap_err().field, "kind");
        let broken = SeriesRow { scale: 99, ..row };
        assert_eq!(broken.into_series().unwrap_err().field, "scale");
    }

    #[test]
    fn hours_change_at_the_full_hour_on_both_sides_of_the_epoch() {
        let hour = |ts_ms| SampleRow { series_id: 1, ts_ms, raw: 0, scale: 0 }.hour();
        assert_eq!((hour(-1), hour(0), hour(HOUR_MS - 1), hour(HOUR_MS)), (-1, 0, 0, 1));
    }
}
