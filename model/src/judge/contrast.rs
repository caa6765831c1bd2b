//! Difference in differences: what the treated units did beyond their own past, less what the
//! controls did beyond theirs.
//!
//! In each slot, each arm's deviation is `sum w (y - reference) / sum w`, where the reference is the
//! unit's own mean before the change or, for treated units without controls, the prediction. So a
//! unit that comes, goes or gets less traffic moves nothing by being different from the others
//! (indirect standardisation), and what moves both arms moves the difference not at all. No slope
//! between the arms is fitted: one estimated from a flat past would leave part of a common
//! drift in the difference.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::{Predictions, Reading, Slots};

/// One unit with what it is compared with.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) slots: Slots,
    /// What the old setting would give.
    pub(super) old: Reference,
    /// What was promised.
    pub(super) promise: Option<Course>,
    /// Whether it is hardly measured: then it counts where it is, and nothing waits for it.
    pub(super) sparse: bool,
}

/// What a unit is compared with.
#[derive(Debug)]
pub(super) enum Reference {
    /// Its own past.
    Past(f64),
    /// A prediction for each slot, plus what it was off before the change. Without a prediction for
    /// that time (`past`), it is taken as it is.
    Predicted { course: Predictions, off: f64, past: Option<f64> },
}

/// Events and exposure of an arm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) events: f64,
    pub(super) exposure: f64,
}

/// The arms in one slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) slot: i64,
    /// Deviation of the treated units.
    pub(super) treated: f64,
    /// Deviation of the controls.
    pub(super) control: Option<f64>,
    pub(super) weight: f64,
    /// Standard error of the prediction that the treated units were compared with.
    pub(super) doubt: f64,
    /// Mean of the treated units as it was read.
    pub(super) observed: f64,
    /// By how much the treated units should lie above the old setting by now.
    pub(super) promised: f64,
    /// Standard error of that.
    pub(super) promise_doubt: f64,
    /// Share of new room that is in use, of the unit that has the least; 1 where nothing is promised.
    pub(super) filled: f64,
    pub(super) tallies: [Tally; 2],
}

/// Both arms over time.
#[derive(Debug)]
pub(super) struct Contrast {
    pub(super) before: Vec<Point>,
    /// After the change, compared with the old setting.
    pub(super) after: Vec<Point>,
    /// Whether the mean before the change is part of the difference.
    pub(super) anchored: bool,
    /// Mean of the treated units before the change.
    pub(super) level: f64,
    pub(super) treated: Vec<Member>,
    pub(super) controls: Vec<Member>,
}

/// What was promised to a unit.
#[derive(Debug)]
pub(super) struct Course {
    /// In full; negative where lower is better.
    pub(super) gain: f64,
    pub(super) error: f64,
    /// Share that is due, by slot.
    pub(super) filled: BTreeMap<i64, f64>,
}

struct Arm {
    deviation: f64,
    weight: f64,
    doubt: f64,
    observed: f64,
    promised: f64,
    promise_doubt: f64,
    filled: f64,
    tally: Tally,
}

impl Reference {
    /// From a prediction and the unit's readings: the error of the time before the change is taken
    /// off when enough of it is known.
    pub(super) fn predicted(course: Predictions, slots: &Slots, past: f64, least: usize) -> Self {
        let errors: Vec<(f64, f64)> = slots
            .range(..0)
            .filter_map(|(slot, r)| Some((r.value - course.get(slot)?.0, r.weight)))
            .collect();
        if errors.len() < least {
            return Self::Predicted { course, off: 0.0, past: Some(past) };
        }
        let weight: f64 = errors.iter().map(|(_, weight)| weight).sum();
        let off = errors.iter().map(|(error, weight)| error * weight).sum::<f64>() / weight;
        Self::Predicted { course, off, past: None }
    }

    fn is_anchored(&self) -> bool {
        matches!(self, Self::Past(_) | Self::Predicted { past: None, .. })
    }

    /// Value and standard error.
    fn at(&self, slot: i64) -> Option<(f64, f64)> {
        match self {
            Self::Past(mean) => Some((*mean, 0.0)),
            Self::Predicted { past: Some(mean), .. } if slot < 0 => Some((*mean, 0.0)),
            Self::Predicted { course, off, .. } => {
                course.get(&slot).map(|(value, error)| (value + off, *error))
            }
        }
    }
}

impl Member {
    /// Share of its new room that is in use.
    fn filled(&self, slot: i64) -> Option<f64> {
        let course = self.promise.as_ref().filter(|_| slot >= 0)?;
        Some(course.filled.range(..=slot).next_back().map_or(0.0, |(_, share)| *share))
    }

