//! How samples become values, in two levels: each series for itself in a bucket, then the series of a group together.

use std::fmt;
use std::str::FromStr;

use flyball_proto::series::Kind;

use super::Agg;

/// What a series is in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// Mean of its samples.
    Mean,
    /// Its smallest sample.
    Min,
    /// Its largest sample.
    Max,
    /// Its newest sample.
    Last,
    /// Its increase per second, resets counted.
    Rate,
    /// All of its samples: for percentiles over time.
    Samples,
}

/// What the series of a group are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// This percentile of them, 1 to 99.
    Percentile(u8),
}

/// Both levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    /// Within a series.
    pub within: Within,
    /// Over the series of a group.
    pub across: Across,
}

impl Fold {
    /// From what was asked for a metric of this kind.
    ///
    /// # Errors
    /// The field that is wrong, and why.
    pub fn new(
        agg: Option<Agg>,
        within: Option<Within>,
        kind: Kind,
    ) -> Result<Self, (&'static str, String)> {
        let Some(within) = within else {
            let agg = agg.unwrap_or_else(|| Agg::default_for(kind));
            agg.check(kind).map_err(|reason| ("agg", reason))?;
            return Ok(Self::from(agg));
        };
        within.check(kind).map_err(|reason| ("within", reason))?;
        let across = match agg {
            None if within == Within::Rate => Across::Sum,
            None | Some(Agg::Avg) => Across::Mean,
            Some(Agg::Sum) => Across::Sum,
            Some(Agg::Min) => Across::Min,
            Some(Agg::Max) => Across::Max,
            Some(Agg::Percentile(p)) => Across::Percentile(p),
            Some(agg @ (Agg::Last | Agg::Rate)) => {
                let reason = format!(
                    "{agg} is of one series: with `within`, agg joins the series of a group and is avg, sum, min, max or p1 to p99"
                );
                return Err(("agg", reason));
            }
        };
        Ok(Self { within, across })
    }

    /// True when rollups do not have what it takes.
    pub const fn needs_samples(self) -> bool {
        matches!(self.within, Within::Samples)
    }
}

impl From<Agg> for Fold {
    fn from(agg: Agg) -> Self {
        let (within, across) = match agg {
            Agg::Avg => (Within::Mean, Across::Mean),
            Agg::Sum => (Within::Mean, Across::Sum),
            Agg::Min => (Within::Min, Across::Min),
            Agg::Max => (Within::Max, Across::Max),
            Agg::Last => (Within::Last, Across::Mean),
            Agg::Rate => (Within::Rate, Across::Sum),
            Agg::Percentile(p) => (Within::Samples, Across::Percentile(p)),
        };
        Self { within, across }
    }
}

impl Within {
    fn check(self, kind: Kind) -> Result<(), String> {
        match (kind, self) {
            (Kind::Gauge, Self::Rate) => {
                Err("the metric is a gauge and has no rate: use avg, min, max or last".to_owned())
            }
            (Kind::Counter, Self::Mean) => Err(
                "the metric is a counter and the mean of its running total means nothing: use rate, last, min or max"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "avg" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            "last" => Self::Last,
            "rate" => Self::Rate,
            _ => return Err("not one of avg, min, max, last, rate".to_owned()),
        })
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Last => "last",
            Self::Rate => "rate",
            Self::Samples => "samples",
        })
    }
}

impl fmt::Display for Across {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("avg"),
            Self::Sum => f.write_str("sum"),
            Self::Min => f.write_str("min"),
            Self::Max => f.write_str("max"),
            Self::Percentile(p) => write!(f, "p{p}"),
        }
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.across, self.within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_gives_both_levels_apart() {
        let fold = |agg: Option<&str>, within: Option<&str>, kind| {
            let agg = agg.map(|agg| agg.parse().unwrap());
            Fold::new(agg, within.map(|within| within.parse().unwrap()), kind)
                .map(|fold| fold.to_string())
                .map_err(|(field, _)| field)
        };
        let (gauge, counter) = (Kind::Gauge, Kind::Counter);
        assert_eq!(fold(None, None, gauge), Ok("avg of avg".to_owned()));
        assert_eq!(fold(Some("p99"), None, gauge), Ok("p99 of samples".to_owned()));
        assert_eq!(fold(Some("p99"), Some("avg"), gauge), Ok("p99 of avg".to_owned()));
        assert_eq!(fold(Some("sum"), Some("last"), gauge), Ok("sum of last".to_owned()));
        assert_eq!(fold(None, Some("rate"), counter), Ok("sum of rate".to_owned()));
        assert_eq!(fold(Some("p50"), Some("rate"), counter), Ok("p50 of rate".to_owned()));
        assert_eq!(fold(Some("last"), Some("avg"), gauge), Err("agg"));
        assert_eq!(fold(Some("p99"), None, counter), Err("agg"));
        assert_eq!(fold(Some("max"), Some("rate"), gauge), Err("within"));
        assert_eq!(fold(Some("max"), Some("avg"), counter), Err("within"));
    }
}
