//! How good predictions were.

use std::io::Write as _;

use super::record::{Change, Found, Predicted, Prediction, Source};
use super::scenario::Scenario;
use crate::bench::table::{Bar, Table};
use crate::load::cache::Kind;

/// A difference that large must have its sign predicted, in points.
const CLEAR: f64 = 0.5;
/// So many predictions are needed to judge intervals.
const LEAST: usize = 60;

/// A prediction and what came.
struct Outcome<'a> {
    scenario: Scenario,
    prediction: &'a Prediction,
    truth: f64,
}

impl Outcome<'_> {
    /// In points of the hit ratio.
    fn error(&self) -> Option<f64> {
        Some(100.0 * (self.prediction.value? - self.truth))
    }

    fn is_covered(&self) -> bool {
        (self.prediction.low..=self.prediction.high).contains(&self.truth)
    }

    /// The product tells sizes from reuse and the policy from the emulation.
    fn is_published(&self) -> bool {
        (self.prediction.source == Source::Reuse) != (self.prediction.change == Change::Lfu)
    }
}

/// Prints each prediction, and adds figures with their bars.
pub(super) fn add(table: &mut Table, all: &[(Scenario, Predicted, Found)]) {
    let outcomes: Vec<Outcome<'_>> = all
        .iter()
        .flat_map(|(scenario, predicted, found)| {
            predicted.predictions.iter().map(|prediction| Outcome {
                scenario: *scenario,
                prediction,
                truth: found.of(prediction.change),
            })
        })
        .collect();
    print(&outcomes);
    print_workloads(&outcomes);
    for change in [Change::Half, Change::Twice] {
        sizes(table, &outcomes, change, Source::Reuse);
        sizes(table, &outcomes, change, Source::Emulation);
    }
    lfu(table, &outcomes);
    coverage(table, &outcomes);
    paces(table, all);
    for (i, what) in ["alone", "watched", "with MONITOR"].into_iter().enumerate() {
        for (_, predicted, _) in all {
            table.add(&format!("server {what}: % of a core"), 100.0 * predicted.cpu[i], None);
        }
    }
    for (_, predicted, _) in all {
        let residual = predicted.residual.map_or(f64::NAN, |residual| 100.0 * residual.abs());
        table.add("emulated present beside the measured: points", residual, Some(Bar::AtMost(1.0)));
    }
}

/// Clients that were late make a scenario invalid; the others were this late.
fn paces(table: &mut Table, all: &[(Scenario, Predicted, Found)]) {
    for (_, predicted, found) in all {
        let served = [found.half, found.same, found.twice, found.lfu].map(|served| served.pace);
        for pace in served.into_iter().chain([predicted.pace]) {
            let (late, latest) = (100.0 * pace.late_share, pace.latest_ms as f64);
            table.add("clients: % of batches late by half a second", late, Some(Bar::AtMost(1.0)));
            table.add("clients: the latest batch, ms", latest, None);
        }
    }
}

/// Mean, worst and mean signed error.
struct Errors {
    mean: f64,
    worst: f64,
    bias: f64,
}

impl Errors {
    /// `None` without any.
    fn of(errors: &[f64]) -> Option<Self> {
        let count = errors.len() as f64;
        (!errors.is_empty()).then(|| Self {
            mean: errors.iter().map(|error| error.abs()).sum::<f64>() / count,
            worst: errors.iter().map(|error| error.abs()).fold(0.0, f64::max),
            bias: errors.iter().sum::<f64>() / count,
        })
    }
}

