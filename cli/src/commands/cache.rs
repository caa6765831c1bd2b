//! One cache in full: how it does, its hit ratio by size as a picture, why requests miss, and what stands out.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::caches::{causes, memory, per_second, state};
use crate::api::caches::{Cache, Curve, KeyFinding, Misses, PolicyEstimate};
use crate::text::chart::bar;
use crate::text::curve::{Mark, at, known, picture};
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::units::{self, Quantity, percent};
use crate::text::values::{difference, range};
use crate::text::{UNKNOWN, clean};

/// Width of a bar of shares.
const BAR_CELLS: usize = 24;

/// The cache as text.
pub(super) fn detail(screen: Screen, cache: &Cache, now_ms: i64) -> String {
    let mut text = render(screen, &[], facts(cache, now_ms));
    let marks = limit(cache).map(|bytes| Mark { bytes, name: "now" });
    text.push_str("\nhit ratio by memory limit\n");
    if let Some(curve) = &cache.curve {
        let picture = picture(curve, marks.as_slice(), screen.width());
        text.push_str(&picture.unwrap_or_default());
    }
    let _ = writeln!(text, "{}", words(cache.curve.as_ref(), limit(cache), now_ms));
    if let Some(misses) = &cache.misses {
        text.push_str("\nwhy requests miss\n");
        text.push_str(&render(screen, &[], shares(misses)));
    }
    if !cache.policies.is_empty() {
        text.push_str("\nanother eviction policy, on the same requests\n");
        text.push_str(&render(screen, &[], policies(cache)));
    }
    if !cache.key_findings.is_empty() {
        text.push_str("\nkeys that stand out, by the hash of their names\n");
        text.push_str(&keys(screen, &cache.key_findings));
    }
    text
}

/// Its limit, if it has one.
fn limit(cache: &Cache) -> Option<f64> {
    cache.max_bytes.filter(|bytes| *bytes > 0.0)
}

fn facts(cache: &Cache, now_ms: i64) -> Vec<Vec<Cell>> {
    let row = |name: &str, value: String| vec![plain(name), plain(value)];
    let role = cache.role.as_deref().map(|role| format!(", {role}")).unwrap_or_default();
    let mut rows = vec![
        row("cache", format!("{} on {} ({})", cache.name, cache.node, cache.id)),
        vec![plain("state"), state(cache)],
    ];
    rows.extend(cache.reason.as_ref().map(|reason| row("because", reason.clone())));
    let evicts = cache.eviction_policy.as_deref().unwrap_or(UNKNOWN);
    rows.extend([
        row("server", format!("{} {}{role}", cache.kind, cache.version)),
        row("hit ratio", percent(cache.hit_ratio)),
        row("requests", per_second(cache.requests_per_second)),
        row("memory", memory(cache)),
        row("keys", Quantity::Number.format(cache.keys)),
        row("evicts", format!("{}, by {evicts}", per_second(cache.evictions_per_second))),
        row("expires", per_second(cache.expirations_per_second)),
        row("measured", format!("{} ago", units::age(now_ms, cache.measured_at_ms))),
    ]);
    rows
}

/// What the curve says of the present size, of twice as much and of half.
pub(super) fn words(curve: Option<&Curve>, limit: Option<f64>, now_ms: i64) -> String {
    let Some(curve) = curve.filter(|curve| known(curve).len() > 1) else {
        return "not measured yet: the agent needs some minutes of traffic before it can tell"
            .into();
    };
    let points = known(curve);
    let age = units::age(now_ms, Some(curve.measured_at_ms));
    let reach = units::bytes(curve.reach_bytes);
    let mut parts = Vec::new();
    match limit {
        None => parts.push("it has no limit".to_owned()),
        Some(size) => match at(&points, size) {
            None => {
                let size = units::bytes(size);
                parts.push(format!("its {size} are not within what was measured"));
            }
            Some(here) => {
                for (name, factor) in [("twice as much", 2.0), ("half of it", 0.5)] {
                    match at(&points, size * factor) {
                        Some(there) => parts.push(format!(
                            "{name}: {} ({}), {}",
                            percent(Some(there.hit_ratio)),
                            range(there.low, there.high, "ratio"),
                            difference(here.hit_ratio, there.hit_ratio, "ratio")
                        )),
                        None => parts.push(format!("{name} was not measured")),
                    }
                }
            }
        },
    }
    parts.push(format!("beyond {reach} nothing is known"));
    format!("{}; measured {age} ago, {}", parts.join("; "), "░ holds the truth in 9 of 10 cases")
}

