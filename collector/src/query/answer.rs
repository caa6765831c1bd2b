//! The answer to a question about a metric, as HTTP gives it and converted for gRPC.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use flyball_proto::v1;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::explain::Explain;
use super::fold::Within;
use super::table::GroupKey;
use super::{MetricsQuery, Table};
use crate::rollup::RollupTier;

/// Most bytes of a usual point in JSON.
const JSON_POINT_BYTES: usize = 34;

/// Points above which JSON is written beside the threads that serve requests: about a millisecond.
const BLOCKING_POINTS: usize = 20_000;

/// Start of a bucket in epoch milliseconds, and its value; null when it is not known, which is not zero.
pub type Point = (i64, Option<f64>);

/// Which tables answered: the coarsest one, which has the beginning of the range; finer ones and the samples have what it does not hold yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Tier {
    /// The samples themselves.
    #[serde(rename = "raw")]
    Raw,
    /// Rollups of 10 s.
    #[serde(rename = "10s")]
    TenSeconds,
    /// Rollups of 1 min.
    #[serde(rename = "1m")]
    Minute,
    /// Rollups of 1 h.
    #[serde(rename = "1h")]
    Hour,
}

/// Where the answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheLevel {
    /// The recent samples that the collector holds: nothing was asked and nothing is out of date.
    Memory,
    /// This collector's cache.
    L1,
    /// The cache that collectors share, for at least a part of it.
    L2,
    /// The store was asked, for at least a part of it.
    Miss,
}

/// An answer that is kept: its values, and its JSON once somebody has asked for it.
#[derive(Debug)]
pub struct Answer {
    metric: String,
    unit: String,
    tier: Tier,
    table: Table,
    series: OnceLock<Bytes>,
}

/// Series of one metric over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsAnswer {
    /// Name of the metric.
    pub metric: String,
    /// Unit of the values in UCUM; `{unit}/s` for a rate.
    pub unit: String,
    /// Width of a bucket in milliseconds.
    pub step_ms: i64,
    /// Which table answered.
    pub tier: Tier,
    /// Where the answer comes from.
    pub cache: CacheLevel,
    /// One for each group that has a value in the range, ordered by attributes; with `top` by their mean, the largest first.
    pub series: Vec<SeriesAnswer>,
    /// How the answer was made, when that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesAnswer {
    /// What the group has in common: the attributes of `by`, or without it `node` and all attributes of the stored series.
    pub attributes: BTreeMap<String, String>,
    /// Every bucket of the range in order: its start in epoch milliseconds and its value, null when it is not known.
    #[schema(value_type = Vec<(i64, Option<f64>)>)]
    pub points: Vec<Point>,
}

impl Tier {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::TenSeconds => "10s",
            Self::Minute => "1m",
            Self::Hour => "1h",
        }
    }
}

impl From<RollupTier> for Tier {
    fn from(tier: RollupTier) -> Self {
        match tier {
            RollupTier::TenSeconds => Self::TenSeconds,
            RollupTier::Minute => Self::Minute,
            RollupTier::Hour => Self::Hour,
        }
    }
}

impl CacheLevel {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Miss => "miss",
        }
    }
}

impl Answer {
    /// An answer to a query.
    pub fn new(query: &MetricsQuery, tier: Tier, table: Table) -> Self {
        let unit = unit(&query.unit, query.fold.within);
        Self { metric: query.metric.clone(), unit, tier, table, series: OnceLock::new() }
    }

    /// True without any series.
    pub fn is_empty(&self) -> bool {
        self.table.rows.is_empty()
    }

    /// The JSON of it, in three pieces that follow each other. The one in the middle, which may be large, is shared by all who ask.
    pub fn pieces(&self, cache: CacheLevel, explain: Option<&Explain>) -> [Bytes; 3] {
        let series = self.written();
        let text = |text: &str| serde_json::to_string(text).expect("a text");
        let (metric, unit) = (text(&self.metric), text(&self.unit));
        let (step_ms, tier, cache) =
            (self.table.buckets.step_ms(), self.tier.as_str(), cache.as_str());
        let head = format!(
            r#"{{"metric":{metric},"unit":{unit},"step_ms":{step_ms},"tier":"{tier}","cache":"{cache}","series":"#
        );
        let explained = |explain| serde_json::to_string(explain).expect("texts and numbers");
        let tail = match explain {
            Some(explain) => format!(",\"explain\":{}}}", explained(explain)),
            None => "}".to_owned(),
        };
        [head.into(), series.clone(), tail.into()]
    }

