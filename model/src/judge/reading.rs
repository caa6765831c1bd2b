//! From windows to readings: one number for each slot of time and unit, with what is behind it.
//!
//! Slot 0 begins with the change, slot -1 ends with it. Windows that the clock aligned otherwise fall
//! into the slot that they begin in; the one that contains the change belongs to neither side.
//! What is not a number, contradicts itself or is told twice in different ways is missing.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::trial::{Filled, Predicted, Unit, Value, Window};
use super::verdict::Facet;

/// Requests beyond a percentile without which it is noise.
const TAIL: f64 = 5.0;
/// Windows that are put together at most, so that a percentile has enough requests.
const MOST_TOGETHER: u32 = 64;

/// Readings by slot.
pub(super) type Slots = BTreeMap<i64, Reading>;
/// Values and standard errors by slot.
pub(super) type Predictions = BTreeMap<i64, (f64, f64)>;

/// What one unit shows in one slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// What is compared.
    pub(super) value: f64,
    /// What it counts in a mean.
    pub(super) weight: f64,
    /// For shares and rates; 0 otherwise.
    pub(super) events: f64,
    /// For shares and rates; 0 otherwise.
    pub(super) exposure: f64,
}

/// Turns times into slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) changed_at_ms: i64,
    pub(super) window_ms: u32,
}

impl Grid {
    /// `None` for a window that contains the change, or whose time cannot be.
    fn slot(self, start_ms: i64) -> Option<i64> {
        let since = start_ms.checked_sub(self.changed_at_ms)?;
        let width = i64::from(self.window_ms);
        (since >= 0 || since <= -width).then(|| since.div_euclid(width))
    }

    fn values(self, windows: &[Window]) -> BTreeMap<i64, &Value> {
        let mut slots: BTreeMap<i64, Option<&Value>> = BTreeMap::new();
        for window in windows.iter().filter(|window| window.width_ms == self.window_ms) {
            let Some(slot) = self.slot(window.start_ms) else { continue };
            slots
                .entry(slot)
                .and_modify(|seen| *seen = seen.filter(|value| **value == window.value))
                .or_insert(Some(&window.value));
        }
        slots.into_iter().filter_map(|(slot, value)| Some((slot, value?))).collect()
    }

    /// Of shares, levels and counts.
    pub(super) fn readings(self, unit: &Unit) -> Slots {
        let read = |(slot, value): (i64, &Value)| Some((slot, Reading::of(value)?));
        self.values(&unit.windows).into_iter().filter_map(read).collect()
    }

    /// Latencies by slot.
    pub(super) fn histograms(self, unit: &Unit) -> BTreeMap<i64, &Histogram> {
        let mut histograms = BTreeMap::new();
        for (slot, value) in self.values(&unit.windows) {
            if let Value::Latency(histogram) = value {
                histograms.insert(slot, histogram);
            }
        }
        histograms
    }

    /// What is not a number is missing.
    pub(super) fn course(self, predictions: &[Predicted]) -> Predictions {
        let known = |p: &&Predicted| p.value.is_finite() && p.standard_error >= 0.0;
        let entry = |p: &Predicted| Some((self.slot(p.start_ms)?, (p.value, p.standard_error)));
        let mut course = Predictions::new();
        for (slot, (value, error)) in predictions.iter().filter(known).filter_map(entry) {
            // Of two for one slot the vaguer one, whatever their order; of two as vague the larger.
            let kept = course.entry(slot).or_insert((value, error));
            if error.total_cmp(&kept.1).then(value.total_cmp(&kept.0)).is_gt() {
                *kept = (value, error);
            }
        }
        course
    }

    /// What is not a number is missing; of two for one slot the smaller one counts.
    pub(super) fn shares(self, filled: &[Filled]) -> BTreeMap<i64, f64> {
        let mut shares = BTreeMap::new();
        for filled in filled.iter().filter(|filled| filled.share.is_finite()) {
            let Some(slot) = self.slot(filled.start_ms) else { continue };
            let share = filled.share.clamp(0.0, 1.0);
            shares
                .entry(slot)
                .and_modify(|kept: &mut f64| *kept = kept.min(share))
                .or_insert(share);
        }
        shares
    }
}

impl Reading {
    fn of(value: &Value) -> Option<Self> {
        match *value {
            Value::Ratio { requests, hits } => {
                let share = hits as f64 / requests as f64;
                let exposure = requests as f64;
                (requests > 0 && hits <= requests).then_some(Self {
                    value: share,
                    weight: exposure,
                    events: hits as f64,
                    exposure,
                })
            }
            Value::Level { mean, count } => (mean.is_finite() && count > 0).then_some(Self {
                value: mean,
                weight: count as f64,
                events: 0.0,
                exposure: 0.0,
            }),
            Value::Count { events, exposure } => (exposure > 0.0 && exposure.is_finite())
                .then_some(Self {
                    value: events as f64 / exposure,
                    weight: exposure,
                    events: events as f64,
                    exposure,
                }),
            Value::Latency(_) => None,
        }
    }
}

/// Logarithms of a percentile or of the spread, with windows put together until there are enough
/// requests beyond it. The number put together is that which the time before the change asks for.
pub(super) fn latencies(units: &[BTreeMap<i64, &Histogram>], facet: Facet) -> (Vec<Slots>, u32) {
    let needed = TAIL / (1.0 - quantile_of(facet)).min(0.5);
    let typical = units.iter().filter_map(typical_total).fold(f64::INFINITY, f64::min);
    let together = ((needed / typical).ceil() as u32).clamp(1, MOST_TOGETHER);
    let slots = units.iter().map(|unit| {
        let mut merged: BTreeMap<i64, Histogram> = BTreeMap::new();
        for (slot, histogram) in unit {
            merged.entry(slot.div_euclid(i64::from(together))).or_default().merge(histogram);
        }
        let enough = |histogram: &Histogram| histogram.total() as f64 >= needed / 2.0;
        merged
            .into_iter()
            .filter(|(_, histogram)| enough(histogram))
            .filter_map(|(slot, histogram)| Some((slot, logarithm(&histogram, facet)?)))
            .collect()
    });
    (slots.collect(), together)
}

fn quantile_of(facet: Facet) -> f64 {
    match facet {
        Facet::P99 => 0.99,
        Facet::P90 | Facet::Spread => 0.9,
        Facet::P50 | Facet::Mean | Facet::Promise => 0.5,
    }
}

/// Median of the requests in a window before the change.
fn typical_total(unit: &BTreeMap<i64, &Histogram>) -> Option<f64> {
    let mut totals: Vec<u64> =
        unit.iter().filter(|(slot, _)| **slot < 0).map(|(_, h)| h.total()).collect();
    totals.sort_unstable();
    totals.get(totals.len() / 2).map(|total| *total as f64)
}

fn logarithm(histogram: &Histogram, facet: Facet) -> Option<Reading> {
    let upper = histogram.quantile(quantile_of(facet))?;
    let lower = if facet == Facet::Spread { histogram.quantile(0.1)? } else { 0.0 };
    // Half of the smallest unit, so that a cache that answers in no time has a logarithm.
    let value = (upper - lower).max(0.5).ln();
    Some(Reading { value, weight: histogram.total() as f64, events: 0.0, exposure: 0.0 })
}
