//! Query strings and JSON bodies read field by field, so that every unknown, repeated or wrong one is told at once.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::query::{QueryError, Violations};

/// The pairs of a query string that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    violations: Violations,
}

/// The fields of a JSON body that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Fields {
    map: Map<String, Value>,
    known: Vec<&'static str>,
    violations: Violations,
}

impl Params {
    /// The value of a parameter that may be given once.
    pub fn one(&mut self, name: &'static str) -> Option<String> {
        let mut values = self.many(name);
        if values.len() > 1 {
            self.violations.invalid(name, "given more than once");
        }
        values.pop()
    }

    /// All values of a parameter that may be repeated.
    pub fn many(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let taken = self.pairs.extract_if(.., |(key, _)| key == name);
        taken.map(|(_, value)| value).collect()
    }

    /// What is wrong so far; what is left now is unknown.
    pub fn finish(mut self) -> Violations {
        let mut told: Vec<String> = Vec::new();
        for (key, _) in self.pairs {
            if !told.contains(&key) {
                self.violations.invalid(&key, unknown("parameter", &self.known));
                told.push(key);
            }
        }
        self.violations
    }

    /// For calls without any parameter.
    ///
    /// # Errors
    /// When there is one.
    pub fn none(self) -> Result<(), QueryError> {
        self.finish().check()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let mut violations = Violations::default();
            violations.invalid("", format!("the query string: {}", rejection.body_text()));
            QueryError::Invalid(violations)
        })?;
        Ok(Self { pairs, ..Self::default() })
    }
}

impl Fields {
    /// The fields of a JSON object.
    ///
    /// # Errors
    /// When the bytes are not one JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let map =
            serde_json::from_slice(body).map_err(|e| ApiError::MalformedBody(e.to_string()))?;
        Ok(Self { map, ..Self::default() })
    }

    /// A string; `null` counts as not given.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => self.wrong(name, "must be a string"),
        }
    }

    /// A string or a whole number, as text.
    pub fn text_or_integer(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
            _ => self.wrong(name, "must be a string or a whole number"),
        }
    }

    /// An array of strings.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        let Some(value) = self.take(name) else { return Vec::new() };
        match serde_json::from_value(value) {
            Ok(texts) => texts,
            Err(_) => self.wrong(name, "must be an array of strings").unwrap_or_default(),
        }
    }

    /// True or false.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            _ => self.wrong(name, "must be true or false"),
        }
    }

    /// A number.
    pub fn number(&mut self, name: &'static str) -> Option<f64> {
        match self.take(name)? {
            Value::Number(number) => number.as_f64(),
            _ => self.wrong(name, "must be a number"),
        }
    }

    /// An object.
    pub fn object(&mut self, name: &'static str) -> Option<Self> {
        match self.take(name)? {
            Value::Object(map) => Some(Self { map, ..Self::default() }),
            _ => self.wrong(name, "must be an object"),
        }
    }

    /// An array of objects.
    pub fn objects(&mut self, name: &'static str) -> Vec<Self> {
        let Some(value) = self.take(name) else { return Vec::new() };
        match serde_json::from_value::<Vec<Map<String, Value>>>(value) {
            Ok(maps) => maps.into_iter().map(|map| Self { map, ..Self::default() }).collect(),
            Err(_) => self.wrong(name, "must be an array of objects").unwrap_or_default(),
        }
    }

    /// What is wrong so far; what is left now is unknown.
    pub fn finish(mut self) -> Violations {
        for key in self.map.keys() {
            self.violations.invalid(key, unknown("field", &self.known));
        }
        self.violations
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.map.remove(name).filter(|value| !value.is_null())
    }

    fn wrong<T>(&mut self, name: &'static str, reason: &str) -> Option<T> {
        self.violations.invalid(name, reason);
        None
    }
}

fn unknown(what: &str, known: &[&str]) -> String {
    if known.is_empty() {
        format!("unknown {what}; none is known here")
    } else {
        format!("unknown {what}; known here: {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn params(query: &str) -> Result<Params, ApiError> {
        let request = axum::http::Request::get(format!("/x?{query}")).body(()).unwrap();
        Params::from_request_parts(&mut request.into_parts().0, &()).await
    }

    fn fields(violations: &Violations) -> Vec<&str> {
        violations.fields().iter().map(|f| f.field.as_str()).collect()
    }

    #[tokio::test]
    async fn unknown_and_repeated_parameters_are_all_told() {
        let mut p = params("node=a&node=b&step=1&step=2&x=1&y=&x=2").await.unwrap();
        assert_eq!(p.many("node"), ["a", "b"]);
        assert_eq!(p.one("step").as_deref(), Some("2"));
        assert_eq!(p.one("agg"), None);
        let violations = p.finish();
        assert_eq!(fields(&violations), ["step", "x", "y"]);
        assert!(violations.fields()[1].reason.ends_with("known here: node, step, agg"));
    }

    #[tokio::test]
    async fn values_are_decoded() {
        let mut p = params("filter=system.device%3Dsda+1&from=2026-08-01T00%3A00%3A00%2B02%3A00")
            .await
            .unwrap();
        assert_eq!(p.one("filter").as_deref(), Some("system.device=sda 1"));
        assert_eq!(p.one("from").as_deref(), Some("2026-08-01T00:00:00+02:00"));
        assert!(p.none().is_ok());
    }

    #[test]
    fn a_body_is_read_field_by_field() {
        let body = br#"{"metric":"m","node":["a"],"from":5,"to":1.5,"by":"x","agg":null,"zap":1}"#;
        let mut f = Fields::parse(body).unwrap();
        assert_eq!(f.text("metric").as_deref(), Some("m"));
        assert_eq!(f.texts("node"), ["a"]);
        assert_eq!(f.text_or_integer("from").as_deref(), Some("5"));
        assert_eq!(f.text_or_integer("to"), None);
        assert_eq!(f.texts("by"), Vec::<String>::new());
        assert_eq!(f.text("agg"), None);
        assert_eq!(fields(&f.finish()), ["to", "by", "zap"]);
    }

    #[test]
    fn what_is_no_object_is_no_body() {
        for body in ["", "[]", "{", "null", "{\"a\":1}x"] {
            assert!(Fields::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
