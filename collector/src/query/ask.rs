//! What a caller asked for, as text and numbers that nobody has judged yet. HTTP (query string or JSON) and gRPC both end here.

use flyball_proto::v1;

use super::error::Violations;
use super::time::{parse_duration_ms, parse_time_ms};

/// A question about one metric; what was left out is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsAsk {
    /// Name of the metric.
    pub metric: Option<String>,
    /// Only these nodes.
    pub nodes: Vec<String>,
    /// Start, epoch milliseconds.
    pub from_ms: Option<i64>,
    /// End, epoch milliseconds, not included.
    pub to_ms: Option<i64>,
    /// Width of a bucket in milliseconds.
    pub step_ms: Option<i64>,
    /// Name of the aggregation.
    pub agg: Option<String>,
    /// Name of the aggregation within each series.
    pub within: Option<String>,
    /// Only so many groups.
    pub top: Option<usize>,
    /// Attributes to group by.
    pub by: Vec<String>,
    /// `attribute=value`.
    pub filter: Vec<String>,
    /// How the answer was made is to be told.
    pub explain: bool,
}

/// Times of a question as text; they become numbers one by one so that each wrong one is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimesAsText {
    /// `from`
    pub from: Option<String>,
    /// `to`
    pub to: Option<String>,
    /// `step`
    pub step: Option<String>,
}

impl MetricsAsk {
    /// Reads the three times; what cannot be read is a violation.
    #[must_use]
    pub fn with_times(mut self, times: &TimesAsText, violations: &mut Violations) -> Self {
        type Parse = fn(&str) -> Result<i64, String>;
        let mut read =
            |field: &str, text: &Option<String>, parse: Parse| match parse(text.as_deref()?) {
                Ok(ms) => Some(ms),
                Err(reason) => {
                    violations.invalid(field, reason);
                    None
                }
            };
        self.from_ms = read("from", &times.from, parse_time_ms);
        self.to_ms = read("to", &times.to, parse_time_ms);
        self.step_ms = read("step", &times.step, parse_duration_ms);
        self
    }

    /// Reads `top` and `explain`; what cannot be read is a violation.
    #[must_use]
    pub fn with_choices(
        mut self,
        top: Option<&str>,
        explain: Option<&str>,
        violations: &mut Violations,
    ) -> Self {
        if let Some(text) = top {
            match text.parse() {
                Ok(top) => self.top = Some(top),
                Err(_) => violations.invalid("top", "must be a whole number"),
            }
        }
        match explain {
            None | Some("false") => {}
            Some("true") => self.explain = true,
            Some(_) => violations.invalid("explain", "neither true nor false"),
        }
        self
    }
}

impl From<v1::MetricsRequest> for MetricsAsk {
    fn from(request: v1::MetricsRequest) -> Self {
        let given = |ms: i64| (ms != 0).then_some(ms);
        Self {
            metric: (!request.metric.is_empty()).then_some(request.metric),
            nodes: request.nodes,
            from_ms: given(request.from_ms),
            to_ms: given(request.to_ms),
            step_ms: given(request.step_ms),
            agg: (!request.agg.is_empty()).then_some(request.agg),
            within: (!request.within.is_empty()).then_some(request.within),
            top: (request.top > 0).then_some(request.top as usize),
            by: request.by,
            filter: request.filter,
            explain: request.explain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_time_is_told() {
        let times = TimesAsText {
            from: Some("yesterday".into()),
            to: Some("2026-08-01T00:00:00Z".into()),
            step: Some("0".into()),
        };
        let mut violations = Violations::default();
        let ask = MetricsAsk::default().with_times(&times, &mut violations);
        assert_eq!((ask.from_ms, ask.to_ms, ask.step_ms), (None, Some(1_785_542_400_000), None));
        let fields: Vec<_> = violations.fields().iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["from", "step"]);
    }

    #[test]
    fn zero_and_empty_in_protobuf_mean_not_given() {
        assert_eq!(MetricsAsk::from(v1::MetricsRequest::default()), MetricsAsk::default());
        let request = v1::MetricsRequest { step_ms: -5, ..Default::default() };
        assert_eq!(MetricsAsk::from(request).step_ms, Some(-5));
    }
}
