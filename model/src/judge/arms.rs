//! Which units a metric compares, by arm, and what becomes of those that it hardly measures.
//!
//! A unit is measured *well* before the change when it has as many windows as a pass needs, and no more
//! missing than allowed of the time in which at least half of its arm was measured. Where its arm has
//! others that are, one that is not:
//! - with fewer windows than a pass needs has no past, so it is left out;
//! - with enough of them counts in those windows where it was measured, and is not waited for.
//!
//! For a unit that got the change this holds only when another metric of the trial measures it well:
//! what no metric looks at must not pass. It is no matter of chance either way, so the comparison names
//! them all ([`Partial`]). Who was measured before the change, however rarely, and is silent after it,
//! keeps the trial from passing (`obstacle`).

use std::collections::{BTreeMap, BTreeSet};

use super::contrast::{Course, Member, Reference};
use super::reading::{Grid, Slots, latencies};
use super::trial::{Arm, Expected, Kind, Metric, Trial, Unit, Worse};
use super::verdict::{Facet, LeftOut};

/// What a person can do about a metric that measures nobody who got the change.
pub(super) const NOBODY: &str = "of those that got the change none is measured well, and nothing passes \
                                 unseen: it takes more traffic or time there, a wave with one that is \
                                 measured, or a trial that does not ask for this metric";
/// What a person can do about a unit that nothing measures.
const NOWHERE: &str = "no other metric measures it well, and nothing passes unseen: it takes more traffic \
                       or time there, or a change without it";
/// Units named in a reason; of others only the number.
const NAMED: usize = 3;

/// Units by arm, each with its reference; and those that are measured too rarely.
#[derive(Default)]
pub(super) struct Arms {
    pub(super) treated: Vec<Member>,
    pub(super) controls: Vec<Member>,
    /// Windows that make one slot.
    pub(super) together: u32,
    /// Why nothing can pass, and what would help.
    pub(super) unfit: Vec<String>,
    pub(super) advice: &'static str,
    pub(super) partial: Vec<Partial>,
}

/// A unit that was hardly measured before the change, where others of its arm were.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) unit: String,
    pub(super) arm: Arm,
    /// Windows before the change in which it was measured.
    pub(super) seen: usize,
    /// Of so many.
    pub(super) all: usize,
    /// Whether it has no past to be compared with.
    pub(super) is_out: bool,
    /// Slots after the change in which it was measured.
    pub(super) after: BTreeSet<i64>,
}

/// How well a unit was measured before the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cover {
    Few,
    Sparse,
    Well,
}

/// One unit with what was read of it.
struct Read<'a> {
    unit: &'a Unit,
    slots: Slots,
    /// Slots before the change.
    seen: usize,
    /// Of so many, of its arm.
    all: usize,
    cover: Cover,
}

impl Arms {
    /// Why nothing can pass.
    pub(super) fn obstacle(&self) -> Option<String> {
        let all = some_of(&self.unfit);
        let advice = Some(self.advice).filter(|advice| !advice.is_empty() && !all.is_empty());
        let told = advice.map_or_else(|| all.clone(), |advice| format!("{all}; {advice}"));
        (!told.is_empty()).then_some(told)
    }

    /// Of one side of a metric.
    pub(super) fn of(metric: &Metric, trial: &Trial, facet: Facet, predicts: bool) -> Self {
        let (reads, least, together) = read(metric, trial, facet);
        let has = |arm, cover: &[Cover]| {
            reads.iter().any(|read| read.unit.arm == arm && cover.contains(&read.cover))
        };
        let well = |arm| has(arm, &[Cover::Well]);
        let fit = |arm| has(arm, &[Cover::Well, Cover::Sparse]);
        let controlled = metric.units.iter().any(|unit| unit.arm == Arm::Control);
        let has_controls = fit(Arm::Control);
        let remains = well(Arm::Treated) && (has_controls || !controlled);
        let mut arms = Self { together, ..Self::default() };
        for read in reads.iter().filter(|read| read.cover != Cover::Well) {
            let arm = read.unit.arm;
            if arm == Arm::Treated && !(remains && elsewhere(trial, metric, &read.unit.name)) {
                // One of few windows is no worse than the others where no other has enough.
                if read.cover == Cover::Few || well(arm) {
                    arms.unfit.push(read.lacks(trial, least));
                }
            } else if fit(arm) && (read.cover == Cover::Few || well(arm)) {
                arms.partial.push(read.partial());
            }
        }
        arms.advice = match (well(Arm::Treated), remains) {
            (false, _) => NOBODY,
            (true, true) => NOWHERE,
            (true, false) => "",
        };
        if controlled && !has_controls {
            arms.unfit.push(format!("no control has {least} windows before the change"));
        }
        let latency = metric.kind() == Some(Kind::Latency);
        let predicts = (predicts && !has_controls).then_some(least);
        let grid = Grid { changed_at_ms: trial.changed_at_ms, window_ms: trial.window_ms };
        let well = [Arm::Treated, Arm::Control].map(well);
        for Read { unit, slots, cover, .. } in reads {
            let (members, well) = match unit.arm {
                Arm::Treated => (&mut arms.treated, well[0]),
                Arm::Control => (&mut arms.controls, well[1]),
            };
            if cover == Cover::Few {
                continue;
            }
            let mut member = member(unit, slots, grid, predicts);
            member.sparse = cover == Cover::Sparse && well;
            let promises = facet == Facet::Mean && !latency;
            member.promise = course(unit, grid, metric.worse).filter(|_| promises);
            members.push(member);
        }
        arms
    }
}

