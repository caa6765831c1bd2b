//! Answers that were recorded from a real collector for tests that draw them, and whether they still look so.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Writes `answer` to `FILE` of the workspace when `FLYBALL_RECORD` is set, and else compares its shape with what stands there: names of fields and types of values, not the values.
///
/// # Errors
/// When they differ.
pub fn check(file: &str, answer: &Value) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has a parent")?;
    let path = root.join(file);
    if std::env::var_os("FLYBALL_RECORD").is_some() {
        std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        return Ok(std::fs::write(path, serde_json::to_string_pretty(answer)? + "\n")?);
    }
    let recorded = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    match difference(&serde_json::from_str(&recorded)?, answer) {
        Some(what) => bail!(
            "{file} is no longer what a collector answers: {what}; record it anew with FLYBALL_RECORD=1"
        ),
        None => Ok(()),
    }
}

/// Where two values have not the same shape. What is null or empty on one side may be anything on the other.
fn difference(a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let missing = a
                .keys()
                .chain(b.keys())
                .find(|key| !(a.contains_key(*key) && b.contains_key(*key)));
            let inner = || {
                a.iter().find_map(|(key, value)| {
                    Some(format!("{key}: {}", difference(value, &b[key])?))
                })
            };
            missing.map(|key| format!("{key} is on one side only")).or_else(inner)
        }
        (Value::Array(a), Value::Array(b)) => difference(a.first()?, b.first()?),
        (Value::Null, _)
        | (_, Value::Null)
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_)) => None,
        _ => Some(format!("{a} and {b}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn values_may_differ_and_fields_may_not() {
        let a = json!({"n": 1, "list": [{"x": "a"}], "none": null});
        assert_eq!(difference(&a, &json!({"n": 2.5, "list": [], "none": {"y": 1}})), None);
        assert!(difference(&a, &json!({"n": 1, "list": [{"y": 1}], "none": 1})).is_some());
        assert!(difference(&a, &json!({"n": "1", "list": [], "none": 1})).is_some());
        assert!(difference(&a, &json!({"n": 1, "list": []})).is_some());
    }
}
