//! Times as an operator writes them: `-1h` and `now` are of this clock, everything else is left to the API.

use crate::error::Error;

/// `-1h30m` as epoch milliseconds; RFC 3339 and epoch milliseconds as they are.
///
/// # Errors
/// When a relative time cannot be read.
pub(super) fn absolute(flag: &str, text: &str, now_ms: i64) -> Result<String, Error> {
    if text == "now" {
        return Ok(now_ms.to_string());
    }
    let Some(span) = text.strip_prefix('-') else { return Ok(text.to_owned()) };
    let span = humantime::parse_duration(span).map_err(|e| {
        Error::Usage(format!(
            "{flag}: {text}: {e}; write -30m, -1h, -2d, now, RFC 3339 or epoch milliseconds"
        ))
    })?;
    let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Ok(now_ms.saturating_sub(ms).max(0).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_times_count_back_from_now() {
        let at = |text| absolute("--from", text, 10_000_000).unwrap();
        assert_eq!(at("-1h"), "6400000");
        assert_eq!(at("-1h30m"), "4600000");
        assert_eq!(at("now"), "10000000");
        assert_eq!(at("-300y"), "0");
    }

    #[test]
    fn other_times_are_left_to_the_api() {
        for text in ["2026-08-01T12:00:00Z", "1785585600000", "yesterday"] {
            assert_eq!(absolute("--to", text, 0).unwrap(), text);
        }
    }

    #[test]
    fn a_relative_time_that_cannot_be_read_names_its_flag() {
        for text in ["-", "-1", "-x", "-5parsecs"] {
            let error = absolute("--from", text, 0).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().starts_with("--from: "), "{error}");
        }
    }
}
