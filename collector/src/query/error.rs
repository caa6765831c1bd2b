//! Why a query is not answered.

use std::fmt;

use crate::store::{Blame, StoreError};

/// A field of a request and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Name of the query parameter or body field.
    pub field: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Everything that is wrong with a request, in the order it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    fields: Vec<FieldError>,
    /// True when some field is wrong in itself, and not only names something that does not exist.
    malformed: bool,
}

/// Why a query is not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// Fields break a rule.
    #[error("the request is not valid: {0}")]
    Invalid(Violations),
    /// The request is well formed, but the metric or a node does not exist.
    #[error("not found: {0}")]
    NotFound(Violations),
    /// Answering would take more than one query may take; the text says which limit and how to ask for less.
    #[error("{0}")]
    TooExpensive(String),
    /// As many queries as may run and wait already do.
    #[error("too many queries at once; try again")]
    Busy,
    /// The store does not answer.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The store refused a query that should have been right.
    #[error("the store refused the query: {0}")]
    Store(String),
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl Violations {
    /// Adds a field that is wrong in itself.
    pub fn invalid(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.malformed = true;
        self.fields.push(FieldError::new(field, reason));
    }

    /// Adds a field that names something that does not exist.
    pub fn unknown(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.fields.push(FieldError::new(field, reason));
    }

    /// True without any violation.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The violations.
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }

    /// `Ok` when there is none; [`QueryError::NotFound`] when all of them name something that does not exist; else [`QueryError::Invalid`].
    ///
    /// # Errors
    /// When there is a violation.
    pub fn check(self) -> Result<(), QueryError> {
        match (self.fields.is_empty(), self.malformed) {
            (true, _) => Ok(()),
            (false, true) => Err(QueryError::Invalid(self)),
            (false, false) => Err(QueryError::NotFound(self)),
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, field) in self.fields.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{field}")?;
        }
        Ok(())
    }
}

impl From<clickhouse::error::Error> for QueryError {
    fn from(error: clickhouse::error::Error) -> Self {
        use clickhouse::error::Error;
        match error {
            Error::BadResponse(text) => from_exception(&text),
            Error::Network(_) | Error::TimedOut => Self::Unavailable(error.to_string()),
            other => Self::Store(other.to_string()),
        }
    }
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        match error {
            other if other.blame() != Blame::Request => Self::Unavailable(other.to_string()),
            StoreError::ClickHouse(source) => source.into(),
            other => Self::Store(other.to_string()),
        }
    }
}

/// An exception of ClickHouse by its number: limits of one query are the caller's to mend, the rest is ours.
fn from_exception(text: &str) -> QueryError {
    const TOO_MANY_ROWS: u32 = 158;
    const TIMEOUT_EXCEEDED: u32 = 159;
    const TOO_SLOW: u32 = 160;
    const TOO_MANY_SIMULTANEOUS_QUERIES: u32 = 202;
    const MEMORY_LIMIT_EXCEEDED: u32 = 241;
    const TOO_MANY_BYTES: u32 = 307;
    const TOO_MANY_ROWS_OR_BYTES: u32 = 396;
    const ASK_FOR_LESS: &str = "ask for a shorter time, fewer nodes or a narrower filter";
    match exception_code(text) {
        Some(TOO_MANY_ROWS | TOO_MANY_BYTES | TOO_MANY_ROWS_OR_BYTES) => QueryError::TooExpensive(
            format!("the query would read more samples than one query may: {ASK_FOR_LESS}"),
        ),
        Some(TIMEOUT_EXCEEDED | TOO_SLOW) => QueryError::TooExpensive(format!(
            "the query took longer than one query may: {ASK_FOR_LESS}"
        )),
        Some(MEMORY_LIMIT_EXCEEDED) => QueryError::TooExpensive(format!(
            "the query needs more memory than one query may: {ASK_FOR_LESS}"
        )),
        Some(TOO_MANY_SIMULTANEOUS_QUERIES) => QueryError::Unavailable(text.to_owned()),
        _ => QueryError::Store(text.to_owned()),
    }
}

/// The number in `Code: 159. DB::Exception: ...`.
fn exception_code(text: &str) -> Option<u32> {
    let rest = &text[text.find("Code: ")? + "Code: ".len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_callers_and_anything_else_is_ours() {
        let e = from_exception("Code: 159. DB::Exception: Timeout exceeded: elapsed 10 s");
        assert!(matches!(e, QueryError::TooExpensive(_)), "{e}");
        let e = from_exception("Code: 241. DB::Exception: (total) memory limit exceeded");
        assert!(matches!(e, QueryError::TooExpensive(_)), "{e}");
        let e = from_exception("Code: 60. DB::Exception: Table does not exist");
        assert!(matches!(e, QueryError::Store(_)), "{e}");
        assert!(matches!(from_exception("gibberish"), QueryError::Store(_)));
    }

    #[test]
    fn one_malformed_field_makes_the_whole_request_invalid() {
        let mut v = Violations::default();
        assert!(v.clone().check().is_ok());
        v.unknown("node", "no such node");
        assert!(matches!(v.clone().check(), Err(QueryError::NotFound(_))));
        v.invalid("step", "negative");
        let Err(QueryError::Invalid(v)) = v.check() else { panic!("not invalid") };
        assert_eq!(v.to_string(), "node: no such node; step: negative");
    }
}
