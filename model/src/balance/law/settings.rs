//! The constants of the law, each with the reason for its value.

use serde::{Deserialize, Serialize};

/// Constants of law R; the defaults are those that are simulated (ADR 015).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Length of a window, `T`; 1,000 to 60,000.
    pub window_ms: u64,
    /// Requests that make a window valid; at least 1. With 50 the count alone scatters by 14 %.
    pub min_requests: u64,
    /// What an error costs, as utilisation; 0 to 10. `error_utilization_penalty` of gRFC A58.
    pub error_penalty: f64,
    /// Error ratio from which a backend is failing, when it is also half of this above the median of the pool; above 0, up to 1.
    pub failing_ratio: f64,
    /// A backend whose weight is more than this many times what it can do goes to the floor at once; at least 2. What is left of up to an eighth three
    /// steps of half reach as well, and a cache that is cold leaves more than that.
    pub collapse: f64,
    /// Time for which a backend must have ended next to nothing before that is believed. A pause of a second (of a garbage collector) is over
    /// before anything could be moved.
    pub collapse_ms: u64,
    /// Exponent of latency, `b`; 0 (objective: equal utilisation) to 0.3 (objective: latency).
    pub trim: f64,
    /// Least gate, a logarithm; above 0. 0.25 is 28 %.
    pub gate: f64,
    /// Gate in mean absolute deviations; above 0. Four of them are 3.2 standard deviations of normal noise.
    pub gate_deviations: f64,
    /// Share of an innovation within noise that is believed; above 0, up to 1.
    pub gain: f64,
    /// Windows in a row that must say so before more capacity is believed; at least 1.
    pub up_windows: u32,
    /// Largest step down, a logarithm; above 0. 0.70 halves.
    pub step_down: f64,
    /// Largest step up, a logarithm; above 0. 0.25 is 28 %.
    pub step_up: f64,
    /// Least weight beside the largest one; above 0, up to 0.5.
    pub floor: f64,
    /// Time over which a new backend comes to its full weight; 0: at once.
    pub slow_start_ms: u64,
    /// Least factor of slow start; above 0, up to 1.
    pub slow_start_least: f64,
    /// Time without a valid window after which what is known of a backend is out of date.
    pub expiry_ms: u64,
    /// Least move of a weight that is worth a push, beside the weight in force; above 0, below 1.
    pub push_ratio: f64,
    /// Least time between pushes.
    pub push_every_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window_ms: 5_000,
            min_requests: 50,
            error_penalty: 1.0,
            failing_ratio: 0.5,
            collapse: 8.0,
            collapse_ms: 2_000,
            trim: 0.0,
            gate: 0.25,
            gate_deviations: 4.0,
            gain: 0.3,
            up_windows: 2,
            step_down: 0.70,
            step_up: 0.25,
            floor: 0.03,
            slow_start_ms: 60_000,
            slow_start_least: 0.1,
            expiry_ms: 180_000,
            push_ratio: 0.03,
            push_every_ms: 1_000,
        }
    }
}

/// The setting that is out of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{setting} of the weight law must be {limits}")]
pub struct InvalidSettings {
    /// Its name.
    pub setting: &'static str,
    /// What it must be.
    pub limits: &'static str,
}

impl Settings {
    /// Checks all limits.
    ///
    /// # Errors
    /// Names the first setting that is out of them.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let within = |value: f64, least: f64, most: f64| value > least && value <= most;
        let checks = [
            ("window_ms", "from 1,000 to 60,000", (1_000..=60_000).contains(&self.window_ms)),
            ("min_requests", "at least 1", self.min_requests > 0),
            ("error_penalty", "from 0 to 10", (0.0..=10.0).contains(&self.error_penalty)),
            ("failing_ratio", "above 0 and up to 1", within(self.failing_ratio, 0.0, 1.0)),
            ("collapse", "from 2 to 1,000", (2.0..=1_000.0).contains(&self.collapse)),
            ("trim", "from 0 to 0.3", (0.0..=0.3).contains(&self.trim)),
            ("gate", "above 0 and up to 2", within(self.gate, 0.0, 2.0)),
            ("gate_deviations", "above 0 and up to 20", within(self.gate_deviations, 0.0, 20.0)),
            ("gain", "above 0 and up to 1", within(self.gain, 0.0, 1.0)),
            ("up_windows", "at least 1", self.up_windows > 0),
            ("step_down", "above 0 and up to 4", within(self.step_down, 0.0, 4.0)),
            ("step_up", "above 0 and up to 4", within(self.step_up, 0.0, 4.0)),
            ("floor", "above 0 and up to 0.5", within(self.floor, 0.0, 0.5)),
            ("slow_start_least", "above 0 and up to 1", within(self.slow_start_least, 0.0, 1.0)),
            ("push_ratio", "above 0 and below 1", self.push_ratio > 0.0 && self.push_ratio < 1.0),
        ];
        match checks.into_iter().find(|&(_, _, holds)| !holds) {
            Some((setting, limits, _)) => Err(InvalidSettings { setting, limits }),
            None => Ok(()),
        }
    }
}
