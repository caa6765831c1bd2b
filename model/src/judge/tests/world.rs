//! Trials made of a few numbers.

use proptest::prelude::*;

use super::random::{Random, autoregressive};
use crate::judge::{
    Arm, Expected, Histogram, Limits, Margin, Metric, Role, Trial, Unit, Value, Window, Worse,
};

pub(super) const CHANGED_AT_MS: i64 = 1_000_000_000;
pub(super) const WIDTH_MS: u32 = 10_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shown {
    Ratio,
    Level,
    Count,
    Latency,
}

/// A trial of one metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    pub(super) shown: Shown,
    pub(super) treated: usize,
    pub(super) controls: usize,
    pub(super) before: usize,
    pub(super) after: usize,
    /// Deviation of a window as a share of the mean.
    pub(super) noise: f64,
    pub(super) correlation: f64,
    /// What the change adds, as a share of the mean.
    pub(super) effect: f64,
    pub(super) margin: f64,
    pub(super) role: Role,
    pub(super) seed: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            shown: Shown::Level,
            treated: 2,
            controls: 2,
            before: 120,
            after: 90,
            noise: 0.02,
            correlation: 0.3,
            effect: 0.0,
            margin: 0.03,
            role: Role::Guard,
            seed: 1,
        }
    }
}

impl World {
    /// Higher is worse, the mean is 100 or a share of a half.
    pub(super) fn trial(&self) -> Trial {
        Trial {
            changed_at_ms: CHANGED_AT_MS,
            window_ms: WIDTH_MS,
            hold: None,
            limits: Limits { max_windows: 90, ..Limits::default() },
            metrics: vec![self.metric("metric")],
        }
    }

    pub(super) fn metric(&self, name: &str) -> Metric {
        let mut random = Random::new(self.seed);
        let all = self.before + self.after;
        let common = autoregressive(&mut random, all, self.correlation);
        let units = (0..self.treated + self.controls).map(|i| {
            let arm = if i < self.treated { Arm::Treated } else { Arm::Control };
            let own = autoregressive(&mut random, all, self.correlation);
            let windows = (0..all).map(|t| {
                let effect =
                    if arm == Arm::Treated && t >= self.before { self.effect } else { 0.0 };
                let noise = self.noise * 0.5_f64.sqrt() * (common[t] + own[t]);
                self.window(t, 1.0 + effect + noise + 0.1 * i as f64, &mut random)
            });
            Unit {
                name: format!("unit-{i}"),
                arm,
                windows: windows.collect(),
                counterfactual: Vec::new(),
                expected: Expected::AsBefore,
            }
        });
        Metric {
            name: name.into(),
            role: self.role,
            worse: Worse::Higher,
            margin: Margin::Relative(self.margin),
            spread: None,
            units: units.collect(),
        }
    }

    fn window(&self, t: usize, level: f64, random: &mut Random) -> Window {
        let level = level.max(0.0);
        let value = match self.shown {
            Shown::Ratio => {
                let requests = 100_000 + t as u64 % 5;
                let hits = (0.4 * level * requests as f64).min(requests as f64) as u64;
                Value::Ratio { requests, hits }
            }
            Shown::Level => Value::Level { mean: 100.0 * level, count: 10 },
            Shown::Count => {
                Value::Count { events: (100.0 * level) as u64 + (t % 2) as u64, exposure: 10.0 }
            }
            Shown::Latency => {
                let mut histogram = Histogram::new();
                for _ in 0..42 {
                    histogram.add((1000.0 * level * (0.3 * random.normal()).exp()) as u64, 6);
                }
                Value::Latency(histogram)
            }
        };
        Window { start_ms: start_ms(t as i64 - self.before as i64), width_ms: WIDTH_MS, value }
    }

    /// When so many windows after the change are told.
    pub(super) fn until(windows: usize) -> i64 {
        start_ms(windows as i64 + 1)
    }

    /// When all are told.
    pub(super) fn end(&self) -> i64 {
        Self::until(self.after)
    }
}

/// Of a window counted from the change.
pub(super) fn start_ms(slot: i64) -> i64 {
    CHANGED_AT_MS + slot * i64::from(WIDTH_MS)
}

/// All kinds, effects and noises.
pub(super) fn worlds() -> impl Strategy<Value = World> {
    let shown = prop_oneof![
        3 => Just(Shown::Level),
        3 => Just(Shown::Ratio),
        2 => Just(Shown::Count),
        1 => Just(Shown::Latency),
    ];
    let role = prop_oneof![Just(Role::Guard), Just(Role::Target)];
    let effect = prop_oneof![Just(0.0), -0.2..0.2, Just(-0.1), Just(0.1)];
    let sizes = (1_usize..4, 0_usize..3, 40_usize..140, 0_usize..92);
    (shown, role, effect, sizes, 0.005..0.1, 0.0..0.9, 0.005..0.1, any::<u64>()).prop_map(
        |(
            shown,
            role,
            effect,
            (treated, controls, before, after),
            noise,
            correlation,
            margin,
            seed,
        )| World {
            shown,
            treated,
            controls,
            before,
            after,
            noise,
            correlation,
            effect,
            margin,
            role,
            seed,
        },
    )
}
