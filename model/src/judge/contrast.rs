//! Difference in differences: what the treated units did beyond their own past, less what the
//! controls did beyond theirs.
//!
//! In each slot, each arm's deviation is `sum w (y - reference) / sum w`, where the reference is the
//! unit's own mean before the change or, for treated units without controls, the prediction. So a
//! unit that comes, goes or gets less traffic moves nothing by being different from the others
//! (indirect standardisation), and what moves both arms moves the difference not at all. No slope
//! between the arms is fitted: one estimated from a flat past would leave part of a common
//! drift in the difference.

use std::collections::BTreeSet;

use super::reading::{Course, Reading, Slots};

/// One unit with what it is compared with.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) slots: Slots,
    /// Its mean before the change.
    pub(super) past: f64,
    /// What the old setting would give.
    pub(super) old: Reference,
    /// What was promised.
    pub(super) planned: Option<Reference>,
}

/// What a unit is compared with.
#[derive(Debug)]
pub(super) enum Reference {
    /// Its own past.
    Past(f64),
    /// A prediction for each slot, plus what it was off before the change. Without a prediction for
    /// that time (`past`), it is taken as it is.
    Predicted { course: Course, off: f64, past: Option<f64> },
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
    /// By how much the treated units should lie above their past by now.
    pub(super) promised: f64,
    pub(super) tallies: [Tally; 2],
}

/// Both arms over time.
#[derive(Debug)]
pub(super) struct Contrast {
    pub(super) before: Vec<Point>,
    /// After the change, compared with the old setting.
    pub(super) after: Vec<Point>,
    /// After the change, compared with what was promised.
    pub(super) planned: Option<Vec<Point>>,
    /// Whether the mean before the change is part of the difference.
    pub(super) anchored: bool,
    /// Mean of the treated units before the change.
    pub(super) level: f64,
    pub(super) treated: Vec<Member>,
    pub(super) controls: Vec<Member>,
}

#[derive(Default)]
struct Arm {
    deviation: f64,
    weight: f64,
    doubt: f64,
    observed: f64,
    promised: f64,
    tally: Tally,
}

impl Reference {
    /// From a prediction and the unit's readings: the error of the time before the change is taken
    /// off when enough of it is known.
    pub(super) fn predicted(course: Course, slots: &Slots, past: f64, least: usize) -> Self {
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
    fn promised(&self, slot: i64) -> f64 {
        let plan = self.planned.as_ref().and_then(|plan| plan.at(slot));
        plan.map_or(0.0, |(value, _)| value - self.past)
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
        let after = slots.range(0..);
        let against_old = |slot: &i64| point(*slot, &treated, &controls, |m| &m.old);
        let against_plan = |slot: &i64| {
            point(*slot, &treated, &controls, |m| m.planned.as_ref().unwrap_or(&m.old))
        };
        let has_plan = treated.iter().any(|member| member.planned.is_some());
        let before: Vec<Point> = before.filter_map(against_old).collect();
        let planned = has_plan.then(|| after.clone().filter_map(against_plan).collect());
        let after = after.filter_map(against_old).collect();
        let anchored = treated.iter().all(|member| member.old.is_anchored());
        let weight: f64 = before.iter().map(|p| p.weight).sum();
        let level = before.iter().map(|p| p.observed * p.weight).sum::<f64>() / weight;
        Some(Self { before, after, planned, anchored, level, treated, controls })
    }

    /// What the promised course still holds after this slot, at its end: the most of any unit. 0 without
    /// a course.
    pub(super) fn outstanding(&self, slot: i64) -> f64 {
        let left = |member: &Member| match &member.planned {
            Some(Reference::Predicted { course, .. }) => {
                let at = course.range(..=slot).next_back();
                let end = course.last_key_value();
                at.zip(end).map_or(0.0, |(at, end)| (end.1.0 - at.1.0).abs())
            }
            _ => 0.0,
        };
        self.treated.iter().map(left).fold(0.0, f64::max)
    }

    /// Largest of the treated units' mean standard errors of what they will be compared with.
    pub(super) fn foreseen_doubt(&self) -> f64 {
        let mean = |member: &Member| match member.planned.as_ref().unwrap_or(&member.old) {
            Reference::Predicted { course, .. } if !course.is_empty() => {
                course.values().map(|(_, error)| error).sum::<f64>() / course.len() as f64
            }
            _ => 0.0,
        };
        self.treated.iter().map(mean).fold(0.0, f64::max)
    }
}

fn point<'a>(
    slot: i64,
    treated: &'a [Member],
    controls: &'a [Member],
    reference: impl Fn(&'a Member) -> &'a Reference,
) -> Option<Point> {
    let arm = arm(slot, treated, reference)?;
    let control = if controls.is_empty() {
        None
    } else {
        Some(self::arm(slot, controls, |member| &member.old)?)
    };
    Some(Point {
        slot,
        treated: arm.deviation,
        control: control.as_ref().map(|arm| arm.deviation),
        weight: arm.weight,
        doubt: arm.doubt,
        observed: arm.observed,
        promised: arm.promised,
        tallies: [arm.tally, control.map_or_else(Tally::default, |arm| arm.tally)],
    })
}

/// `None` when more than half of its units are missing.
fn arm<'a>(
    slot: i64,
    members: &'a [Member],
    reference: impl Fn(&'a Member) -> &'a Reference,
) -> Option<Arm> {
    let mut arm = Arm::default();
    let mut present = 0;
    for member in members {
        let Some(Reading { value, weight, events, exposure }) = member.slots.get(&slot).copied()
        else {
            continue;
        };
        let Some((expected, error)) = reference(member).at(slot) else { continue };
        present += 1;
        arm.weight += weight;
        arm.deviation += weight * (value - expected);
        arm.doubt += weight * error;
        arm.observed += weight * value;
        arm.promised += weight * member.promised(slot);
        arm.tally.events += events;
        arm.tally.exposure += exposure;
    }
    if 2 * present < members.len() || present == 0 {
        return None;
    }
    arm.deviation /= arm.weight;
    arm.doubt /= arm.weight;
    arm.observed /= arm.weight;
    arm.promised /= arm.weight;
    Some(arm)
}
