//! Values of settings and measurements in the units that the collector names, as people read them.

use super::UNKNOWN;
use super::units::{bytes, duration, number, percent};
use crate::api::steering::{Change, Interval, Prediction};

/// A value in its unit: `64 MiB`, `84.1 %`, `12 k/s`. A unit that is not known stands behind the number.
pub(crate) fn human(value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    match unit {
        "bytes" | "By" => bytes(value),
        "ratio" => percent(Some(value)),
        "ms" => span(value),
        "s" => span(value * 1000.0),
        "" | "1" => number(value),
        _ => match unit.strip_prefix("share of ") {
            Some(of) => format!("{} of {of}", percent(Some(value))),
            None if unit.ends_with("/s") => format!("{}/s", number(value)),
            None => format!("{} {unit}", number(value)),
        },
    }
}

fn span(ms: f64) -> String {
    if ms < 1000.0 {
        return format!("{} ms", number(ms));
    }
    duration(std::time::Duration::from_millis(ms as u64))
}

/// The value of a setting, which is a number or a word; zero can have a meaning of its own.
pub(crate) fn setting(parameter: &str, value: &str, unit: &str) -> String {
    if parameter == "maxmemory" && value == "0" {
        return "no limit".to_owned();
    }
    let unit = if unit.is_empty() && parameter == "maxmemory" { "bytes" } else { unit };
    match value.parse::<f64>() {
        Ok(number) if !unit.is_empty() => human(number, unit),
        _ => value.to_owned(),
    }
}

/// `maxmemory 64 MiB → 128 MiB (×2)`
pub(crate) fn change(change: &Change) -> String {
    let Change { parameter, from, to, unit } = change;
    let (before, after) = (setting(parameter, from, unit), setting(parameter, to, unit));
    format!("{parameter} {before} → {after}{}", factor(from, to))
}

/// All changes in one line.
pub(crate) fn changes(all: &[Change]) -> String {
    all.iter().map(change).collect::<Vec<_>>().join("; ")
}

/// How much a number changes: ` (×2)`, ` (−25 %)`; nothing for words.
fn factor(from: &str, to: &str) -> String {
    let numbers = from.parse::<f64>().ok().zip(to.parse::<f64>().ok());
    let Some((from, to)) =
        numbers.filter(|(from, to)| *from > 0.0 && *to > 0.0 && from.total_cmp(to).is_ne())
    else {
        return String::new();
    };
    let factor = to / from;
    if factor >= 2.0 {
        return format!(" (×{})", number((factor * 100.0).round() / 100.0));
    }
    let sign = if factor < 1.0 { '−' } else { '+' };
    format!(" ({sign}{:.0} %)", (factor - 1.0).abs() * 100.0)
}

/// A difference with its sign: in points for shares.
pub(crate) fn difference(before: f64, after: f64, unit: &str) -> String {
    let delta = after - before;
    let size = if unit == "ratio" {
        format!("{:.1} points", delta.abs() * 100.0)
    } else {
        human(delta.abs(), unit)
    };
    match delta {
        _ if size == "0.0 points" => format!("±{size}"),
        delta if delta < 0.0 => format!("−{size}"),
        _ => format!("+{size}"),
    }
}

/// `90.5 to 92.1 %`: the unit once where both ends have the same.
pub(crate) fn range(low: f64, high: f64, unit: &str) -> String {
    let (first, second) = (human(low, unit), human(high, unit));
    if first == second {
        return first;
    }
    match (first.split_once(' '), second.split_once(' ')) {
        (Some((number, of)), Some((_, same))) if of == same => format!("{number} to {second}"),
        _ => format!("{first} to {second}"),
    }
}

/// A value with its interval: `91.3 % (90.5 to 92.1 %)`.
pub(crate) fn interval(of: &Interval, unit: &str) -> String {
    format!("{} ({})", human(of.value, unit), range(of.low, of.high, unit))
}

