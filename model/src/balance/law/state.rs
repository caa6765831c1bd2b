//! What the law keeps of a pool between windows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reading::RESIDENCE_S;
use super::{BackendWindow, Gathered, Settings};
use crate::balance::envelope::Verdict;
use crate::balance::{MAX_WEIGHT, median};

/// What is known of one backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendState {
    /// Capacity as believed, `s`: a logarithm, beside other backends of the pool only. `None`: never measured, or failing.
    pub smoothed: Option<f64>,
    /// Logarithm of the capacity of the last reading, `z`; `None`: none yet, or failing.
    pub measured: Option<f64>,
    /// Windows that wait for enough requests.
    pub gathered: Gathered,
    /// The last window, if it was sound.
    pub last: Gathered,
    /// What it was believed to do, or its weight stood for if that was more, in the last windows; as logarithms beside others, the newest last.
    pub levels: Vec<f64>,
    /// Time that a request usually spends in it, in seconds; `None`: never measured. What it counts for is bounded by the pool's.
    #[serde(default)]
    pub residence_s: Option<f64>,
    /// Requests stay in it: see [`super::Rule::Hanging`].
    #[serde(default)]
    pub hangs: bool,
    /// Mean absolute innovation, `mad`.
    pub mad: f64,
    /// Windows in a row that said that it can do more than is believed.
    pub up_windows: u32,
    /// Wanted weight without slow start, `w`; the largest of the pool is 1.
    pub weight: f64,
    /// Weight last known to be in force, 0 to 65,535 as the balancer says it.
    pub in_force: u16,
    /// Requests a second at full use, of the last window in which it was measured and did not fail.
    pub capacity_per_second: Option<f64>,
    /// When it was measured last, or else when it was first seen.
    pub valid_at_ms: i64,
    /// When it was last among the windows.
    pub seen_at_ms: i64,
    /// When slow start began; `None`: it is over, or there was none.
    pub ramp_since_ms: Option<i64>,
    /// `is_new` of the last window.
    pub was_new: bool,
}

/// What is known of a pool. Stored as it is, a later process goes on from it; see [`PoolState::restarted`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolState {
    /// By name of the backend.
    pub backends: BTreeMap<String, BackendState>,
    /// Windows since the start in which at least half of the pool had sound reports. The envelope lets nothing through before the third.
    pub valid_windows: u32,
    /// When weights were pushed last.
    pub pushed_at_ms: Option<i64>,
}