/// What the product says is what is judged; the emulation's word on sizes is told beside it.
fn sizes(table: &mut Table, outcomes: &[Outcome<'_>], change: Change, source: Source) {
    let these: Vec<f64> = outcomes
        .iter()
        .filter(|o| o.prediction.change == change && o.prediction.source == source)
        .filter_map(Outcome::error)
        .collect();
    let Some(Errors { mean, worst, bias }) = Errors::of(&these) else { return };
    let what = format!("{} by {}", name(change), origin(source));
    let bar = |most| (source == Source::Reuse).then_some(most);
    table.push(&format!("{what}: mean error, points"), vec![mean], bar(0.5));
    table.push(&format!("{what}: worst error, points"), vec![worst], bar(1.5));
    table.push(&format!("{what}: bias, points"), vec![bias], None);
}

fn lfu(table: &mut Table, outcomes: &[Outcome<'_>]) {
    let these = || outcomes.iter().filter(|o| o.prediction.change == Change::Lfu);
    let clear = || these().filter(|o| 100.0 * o.truth.abs() > CLEAR);
    let right = clear().filter(|o| o.prediction.value.is_some_and(|v| v * o.truth > 0.0)).count();
    if clear().count() > 0 {
        let share = right as f64 / clear().count() as f64;
        table.add("LFU: share of clear signs that are right", share, Some(Bar::AtLeast(1.0)));
    }
    let errors: Vec<f64> = these().filter_map(Outcome::error).collect();
    if let Some(Errors { mean, worst, bias }) = Errors::of(&errors) {
        table.push("LFU: mean error of the difference, points", vec![mean], None);
        table.push("LFU: worst error of the difference, points", vec![worst], Some(1.0));
        table.push("LFU: bias of the difference, points", vec![bias], None);
    }
}

/// Of what the product publishes. Where only bounds are told there is no prediction.
fn coverage(table: &mut Table, outcomes: &[Outcome<'_>]) {
    let published: Vec<_> = outcomes.iter().filter(|o| o.is_published()).collect();
    let (these, bounds): (Vec<&Outcome<'_>>, Vec<_>) =
        published.into_iter().partition(|o| o.prediction.value.is_some());
    let covered = these.iter().filter(|outcome| outcome.is_covered()).count();
    let share = covered as f64 / these.len() as f64;
    table.add("predictions", these.len() as f64, None);
    table.add("bounds instead of a prediction", bounds.len() as f64, None);
    // Fewer tell nothing of a share of nine in ten.
    let bar = (these.len() >= LEAST).then_some(Bar::AtLeast(0.85));
    table.add("share of 90 % intervals that hold the truth", share, bar);
    let width = |change| {
        let of = these.iter().filter(|o| o.prediction.change == change);
        of.map(|o| 50.0 * (o.prediction.high - o.prediction.low)).collect::<Vec<_>>()
    };
    for change in [Change::Half, Change::Twice, Change::Lfu] {
        table.push(&format!("{}: half an interval, points", name(change)), width(change), None);
    }
}

fn print(outcomes: &[Outcome<'_>]) {
    let mut out = std::io::stdout();
    // A closed output is no reason to measure nothing.
    let _ = writeln!(
        out,
        "| server | change | by | present | predicted | interval | truth | error, points |\n|---|---|---|---|---|---|---|---|"
    );
    for outcome in outcomes {
        let Outcome { scenario, prediction, truth } = outcome;
        let Prediction { change, source, present, value, low, high } = prediction;
        let value = value.map_or("bounds".to_owned(), |value| format!("{value:.4}"));
        let error = outcome.error().map_or("-".to_owned(), |error| format!("{error:+.2}"));
        let outside = if outcome.is_covered() { "" } else { " outside" };
        let _ = writeln!(
            out,
            "| {scenario} | {} | {} | {present:.4} | {value} | {low:.4} to {high:.4} | {truth:.4} | {error}{outside} |",
            name(*change),
            origin(*source)
        );
    }
    let _ = writeln!(out);
}

/// Errors of what the product publishes, by workload.
fn print_workloads(outcomes: &[Outcome<'_>]) {
    let mut out = std::io::stdout();
    let _ = writeln!(
        out,
        "| workload | change | predictions | mean error, points | worst | bias | inside |\n|---|---|---|---|---|---|---|"
    );
    for kind in Kind::ALL {
        for change in [Change::Half, Change::Twice, Change::Lfu] {
            let these = outcomes.iter().filter(|o| {
                o.is_published() && o.scenario.load.kind == kind && o.prediction.change == change
            });
            let told: Vec<_> = these.filter_map(|o| Some((o.error()?, o.is_covered()))).collect();
            let errors: Vec<f64> = told.iter().map(|(error, _)| *error).collect();
            let inside = told.iter().filter(|(_, is_covered)| *is_covered).count();
            let Some(Errors { mean, worst, bias }) = Errors::of(&errors) else { continue };
            let (letter, change, count) = (kind.letter(), name(change), told.len());
            let _ = writeln!(
                out,
                "| {letter} | {change} | {count} | {mean:.2} | {worst:.2} | {bias:+.2} | {inside} |"
            );
        }
    }
    let _ = writeln!(out);
}

const fn name(change: Change) -> &'static str {
    match change {
        Change::Half => "half the size",
        Change::Twice => "twice the size",
        Change::Lfu => "LFU",
    }
}

const fn origin(source: Source) -> &'static str {
    match source {
        Source::Reuse => "reuse",
        Source::Emulation => "emulation",
    }
}
