//! Section `[balance]`: in which windows the traffic of load balancers is looked at; and what weights are for.

use flyball_model::balance::law;
use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

/// Exponent of latency where that is the objective (notes of law R: 0.3 is the most that is stable).
const LATENCY_TRIM: f64 = 0.2;

/// Section `[balance]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceSettings {
    /// Length of a window, in milliseconds; 1,000 to 60,000.
    pub window_ms: u64,
}

/// What weights are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Backends that are equally busy.
    #[default]
    Utilisation,
    /// Lower latency, for which slower backends are less busy than others.
    Latency,
}

impl Default for BalanceSettings {
    fn default() -> Self {
        Self { window_ms: 5_000 }
    }
}

impl BalanceSettings {
    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        if let Err(invalid) = self.law(Objective::default()).validate() {
            let reason = format!("must be {}", invalid.limits);
            problems.push(format!("balance.{}", invalid.setting), reason);
        }
    }

    /// The constants of the law of weights.
    pub fn law(&self, objective: Objective) -> law::Settings {
        let trim = match objective {
            Objective::Utilisation => 0.0,
            Objective::Latency => LATENCY_TRIM,
        };
        law::Settings { window_ms: self.window_ms, trim, ..law::Settings::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_out_of_bounds_is_named() {
        let keys = |settings: &BalanceSettings| {
            let mut problems = Problems::default();
            settings.validate(&mut problems);
            problems.as_slice().iter().map(|p| p.key.clone()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&BalanceSettings::default()), Vec::<String>::new());
        let short = BalanceSettings { window_ms: 999 };
        assert_eq!(keys(&short), ["balance.window_ms"]);
    }
}
