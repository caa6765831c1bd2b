//! `observe` and `monitor` of `[[redis]]`, and `[observe]`: how closely caches are watched and what that may cost them.

use std::time::Duration;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use super::observer::schedule::Limits;
use crate::config::Span;

/// How closely an instance is watched. Each level includes the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Observe {
    /// Not at all: nothing is said of it but its series.
    Off,
    /// Its facts, and keys drawn at random with their age, size and time to live: what a smaller size would hit. No setting is touched.
    #[default]
    Ages,
    /// Now and then also keyspace events, for which letters are added to `notify-keyspace-events` meanwhile: what a larger size would hit, and why requests miss.
    Events,
}

/// Whether requests are read by `MONITOR`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Monitor {
    /// Never.
    #[default]
    Never,
    /// For half a second at a time, and only while the server is far from full.
    Guarded,
    /// Also on a full server, where its buffer could push out keys: for one with few requests.
    Always,
}

/// `[observe]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserveConfig {
    /// Time between two reports of a cache, and between two looks at it.
    pub report: Span,
    /// What watching may cost a server on average, as a share of the processor time that it takes itself; a ten thousandth of a core is free.
    pub max_cpu_share: f64,
    /// Keys drawn a second, at most.
    pub most_draws: u32,
    /// Shortest time that events are heard in one go.
    pub shortest_window: Span,
    /// Longest time that events are heard in one go.
    pub longest_window: Span,
    /// Longest time between two windows; a window that could not be paid for within it is made shorter.
    pub longest_rest: Span,
    /// Keys that are remembered of each cache, as hashes: 70 bytes each.
    pub most_keys: u32,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        Self {
            report: Span(Duration::from_secs(10)),
            max_cpu_share: 0.01,
            most_draws: 50,
            shortest_window: Span(Duration::from_secs(10)),
            longest_window: Span(Duration::from_hours(1)),
            longest_rest: Span(Duration::from_hours(5)),
            most_keys: 1 << 14,
        }
    }
}

impl ObserveConfig {
    /// As the schedule takes them.
    pub fn limits(&self) -> Limits {
        Limits {
            cpu_share: self.max_cpu_share,
            shortest: self.shortest_window.0,
            longest: self.longest_window.0,
            longest_rest: self.longest_rest.0,
            most_draws: f64::from(self.most_draws),
        }
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        let mut range = |key: &str, span: Span, least: Duration, most: Duration| {
            if !(least..=most).contains(&span.0) {
                let [least, most] = [least, most].map(|span| String::from(Span(span)));
                problems.push(format!("observe.{key}"), format!("must be {least} to {most}"));
            }
        };
        let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
        range("report", self.report, second, Duration::from_mins(1));
        range("shortest_window", self.shortest_window, second, hour);
        range("longest_window", self.longest_window, second, hour * 24);
        range("longest_rest", self.longest_rest, second, hour * 24);
        if self.longest_window.0 < self.shortest_window.0 {
            problems.push("observe.longest_window", "must be at least observe.shortest_window");
        }
        if !(self.max_cpu_share > 0.0 && self.max_cpu_share <= 0.5) {
            problems.push("observe.max_cpu_share", "must be above 0 and at most 0.5");
        }
        if !(1..=1000).contains(&self.most_draws) {
            problems.push("observe.most_draws", "must be 1 to 1000");
        }
        if !(256..=1 << 20).contains(&self.most_keys) {
            problems.push("observe.most_keys", "must be 256 to 1048576");
        }
    }
}
