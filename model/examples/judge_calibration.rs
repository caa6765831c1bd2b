//! Measures the judge's error rates: rollouts that change nothing, and rollouts that do harm.
//!
//! `judge_calibration [--runs N] [--recorded FILE]` prints tables. FILE has lines
//! `unit,start_ms,requests,hits`, the windows of each unit in order and of equal width; lines that
//! begin otherwise than with four fields of that kind, such as a header, are passed over.

#[path = "../tests/calibration/mod.rs"]
mod calibration;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::thread::available_parallelism;

use calibration::growth::{Course, growth, switch};
use calibration::noise::{SHAPES, Shape};
use calibration::rollouts::{Design, Setting, Summary, run};
use calibration::whole::{self, CHANGES};
use calibration::{share, verdicts};
use flyball_model::judge::{Judgement, Trial};

const DESIGNS: [Design; 3] = [Design::Controls, Design::Prediction, Design::Alone];
const NOISES: [f64; 3] = [0.02, 0.05, 0.15];
const HARMS: [f64; 3] = [0.05, 0.1, 0.2];

/// Trials by seed, and until when they were measured.
type Made = Box<dyn Fn(u64) -> (Trial, i64) + Sync>;

struct Options {
    runs: u64,
    threads: u64,
    recorded: Option<Vec<Vec<f64>>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let mut out = io::stdout().lock();
    let runs = options.runs;
    writeln!(
        out,
        "{runs} rollouts each, an hour before and up to an hour after in windows of 10 s, margin 2 % of \
         the misses.\nNoise: deviation of a window in % of the misses. Windows: median up to the verdict.\n"
    )?;
    if let Some(recorded) = &options.recorded {
        return from_record(&mut out, &options, recorded);
    }
    for design in DESIGNS {
        harmless(&mut out, &options, design)?;
    }
    for design in DESIGNS {
        harmful(&mut out, &options, design)?;
    }
    whole_trials(&mut out, &options)?;
    courses(&mut out, &options)
}

fn harmless(out: &mut impl Write, options: &Options, design: Design) -> Result<(), Box<dyn Error>> {
    writeln!(out, "### Nothing changed, {}\n", name(design))?;
    let columns = ["Noise", "%", "Rolled back %", "Passed %", "Windows", "False gain %"];
    head(out, &[&columns[..], &["Covered at every look %", "at the last %"]].concat())?;
    for shape in SHAPES {
        for noise in NOISES {
            let seen = run(&Setting::new(shape, noise, design, 0.0), options.runs, options.threads);
            line(out, &[vec![shape.name(), percent(noise, 0)], harmless_cells(&seen)].concat())?;
        }
    }
    Ok(writeln!(out)?)
}

fn harmless_cells(seen: &Summary) -> Vec<String> {
    vec![
        percent(seen.harm, 2),
        percent(seen.pass, 1),
        seen.windows_to_pass.to_string(),
        percent(seen.false_gain, 2),
        percent(seen.covered_always, 1),
        percent(seen.covered_last, 1),
    ]
}

fn harmful(out: &mut impl Write, options: &Options, design: Design) -> Result<(), Box<dyn Error>> {
    writeln!(out, "### Harm done, {}\n", name(design))?;
    let columns = ["Noise", "%", "+5 %: found %", "windows", "+10 %: found %", "windows"];
    let last = ["+20 %: found %", "windows", "passed %"];
    head(out, &[&columns[..], &last[..]].concat())?;
    for shape in SHAPES {
        for noise in NOISES {
            let mut cells = vec![shape.name(), percent(noise, 0)];
            let mut passed: f64 = 0.0;
            for harm in HARMS {
                let setting = Setting::new(shape, noise, design, harm);
                let seen = run(&setting, options.runs, options.threads);
                cells.extend([percent(seen.harm, 1), seen.windows_to_harm.to_string()]);
                passed = passed.max(seen.pass);
            }
            cells.push(percent(passed, 2));
            line(out, &cells)?;
        }
    }
    Ok(writeln!(out)?)
}

fn from_record(
    out: &mut impl Write,
    options: &Options,
    recorded: &[Vec<f64>],
) -> Result<(), Box<dyn Error>> {
    let columns = ["Compared with", "Rolled back %", "Passed %", "Windows", "False gain %"];
    let last = ["Covered at every look %", "at the last %", "+20 %: found %", "windows"];
    head(out, &[&columns[..], &last[..]].concat())?;
    for design in [Design::Controls, Design::Alone] {
        let setting = |harm| Setting {
            recorded: Some(recorded.to_vec()),
            ..Setting::new(Shape::White, 0.0, design, harm)
        };
        let seen = run(&setting(0.0), options.runs, options.threads);
        let harmed = run(&setting(0.2), options.runs, options.threads);
        let found = vec![percent(harmed.harm, 1), harmed.windows_to_harm.to_string()];
        line(out, &[vec![name(design).into()], harmless_cells(&seen), found].concat())?;
    }
    Ok(())
}

