//! What windows say of a backend: gathered until there is enough, then read once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{BackendWindow, Hold, PoolState, Rule, Settings};
use crate::balance::median;

/// Utilisation counts as at least this: below, `q/u` is noise divided by nothing.
const LEAST_UTILIZATION: f64 = 0.02;
/// Latency counts as at most this many times the median, and at least as that part of it.
const LATENCY_RANGE: f64 = 4.0;
/// A backend that is not as busy as this may have ended few requests because it got few. What is full and measured with noise of 20 % is below once in 15 windows.
const SATURATED: f64 = 0.7;
/// A saturated backend ended few if it surely ended less than this part of its share: what a balancer gives it scatters by less.
const STARVED: f64 = 0.5;
/// A backend that looks idle hangs if it surely ended less than this part of its share.
const HANGING: f64 = 0.25;
/// And if so many times what its share usually keeps under way is under way there: else it gets few requests, or has kept sockets of old ones.
const PILED_UP: f64 = 2.0;
/// And if this part of what is missing of its share is under way: else the balancer has given it less, as those do that look at what is under way, for the sake of a few long requests.
/// What came evenly and stayed is half of it in the first window.
const MISSING: f64 = 0.25;
/// It hangs until requests stay less than so many times as long as usual, which is what the first two come to.
const STAYING: f64 = PILED_UP / HANGING;
/// What is usual in a backend counts as at most so many times the median of the pool: what was seen first, after a start, may have been one that hangs.
const UNLIKE: f64 = 64.0;
/// Times in a backend that are possible.
pub(super) const RESIDENCE_S: RangeInclusive<f64> = 1e-6..=1e9;
/// Standard deviations of a bound that is sure: 1 in 1,000.
const SURE: f64 = 3.09;

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
    /// Requests that it would have ended with its share of what the pool ended, by weights in force.
    pub expected: f64,
    /// Sum of requests under way, of windows that told them.
    #[serde(default)]
    pub in_flight: f64,
    /// How many told them.
    #[serde(default)]
    pub counted: u32,
}

/// A valid reading of one backend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) utilization: f64,
    pub(super) error_ratio: f64,
    pub(super) latency_ms: Option<f64>,
    /// Time that a request spent in it by Little's law, in seconds.
    pub(super) residence_s: Option<f64>,
    pub(super) failing: bool,
    pub(super) z: f64,
    /// It went down to next to nothing, by [`Rule::Collapsed`] or [`Rule::Hanging`].
    pub(super) collapsed: Option<Rule>,
}

/// What a saturated backend that ended few requests can do at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// As if it had ended as many as its count surely is below.
    pub(super) reading: Reading,
    /// The time that it is of.
    pub(super) span_ms: u64,
    /// What it is evidence of when that is next to nothing.
    pub(super) rule: Rule,
}

