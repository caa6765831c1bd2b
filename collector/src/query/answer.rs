//! The answer to a question about a metric, as HTTP gives it and converted for gRPC.

use std::collections::BTreeMap;

use flyball_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::rollup::RollupTier;

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

/// Which cache answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheLevel {
    /// None: the store was asked.
    Miss,
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
    /// Which cache answered.
    pub cache: CacheLevel,
    /// One for each group that has a value in the range, ordered by attributes.
    pub series: Vec<SeriesAnswer>,
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
            Self::Miss => "miss",
        }
    }
}

impl From<MetricsAnswer> for v1::MetricsResponse {
    fn from(answer: MetricsAnswer) -> Self {
        Self {
            metric: answer.metric,
            unit: answer.unit,
            step_ms: answer.step_ms,
            tier: answer.tier.as_str().to_owned(),
            cache: answer.cache.as_str().to_owned(),
            series: answer.series.into_iter().map(Into::into).collect(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_is_called_alike_in_json_and_grpc() {
        for tier in [Tier::Raw, Tier::TenSeconds, Tier::Minute, Tier::Hour] {
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.as_str());
        }
    }

    #[test]
    fn a_point_is_a_pair_and_unknown_is_null() {
        let answer = MetricsAnswer {
            metric: "system.memory.usage".into(),
            unit: "By".into(),
            step_ms: 10,
            tier: Tier::Raw,
            cache: CacheLevel::Miss,
            series: vec![SeriesAnswer {
                attributes: BTreeMap::from([("node".into(), "a".into())]),
                points: vec![(0, Some(0.0)), (10, None)],
            }],
        };
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["tier"], "raw");
        assert_eq!(json["cache"], "miss");
        assert_eq!(json["series"][0]["points"], serde_json::json!([[0, 0.0], [10, null]]));
        let response = v1::MetricsResponse::from(answer);
        assert_eq!((response.tier.as_str(), response.cache.as_str()), ("raw", "miss"));
        assert_eq!(response.series[0].points[1], v1::Point { ts_ms: 10, value: None });
    }
}
