//! What windows say of a backend: gathered until there is enough, then read once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BackendWindow, Hold, PoolState, Settings};
use crate::balance::median;

/// Utilisation counts as at least this: below, `q/u` is noise divided by nothing.
const LEAST_UTILIZATION: f64 = 0.02;
/// Latency counts as at most this many times the median, and at least as that part of it.
const LATENCY_RANGE: f64 = 4.0;

/// Windows since a backend was last measured, summed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    /// How many.
    pub windows: u32,
    /// Requests that ended in them.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Sum of utilisations.
    pub utilization: f64,
    /// Sum of latencies times requests, of windows that told one.
    pub latency_ms: f64,
    /// Requests of windows that told a latency.
    pub timed: u64,
}

/// A valid reading of one backend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) utilization: f64,
    pub(super) error_ratio: f64,
    pub(super) latency_ms: Option<f64>,
    pub(super) failing: bool,
    pub(super) z: f64,
}

/// All readings of a window.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    pub(super) valid: BTreeMap<&'a str, Reading>,
    pub(super) held: BTreeMap<&'a str, Hold>,
    /// Exponent of latency.
    pub(super) trim: f64,
    pub(super) mean_utilization: f64,
}

/// Requests a second of a window.
pub(super) fn per_second(settings: &Settings, window: &BackendWindow) -> f64 {
    window.requests as f64 * 1_000.0 / settings.window_ms.max(1) as f64
}

/// Share of requests that failed.
pub(super) fn error_ratio(errors: u64, requests: u64) -> f64 {
    (errors as f64 / requests.max(1) as f64).min(1.0)
}

/// Which windows are valid, and what they say.
pub(super) fn read<'a>(
    settings: &Settings,
    state: &mut PoolState,
    windows: &BTreeMap<&'a str, &BackendWindow>,
) -> Readings<'a> {
    let (mut valid, mut held) = (BTreeMap::new(), BTreeMap::new());
    for (&id, window) in windows {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        match known.gathered.take_in(settings, window) {
            Ok(reading) => drop(valid.insert(id, reading)),
            Err(hold) => drop(held.insert(id, hold)),
        }
    }
    let errors = median(valid.values().map(|reading: &Reading| reading.error_ratio)).unwrap_or(0.0);
    let latency = median(valid.values().filter_map(|reading| reading.latency_ms));
    let sum: f64 = valid.values().map(|reading| reading.utilization).sum();
    let mean = if valid.is_empty() { 0.0 } else { sum / valid.len() as f64 };
    // Half of the bound at which the loop through latency becomes unstable.
    let trim = if mean > 0.0 { settings.trim.min(0.5 * (1.0 - mean) / mean).max(0.0) } else { 0.0 };
    for reading in valid.values_mut() {
        let excess = reading.error_ratio - errors;
        reading.failing =
            reading.error_ratio >= settings.failing_ratio && excess >= settings.failing_ratio / 2.0;
        if let (Some(own), Some(usual)) = (reading.latency_ms, latency) {
            let ratio = (own / usual).clamp(1.0 / LATENCY_RANGE, LATENCY_RANGE);
            reading.z -= trim * ratio.ln();
        }
    }
    Readings { valid, held, trim, mean_utilization: mean }
}

impl Gathered {
    /// Adds a window; a reading when that is enough, from then on gathering begins anew.
    fn take_in(&mut self, settings: &Settings, window: &BackendWindow) -> Result<Reading, Hold> {
        let limit_ms = settings.window_ms.saturating_mul(2);
        if window.age_ms >= limit_ms {
            return Err(Hold::Stale { age_ms: window.age_ms, limit_ms });
        }
        let utilization = match window.utilization {
            Some(utilization) if utilization.is_finite() && utilization > 0.0 => utilization,
            // Idle is a measurement; work that uses nothing is none.
            Some(0.0) if window.requests == 0 => 0.0,
            _ => return Err(Hold::NoUtilization),
        };
        let longest = settings.expiry_ms / settings.window_ms.max(1);
        if u64::from(self.windows) >= longest.max(1) {
            *self = Self::default();
        }
        self.windows += 1;
        self.requests = self.requests.saturating_add(window.requests);
        self.errors = self.errors.saturating_add(window.errors.min(window.requests));
        self.utilization += utilization.min(1.0);
        if let Some(latency_ms) = window.latency_ms.filter(|ms| (1e-6..1e12).contains(ms)) {
            self.latency_ms += latency_ms * window.requests as f64;
            self.timed = self.timed.saturating_add(window.requests);
        }
        let needed = settings.min_requests.max(1);
        if self.requests < needed {
            return Err(Hold::FewRequests { requests: self.requests, needed });
        }
        Ok(std::mem::take(self).reading(settings))
    }

    /// Begins anew if the sums are none that windows can make: a stored state may be anything.
    pub(super) fn tidy(&mut self) {
        let sound = |sum: f64| sum.is_finite() && sum >= 0.0;
        if !(sound(self.utilization) && sound(self.latency_ms)) {
            *self = Self::default();
        }
    }

    fn reading(self, settings: &Settings) -> Reading {
        let windows = f64::from(self.windows.max(1));
        let utilization = (self.utilization / windows).clamp(LEAST_UTILIZATION, 1.0);
        let error_ratio = error_ratio(self.errors, self.requests);
        let seconds = windows * settings.window_ms.max(1) as f64 / 1_000.0;
        let cost = utilization + settings.error_penalty * error_ratio;
        let latency_ms = self.latency_ms / self.timed as f64;
        Reading {
            utilization,
            error_ratio,
            latency_ms: (latency_ms.is_finite() && latency_ms > 0.0).then_some(latency_ms),
            failing: false,
            z: (self.requests as f64 / seconds / cost).ln(),
        }
    }
}
