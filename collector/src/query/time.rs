//! Times and durations as callers write them: RFC 3339 or epoch milliseconds; milliseconds or a number with a unit.

/// Earliest and latest time that a caller may name: 1970 to 2286, where epoch milliseconds have at most 13 digits.
pub const RANGE_MS: std::ops::RangeInclusive<i64> = 0..=9_999_999_999_999;

/// Units of a duration and their milliseconds, longest suffix first.
const UNITS: [(&str, i64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `2026-08-01T12:00:00Z`, `2026-08-01T14:00:00.250+02:00` or `1785585600000` as epoch milliseconds.
///
/// # Errors
/// What is wrong, for the caller to read.
pub fn parse_time_ms(text: &str) -> Result<i64, String> {
    const EXPECTED: &str = "neither RFC 3339 (2026-08-01T12:00:00Z) nor epoch milliseconds";
    let ms = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        text.parse().map_err(|_| out_of_range())?
    } else {
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| EXPECTED.to_owned())?;
        timestamp.as_millisecond()
    };
    check_time_ms(ms)
}

/// Checks that epoch milliseconds are in [`RANGE_MS`].
///
/// # Errors
/// When they are not.
pub fn check_time_ms(ms: i64) -> Result<i64, String> {
    if RANGE_MS.contains(&ms) { Ok(ms) } else { Err(out_of_range()) }
}

/// Reads `10000`, `10s`, `5m`, `1h`, `1d` or `250ms` as milliseconds, at least one.
///
/// # Errors
/// What is wrong, for the caller to read.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    const EXPECTED: &str = "neither milliseconds nor a whole number with a unit (10s, 5m, 1h, 1d)";
    let (number, unit_ms) = UNITS
        .iter()
        .find_map(|(suffix, ms)| text.strip_suffix(suffix).map(|number| (number, *ms)))
        .unwrap_or((text, 1));
    let negative = number.starts_with('-');
    let digits = number.strip_prefix('-').unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EXPECTED.to_owned());
    }
    let ms = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(unit_ms));
    match ms {
        Some(ms) if ms > 0 && !negative => Ok(ms),
        Some(_) => Err("must be positive".to_owned()),
        None => Err("too large".to_owned()),
    }
}

fn out_of_range() -> String {
    "outside of 1970 to 2286".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_time_are_read() {
        assert_eq!(parse_time_ms("2026-08-01T12:00:00Z"), Ok(1_785_585_600_000));
        assert_eq!(parse_time_ms("2026-08-01T14:00:00.250+02:00"), Ok(1_785_585_600_250));
        assert_eq!(parse_time_ms("1785585600000"), Ok(1_785_585_600_000));
        assert_eq!(parse_time_ms("0"), Ok(0));
    }

    #[test]
    fn a_wrong_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-08-01", "-5", "1.5", "12:00"] {
            assert!(parse_time_ms(text).is_err(), "{text}");
        }
        for text in ["99999999999999", "99999999999999999999", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse_time_ms(text), Err(out_of_range()), "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_or_is_milliseconds() {
        for (text, ms) in
            [("10000", 10_000), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("250ms", 250)]
        {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        assert_eq!(parse_duration_ms("2d"), Ok(172_800_000));
        for text in ["", "s", "1.5s", "1w", "ten", "- 5", "--5"] {
            assert!(parse_duration_ms(text).unwrap_err().starts_with("neither"), "{text}");
        }
        for text in ["0", "0s", "-10s", "-1"] {
            assert_eq!(parse_duration_ms(text), Err("must be positive".to_owned()), "{text}");
        }
        assert_eq!(parse_duration_ms("9223372036854775807h"), Err("too large".to_owned()));
    }
}
