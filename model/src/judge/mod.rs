//! The judge: whether a change did harm, from what was measured before and after it.
//!
//! Each metric of the units that got the change is compared with what it would have been without: by
//! *difference in differences* against each unit's own past and against units without the change, or
//! against an estimator's prediction of the old setting, or, failing both, against the past alone
//! (`contrast`). A growing cache is held to what it promises as it fills ([`Expected::Gain`]).
//! The effect has an interval that knows how much neighbouring windows resemble each other (`noise`,
//! `estimate`) and that holds at every look (`look`). Then:
//! - **harm** when the interval lies beyond the margin: any metric, at full strength; or when less than
//!   half of what was promised has come beyond doubt, and nothing more is to come;
//! - **pass** when for every metric it lies within the margin, and of the targets at least one has
//!   become better (Holm's correction over them);
//! - **inconclusive** otherwise. What follows when the time is up is not for the judge to say.
//!
//! "No significant difference" is no pass: it is what little data, a dead source and real harm in noise
//! look like as well. For that reason Kayenta's Mann-Whitney test and plain thresholds were not taken: the
//! former sees shifts but no spread, takes windows for independent and finds nothing in zeroes, the
//! latter have no error rates at all. What needs no statistics, a crash or silence, is in
//! [`hard_stop`]. [`power()`] says before the start whether the margin can be seen at all.
//!
//! Without controls and without a prediction, what happens to everybody at that time counts as the
//! change's doing, up to the drift that the past had. The same hours of the day before, moved by a day,
//! may then serve as a control.
//!
//! Properties, each a test:
//! - (a) same input, same verdict; and it does not matter how often the judge was asked before: the
//!   word at a time follows from what was measured up to the last look before it;
//! - (b) the order of units, windows, metrics and predictions does not matter;
//! - (c) a constant added to both arms, or to all windows of one unit, changes no verdict about levels
//!   with an absolute margin;
//! - (d) no pass with fewer windows than the least, with more of them missing than allowed, or with a
//!   unit that has no past, unless others of its arm have one and another metric measures it (`arms`);
//! - (e) a wider margin turns no pass into anything else, and no other word into harm;
//! - (f) what is not a number, has no requests or is told twice in different ways is missing; constant,
//!   copied and empty series never pass; no events at all do, once enough exposure says so;
//! - (g) more guards turn no harm into anything else;
//! - (h) harm once found stays found, a pass stays one unless harm is found later;
//! - (i) within a hold nothing passes, and only harm beyond the wide margin is found;
//! - (j) predictions of a few windows are as good as none: the past stands for the old setting there;
//! - (k) no promise is broken while the room that it is about is not filled;
//! - (l) who a comparison does without is named; a metric that measures nobody who got the change does not
//!   pass, nor does a trial in which one of them is measured by no metric, or falls silent.
//!
//! Error rates are measured, not derived: `flyball-bench judge`.

mod arms;
mod comparison;
mod conclude;
mod contrast;
mod distribution;
mod estimate;
mod histogram;
mod look;
mod noise;
mod obstacle;
mod power;
mod reading;
mod stop;
#[cfg(test)]
mod tests;
mod trial;
mod verdict;
mod words;

pub use self::conclude::{conclude, judge};
pub use self::histogram::Histogram;
pub use self::look::{Look, history, looks};
pub use self::power::{MetricPower, Power, power};
pub use self::stop::{Bound, ErrorBurst, Facts, HardStop, InForce, Process, StopLimits, hard_stop};
pub use self::trial::{
    Arm, Expected, Filled, Hold, LATENCY_SPREAD, Limits, Margin, Metric, Predicted, Promise, Role,
    Trial, Unit, Value, Window, Worse,
};
pub use self::verdict::{Effect, Facet, Interval, Judgement, LeftOut, Verdict};
