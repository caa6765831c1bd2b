//! What an advisor hands over, and the proposal that becomes of it.
//!
//! The id of a suggestion is a hash of target, kind and change, and of the number of the last decision in the
//! journal. So the same inputs give the same id on every collector, what expired can come again, and no id
//! comes twice: a number does not, also when what had it is long forgotten.

use flyball_model::record::{Better, Records};
use flyball_model::rollout::{Candidate, Change, Prediction, Proposal, SuggestionId, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::estimate::{CONFIDENCE, Estimate};
use super::view::CacheView;
use crate::store::hex;

/// Digits of an id: 64 bits, for some thousands of suggestions.
const ID_BYTES: usize = 8;

/// A change that an advisor found, before it is known whether it may be suggested.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Kind of the suggestion, for example `cache.size`.
    pub kind: &'static str,
    /// One line for a person.
    pub title: String,
    /// Parameters; at least one.
    pub change: Vec<Change>,
    /// What it is about, for example `redis.hit_ratio`.
    pub metric: &'static str,
    /// For example `ratio`.
    pub unit: &'static str,
    /// The metric without the change.
    pub before: f64,
    /// The metric with it.
    pub after: Estimate,
    /// Which way is better.
    pub better: Better,
    /// How much wider than by its method the interval was made.
    pub widened_by: f64,
    /// What the change is for; it has to be worth it.
    pub gain: Gain,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What can go wrong.
    pub risk: Risk,
    /// How it is undone.
    pub undo: String,
    /// The kind that its prediction counts as in the track record: that of the advisor. A danger that is
    /// removed predicts no gain, so it says nothing of how well gains are predicted.
    pub record: &'static str,
    /// Whether only people can carry it out, since no agent can.
    pub by_hand: bool,
    /// What it was computed from besides the view.
    pub inputs: Value,
}

/// What a change is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gain {
    /// A higher hit ratio: the lower end of the difference, with the share of requests that miss.
    HitRatio {
        /// Lower end of the difference.
        low: f64,
        /// Share of the requests that miss now.
        misses: f64,
    },
    /// Memory that others can use, for a small loss of hit ratio.
    Memory {
        /// Share of the cache's memory that is given back.
        share: f64,
        /// Largest loss of hit ratio, at the lower end of the interval.
        loss: f64,
    },
    /// Less load: the lower end of the share of it that goes away.
    Load {
        /// Lower end of the share.
        low: f64,
    },
    /// A danger that was measured, not predicted, is gone.
    Danger,
}

/// One measurement that a suggestion rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// What was measured.
    #[schema(example = "redis.hit_ratio")]
    pub name: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    #[schema(example = "ratio")]
    pub unit: String,
    /// Over which time, in milliseconds; 0: at a moment.
    pub window_ms: i64,
    /// How anybody can get it again.
    pub query: String,
}

/// What can go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Risk {
    /// How bad that would be.
    pub level: RiskLevel,
    /// Why.
    pub reasons: Vec<String>,
}

/// How bad it would be if it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RiskLevel {
    /// Seen and undone at once.
    Low,
    /// Felt for some time.
    Medium,
    /// Data could be lost.
    High,
}

/// What belongs to a suggestion besides what a rollout needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What can go wrong.
    pub risk: Risk,
    /// The kind that its prediction counts as in the track record; empty: the suggestion's.
    #[serde(default)]
    pub record: String,
    /// How well such predictions came true.
    pub track_record: TrackRecord,
    /// Whether only people can carry it out.
    #[serde(default)]
    pub by_hand: bool,
    /// Whether a lower value of the metric is better.
    #[serde(default)]
    pub lower_is_better: bool,
    /// How much wider the interval was made for the track record.
    pub widened_by: f64,
    /// The person who proposed it; empty for an advisor.
    #[serde(default)]
    pub proposed_by: String,
    /// All that it was computed from.
    #[serde(default)]
    pub inputs: Value,
}

/// How well predictions of a kind came true at a target, and everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrackRecord {
    /// Changes of this kind that were carried out here.
    pub tried: u64,
    /// Those that stayed.
    pub promoted: u64,
    /// Mean distance between what was predicted and what was seen, here; absent without any.
    pub mean_abs_error: Option<f64>,
    /// Share of the intervals that held what was seen, of all targets; absent without any.
    pub coverage: Option<f64>,
    /// Changes of this kind that were judged, of all targets.
    pub judged: u64,
}

impl Evidence {
    /// A measurement over a time.
    pub fn over(
        name: &str,
        value: f64,
        unit: &str,
        window_ms: i64,
        query: impl Into<String>,
    ) -> Self {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        Self { name, value, unit, window_ms, query: query.into() }
    }

    /// A measurement of the newest report of a cache.
    pub fn reported(view: &CacheView, name: &str, value: f64, unit: &str) -> Self {
        let target = view.target();
        let query = format!("GET /api/performance/cache (caches, id {})", target.id);
        Self::over(name, value, unit, 0, query)
    }

    /// A metric of a cache over its window.
    pub fn metric(view: &CacheView, name: &str, metric: &str, value: f64, unit: &str) -> Self {
        Self::over(name, value, unit, window(view).2, call(view, metric))
    }

    /// What `how` makes of the hits and the misses per second of a cache over its window.
    pub fn lookups(view: &CacheView, name: &str, how: &str, value: f64, unit: &str) -> Self {
        let [hits, misses] =
            ["redis.keyspace.hits", "redis.keyspace.misses"].map(|metric| call(view, metric));
        let query = format!("{hits} for the hits, {misses} for the misses: {how}");
        Self::over(name, value, unit, window(view).2, query)
    }