    /// Whether its prediction is there for so many of these slots, and what was measured too.
    fn is_foretold(&self, from: i64, to: i64, least: f64) -> bool {
        let Reference::Predicted { course, .. } = &self.old else { return false };
        let both = self.slots.range(from..to).filter(|(slot, _)| course.contains_key(slot)).count();
        both as f64 >= least
    }
}

impl Point {
    /// What the treated units did that the controls did not.
    pub(super) fn difference(&self) -> f64 {
        self.treated - self.control.unwrap_or(0.0)
    }
}

impl Contrast {
    /// `None` without a treated unit. Members come in the order of their names, so that sums are
    /// the same to the last digit whatever order they were given in.
    pub(super) fn new(treated: Vec<Member>, controls: Vec<Member>) -> Option<Self> {
        if treated.is_empty() {
            return None;
        }
        let slots: BTreeSet<i64> =
            treated.iter().flat_map(|member| member.slots.keys().copied()).collect();
        let before = slots.range(..0);
        let against_old = |slot: &i64| point(*slot, &treated, &controls);
        let before: Vec<Point> = before.filter_map(against_old).collect();
        let after = slots.range(0..).filter_map(against_old).collect();
        let anchored = treated.iter().all(|member| member.old.is_anchored());
        let weight: f64 = before.iter().map(|p| p.weight).sum();
        let level = before.iter().map(|p| p.observed * p.weight).sum::<f64>() / weight;
        Some(Self { before, after, anchored, level, treated, controls })
    }

    /// Whether any unit has predictions.
    pub(super) fn has_predictions(&self) -> bool {
        self.treated.iter().any(|member| matches!(member.old, Reference::Predicted { .. }))
    }

    /// Whether anything was promised.
    pub(super) fn has_promise(&self) -> bool {
        self.treated.iter().any(|member| member.promise.is_some())
    }

    /// Whether all treated units have a prediction for at least this share of the slots.
    pub(super) fn is_foretold(&self, from: i64, to: i64, share: f64) -> bool {
        let least = share * (to - from) as f64;
        let predicted = |member: &Member| matches!(member.old, Reference::Predicted { .. });
        self.treated.iter().all(|member| {
            (member.sparse && predicted(member)) || member.is_foretold(from, to, least)
        })
    }

    /// Largest of the treated units' mean standard errors of what they will be compared with.
    pub(super) fn foreseen_doubt(&self) -> f64 {
        let mean = |member: &Member| match &member.old {
            Reference::Predicted { course, .. } if !course.is_empty() => {
                course.values().map(|(_, error)| error).sum::<f64>() / course.len() as f64
            }
            _ => 0.0,
        };
        self.treated.iter().map(mean).fold(0.0, f64::max)
    }
}

fn point(slot: i64, treated: &[Member], controls: &[Member]) -> Option<Point> {
    let treated = arm(slot, treated)?;
    let control = if controls.is_empty() { None } else { Some(arm(slot, controls)?) };
    Some(Point {
        slot,
        treated: treated.deviation,
        control: control.as_ref().map(|arm| arm.deviation),
        weight: treated.weight,
        doubt: treated.doubt,
        observed: treated.observed,
        promised: treated.promised,
        promise_doubt: treated.promise_doubt,
        filled: treated.filled,
        tallies: [treated.tally, control.map_or_else(Tally::default, |arm| arm.tally)],
    })
}

/// `None` when more than half of its units are missing, but for those that are hardly measured.
fn arm(slot: i64, members: &[Member]) -> Option<Arm> {
    let mut arm = Arm {
        deviation: 0.0,
        weight: 0.0,
        doubt: 0.0,
        observed: 0.0,
        promised: 0.0,
        promise_doubt: 0.0,
        filled: 1.0,
        tally: Tally::default(),
    };
    let (mut present, all) = (0, members.iter().filter(|member| !member.sparse).count());
    for member in members {
        let Some(Reading { value, weight, events, exposure }) = member.slots.get(&slot).copied()
        else {
            continue;
        };
        let Some((expected, error)) = member.old.at(slot) else { continue };
        present += usize::from(!member.sparse);
        arm.weight += weight;
        arm.deviation += weight * (value - expected);
        arm.doubt += weight * error;
        arm.observed += weight * value;
        arm.tally.events += events;
        arm.tally.exposure += exposure;
        if let (Some(course), Some(filled)) = (&member.promise, member.filled(slot)) {
            arm.promised += weight * filled * course.gain;
            arm.promise_doubt += weight * filled * course.error;
            arm.filled = arm.filled.min(filled);
        }
    }
    if 2 * present < all || present == 0 {
        return None;
    }
    let weight = arm.weight;
    for sum in [
        &mut arm.deviation,
        &mut arm.doubt,
        &mut arm.observed,
        &mut arm.promised,
        &mut arm.promise_doubt,
    ] {
        *sum /= weight;
    }
    Some(arm)
}
