//! `flyball caches`: the caches of the fleet, or one of them in full.

use std::cmp::{Ordering, Reverse};

use comfy_table::Cell;
use serde_json::{Value, json};

use super::{Context, cache, hint, print};
use crate::api::caches::{Cache, CachesAnswer, Curve, Misses};
use crate::api::types::entries;
use crate::args::{CacheSort, CachesArgs};
use crate::config::Output;
use crate::error::Error;
use crate::text::chart::sparkline;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::units::{self, Quantity};
use crate::text::{UNKNOWN, curve, pattern};

const COLUMNS: [Column<'_>; 12] = [
    Column::Text("CACHE"),
    Column::Text("NODE"),
    Column::Text("STATE"),
    Column::Number("HIT"),
    Column::Number("REQUESTS"),
    Column::Text("MEMORY"),
    Column::Number("EVICTED"),
    Column::Number("EXPIRED"),
    Column::Number("KEYS"),
    Column::Text("POLICY"),
    Column::Text("MISSES"),
    Column::Text("CURVE"),
];

/// Where the caches are.
pub(super) const PATH: &str = "/api/performance/cache";
/// Width of the curve in the table.
const CURVE_CELLS: usize = 12;

/// Prints the caches that match.
///
/// # Errors
/// When the collector cannot be reached, or nothing matches.
pub(crate) async fn run(context: &Context, args: &CachesArgs) -> Result<(), Error> {
    let client = &context.client;
    let body = client.get(PATH, &[]).await?;
    if context.output == Output::Json && args.patterns.is_empty() {
        return print(&body);
    }
    let all: Vec<(Value, Cache)> = entries(client.parse(&body)?, "caches").map_err(|e| {
        Error::Foreign { server: client.server().to_owned(), reason: e.to_string() }
    })?;
    let is_empty = all.is_empty();
    let mut found: Vec<_> = all.into_iter().filter(|(_, c)| matches(&args.patterns, c)).collect();
    if found.is_empty() && !args.patterns.is_empty() {
        let names = args.patterns.join(", ");
        return Err(Error::NotFound(format!("no cache is {names}; `flyball caches` lists all")));
    }
    found.sort_by(|(_, a), (_, b)| order(args.sort, a, b));
    if context.output == Output::Json {
        let caches: Vec<Value> = found.into_iter().map(|(json, _)| json).collect();
        return print(&json!({ "caches": caches }).to_string());
    }
    if is_empty {
        hint(
            "no cache is watched yet; add [[redis]] with name and url to an agent's file and start it again",
        );
        return Ok(());
    }
    let named = args.patterns.iter().any(|pattern| !pattern.contains('*'));
    match found.as_slice() {
        [(_, one)] if named => print(&cache::detail(context.screen, one, units::now_ms())),
        _ => print(&table(context.screen, found.iter().map(|(_, cache)| cache))),
    }
}

/// Id of a target that is given by its id, or by the name of a cache that no other has.
///
/// # Errors
/// When the collector cannot be reached, or several caches have the name.
pub(super) async fn target_id(context: &Context, text: &str) -> Result<String, Error> {
    if text.contains(':') {
        return Ok(text.to_owned());
    }
    let body = context.client.get(PATH, &[]).await?;
    let CachesAnswer { caches } = context.client.parse(&body)?;
    let ids: Vec<_> = caches.into_iter().filter(|c| c.name == text).map(|c| c.id).collect();
    match ids.as_slice() {
        [one] => Ok(one.clone()),
        // Whether there is such a target is for the collector to say.
        [] => Ok(text.to_owned()),
        _ => Err(Error::Usage(format!(
            "several caches are called {text}; name the one by its id: {}",
            ids.join(", ")
        ))),
    }
}

/// Ids of targets that are given by ids, names of caches, or patterns of either; each once.
///
/// # Errors
/// When the collector cannot be reached, a pattern matches nothing, or several caches have a name.
pub(super) async fn target_ids(context: &Context, texts: &[&str]) -> Result<Vec<String>, Error> {
    let mut ids: Vec<String> = Vec::new();
    for text in texts {
        let found = if text.contains('*') {
            let body = context.client.get(PATH, &[]).await?;
            let CachesAnswer { caches } = context.client.parse(&body)?;
            let is_it =
                |c: &Cache| pattern::matches(text, &c.id) || pattern::matches(text, &c.name);
            caches.into_iter().filter(is_it).map(|cache| cache.id).collect()
        } else {
            vec![target_id(context, text).await?]
        };
        if found.is_empty() {
            return Err(Error::NotFound(format!(
                "no cache is {text}; `flyball caches` lists what can be changed"
            )));
        }
        for id in found {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

fn matches(patterns: &[String], cache: &Cache) -> bool {
    patterns.is_empty()
        || [&cache.name, &cache.node, &cache.id].iter().any(|name| pattern::any(patterns, name))
}

fn order(by: CacheSort, a: &Cache, b: &Cache) -> Ordering {
    let name = || (&a.name, &a.node).cmp(&(&b.name, &b.node));
    // What is not known comes last.
    let number = |of: fn(&Cache) -> Option<f64>, ascending: bool| {
        let (a, b) = (of(a), of(b));
        a.is_none().cmp(&b.is_none()).then_with(|| {
            let order = a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0));
            if ascending { order } else { order.reverse() }
        })
    };
    let first = match by {
        CacheSort::State => Reverse(a.state != "up").cmp(&Reverse(b.state != "up")),
        CacheSort::Name => Ordering::Equal,
        CacheSort::Hit => number(|cache| cache.hit_ratio, true),
        CacheSort::Requests => number(|cache| cache.requests_per_second, false),
        CacheSort::Memory => number(|cache| cache.used_bytes, false),
        CacheSort::Evictions => number(|cache| cache.evictions_per_second, false),
    };
    first.then_with(name)
}

fn table<'a>(screen: Screen, caches: impl Iterator<Item = &'a Cache>) -> String {
    render(screen, &COLUMNS, caches.map(row).collect())
}