fn whole_trials(out: &mut impl Write, options: &Options) -> Result<(), Box<dyn Error>> {
    let runs = (options.runs / 5).max(1);
    writeln!(
        out,
        "### Five metrics at once, {runs} rollouts each, half an hour before and after, two units and two \
         controls\n"
    )?;
    head(out, &["Change", "Rolled back %", "Windows", "for its metric %", "Passed %", "Windows"])?;
    for change in CHANGES {
        let seen = verdicts(&|seed| whole::trial(change, seed), runs, options.threads);
        let (harm, windows) = share(&seen, Judgement::Harm);
        let (pass, passed) = share(&seen, Judgement::Pass);
        let of = |v: &&_| is_for(v, change.metric());
        let right = seen.iter().filter(of).count() as f64 / seen.len() as f64;
        let cells = [percent(harm, 2), windows.to_string(), percent(right, 2), percent(pass, 2)];
        let cells = [vec![format!("{change:?}")], cells.to_vec(), vec![passed.to_string()]];
        line(out, &cells.concat())?;
    }
    Ok(writeln!(out)?)
}

fn is_for(verdict: &flyball_model::judge::Verdict, metric: Option<&str>) -> bool {
    verdict.result == Judgement::Harm && Some(verdict.metric.as_str()) == metric
}

fn courses(out: &mut impl Write, options: &Options) -> Result<(), Box<dyn Error>> {
    writeln!(
        out,
        "### A growing cache held to its course, and a policy that warms up; windows of 5 s\n"
    )?;
    head(out, &["Course", "Rolled back %", "Windows", "Passed %", "Windows"])?;
    let mut rows: Vec<(String, Made)> = Vec::new();
    for course in [Course::Kept, Course::Nearly, Course::Half, Course::Nothing] {
        rows.push((format!("growth: {course:?}"), Box::new(move |seed| growth(course, seed))));
    }
    for (course, hold) in [(Course::Dip, true), (Course::Dip, false), (Course::Loss, true)] {
        let label = if hold { "with hold" } else { "without hold" };
        let made: Made = Box::new(move |seed| switch(course, hold, seed));
        rows.push((format!("switch: {course:?}, {label}"), made));
    }
    for (label, made) in rows {
        let seen = verdicts(&*made, options.runs, options.threads);
        let (harm, windows) = share(&seen, Judgement::Harm);
        let (pass, passed) = share(&seen, Judgement::Pass);
        let numbers = [percent(harm, 2), windows.to_string(), percent(pass, 2), passed.to_string()];
        line(out, &[vec![label], numbers.to_vec()].concat())?;
    }
    Ok(())
}

fn name(design: Design) -> &'static str {
    match design {
        Design::Controls => "two units and two controls",
        Design::Prediction => "one unit and a prediction",
        Design::Alone => "one unit and its past",
    }
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$}", 100.0 * share)
}

fn head(out: &mut impl Write, columns: &[&str]) -> io::Result<()> {
    writeln!(out, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))
}

fn line(out: &mut impl Write, cells: &[String]) -> io::Result<()> {
    writeln!(out, "| {} |", cells.join(" | "))?;
    out.flush()
}

fn options() -> Result<Options, Box<dyn Error>> {
    let threads = available_parallelism().map_or(1, |n| n.get() as u64);
    let mut options = Options { runs: 10_000, threads, recorded: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--runs" => options.runs = value.parse()?,
            "--recorded" => options.recorded = Some(read(&value)?),
            _ => return Err(format!("unknown option {argument}").into()),
        }
    }
    Ok(options)
}

/// Hit ratios by unit.
fn read(path: &str) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let mut units: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [unit, start_ms, requests, hits] = fields[..] else { continue };
        let numbers = (start_ms.parse::<i64>(), requests.parse::<f64>(), hits.parse::<f64>());
        let (Ok(_), Ok(requests), Ok(hits)) = numbers else { continue };
        if requests > 0.0 && hits >= 0.0 && hits <= requests {
            units.entry(unit.to_owned()).or_default().push(hits / requests);
        }
    }
    let units: Vec<Vec<f64>> = units.into_values().filter(|series| series.len() >= 100).collect();
    if units.is_empty() {
        return Err(format!("{path} has no unit with 100 windows").into());
    }
    Ok(units)
}