    /// What resident memory and memory in use of a cache over a time tell, in bytes.
    pub fn memory(view: &CacheView, name: &str, value: f64, (from_ms, to_ms): (i64, i64)) -> Self {
        let [rss, used] = ["redis.memory.rss", "redis.memory.used"]
            .map(|metric| call_over(view, metric, (from_ms, to_ms)));
        let query =
            format!("{rss} for the resident memory, {used} for that in use: the line through them");
        Self::over(name, value, "By", to_ms - from_ms, query)
    }

    /// The hit ratio of a cache over its window.
    pub fn hit_ratio(view: &CacheView, value: f64) -> Self {
        Self::lookups(view, "redis.hit_ratio", "hits / (hits + misses)", value, "ratio")
    }
}

/// Start, end and length of the window that a cache was looked at for, milliseconds.
fn window(view: &CacheView) -> (i64, i64, i64) {
    let recent = view.recent.map(|recent| (recent.from_ms, recent.to_ms));
    let (from_ms, to_ms) = recent.unwrap_or((0, view.received_at_ms));
    (from_ms, to_ms, to_ms - from_ms)
}

/// The call that gives a metric of a cache over its window.
fn call(view: &CacheView, metric: &str) -> String {
    let (from_ms, to_ms, _) = window(view);
    call_over(view, metric, (from_ms, to_ms))
}

/// The call that gives a metric of a cache over a time.
fn call_over(view: &CacheView, metric: &str, (from_ms, to_ms): (i64, i64)) -> String {
    format!(
        "GET /api/performance/metrics?metric={metric}&node={}&filter=cache={}&from={from_ms}&to={to_ms}",
        view.node, view.report.target.name
    )
}

impl Risk {
    /// Nothing that could not be undone at once.
    pub fn low(reason: &str) -> Self {
        Self { level: RiskLevel::Low, reasons: vec![reason.to_owned()] }
    }

    /// A higher risk, for this reason too.
    #[must_use]
    pub fn and(mut self, level: RiskLevel, reason: impl Into<String>) -> Self {
        self.level = self.level.max(level);
        self.reasons.push(reason.into());
        self
    }
}

impl From<Records> for TrackRecord {
    fn from(records: Records) -> Self {
        let Records { here, everywhere } = records;
        let coverage = everywhere.covered as f64 / everywhere.judged as f64;
        Self {
            tried: here.tried as u64,
            promoted: here.promoted as u64,
            mean_abs_error: here.mean_abs_error,
            coverage: (everywhere.judged > 0).then_some(coverage),
            judged: everywhere.judged as u64,
        }
    }
}

impl Draft {
    /// The proposal. `sequence` is the number of the journal's last decision.
    pub fn into_proposal(self, view: &CacheView, records: Records, sequence: u64) -> Proposal {
        let target = view.target();
        let details = Details {
            evidence: self.evidence,
            risk: self.risk,
            record: self.record.to_owned(),
            track_record: records.into(),
            by_hand: self.by_hand,
            lower_is_better: self.better == Better::Lower,
            widened_by: self.widened_by,
            proposed_by: String::new(),
            inputs: json!({ "view": view.inputs(), "more": self.inputs }),
        };
        let recent = view.recent.as_ref();
        Proposal {
            id: id(&key(&target, self.kind, &self.change), sequence),
            kind: self.kind.to_owned(),
            title: self.title,
            members: vec![Candidate {
                target: target.clone(),
                change: self.change,
                size: view.report.facts.as_ref().map_or(0.0, |facts| facts.used_bytes as f64),
                traffic: recent.map_or(0.0, super::view::Recent::requests_per_second),
            }],
            target,
            prediction: Prediction {
                metric: self.metric.to_owned(),
                before: self.before,
                after: self.after.value,
                low: self.after.low,
                high: self.after.high,
                unit: self.unit.to_owned(),
                confidence: CONFIDENCE,
            },
            undo: self.undo,
            details: serde_json::to_value(details).unwrap_or_default(),
        }
    }
}

impl Details {
    /// Those of a proposal; none when it was made by something else.
    pub fn of(proposal: &Proposal) -> Option<Self> {
        Self::deserialize(&proposal.details).ok()
    }

    /// The kind that it counts as in the track record, of a suggestion of this kind.
    pub fn counts_as<'a>(&'a self, kind: &'a str) -> &'a str {
        if self.record.is_empty() { kind } else { &self.record }
    }
}

/// Target, kind and change in one text.
pub fn key(target: &Target, kind: &str, change: &[Change]) -> String {
    let part = |c: &Change| format!("{}\n{}\n{}", c.parameter, c.from, c.to);
    let change: Vec<_> = change.iter().map(part).collect();
    format!("{}\n{kind}\n{}", target.id, change.join("\n"))
}

/// The id of a suggestion: `moment` is a number that the same key never has twice.
pub(super) fn id(key: &str, moment: u64) -> SuggestionId {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(moment.to_le_bytes());
    SuggestionId(format!("s-{}", hex::encode(&hash.finalize()[..ID_BYTES])))
}

/// Bytes for people: `64 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value.fract() > 0.0 && value < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A share for people: `84.1 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_fits() {
        let mib = 1 << 20;
        for (value, text) in [
            (0, "0 B"),
            (1_000, "1000 B"),
            (1_536, "1.5 KiB"),
            (64 * mib, "64 MiB"),
            (3 << 40, "3 TiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(percent(0.8414), "84.1 %");
    }

    #[test]
    fn an_id_is_of_what_changes_and_of_the_moment() {
        let id_of = |key: &str, moment: u64| id(key, moment).0;
        assert_eq!(id_of("a", 1), id_of("a", 1));
        assert_ne!(id_of("a", 1), id_of("b", 1));
        assert_ne!(id_of("a", 1), id_of("a", 2));
        assert_eq!(id_of("a", 1).len(), 2 + 2 * ID_BYTES);
    }
}