/// All readings of a window.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    pub(super) valid: BTreeMap<&'a str, Reading>,
    pub(super) held: BTreeMap<&'a str, Hold>,
    /// Bounds of those that are saturated and end few requests, whether they are measured or held.
    pub(super) bounds: BTreeMap<&'a str, Vec<Bound>>,
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
    let (mut valid, mut held, mut bounds) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let usual_s = median(state.backends.values().filter_map(|known| known.residence_s));
    for (&id, expected) in windows.keys().zip(expected(settings, state, windows)) {
        let (window, known) = (windows[id], state.backends.get_mut(id));
        let known = known.expect("every backend of a window is admitted");
        let usual_s = usual_s
            .map(|pool| known.residence_s.map_or(pool, |own| own.clamp(pool, UNLIKE * pool)));
        let one = match Gathered::of(settings, window, expected) {
            Ok(one) => one,
            Err(hold) => {
                known.last = Gathered::default();
                held.insert(id, hold);
                continue;
            }
        };
        known.hangs &= one.stays(settings, usual_s);
        let two = one.and(&known.last);
        known.last = one;
        if window.is_measured() {
            known.gathered.add(settings, &one);
        }
        let long = if window.is_measured() { known.gathered } else { one };
        let own = [long, two].into_iter().filter_map(|sum| sum.bound(settings, usual_s));
        let own: Vec<Bound> = own.collect();
        if !own.is_empty() {
            bounds.insert(id, own);
        }
        let reading = if window.is_measured() {
            known.gathered.take(settings, known.hangs)
        } else {
            Err(Hold::NoUtilization)
        };
        match reading {
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
    Readings { valid, held, bounds, trim, mean_utilization: mean }
}

impl BackendWindow {
    /// Whether its utilisation is known. Idle is a measurement; work that uses nothing is none.
    fn is_measured(&self) -> bool {
        self.utilization.is_some_and(|utilization| {
            (utilization.is_finite() && utilization > 0.0)
                || (utilization == 0.0 && self.requests == 0)
        })
    }
}

/// What each would have ended, had it its share of all that was ended.
fn expected(
    settings: &Settings,
    state: &PoolState,
    windows: &BTreeMap<&str, &BackendWindow>,
) -> Vec<f64> {
    let counts = |window: &BackendWindow| window.age_ms < limit_ms(settings);
    let weights = windows.iter().map(|(&id, window)| {
        if counts(window) { f64::from(state.backends[id].in_force) } else { 0.0 }
    });
    let ended = windows.values().filter(|window| counts(window)).map(|window| window.requests);
    let ended = ended.fold(0, u64::saturating_add) as f64;
    let weights: Vec<f64> = weights.collect();
    let sum = weights.iter().sum::<f64>().max(1.0);
    weights.into_iter().map(|weight| ended * weight / sum).collect()
}

/// The age from which a report is too old.
fn limit_ms(settings: &Settings) -> u64 {
    settings.window_ms.saturating_mul(2)
}

/// Requests that were surely not more, of which `count` were seen: the end of Wilson's interval for a Poisson count.
fn at_most(count: u64) -> f64 {
    let count = count as f64;
    count + SURE * SURE / 2.0 + SURE * (count + SURE * SURE / 4.0).sqrt()
}

impl Gathered {
    /// One window; one whose utilisation is not known is as one of an idle backend.
    fn of(settings: &Settings, window: &BackendWindow, expected: f64) -> Result<Self, Hold> {
        let limit_ms = limit_ms(settings);
        if window.age_ms >= limit_ms {
            return Err(Hold::Stale { age_ms: window.age_ms, limit_ms });
        }
        let utilization = window.utilization.filter(|_| window.is_measured()).unwrap_or(0.0);
        let latency_ms = window.latency_ms.filter(|ms| (1e-6..1e12).contains(ms));
        let in_flight = window.in_flight.filter(|count| (0.0..1e12).contains(count));
        Ok(Self {
            windows: 1,
            requests: window.requests,
            errors: window.errors.min(window.requests),
            utilization: utilization.min(1.0),
            latency_ms: latency_ms.map_or(0.0, |ms| ms * window.requests as f64),
            timed: latency_ms.map_or(0, |_| window.requests),
            expected,
            in_flight: in_flight.unwrap_or(0.0),
            counted: u32::from(in_flight.is_some()),
        })
    }

    /// The sum of both.
    fn and(&self, other: &Self) -> Self {
        Self {
            windows: self.windows.saturating_add(other.windows),
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            utilization: self.utilization + other.utilization,
            latency_ms: self.latency_ms + other.latency_ms,
            timed: self.timed.saturating_add(other.timed),
            expected: self.expected + other.expected,
            in_flight: self.in_flight + other.in_flight,
            counted: self.counted.saturating_add(other.counted),
        }
    }

    /// Adds a window.
    fn add(&mut self, settings: &Settings, one: &Self) {
        let longest = settings.expiry_ms / settings.window_ms.max(1);
        if u64::from(self.windows) >= longest.max(1) {
            *self = Self::default();
        }
        *self = self.and(one);
    }

    /// A reading when there is enough for one; then gathering begins anew. What hangs can do no more than it does, whatever its processor does.
    fn take(&mut self, settings: &Settings, hangs: bool) -> Result<Reading, Hold> {
        let needed = settings.min_requests.max(1);
        if self.requests < needed {
            return Err(Hold::FewRequests { requests: self.requests, needed });
        }
        let all = std::mem::take(self);
        let requests = all.requests as f64;
        Ok(if hangs {
            let full = all.full().reading(settings, requests);
            Reading { collapsed: Some(Rule::Hanging), residence_s: None, ..full }
        } else {
            all.reading(settings, requests)
        })
    }

    /// What few requests tell: of a backend that is saturated and ends less than half of its share, or in which they stay although it looks idle. How many does not matter for a bound.
    fn bound(&self, settings: &Settings, usual_s: Option<f64>) -> Option<Bound> {
        let windows = f64::from(self.windows.max(1));
        let most = at_most(self.requests);
        let is_starved = self.utilization >= SATURATED * windows && most < STARVED * self.expected;
        let (rule, sum) = if is_starved {
            (Rule::Collapsed, *self)
        } else if self.hangs(settings, most, usual_s?) {
            (Rule::Hanging, self.full())
        } else {
            return None;
        };
        Some(Bound {
            rule,
            // Not all that was under way ended, and not so many did.
            reading: Reading { residence_s: None, ..sum.reading(settings, most) },
            span_ms: settings.window_ms.saturating_mul(u64::from(self.windows)),
        })
    }

    /// With all of it in use.
    fn full(&self) -> Self {
        Self { utilization: f64::from(self.windows.max(1)), ..*self }
    }

    /// Mean of requests under way, as far as it was told.
    fn under_way(&self) -> Option<f64> {
        let mean = self.in_flight / f64::from(self.counted);
        mean.is_finite().then_some(mean)
    }

    /// Time that a request spends here if so many `requests` are served, by Little's law.
    fn residence_s(&self, settings: &Settings, requests: f64) -> Option<f64> {
        let residence_s = self.under_way()? * self.seconds(settings) / requests;
        RESIDENCE_S.contains(&residence_s).then_some(residence_s)
    }

    /// Whether requests stay here and next to none end, of which there were `most`.
    fn hangs(&self, settings: &Settings, most: f64, usual_s: f64) -> bool {
        let Some(under_way) = self.under_way() else { return false };
        let usual = usual_s * self.expected / self.seconds(settings);
        most < HANGING * self.expected
            && under_way >= PILED_UP * usual
            && under_way - usual >= MISSING * (self.expected - most)
    }

    /// Whether what hung still does: its requests stay, those that are to end with its share.
    fn stays(&self, settings: &Settings, usual_s: Option<f64>) -> bool {
        let served = self.expected.max(self.requests as f64);
        let staying_s = self.residence_s(settings, served.max(1.0));
        staying_s.zip(usual_s).is_some_and(|(stay, usual)| stay >= STAYING * usual)
    }

    fn seconds(&self, settings: &Settings) -> f64 {
        f64::from(self.windows.max(1)) * settings.window_ms.max(1) as f64 / 1_000.0
    }

    /// Begins anew if the sums are none that windows can make: a stored state may be anything.
    pub(super) fn tidy(&mut self) {
        let sound = |sum: f64| sum.is_finite() && sum >= 0.0;
        let sums = [self.utilization, self.latency_ms, self.expected, self.in_flight];
        if !sums.into_iter().all(sound) {
            *self = Self::default();
        }
    }

    /// The reading as if `requests` had ended.
    fn reading(&self, settings: &Settings, requests: f64) -> Reading {
        let windows = f64::from(self.windows.max(1));
        let utilization = (self.utilization / windows).clamp(LEAST_UTILIZATION, 1.0);
        let error_ratio = error_ratio(self.errors, self.requests);
        let cost = utilization + settings.error_penalty * error_ratio;
        let latency_ms = self.latency_ms / self.timed as f64;
        Reading {
            utilization,
            error_ratio,
            latency_ms: (latency_ms.is_finite() && latency_ms > 0.0).then_some(latency_ms),
            residence_s: self.residence_s(settings, requests),
            failing: false,
            z: (requests / self.seconds(settings) / cost).ln(),
            collapsed: None,
        }
    }
}