impl Read<'_> {
    fn partial(&self) -> Partial {
        Partial {
            unit: self.unit.name.clone(),
            arm: self.unit.arm,
            seen: self.seen,
            all: self.all,
            is_out: self.cover == Cover::Few,
            after: self.slots.range(0..).map(|(slot, _)| *slot).collect(),
        }
    }

    fn lacks(&self, trial: &Trial, least: usize) -> String {
        let (name, seen, all) = (&self.unit.name, self.seen, self.all);
        if self.cover == Cover::Few {
            return format!("{name} has {seen} windows before the change, {least} needed");
        }
        let needed = (1.0 - trial.limits.max_missing) * all as f64;
        format!("{name} has {seen} of {all} windows before the change, {needed:.0} needed")
    }
}

impl Partial {
    /// For the verdict.
    pub(super) fn told(&self) -> LeftOut {
        let (seen, all) = (self.seen, self.all);
        let rest = if self.is_out { "left out" } else { "counted where it is measured" };
        LeftOut {
            unit: self.unit.clone(),
            arm: self.arm,
            why: format!("measured in {seen} of {all} windows before the change, {rest}"),
        }
    }
}

/// All units of a metric by name, the windows before the change that each needs, and the windows that
/// make one slot.
fn read<'a>(metric: &'a Metric, trial: &Trial, facet: Facet) -> (Vec<Read<'a>>, usize, u32) {
    let grid = Grid { changed_at_ms: trial.changed_at_ms, window_ms: trial.window_ms };
    let mut units: Vec<&Unit> = metric.units.iter().collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    let (slots, together) = if metric.kind() == Some(Kind::Latency) {
        let histograms: Vec<BTreeMap<_, _>> =
            units.iter().map(|unit| grid.histograms(unit)).collect();
        latencies(&histograms, facet)
    } else {
        (units.iter().map(|unit| grid.readings(unit)).collect(), 1)
    };
    let least = trial.limits.least_before().div_ceil(together as usize).max(16);
    let read = |(unit, slots): (&'a Unit, Slots)| {
        let seen = slots.range(..0).count();
        Read { unit, slots, seen, all: 0, cover: Cover::Few }
    };
    let mut reads: Vec<Read<'a>> = units.into_iter().zip(slots).map(read).collect();
    for arm in [Arm::Treated, Arm::Control] {
        let all = time_before(&reads, arm, least);
        for read in reads.iter_mut().filter(|read| read.unit.arm == arm) {
            read.all = all.max(read.seen);
            let enough = (1.0 - trial.limits.max_missing) * all as f64;
            read.cover = match read.seen {
                seen if seen < least => Cover::Few,
                seen if (seen as f64) < enough => Cover::Sparse,
                _ => Cover::Well,
            };
        }
    }
    (reads, least, together)
}

/// Slots before the change since at least half of the units of an arm that have enough of them were
/// measured at once, or, where they never were, any of them.
fn time_before(reads: &[Read<'_>], arm: Arm, least: usize) -> usize {
    let mut present: BTreeMap<i64, usize> = BTreeMap::new();
    let mut units = 0;
    for read in reads.iter().filter(|read| read.unit.arm == arm && read.seen >= least) {
        units += 1;
        for (slot, _) in read.slots.range(..0) {
            *present.entry(*slot).or_default() += 1;
        }
    }
    let half = present.iter().find(|(_, present)| 2 * **present >= units);
    let first = half.or_else(|| present.iter().next()).map_or(0, |(slot, _)| *slot);
    usize::try_from(-first).unwrap_or(0)
}

/// Whether another metric measures a unit that got the change well.
fn elsewhere(trial: &Trial, metric: &Metric, name: &str) -> bool {
    let others = trial.metrics.iter().filter(|other| other.name != metric.name);
    others.into_iter().any(|other| {
        let facet = if other.kind() == Some(Kind::Latency) { Facet::P50 } else { Facet::Mean };
        let (reads, ..) = read(other, trial, facet);
        let mut treated = reads.iter().filter(|read| read.unit.arm == Arm::Treated);
        treated.any(|read| read.unit.name == name && read.cover == Cover::Well)
    })
}

/// The first of them, and how many others there are.
pub(super) fn some_of(all: &[String]) -> String {
    let named = all[..all.len().min(NAMED)].join("; ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        others => format!("{named}; and {others} more"),
    }
}

/// `predicts` is how many windows before the change its prediction must cover to be corrected by
/// them; `None` when predictions do not count.
fn member(unit: &Unit, slots: Slots, grid: Grid, predicts: Option<usize>) -> Member {
    let past = slots.range(..0).map(|(_, reading)| reading);
    let weight: f64 = past.clone().map(|reading| reading.weight).sum();
    let past = past.map(|reading| reading.value * reading.weight).sum::<f64>() / weight;
    let old = match predicts {
        Some(least) if unit.arm == Arm::Treated && !unit.counterfactual.is_empty() => {
            Reference::predicted(grid.course(&unit.counterfactual), &slots, past, least)
        }
        _ => Reference::Past(past),
    };
    Member { name: unit.name.clone(), slots, old, promise: None, sparse: false }
}

/// What was promised to a treated unit.
fn course(unit: &Unit, grid: Grid, worse: Worse) -> Option<Course> {
    let Expected::Gain(promise) = &unit.expected else { return None };
    let gain = if worse == Worse::Lower { promise.gain } else { -promise.gain };
    let filled = grid.shares(&promise.filled);
    let course = Course { gain, error: promise.standard_error, filled };
    (unit.arm == Arm::Treated).then_some(course)
}