    /// True while the JSON of so many points has yet to be written that this is not for a thread that serves requests.
    pub fn is_long_to_write(&self) -> bool {
        self.series.get().is_none() && self.points() > BLOCKING_POINTS
    }

    /// The JSON of the series; written by who asks first.
    pub fn written(&self) -> &Bytes {
        self.series.get_or_init(|| {
            let mut json = Vec::with_capacity(self.points() * JSON_POINT_BYTES);
            serde_json::to_writer(&mut json, &Series(&self.table)).expect("texts and numbers");
            json.into()
        })
    }

    /// The series as programs read them.
    pub fn series(&self) -> impl Iterator<Item = SeriesAnswer> {
        self.table.series()
    }

    /// The answer for programs.
    pub fn response(&self, cache: CacheLevel, explain: Option<&Explain>) -> v1::MetricsResponse {
        v1::MetricsResponse {
            metric: self.metric.clone(),
            unit: self.unit.clone(),
            step_ms: self.table.buckets.step_ms(),
            tier: self.tier.as_str().to_owned(),
            cache: cache.as_str().to_owned(),
            series: self.table.series().map(Into::into).collect(),
            explain: explain.map(|e| serde_json::to_string(e).expect("texts")).unwrap_or_default(),
        }
    }

    /// About how many bytes this takes, with its JSON.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.points() * JSON_POINT_BYTES
    }

    /// Points of all series, unknown ones included.
    pub fn points(&self) -> usize {
        self.table.rows.len() * self.table.buckets.count() as usize
    }
}

impl From<SeriesAnswer> for v1::MetricSeries {
    fn from(series: SeriesAnswer) -> Self {
        let attribute = |(key, value)| v1::Attribute { key, value };
        let point = |(ts_ms, value)| v1::Point { ts_ms, value };
        Self {
            attributes: series.attributes.into_iter().map(attribute).collect(),
            points: series.points.into_iter().map(point).collect(),
        }
    }
}

/// Unit of the answer's values: a rate is per second, and seconds per second are a share.
fn unit(unit: &str, within: Within) -> String {
    match (within, unit) {
        (Within::Rate, "s") => "1".to_owned(),
        (Within::Rate, unit) => format!("{unit}/s"),
        (_, unit) => unit.to_owned(),
    }
}

/// The series of a table as JSON, without a copy in between.
struct Series<'a>(&'a Table);
struct Row<'a>(&'a Table, &'a GroupKey, &'a [f64]);
struct Points<'a>(&'a Table, &'a [f64]);

impl Serialize for Series<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.rows.iter().map(|(key, values)| Row(self.0, key, values)))
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("SeriesAnswer", 2)?;
        row.serialize_field("attributes", self.1)?;
        row.serialize_field("points", &Points(self.0, self.2))?;
        row.end()
    }
}

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Numbers that are none are written as null.
        serializer.collect_seq(self.0.buckets.starts().zip(self.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Buckets;

    #[test]
    fn every_tier_is_called_alike_in_json_and_grpc() {
        for tier in [Tier::Raw, Tier::TenSeconds, Tier::Minute, Tier::Hour] {
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.as_str());
        }
    }

    #[test]
    fn a_point_is_a_pair_and_unknown_is_null_however_it_is_written() {
        let mut table = Table::new(Buckets::covering(0, 20, 10));
        let key = GroupKey::from([("node".to_owned(), "a".to_owned())]);
        table.push(key).unwrap()[0] = 0.0;
        let answer = Answer {
            metric: "system.\"memory\"".into(),
            unit: "By".into(),
            tier: Tier::Raw,
            table,
            series: OnceLock::new(),
        };
        for cache in [CacheLevel::Miss, CacheLevel::Memory] {
            let text = answer.pieces(cache, None).concat();
            let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!((&json["tier"], &json["cache"]), (&"raw".into(), &cache.as_str().into()));
            assert_eq!(json["series"][0]["points"], serde_json::json!([[0, 0.0], [10, null]]));
            let typed: MetricsAnswer = serde_json::from_slice(&text).unwrap();
            assert_eq!(serde_json::to_value(typed).unwrap(), json, "as the schema has it");
        }
        let response = answer.response(CacheLevel::L1, None);
        assert_eq!((response.tier.as_str(), response.cache.as_str()), ("raw", "l1"));
        assert_eq!(response.series[0].points[1], v1::Point { ts_ms: 10, value: None });
    }

    #[test]
    fn a_rate_is_per_second() {
        assert_eq!(unit("By", Within::Rate), "By/s");
        assert_eq!(unit("s", Within::Rate), "1");
        assert_eq!(unit("By", Within::Mean), "By");
    }
}
