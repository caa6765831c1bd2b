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
    /// The present state of what was asked about, when that is why it was refused.
    pub state: Option<String>,
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
        match self.state.as_deref().and_then(advice) {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// What to do about a refusal that is for the present state.
fn advice(state: &str) -> Option<&'static str> {
    Some(match state {
        "confirmed" => "`flyball show ID` tells who confirmed it and where its rollout is",
        "rejected" => "`flyball show ID` tells who rejected it and why",
        "expired" => "`flyball optimize` looks anew; if it still holds it is suggested again",
        "promoted" | "rolled_back" | "failed" => "`flyball show ID` tells how it ended",
        "busy" => "wait for its end (`flyball rollouts`), or `flyball rollback` it",
        "cooling" => "try again when its rest is over; `flyball rollouts` tells what failed",
        "locked" => "look which values are in force, then `flyball unlock TARGET`",
        "refused" => {
            "mend why it rejected them (`flyball audit --subject TARGET` tells), then `flyball unlock TARGET` has them offered again"
        }
        "open" => "`flyball suggestions --status proposed` tells it; confirm or reject it first",
        "stale" => "`flyball optimize` looks anew at what is in force now",
        "absent" => "start the agent, or see `flyball nodes`",
        "ahead" => "decisions are gone from ClickHouse: docs/rollout.md tells what to do",
        "crowded" => {
            "wait until one of `flyball rollouts` has ended; rollout.fleet_share sets how many may go at once"
        }
        "restoring" => "the old values are on their way; `flyball show ID --watch` follows it",
        "paused" => "`flyball resume ID` has it go on",
        _ => return None,
    })
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
    fn a_refusal_for_the_state_says_what_to_do() {
        let body = r#"{"title":"not in the present state","detail":"rollout r-1 is paused","state":"paused"}"#;
        assert_eq!(
            Problem::parse(409, body).unwrap().to_string(),
            "not in the present state: rollout r-1 is paused; `flyball resume ID` has it go on"
        );
        let unheard_of = body.replace(r#""paused""#, r#""dreaming""#);
        let told = Problem::parse(409, &unheard_of).unwrap().to_string();
        assert_eq!(told, "not in the present state: rollout r-1 is paused");
    }

    #[test]
    fn anything_else_is_not_a_problem_document() {
        for body in ["", "<html>", "[]", "{}", r#"{"error":"x"}"#, r#"{"title":3}"#] {
            assert_eq!(Problem::parse(500, body), None, "{body}");
        }
    }
}