impl PoolState {
    /// A pool with the weights that are in force now; the law starts from these. Backends with weight 0 start from the floor.
    pub fn new<'a>(in_force: impl IntoIterator<Item = (&'a str, u16)>, now_ms: i64) -> Self {
        let mut state = Self::default();
        for (id, weight) in in_force {
            let known = BackendState {
                in_force: weight,
                valid_at_ms: now_ms,
                seen_at_ms: now_ms,
                ..BackendState::default()
            };
            state.backends.insert(id.to_owned(), known);
        }
        state.rebase();
        state
    }

    /// After a restart: what was learnt stays, but nothing is pushed until windows have been seen again.
    pub fn restarted(&mut self) {
        self.valid_windows = 0;
    }

    /// Takes over what became of an outcome of the law: the weights that the verdict lets through count as in force; a verdict that holds back what the law
    /// wants makes the law start again from what is in force, so that its steps stay steps of what balancers do.
    pub fn settle(&mut self, verdict: &Verdict, now_ms: i64) {
        if let Some(weights) = &verdict.weights {
            for (id, &weight) in weights {
                if let Some(known) = self.backends.get_mut(id) {
                    known.in_force = weight;
                }
            }
            self.pushed_at_ms = Some(now_ms);
        }
        if verdict.restrained() {
            self.rebase();
        }
    }

    /// What the law wants was not let through, and not because of a verdict: nobody could be told, or it was too much at once. The law starts again from what is in force, so that its
    /// steps stay steps of what balancers do.
    pub fn held(&mut self) {
        self.rebase();
    }

    /// Takes over weights as read back from the balancers: after a push that failed, or when somebody else has set them. The law starts from these.
    pub fn in_force<'a>(&mut self, weights: impl IntoIterator<Item = (&'a str, u16)>) {
        let mut differs = false;
        for (id, weight) in weights {
            if let Some(known) = self.backends.get_mut(id) {
                differs |= known.in_force != weight;
                known.in_force = weight;
            }
        }
        if differs {
            self.rebase();
        }
    }

    /// Wanted weights become those in force. Slow start is not undone: what is still in it keeps the weight that it is coming to.
    fn rebase(&mut self) {
        let most = self.backends.values().map(|known| known.in_force).max().unwrap_or(0).max(1);
        for known in self.backends.values_mut().filter(|known| known.ramp_since_ms.is_none()) {
            known.weight = f64::from(known.in_force.max(1)) / f64::from(most);
        }
    }

    /// Takes in who is in the pool now and forgets who has long been gone.
    pub(super) fn admit(
        &mut self,
        settings: &Settings,
        windows: &BTreeMap<&str, &BackendWindow>,
        now_ms: i64,
    ) {
        for known in self.backends.values_mut() {
            known.tidy(settings);
        }
        let first = self.backends.is_empty();
        let usual = median(self.backends.values().map(|known| known.weight)).unwrap_or(1.0);
        let usual_in_force = median(self.backends.values().map(|known| f64::from(known.in_force)));
        for (&id, window) in windows {
            let known = self.backends.entry(id.to_owned()).or_insert_with(|| BackendState {
                weight: usual,
                in_force: usual_in_force.map_or(MAX_WEIGHT, |weight| weight.round() as u16),
                valid_at_ms: now_ms,
                ..BackendState::default()
            });
            if window.is_new && !known.was_new && !first && settings.slow_start_ms > 0 {
                known.ramp_since_ms = Some(now_ms);
                (known.smoothed, known.measured) = (None, None);
                (known.mad, known.up_windows) = (0.0, 0);
                (known.gathered, known.last) = (Gathered::default(), Gathered::default());
                known.levels.clear();
            }
            known.was_new = window.is_new;
            known.seen_at_ms = now_ms;
        }
        let expiry = settings.expiry_ms;
        self.backends.retain(|id, known| {
            windows.contains_key(id.as_str()) || elapsed(known.seen_at_ms, now_ms) < expiry
        });
    }
}

impl BackendState {
    /// Puts right what cannot have come from the law: a stored state may be anything.
    fn tidy(&mut self, settings: &Settings) {
        self.gathered.tidy();
        self.last.tidy();
        let sound = |log: Option<f64>| log.filter(|log| log.is_finite() && log.abs() <= 100.0);
        self.levels.retain(|level| sound(Some(*level)).is_some());
        (self.smoothed, self.measured) = (sound(self.smoothed), sound(self.measured));
        self.capacity_per_second = self.capacity_per_second.filter(|c| c.is_finite() && *c > 0.0);
        self.residence_s = self.residence_s.filter(|s| RESIDENCE_S.contains(s));
        // No logarithm of the law is off by more.
        self.mad = if self.mad.is_finite() { self.mad.clamp(0.0, 10.0) } else { 0.0 };
        if !(self.weight.is_finite() && self.weight > 0.0) {
            self.weight = settings.floor;
        }
        self.weight = self.weight.clamp(1e-6, 1e6);
    }

    /// Slow start's factor; ends the slow start when its time is over.
    pub(super) fn ramp(&mut self, settings: &Settings, now_ms: i64) -> f64 {
        let Some(since_ms) = self.ramp_since_ms else { return 1.0 };
        let age_ms = elapsed(since_ms, now_ms);
        if age_ms >= settings.slow_start_ms {
            self.ramp_since_ms = None;
            return 1.0;
        }
        (age_ms as f64 / settings.slow_start_ms as f64).clamp(settings.slow_start_least, 1.0)
    }
}

/// Milliseconds from one time to a later one; 0 if it is not later.
pub(super) fn elapsed(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)
}
