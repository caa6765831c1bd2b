//! Problem documents (RFC 9457) as lines for a person.

use std::fmt;

use serde::Deserialize;

use crate::text::clean;

/// A refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Short name of the kind of problem.
    pub title: String,
    /// What is wrong in this case.
    pub detail: String,
    /// The fields that are wrong.
    pub errors: Vec<FieldProblem>,
}

/// One wrong field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct FieldProblem {
    /// Query parameter; the flags have the same names.
    pub field: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Problem {
    /// Reads a body; `None` when it is not a problem document.
    pub(crate) fn parse(status: u16, body: &str) -> Option<Self> {
        let problem: Self = serde_json::from_str(body).ok()?;
        (!problem.title.is_empty()).then_some(Self { status, ..problem })
    }
}

impl fmt::Display for Problem {
    /// A line with title and detail, then one for each field; the detail is left out where the fields say it all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", clean(&self.title.to_lowercase()))?;
        let repeats = self.errors.iter().any(|e| self.detail.contains(&e.reason));
        if !self.detail.is_empty() && !repeats {
            write!(f, ": {}", clean(&self.detail))?;
        }
        for error in &self.errors {
            write!(f, "\n  {}: {}", clean(&error.field), clean(&error.reason))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_gets_a_line() {
        let body = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"the request is not valid: step: too large",
            "errors":[{"field":"step","reason":"too large"},{"field":"agg","reason":"no such\u001b[31m"}]}"#;
        let problem = Problem::parse(400, body).unwrap();
        assert_eq!(
            problem.to_string(),
            "bad request\n  step: too large\n  agg: no such\u{fffd}[31m"
        );
    }

    #[test]
    fn without_fields_the_detail_is_told() {
        let problem = Problem::parse(503, r#"{"title":"Service Unavailable","detail":"no store"}"#);
        let problem = problem.unwrap();
        assert_eq!(
            (problem.status, problem.to_string().as_str()),
            (503, "service unavailable: no store")
        );
    }

    #[test]
    fn anything_else_is_not_a_problem_document() {
        for body in ["", "<html>", "[]", "{}", r#"{"error":"x"}"#, r#"{"title":3}"#] {
            assert_eq!(Problem::parse(500, body), None, "{body}");
        }
    }
}