fn shares(misses: &Misses) -> Vec<Vec<Cell>> {
    let meaning = |name: &str| match name {
        "capacity" => "evicted for want of room: more memory or another policy would have kept it",
        "expired" => "its time to live was over: only a longer one would have kept it",
        "invalidated" => "the application had deleted it: no setting changes that",
        _ => "asked for the first time: no cache has it yet",
    };
    let row = |(name, share): (&str, f64)| {
        vec![
            plain(name),
            plain(format!("{:>3.0} %", share * 100.0)),
            plain(bar(Some(share), BAR_CELLS)),
            plain(meaning(name)),
        ]
    };
    causes(misses).map(row).to_vec()
}

fn policies(cache: &Cache) -> Vec<Vec<Cell>> {
    let present = cache.eviction_policy.as_deref();
    let mut others: Vec<&PolicyEstimate> =
        cache.policies.iter().filter(|other| Some(other.policy.as_str()) != present).collect();
    others.sort_by(|a, b| b.paired_delta.total_cmp(&a.paired_delta));
    let row = |other: &PolicyEstimate| {
        let PolicyEstimate { delta_low: low, delta_high: high, .. } = *other;
        let tone = match () {
            () if low > 0.0 => Tone::Good,
            () if high < 0.0 => Tone::Bad,
            () => Tone::Plain,
        };
        let points = |delta: f64| difference(0.0, delta, "ratio");
        vec![
            plain(&other.policy),
            toned(&points(other.paired_delta), tone),
            plain(format!("({} to {})", points(low), points(high))),
            plain(percent(Some(other.hit_ratio))),
        ]
    };
    others.into_iter().map(row).collect()
}

fn keys(screen: Screen, all: &[KeyFinding]) -> String {
    let columns = [
        Column::Text("WHY"),
        Column::Text("KEY"),
        Column::Text("TYPE"),
        Column::Number("SIZE"),
        Column::Number("REQUESTS"),
    ];
    let known = |value: f64| (value > 0.0).then_some(value);
    let row = |key: &KeyFinding| {
        vec![
            plain(&key.kind),
            plain(clean(&key.key_hash)),
            plain(&key.data_type),
            plain(Quantity::Bytes.format(known(key.bytes))),
            plain(percent(known(key.share_of_requests))),
        ]
    };
    render(screen, &columns, all.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::super::caches::tests::recorded;
    use super::*;
    use crate::snapshot;

    const PIPE: Screen = Screen { terminal: false, color: false };

    #[test]
    fn one_cache_in_full() {
        let cache = recorded().remove(0);
        let now_ms = cache.measured_at_ms.unwrap() + 2_000;
        snapshot::check("cache", &detail(PIPE, &cache, now_ms));
    }

    #[test]
    fn what_was_not_measured_is_said_and_not_drawn() {
        let cache = Cache { name: "new".into(), state: "up".into(), ..Cache::default() };
        let text = detail(PIPE, &cache, 0);
        assert!(text.contains("not measured yet") && !text.contains('┴'), "{text}");
        let of = |limit| words(recorded()[0].curve.as_ref(), limit, 0);
        assert!(of(None).starts_with("it has no limit"));
        assert!(of(Some(1e15)).contains("not within what was measured"));
    }
}