/// `63.9 % → 84.5 %, +20.6 points`, or `stays 63.9 %`
pub(crate) fn promise(of: &Prediction) -> String {
    let Prediction { before, after, unit, .. } = of;
    let (from, to) = (human(*before, unit), human(*after, unit));
    if from == to {
        return format!("stays {to}");
    }
    format!("{from} → {to}, {}", difference(*before, *after, unit))
}

/// What a metric is, in words; its own name where there are none.
pub(crate) fn metric(name: &str) -> &str {
    match name {
        "redis.hit_ratio" | "memcached.hit_ratio" => "hit ratio",
        "redis.commands.processed" => "commands",
        "redis.keys.expired" => "expirations",
        "redis.keys.evicted" => "evictions",
        "redis.memory.used" => "memory used",
        "redis.memory.rss" => "resident memory",
        "flyball.redis.key.largest" => "largest key",
        other => other,
    }
}

/// Unit of a metric that comes without one.
pub(crate) fn unit_of(metric: &str) -> &'static str {
    if ["ratio", "utilization", "share"].iter().any(|end| metric.ends_with(end)) {
        "ratio"
    } else if metric.contains("memory") || metric.contains("bytes") {
        "bytes"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parameter: &str, from: &str, to: &str, unit: &str) -> String {
        let text = str::to_owned;
        change(&Change {
            parameter: text(parameter),
            from: text(from),
            to: text(to),
            unit: text(unit),
        })
    }

    #[test]
    fn a_change_is_told_in_units_with_its_size() {
        assert_eq!(
            of("maxmemory", "67108864", "134217728", "bytes"),
            "maxmemory 64 MiB → 128 MiB (×2)"
        );
        assert_eq!(
            of("maxmemory", "134217728", "100663296", "bytes"),
            "maxmemory 128 MiB → 96 MiB (−25 %)"
        );
        assert_eq!(of("maxmemory", "0", "1073741824", "bytes"), "maxmemory no limit → 1 GiB");
        assert_eq!(
            of("maxmemory-policy", "allkeys-lru", "allkeys-lfu", ""),
            "maxmemory-policy allkeys-lru → allkeys-lfu"
        );
        assert_eq!(
            of("ttl of keys a*", "60000", "90000", "ms"),
            "ttl of keys a* 1m00s → 1m30s (+50 %)"
        );
    }

    #[test]
    fn values_are_in_their_units() {
        for (value, unit, text) in [
            (0.913, "ratio", "91.3 %"),
            (0.9, "share of misses", "90.0 % of misses"),
            (12_345.0, "1/s", "12.3 k/s"),
            (5.0, "peak over mean", "5 peak over mean"),
            (250.0, "ms", "250 ms"),
            (f64::NAN, "ratio", "–"),
        ] {
            assert_eq!(human(value, unit), text);
        }
    }

    #[test]
    fn an_interval_names_its_unit_once() {
        assert_eq!(range(0.905, 0.921, "ratio"), "90.5 to 92.1 %");
        assert_eq!(range(1_048_576.0, 2_147_483_648.0, "bytes"), "1 MiB to 2 GiB");
        assert_eq!(range(0.5, 0.5, "ratio"), "50.0 %");
    }

    #[test]
    fn a_promise_of_no_change_is_told_as_one() {
        let mut of =
            Prediction { before: 0.8, after: 0.8, unit: "ratio".into(), ..Prediction::default() };
        assert_eq!(promise(&of), "stays 80.0 %");
        of.after = 0.9;
        assert_eq!(promise(&of), "80.0 % → 90.0 %, +10.0 points");
    }

    #[test]
    fn differences_of_shares_are_points() {
        assert_eq!(difference(0.841, 0.913, "ratio"), "+7.2 points");
        assert_eq!(difference(0.913, 0.841, "ratio"), "−7.2 points");
        assert_eq!(difference(0.5, 0.5, "ratio"), "±0.0 points");
        assert_eq!(difference(2_097_152.0, 1_048_576.0, "By"), "−1 MiB");
    }
}
