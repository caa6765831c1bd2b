//! How the samples of a bucket become one value.

use std::fmt;
use std::str::FromStr;

use flyball_proto::series::Kind;

/// How the samples of a bucket become one value; docs/adr/004-query-semantics.md has the formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agg {
    /// Mean over the group's series of each one's mean.
    Avg,
    /// Smallest sample.
    Min,
    /// Largest sample.
    Max,
    /// Sum over the group's series of each one's mean.
    Sum,
    /// Mean over the group's series of each one's last sample.
    Last,
    /// Sum over the group's series of each one's increase per second, resets counted.
    Rate,
    /// This percentile of all samples, 1 to 99.
    Percentile(u8),
}

impl Agg {
    /// What the API takes when nothing is asked for.
    pub const fn default_for(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Rate,
            Kind::Gauge => Self::Avg,
        }
    }

    /// Checks that this says something about a metric of this kind: a gauge has no rate, and a counter's running total has no mean.
    ///
    /// # Errors
    /// Why not, and what would.
    pub fn check(self, kind: Kind) -> Result<(), String> {
        match (kind, self) {
            (Kind::Gauge, Self::Rate) => Err(
                "the metric is a gauge and has no rate: use avg, min, max, sum, last or p1 to p99"
                    .to_owned(),
            ),
            (Kind::Counter, Self::Avg | Self::Sum | Self::Percentile(_)) => Err(format!(
                "the metric is a counter and {self} of its running total means nothing: use rate, last, min or max"
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Agg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Avg => f.write_str("avg"),
            Self::Min => f.write_str("min"),
            Self::Max => f.write_str("max"),
            Self::Sum => f.write_str("sum"),
            Self::Last => f.write_str("last"),
            Self::Rate => f.write_str("rate"),
            Self::Percentile(p) => write!(f, "p{p}"),
        }
    }
}

impl FromStr for Agg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percentile = |text: &str| {
            let digits = text.strip_prefix('p')?;
            let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
            let p: u8 = digits.parse().ok().filter(|_| plain)?;
            (1..=99).contains(&p).then_some(Self::Percentile(p))
        };
        Ok(match text {
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "sum" => Self::Sum,
            "last" => Self::Last,
            "rate" => Self::Rate,
            other => percentile(other)
                .ok_or("not one of avg, min, max, sum, last, rate, p1 to p99".to_owned())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_written_alike() {
        for name in ["avg", "min", "max", "sum", "last", "rate", "p1", "p50", "p95", "p99"] {
            assert_eq!(name.parse::<Agg>().unwrap().to_string(), name);
        }
        for name in ["", "AVG", "p0", "p100", "p+5", "p05", "p", "p9.5", "median"] {
            assert!(name.parse::<Agg>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_default_of_each_kind_is_valid_for_it() {
        for kind in [Kind::Counter, Kind::Gauge] {
            assert_eq!(Agg::default_for(kind).check(kind), Ok(()));
        }
        assert!(Agg::Rate.check(Kind::Gauge).is_err());
        assert!(Agg::Percentile(99).check(Kind::Counter).is_err());
        assert!(Agg::Last.check(Kind::Counter).is_ok());
    }
}