fn row(cache: &Cache) -> Vec<Cell> {
    let rate = |value: Option<f64>| plain(per_second(value));
    vec![
        plain(&cache.name),
        plain(&cache.node),
        state(cache),
        plain(units::percent(cache.hit_ratio)),
        rate(cache.requests_per_second),
        plain(memory(cache)),
        rate(cache.evictions_per_second),
        rate(cache.expirations_per_second),
        plain(Quantity::Number.format(cache.keys)),
        plain(cache.eviction_policy.as_deref().unwrap_or(UNKNOWN)),
        plain(cache.misses.as_ref().map_or_else(|| UNKNOWN.to_owned(), most_misses)),
        plain(cache.curve.as_ref().map_or_else(|| UNKNOWN.to_owned(), small)),
    ]
}

/// `1.2 k/s`
pub(super) fn per_second(value: Option<f64>) -> String {
    match value.filter(|value| value.is_finite()) {
        Some(value) => format!("{}/s", units::number((value * 10.0).round() / 10.0)),
        None => UNKNOWN.to_owned(),
    }
}

/// How its agent gets on with it.
pub(super) fn state(cache: &Cache) -> Cell {
    let tone = match cache.state.as_str() {
        "up" => Tone::Good,
        "slow" | "loading" => Tone::Warning,
        _ => Tone::Bad,
    };
    toned(&cache.state, tone)
}

/// `61 MiB of 64 MiB`
pub(super) fn memory(cache: &Cache) -> String {
    let used = Quantity::Bytes.format(cache.used_bytes);
    match cache.max_bytes {
        Some(limit) if limit > 0.0 => format!("{used} of {}", units::bytes(limit)),
        Some(_) => format!("{used}, no limit"),
        None => used,
    }
}

/// Causes of misses with their shares, the most frequent first.
pub(super) fn causes(misses: &Misses) -> [(&'static str, f64); 4] {
    let mut all = [
        ("capacity", misses.capacity),
        ("expired", misses.expired),
        ("invalidated", misses.invalidated),
        ("cold", misses.cold),
    ];
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

fn most_misses(misses: &Misses) -> String {
    let [(name, share), ..] = causes(misses);
    format!("{:.0} % {name}", share * 100.0)
}

/// The curve in one line, with its ends.
fn small(of: &Curve) -> String {
    let points = curve::known(of);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return UNKNOWN.to_owned();
    };
    let step = (last.bytes / first.bytes).log2() / (CURVE_CELLS - 1) as f64;
    let cell = |i: usize| {
        let size = (first.bytes * (step * i as f64).exp2()).clamp(first.bytes, last.bytes);
        curve::at(&points, size).map(|point| point.hit_ratio)
    };
    let cells: Vec<_> = (0..CURVE_CELLS).map(cell).collect();
    let (low, high) = (units::percent(Some(first.hit_ratio)), units::percent(Some(last.hit_ratio)));
    format!("{low} {} {high} at {}", sparkline(&cells, CURVE_CELLS), units::bytes(last.bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::snapshot;

    /// Caches in an answer that a real collector gave.
    pub(in crate::commands) fn recorded() -> Vec<Cache> {
        let body = include_str!("../../answers/caches.json");
        serde_json::from_str::<CachesAnswer>(body).unwrap().caches
    }

    fn names(sort: CacheSort, caches: &mut [Cache]) -> Vec<&str> {
        caches.sort_by(|a, b| order(sort, a, b));
        caches.iter().map(|cache| cache.name.as_str()).collect()
    }

    #[test]
    fn each_cache_is_a_row() {
        let screen = Screen { terminal: false, color: false };
        let mut caches = recorded();
        let gone = Cache {
            name: "gone".into(),
            node: "web-2".into(),
            state: "unreachable".into(),
            ..Cache::default()
        };
        caches.push(gone);
        caches.sort_by(|a, b| order(CacheSort::State, a, b));
        snapshot::check("caches", &table(screen, caches.iter()));
    }

    #[test]
    fn trouble_comes_first_and_what_is_not_known_last() {
        let cache = |name: &str, state: &str, hit_ratio, used_bytes| Cache {
            name: name.into(),
            state: state.into(),
            hit_ratio,
            used_bytes,
            ..Cache::default()
        };
        let mut caches = [
            cache("b", "up", Some(0.9), Some(1.0)),
            cache("a", "up", None, Some(2.0)),
            cache("c", "denied", Some(0.5), None),
        ];
        assert_eq!(names(CacheSort::State, &mut caches), ["c", "a", "b"]);
        assert_eq!(names(CacheSort::Name, &mut caches), ["a", "b", "c"]);
        assert_eq!(names(CacheSort::Hit, &mut caches), ["c", "b", "a"]);
        assert_eq!(names(CacheSort::Memory, &mut caches), ["a", "b", "c"]);
    }

    #[test]
    fn a_pattern_is_of_name_node_or_id() {
        let cache = Cache {
            id: "redis:web-1:sessions".into(),
            node: "web-1".into(),
            name: "sessions".into(),
            ..Cache::default()
        };
        for (pattern, expected) in
            [("sessions", true), ("web-*", true), ("redis:web-1:sessions", true), ("other", false)]
        {
            assert_eq!(matches(&[pattern.to_owned()], &cache), expected, "{pattern}");
        }
        assert!(matches(&[], &cache));
    }
}
