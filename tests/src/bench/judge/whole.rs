//! Rollouts with all that a cache is watched by: two units changed, two not, half an hour before and
//! after in windows of 10 s, five metrics in ten comparisons.

use flyball_model::judge::{
    Arm, Expected, Histogram, Limits, Margin, Metric, Role, Trial, Unit, Value, Window, Worse,
};

use super::noise::{Random, Shape};

/// Windows on each side of the change.
pub(super) const SIDE: usize = 180;
const WIDTH_MS: u32 = 10_000;
const CHANGED_AT_MS: i64 = 1_700_000_000_000;
/// Requests of a window whose latency was measured.
const TIMED: usize = 200;

/// What the change does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// Three of a hundred requests take ten times as long; the median stays.
    Tail,
    /// All requests take 30 % longer.
    Slower,
    /// Seven of ten windows have latencies a hundred times as long.
    MostWindows,
    /// An error in a million requests becomes twenty.
    Errors,
    /// Evictions come in waves; their mean stays.
    Unsteady,
    /// A fifth more memory.
    Memory,
    /// The source of the hit ratio falls silent for half of the windows.
    Silent,
    /// The source of the hit ratio repeats its last number.
    Stuck,
}

/// All of them.
pub(super) const CHANGES: [Change; 9] = [
    Change::Nothing,
    Change::Tail,
    Change::Slower,
    Change::MostWindows,
    Change::Errors,
    Change::Unsteady,
    Change::Memory,
    Change::Silent,
    Change::Stuck,
];

impl Change {
    /// The metric that shows it.
    pub(super) fn metric(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Tail | Self::Slower | Self::MostWindows => Some("latency"),
            Self::Errors => Some("errors"),
            Self::Unsteady => Some("evictions"),
            Self::Memory => Some("memory"),
            Self::Silent | Self::Stuck => Some("hit_ratio"),
        }
    }

    /// Whether it is harm rather than missing data.
    #[cfg(test)]
    pub(super) fn is_harm(self) -> bool {
        !matches!(self, Self::Nothing | Self::Silent | Self::Stuck)
    }
}

/// The rollout of a seed; and until when it was measured.
pub(super) fn trial(change: Change, seed: u64) -> (Trial, i64) {
    let mut random = Random::new(seed);
    let mut metric = |name: &str, worse, margin, spread, values: &mut Values<'_>| {
        let units = (0..4).map(|i| unit(i, &mut random, values)).collect();
        Metric { name: name.into(), role: Role::Guard, worse, margin, spread, units }
    };
    let hits = Margin::Absolute(0.01);
    let metrics = vec![
        metric("hit_ratio", Worse::Lower, hits, None, &mut |r, new| hit_ratio(change, r, new)),
        metric("errors", Worse::Higher, Margin::Absolute(5e-6), None, &mut |r, new| {
            errors(change, r, new)
        }),
        metric("latency", Worse::Higher, Margin::Relative(0.1), None, &mut |r, new| {
            latency(change, r, new)
        }),
        metric("memory", Worse::Higher, Margin::Relative(0.05), None, &mut |r, new| {
            memory(change, r, new)
        }),
        metric("evictions", Worse::Higher, Margin::Relative(0.25), Some(2.0), &mut |r, new| {
            evictions(change, r, new)
        }),
    ];
    let limits = Limits { max_windows: SIDE as u32, ..Limits::default() };
    let trial =
        Trial { changed_at_ms: CHANGED_AT_MS, window_ms: WIDTH_MS, hold: None, limits, metrics };
    (trial, CHANGED_AT_MS + (SIDE as i64 + 1) * i64::from(WIDTH_MS))
}

/// All windows of a unit; the flag says whether it gets the change.
type Values<'a> = dyn FnMut(&mut Random, bool) -> Vec<Option<Value>> + 'a;

fn unit(index: usize, random: &mut Random, values: &mut Values<'_>) -> Unit {
    let arm = if index < 2 { Arm::Treated } else { Arm::Control };
    let values = values(random, arm == Arm::Treated);
    let windows = values.into_iter().enumerate().filter_map(|(t, value)| {
        let start_ms = CHANGED_AT_MS + (t as i64 - SIDE as i64) * i64::from(WIDTH_MS);
        Some(Window { start_ms, width_ms: WIDTH_MS, value: value? })
    });
    Unit {
        name: format!("cache-{index}"),
        arm,
        windows: windows.collect(),
        counterfactual: Vec::new(),
        expected: Expected::AsBefore,
    }
}

fn noise(random: &mut Random) -> Vec<f64> {
    Shape::Autoregressive(0.6).series(random, 2 * SIDE)
}

fn hit_ratio(change: Change, random: &mut Random, treated: bool) -> Vec<Option<Value>> {
    let mut stuck = None;
    let value = |(t, x): (usize, f64)| {
        let changed = treated && t >= SIDE;
        if changed && change == Change::Silent && t % 2 == 0 {
            return None;
        }
        let requests = 100_000 + t as u64 % 11;
        let share = 0.84 * (1.0 + 0.005 * x);
        let value = Value::Ratio { requests, hits: (share * requests as f64) as u64 };
        if changed && change == Change::Stuck {
            return Some(stuck.get_or_insert(value).clone());
        }
        Some(value)
    };
    noise(random).into_iter().enumerate().map(value).collect()
}

fn errors(change: Change, random: &mut Random, treated: bool) -> Vec<Option<Value>> {
    let of = |t| if treated && t >= SIDE && change == Change::Errors { 20.0 } else { 1.0 };
    let value = |t| {
        let events = random.poisson(0.1 * of(t));
        Some(Value::Count { events, exposure: 100_000.0 })
    };
    (0..2 * SIDE).map(value).collect()
}

fn latency(change: Change, random: &mut Random, treated: bool) -> Vec<Option<Value>> {
    let noise = noise(random);
    let mut window = |(t, x): (usize, &f64)| {
        let changed = treated && t >= SIDE;
        let slower = match change {
            Change::Slower if changed => 1.3,
            Change::MostWindows if changed && t % 10 < 7 => 100.0,
            _ => 1.0,
        };
        let mut histogram = Histogram::new();
        for _ in 0..TIMED {
            let mut micros = 400.0 * slower * (0.05 * x + 0.5 * random.normal()).exp();
            if changed && change == Change::Tail && random.unit() < 0.03 {
                micros *= 10.0;
            }
            histogram.record(micros as u64);
        }
        Some(Value::Latency(histogram))
    };
    noise.iter().enumerate().map(&mut window).collect()
}

fn memory(change: Change, random: &mut Random, treated: bool) -> Vec<Option<Value>> {
    let value = |(t, x): (usize, f64)| {
        let more = if treated && t >= SIDE && change == Change::Memory { 1.2 } else { 1.0 };
        Some(Value::Level { mean: 64e6 * more * (1.0 + 0.001 * x), count: 10 })
    };
    noise(random).into_iter().enumerate().map(value).collect()
}

fn evictions(change: Change, random: &mut Random, treated: bool) -> Vec<Option<Value>> {
    let value = |(t, x): (usize, f64)| {
        let wide = treated && t >= SIDE && change == Change::Unsteady;
        let rate = 500.0 * (1.0 + if wide { 0.6 } else { 0.1 } * x).max(0.0);
        Some(Value::Count { events: (rate * 10.0) as u64, exposure: 10.0 })
    };
    noise(random).into_iter().enumerate().map(value).collect()
}
