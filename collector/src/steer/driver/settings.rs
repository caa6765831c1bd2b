//! Sections `[rollout]` and `[judge]`: how a change goes its way, and how it is judged.

use flyball_model::judge::{self, Hold, StopLimits};
use flyball_model::rollout;
use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

/// Windows of a validation that no look sees: that in which it begins is not whole, the last one is told a
/// window after its end, and the judge is asked once in a window.
const UNSEEN: i64 = 3;

/// Section `[judge]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeSettings {
    /// Length of a window of measurements, in milliseconds; at least the interval of the agents.
    pub window_ms: u32,
    /// Windows before a change without which nothing can pass.
    pub min_before: u32,
    /// Most windows before a change that are looked at.
    pub max_before: u32,
    /// Windows after a change before the first look.
    pub min_after: u32,
    /// How much hit ratio may be lost.
    pub margin: f64,
    /// By how much the latency of balancers may rise, as a share.
    pub latency_margin: f64,
    /// How much larger the share of requests that fail at balancers may be.
    pub error_margin: f64,
    /// Least number of windows in which a changed eviction policy may look worse than it is; 0: none,
    /// however slowly it takes hold.
    pub hold_windows: u32,
    /// By which factor the margin is wider meanwhile.
    pub hold_widen: f64,
    /// Time for which a server may be unreachable, or use nearly all memory of its host, in milliseconds.
    pub breach_ms: u64,
    /// Share of its host's memory that a server's process may take.
    pub max_memory_share: f64,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            window_ms: 10_000,
            min_before: 60,
            max_before: 360,
            min_after: 12,
            margin: 0.01,
            latency_margin: 0.1,
            error_margin: 0.005,
            hold_windows: 18,
            hold_widen: 5.0,
            breach_ms: 15_000,
            max_memory_share: 0.95,
        }
    }
}

impl JudgeSettings {
    /// Time before a change without which it cannot be judged, milliseconds. Some windows are never
    /// whole, so it is a quarter more than the judge asks for, and the two at its ends.
    pub fn past_ms(&self) -> i64 {
        i64::from(self.past_windows()) * i64::from(self.window_ms)
    }

    /// The same in windows.
    pub fn past_windows(&self) -> u32 {
        self.min_before + self.min_before / 4 + 2
    }

    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        let mut within = |key: &str, value: f64, least: f64, most: f64| {
            // What is no number fails too.
            if !(value >= least && value <= most) {
                problems.push(format!("judge.{key}"), format!("must be {least} to {most}"));
            }
        };
        within("window_ms", f64::from(self.window_ms), 1_000.0, 600_000.0);
        within("min_before", f64::from(self.min_before), 16.0, 10_000.0);
        within("max_before", f64::from(self.max_before), 16.0, 10_000.0);
        within("min_after", f64::from(self.min_after), 8.0, 10_000.0);
        within("margin", self.margin, 0.0001, 0.5);
        within("latency_margin", self.latency_margin, 0.001, 1.0);
        within("error_margin", self.error_margin, 0.0001, 0.5);
        within("hold_windows", f64::from(self.hold_windows), 0.0, 10_000.0);
        within("hold_widen", self.hold_widen, 1.0, 100.0);
        within("breach_ms", self.breach_ms as f64, 1_000.0, 600_000.0);
        within("max_memory_share", self.max_memory_share, 0.1, 1.0);
        if self.max_before < self.min_before {
            problems.push("judge.max_before", "must not be below judge.min_before");
        }
    }

    /// The judge's own limits for a validation that may take so long, in windows of such a width, when the
    /// hold comes first: the last look must fall into that time.
    pub(super) fn limits(
        &self,
        validate_max_ms: i64,
        width_ms: u32,
        hold: Option<Hold>,
    ) -> judge::Limits {
        let held = i64::from(hold.map_or(0, |hold| hold.windows));
        let windows = validate_max_ms / i64::from(width_ms.max(1)) - held - UNSEEN;
        let max_windows = u32::try_from(windows.max(0)).unwrap_or(u32::MAX).max(self.min_after);
        judge::Limits {
            min_before: self.min_before,
            min_windows: self.min_after,
            max_windows,
            ..judge::Limits::default()
        }
    }

    /// For a change that takes so long to take hold, milliseconds; half of the validation at most.
    pub(super) fn hold(&self, takes_ms: i64, validate_max_ms: i64, width_ms: u32) -> Option<Hold> {
        let least_ms = i64::from(self.hold_windows) * i64::from(self.window_ms);
        let hold_ms = takes_ms.max(least_ms).min(validate_max_ms / 2);
        let width = i64::from(width_ms.max(1));
        let windows = u32::try_from((hold_ms + width - 1) / width).unwrap_or(u32::MAX);
        (self.hold_windows > 0 && windows > 0).then_some(Hold { windows, widen: self.hold_widen })
    }

    pub(super) fn stops(&self, silent_ms: i64) -> StopLimits {
        StopLimits { silent_ms, breach_ms: self.breach_ms as i64, ..StopLimits::default() }
    }
}

/// Checks the section `[rollout]`, whose keys are the machine's own.
pub fn validate_rollout(limits: &rollout::Limits, problems: &mut Problems) {
    if let Err(invalid) = limits.check() {
        problems.push(format!("rollout.{}", invalid.setting), format!("must be {}", invalid.must));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_breaks_a_bound_is_named() {
        let keys = |settings: &JudgeSettings, limits: &rollout::Limits| {
            let mut problems = Problems::default();
            settings.validate(&mut problems);
            validate_rollout(limits, &mut problems);
            problems.as_slice().iter().map(|p| p.key.clone()).collect::<Vec<_>>()
        };
        let limits = rollout::Limits::default();
        assert_eq!(keys(&JudgeSettings::default(), &limits), Vec::<String>::new());
        let broken = JudgeSettings {
            margin: f64::NAN,
            max_before: 20,
            min_after: 1,
            ..JudgeSettings::default()
        };
        let hasty = rollout::Limits { lease_ms: 1, ..limits };
        let expected = ["judge.min_after", "judge.margin", "judge.max_before", "rollout.lease_ms"];
        assert_eq!(keys(&broken, &hasty), expected);
    }

    #[test]
    fn the_last_look_falls_into_the_validation() {
        let settings = JudgeSettings::default();
        let last = |validate_max_ms, width, hold| {
            settings.limits(validate_max_ms, width, hold).max_windows
        };
        assert_eq!(last(3_600_000, 10_000, None), 357);
        assert_eq!(last(3_600_000, 30_000, None), 117, "in windows as long as they are");
        let hold = settings.hold(0, 3_600_000, 10_000);
        assert_eq!(last(3_600_000, 10_000, hold), 339);
        assert_eq!(last(1, 10_000, hold), 12);
    }

    #[test]
    fn a_hold_is_as_long_as_the_change_takes() {
        let settings = JudgeSettings::default();
        let windows = |settings: &JudgeSettings, takes_ms, width| {
            settings.hold(takes_ms, 3_600_000, width).map(|hold| hold.windows)
        };
        assert_eq!(windows(&settings, 60_000, 10_000), Some(18), "the least");
        assert_eq!(windows(&settings, 600_001, 10_000), Some(61));
        assert_eq!(windows(&settings, 600_001, 30_000), Some(21));
        assert_eq!(windows(&settings, i64::MAX, 10_000), Some(180), "half of the time");
        let never = JudgeSettings { hold_windows: 0, ..settings };
        assert_eq!(windows(&never, 600_000, 10_000), None);
    }
}
