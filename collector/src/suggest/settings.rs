//! Section `[suggest]`: how good a change must be before anybody is asked about it.

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use super::draft::RiskLevel;
use crate::balancers::settings::Objective;

/// Section `[suggest]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuggestSettings {
    /// Time between two looks for something to suggest, in milliseconds; 0: only when asked.
    pub period_ms: u64,
    /// Least gain in hit ratio; a gain counts by the lower end of its interval.
    pub min_gain: f64,
    /// Or else this share of the misses.
    pub min_miss_share: f64,
    /// Largest loss of hit ratio for which memory is given back, by the lower end of the interval.
    pub max_loss: f64,
    /// Share of its memory that a cache must give back at least.
    pub min_saved: f64,
    /// Largest factor by which a cache grows at once.
    pub max_growth: f64,
    /// Share of a host's memory that stays free.
    pub host_reserve: f64,
    /// A cache that was not heard of for so long is passed over, in milliseconds.
    pub max_report_age_ms: u64,
    /// A curve, or another estimate, that is older is not used, in milliseconds.
    pub max_curve_age_ms: u64,
    /// Time over which the present hit ratio is taken, in milliseconds.
    pub window_ms: u64,
    /// Share of all requests from which on a key is hot.
    pub hot_key_share: f64,
    /// Share of the memory from which on a key is big.
    pub big_key_share: f64,
    /// Kinds of suggestions that are confirmed without a person.
    pub auto_confirm: Vec<String>,
    /// The highest risk of those.
    pub auto_confirm_risk: RiskLevel,
    /// So many of the kind must have been promoted at a target before.
    pub auto_confirm_after: u32,
    /// What weights of load balancers are for.
    pub objective: Objective,
    /// Refuses a confirmation when noise would hide from the judge what it looks for.
    pub check_power: bool,
}

/// Kinds that can go without a person: those that an agent can carry out.
const AUTO_KINDS: [&str; 2] = ["cache.size", "cache.eviction_policy"];

impl Default for SuggestSettings {
    fn default() -> Self {
        Self {
            period_ms: 300_000,
            min_gain: 0.01,
            min_miss_share: 0.1,
            max_loss: 0.002,
            min_saved: 0.2,
            max_growth: 2.0,
            host_reserve: 0.1,
            max_report_age_ms: 60_000,
            max_curve_age_ms: 6 * 3_600_000,
            window_ms: 300_000,
            hot_key_share: 0.1,
            big_key_share: 0.01,
            auto_confirm: Vec::new(),
            auto_confirm_risk: RiskLevel::Low,
            auto_confirm_after: 3,
            objective: Objective::default(),
            check_power: true,
        }
    }
}

impl SuggestSettings {
    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        let mut share = |key: &str, value: f64| {
            // What is no number fails too.
            if !(value > 0.0 && value < 1.0) {
                problems.push(format!("suggest.{key}"), "must be above 0 and below 1");
            }
        };
        share("min_gain", self.min_gain);
        share("min_miss_share", self.min_miss_share);
        share("max_loss", self.max_loss);
        share("min_saved", self.min_saved);
        share("host_reserve", self.host_reserve);
        share("hot_key_share", self.hot_key_share);
        share("big_key_share", self.big_key_share);
        if self.auto_confirm.iter().any(|kind| !AUTO_KINDS.contains(&kind.as_str())) {
            let reason = format!("must be some of {}", AUTO_KINDS.join(", "));
            problems.push("suggest.auto_confirm", reason);
        }
        if self.max_loss >= self.min_gain {
            let reason = "must be below suggest.min_gain, or caches would grow and shrink in turn";
            problems.push("suggest.max_loss", reason);
        }
        if !(self.max_growth > 1.0 && self.max_growth <= 16.0) {
            problems.push("suggest.max_growth", "must be above 1 and at most 16");
        }
        if self.period_ms != 0 && self.period_ms < 10_000 {
            problems.push("suggest.period_ms", "must be 0 or at least 10000");
        }
        for (key, value, least) in [
            ("max_report_age_ms", self.max_report_age_ms, 5_000),
            ("max_curve_age_ms", self.max_curve_age_ms, 60_000),
            ("window_ms", self.window_ms, 10_000),
        ] {
            if !(least..=7 * 86_400_000).contains(&value) {
                let reason = format!("must be {least} to 604800000");
                problems.push(format!("suggest.{key}"), reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_breaks_a_bound_is_named() {
        let keys = |settings: &SuggestSettings| {
            let mut problems = Problems::default();
            settings.validate(&mut problems);
            problems.as_slice().iter().map(|p| p.key.clone()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&SuggestSettings::default()), Vec::<String>::new());
        let broken = SuggestSettings {
            period_ms: 1,
            min_gain: f64::NAN,
            max_loss: 0.5,
            max_growth: 1.0,
            window_ms: 0,
            ..SuggestSettings::default()
        };
        let expected =
            ["suggest.min_gain", "suggest.max_growth", "suggest.period_ms", "suggest.window_ms"];
        assert_eq!(keys(&broken), expected);
        let auto = SuggestSettings {
            auto_confirm: vec!["cache.size".into(), "cache.hot_key".into()],
            ..SuggestSettings::default()
        };
        assert_eq!(keys(&auto), ["suggest.auto_confirm"], "nobody but people can do that");
        let flapping = SuggestSettings { max_loss: 0.01, ..SuggestSettings::default() };
        assert_eq!(keys(&flapping), ["suggest.max_loss"]);
    }
}
