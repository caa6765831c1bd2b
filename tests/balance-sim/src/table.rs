//! The matrix of scenarios, as figures by control.

use flyball_model::balance::{envelope, law};

use crate::measure::Outcome;
use crate::run;
use crate::scenario::{Control, Fault, Scenario};

/// Constants were chosen with the seeds 1 to 3; figures are of others.
const FIRST_SEED: u64 = 11;

/// One scenario with all controls.
#[derive(Debug, Clone)]
pub struct Row {
    /// The scenario in words.
    pub name: String,
    /// Name of the control and its outcomes, one for each seed.
    pub cells: Vec<(&'static str, Vec<Outcome>)>,
}

/// A scenario without its control and seed.
type Shape = (String, Scenario);

fn shapes() -> Vec<Shape> {
    let base = || Scenario::new(0, Control::Equal);
    let mut shapes: Vec<Shape> = Vec::new();
    let mut add = |name: &str, scenario: Scenario| shapes.push((name.to_owned(), scenario));
    for load in [0.5, 0.7, 0.85, 0.95] {
        add(&format!("steady, load {load}"), Scenario { load, ..base() });
    }
    for (window_s, windows) in [(1.0, 120), (5.0, 60), (10.0, 48)] {
        for delay_windows in [0.0, 1.0, 2.0] {
            let step = Scenario { window_s, windows, delay_windows, fault: Fault::Step, ..base() };
            add(&format!("step, T {window_s} s, delay {delay_windows} T"), step);
        }
    }
    add("step, load 0.85", Scenario { load: 0.85, fault: Fault::Step, ..base() });
    for noise in [0.0, 0.2] {
        let noisy = Scenario { noise, load: 0.85, ..base() };
        add(&format!("load 0.85, noise {:.0} %", noise * 100.0), noisy);
    }
    for balancers in [1, 64] {
        add(&format!("steady, {balancers} balancers"), Scenario { balancers, ..base() });
    }
    let antagonist = Scenario { fault: Fault::Antagonist, noise: 0.2, load: 0.6, ..base() };
    add("antagonist, noise 20 %, load 0.6", antagonist);
    add("missing reports", Scenario { fault: Fault::MissingReports, ..base() });
    add("fast-failing backend", Scenario { fault: Fault::FastFailing, ..base() });
    add("hung backend", Scenario { fault: Fault::Hung(None), ..base() });
    add("hung backend, load 0.85", Scenario { fault: Fault::Hung(None), load: 0.85, ..base() });
    add("backend that waits, idle", Scenario { fault: Fault::Waits(None), ..base() });
    let back = Scenario { fault: Fault::Hung(Some(10)), windows: 120, ..base() };
    add("hung for 10 windows, then well", back);
    add("restart of the collector and step", Scenario { fault: Fault::Restart, ..base() });
    add("cold backend", Scenario { fault: Fault::ColdBackend, ..base() });
    add("start from equal weights", Scenario { equal_start: true, ..base() });
    shapes
}

fn controls(window_s: f64) -> Vec<Control> {
    let settings =
        law::Settings { window_ms: (window_s * 1_000.0) as u64, ..law::Settings::default() };
    vec![
        Control::Ideal,
        Control::shipped(window_s),
        Control::LawRandom2(settings, envelope::Settings::default()),
        Control::Raw,
        Control::LeastConnections,
        Control::InverseLatency,
        Control::Equal,
    ]
}

/// Runs the matrix, only scenarios with `word` in their name; `progress` is told the part that is done and what comes next.
pub fn matrix(seeds: u64, word: &str, progress: &mut dyn FnMut(f64, &str)) -> Vec<Row> {
    let mut shapes = shapes();
    shapes.retain(|(name, _)| name.contains(word));
    let count = shapes.len() as f64;
    let mut rows = Vec::new();
    for (at, (name, shape)) in shapes.into_iter().enumerate() {
        let mut cells = Vec::new();
        for control in controls(shape.window_s) {
            progress(at as f64 / count, &format!("{name}: {}", control.name()));
            let outcomes = (FIRST_SEED..FIRST_SEED + seeds)
                .map(|seed| run(&Scenario { seed, control: control.clone(), ..shape.clone() }));
            cells.push((control.name(), outcomes.collect()));
        }
        rows.push(Row { name, cells });
    }
    progress(1.0, "done");
    rows
}

impl Row {
    /// The heading of the table that [`Row::markdown`] gives lines of.
    pub fn heading(&self) -> String {
        let names: Vec<&str> = self.cells.iter().map(|(name, _)| *name).collect();
        format!("| scenario | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()))
    }

    /// A line: p99 in ms of steady state, weight variation, windows until settled.
    pub fn markdown(&self) -> String {
        let cells: Vec<String> =
            self.cells.iter().map(|(name, outcomes)| cell(name, outcomes)).collect();
        format!("| {} | {} |", self.name, cells.join(" | "))
    }

    /// Mean steady p99 in ms by control.
    pub fn p99_ms(&self) -> Vec<(&'static str, f64)> {
        let mean = |outcomes: &[Outcome]| {
            outcomes.iter().map(|one| one.steady_p99_ms).sum::<f64>() / outcomes.len() as f64
        };
        self.cells.iter().map(|(name, outcomes)| (*name, mean(outcomes))).collect()
    }
}

fn cell(name: &str, outcomes: &[Outcome]) -> String {
    let count = outcomes.len() as f64;
    let mean = |of: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / count;
    let (all, steady) = (mean(&|one| one.p99_ms), mean(&|one| one.steady_p99_ms));
    let variation = mean(&|one| one.weight_cv) * 100.0;
    let settled: Option<Vec<usize>> = outcomes.iter().map(|one| one.settled).collect();
    let settled = settled
        .and_then(|windows| windows.into_iter().max())
        .map_or_else(|| "never".to_owned(), |windows| windows.to_string());
    let settled = if name == Control::LeastConnections.name() { "-".to_owned() } else { settled };
    let failed = match mean(&|one| one.failed) * 100.0 {
        failed if failed > 0.0 => format!(", {failed:.1} % failed"),
        _ => String::new(),
    };
    let floored = |outcomes: &[Outcome]| outcomes.iter().filter_map(|one| one.floored).max();
    let floored = floored(outcomes).filter(|_| outcomes.iter().all(|one| one.floored.is_some()));
    let floored = floored.map(|windows| format!(", floor after {windows}")).unwrap_or_default();
    format!("{steady:.0} ({all:.0}) / {variation:.1} % / {settled}{failed}{floored}")
}
