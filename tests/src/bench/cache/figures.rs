//! How good predictions were.

use std::io::Write as _;

use super::record::{Change, Found, Predicted, Prediction, Source};
use super::scenario::Scenario;
use crate::bench::table::{Bar, Table};

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
    for change in [Change::Half, Change::Twice] {
        sizes(table, &outcomes, change, Source::Reuse);
        sizes(table, &outcomes, change, Source::Emulation);
    }
    lfu(table, &outcomes);
    coverage(table, &outcomes);
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

fn sizes(table: &mut Table, outcomes: &[Outcome<'_>], change: Change, source: Source) {
    let these: Vec<f64> = outcomes
        .iter()
        .filter(|o| o.prediction.change == change && o.prediction.source == source)
        .filter_map(Outcome::error)
        .collect();
    if these.is_empty() {
        return;
    }
    let what = format!("{} by {}", name(change), origin(source));
    let mean = these.iter().map(|error| error.abs()).sum::<f64>() / these.len() as f64;
    let worst = these.iter().map(|error| error.abs()).fold(0.0, f64::max);
    let bias = these.iter().sum::<f64>() / these.len() as f64;
    table.push(&format!("{what}: mean error, points"), vec![mean], Some(0.5));
    table.push(&format!("{what}: worst error, points"), vec![worst], Some(1.5));
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
    let errors: Vec<f64> = these().filter_map(Outcome::error).map(f64::abs).collect();
    if !errors.is_empty() {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let worst = errors.iter().copied().fold(0.0, f64::max);
        table.push("LFU: mean error of the difference, points", vec![mean], None);
        table.push("LFU: worst error of the difference, points", vec![worst], Some(1.0));
    }
}

/// Of what the product publishes: sizes from reuse, the policy from the emulation.
fn coverage(table: &mut Table, outcomes: &[Outcome<'_>]) {
    let published = |o: &&Outcome<'_>| {
        (o.prediction.source == Source::Reuse) != (o.prediction.change == Change::Lfu)
    };
    let these: Vec<_> = outcomes.iter().filter(published).collect();
    let covered = these.iter().filter(|outcome| outcome.is_covered()).count();
    let share = covered as f64 / these.len() as f64;
    table.add("predictions", these.len() as f64, Some(Bar::AtLeast(LEAST as f64)));
    table.add("share of 90 % intervals that hold the truth", share, Some(Bar::AtLeast(0.85)));
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
