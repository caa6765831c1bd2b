//! Numbers with their units, about three digits each: enough to compare, short enough for a column.

use std::time::Duration;

use super::UNKNOWN;

/// What a value is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// A share, shown in percent.
    Share,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// Anything else.
    Number,
}

impl Quantity {
    /// What a metric's values are, by its unit in UCUM. The unit `1` is a share only where the name says so: a load average has it too.
    pub(crate) fn of(metric: &str, unit: &str) -> Self {
        let share = metric.ends_with(".utilization") || metric == "flyball.pressure.avg10";
        match unit {
            "By" => Self::Bytes,
            "By/s" => Self::BytesPerSecond,
            "s" => Self::Seconds,
            "1" if share => Self::Share,
            _ => Self::Number,
        }
    }

    /// The value as text.
    pub(crate) fn format(self, value: Option<f64>) -> String {
        let Some(value) = value.filter(|v| v.is_finite()) else { return UNKNOWN.to_owned() };
        match self {
            Self::Share => share(value * 100.0),
            Self::Bytes => bytes(value),
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::Seconds => seconds(value),
            Self::Number => number(value),
        }
    }
}

/// `34.2 %` of a share.
pub(crate) fn percent(share: Option<f64>) -> String {
    Quantity::Share.format(share)
}

/// One decimal, so that a column of shares is easy to compare; two where one would hide most of the value.
fn share(percent: f64) -> String {
    let decimals = if percent.abs() < 0.95 && percent != 0.0 { 2 } else { 1 };
    format!("{percent:.decimals$} %")
}

/// Three digits, or all of the integer part when that has more.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let short = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

/// `512 B`, `1.46 GiB`: powers of 1024.
pub(crate) fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// `1 234` stays exact below ten thousand; above: `12.3 k`, `1.23 M`.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 10_000.0 {
        return format!("{value:.0}");
    }
    let text = scaled(value, 1000.0, &["", "k", "M", "G", "T"]);
    text.trim_end().to_owned()
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (value, 0);
    // Rounding must not give 1024 KiB where 1 MiB is meant.
    while value.abs() >= base - 0.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{} {}", three_digits(value), units[unit])
}

fn seconds(value: f64) -> String {
    match value.abs() {
        0.0 => "0 s".to_owned(),
        size if size < 1e-3 => format!("{} us", three_digits(value * 1e6)),
        size if size < 1.0 => format!("{} ms", three_digits(value * 1e3)),
        size if size < 120.0 => format!("{} s", three_digits(value)),
        size => {
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{}", duration(Duration::from_secs(size.min(1e15) as u64)))
        }
    }
}

/// The two largest units that are not zero: `12s`, `4m10s`, `3h04m`, `2d03h`.
pub(crate) fn duration(span: Duration) -> String {
    let s = span.as_secs();
    let (m, h, d) = (s / 60, s / 3600, s / 86_400);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m{:02}s", s % 60),
        (0, _, _) => format!("{h}h{:02}m", m % 60),
        _ => format!("{d}d{:02}h", h % 24),
    }
}

/// Time since `then_ms`; a clock that is behind the collector's gives `0s`.
pub(crate) fn age(now_ms: i64, then_ms: Option<i64>) -> String {
    let Some(then_ms) = then_ms else { return UNKNOWN.to_owned() };
    duration(Duration::from_millis(now_ms.saturating_sub(then_ms).max(0) as u64))
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}

/// `2026-08-01T12:00:00Z`
pub(crate) fn utc(ms: i64) -> String {
    // The year 9999 is the last that RFC 3339 can write.
    let ms = ms.clamp(0, 253_402_300_799_000) as u64;
    let time = std::time::UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_told_by_name_and_unit() {
        assert_eq!(Quantity::of("system.cpu.utilization", "1"), Quantity::Share);
        assert_eq!(Quantity::of("system.cpu.load_average.1m", "1"), Quantity::Number);
        assert_eq!(Quantity::of("system.disk.io", "By/s"), Quantity::BytesPerSecond);
        assert_eq!(Quantity::of("system.cpu.time", "s/s"), Quantity::Number);
    }

    #[test]
    fn unknown_is_a_dash_and_zero_a_zero() {
        for quantity in [Quantity::Share, Quantity::Bytes, Quantity::Seconds, Quantity::Number] {
            assert_eq!(quantity.format(None), "–");
            assert_eq!(quantity.format(Some(f64::NAN)), "–");
            assert!(quantity.format(Some(0.0)).starts_with('0'), "{quantity:?}");
        }
    }

    #[test]
    fn shares_are_percent() {
        for (share, text) in [
            (0.0, "0.0 %"),
            (0.0042, "0.42 %"),
            (0.0102, "1.0 %"),
            (0.3421, "34.2 %"),
            (0.9999, "100.0 %"),
            (12.5, "1250.0 %"),
        ] {
            assert_eq!(percent(Some(share)), text);
        }
    }

    #[test]
    fn bytes_are_powers_of_1024() {
        for (value, text) in [
            (0.0, "0 B"),
            (512.0, "512 B"),
            (1023.9, "1 KiB"),
            (1024.0, "1 KiB"),
            (1536.0, "1.5 KiB"),
            (1_047_552.0, "1023 KiB"),
            (1_048_575.0, "1 MiB"),
            (16_777_216_000.0, "15.6 GiB"),
            (-2048.0, "-2 KiB"),
            (1e30, "888178419700125 PiB"),
        ] {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn numbers_keep_three_digits_and_small_integers_all() {
        for (value, text) in [
            (0.0, "0"),
            (1234.0, "1234"),
            (12_345.0, "12.3 k"),
            (1.5, "1.5"),
            (999.7, "1 k"),
            (1_234_567.0, "1.23 M"),
            (-0.001, "0"),
            (-0.25, "-0.25"),
            (-10.04, "-10"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (s, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (250, "4m10s"),
            (11_040, "3h04m"),
            (86_400, "1d00h"),
            (9_000_000, "104d04h"),
        ] {
            assert_eq!(duration(Duration::from_secs(s)), text);
        }
        assert_eq!(seconds(0.000_25), "250 us");
        assert_eq!(seconds(0.25), "250 ms");
        assert_eq!(seconds(-250.0), "-4m10s");
    }

    #[test]
    fn a_clock_that_is_behind_gives_no_negative_age() {
        assert_eq!(age(1_000, Some(5_000)), "0s");
        assert_eq!(age(i64::MIN, Some(i64::MAX)), "0s");
        assert_eq!(age(65_000, Some(0)), "1m05s");
        assert_eq!(age(65_000, None), "–");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(1_785_585_600_000), "2026-08-01T12:00:00Z");
        assert_eq!(utc(i64::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(utc(i64::MAX), "9999-12-31T23:59:59Z");
    }
}
