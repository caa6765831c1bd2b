//! The judge's error rates: rollouts that change nothing, rollouts that do harm, caches that grow.
//!
//! Computed, not run: what was measured is made up, or put together from a record of a real Redis, and
//! goes through the driver's own code and settings to the judge. Every kind of rollout has seeds of
//! its own, so that kinds are independent and may be added up. Limits hold with 95 %.

mod growth;
mod noise;
mod record;
mod rollouts;
mod tally;
#[cfg(test)]
mod tests;
mod whole;

use std::io::{self, Write};
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::Result;
use flyball_model::judge::{Judgement, Trial, Verdict, judge};

use self::noise::SHAPES;
use self::rollouts::{DESIGNS, Design, Noise, Outcome, Setting};
use self::tally::{Share, median, per_seed};
use super::table::{Bar, Figure, Table};

/// Deviations of a window as shares of the misses: low, medium, high.
const LEVELS: [f64; 3] = [0.02, 0.05, 0.15];
const MEDIUM: f64 = 0.05;
/// Additional misses as shares of them.
const HARMS: [f64; 5] = [0.05, 0.1, 0.2, 0.4, 0.8];
/// The one that has a bar at medium noise.
const LARGE: f64 = 0.2;
const WINDOW_S: f64 = 10.0;
/// Largest part of rollouts without a change that may be rolled back, percent.
const MOST_FALSE: f64 = 1.0;
/// Smallest part of those with a large harm that must be found, percent.
const LEAST_FOUND: f64 = 99.0;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rollouts without a change for each way to compare, synthetic and recorded each. Others are
    /// fewer in proportion.
    pub runs: u64,
    /// The first seed.
    pub seed: u64,
}

/// Runs kinds of rollouts one after the other, each with seeds of its own.
struct Bench {
    options: Options,
    threads: u64,
    kinds: u64,
    since: Instant,
}

/// Measures everything, prints tables, and adds the figures that have bars to `table`.
///
/// # Errors
/// When nothing can be written.
pub fn run(table: &mut Table, options: Options) -> Result<()> {
    let threads = available_parallelism().map_or(1, |n| n.get() as u64);
    let mut bench = Bench { options, threads, kinds: 0, since: Instant::now() };
    let mut out = io::stdout().lock();
    records(&mut out)?;
    bench.harmless(table, &mut out)?;
    bench.large(table, &mut out)?;
    bench.harmful(&mut out)?;
    bench.courses(&mut out)?;
    bench.whole(&mut out)
}

fn records(out: &mut impl Write) -> Result<()> {
    writeln!(out, "### What was recorded\n")?;
    head(
        out,
        &["server", "seconds", "misses, % of requests", "deviation of 10 s, % of the misses"],
    )?;
    for server in record::servers() {
        let (misses, noise) = server.noise();
        let numbers = [server.seconds.len().to_string(), percent(misses), percent(noise)];
        line(out, &[vec![server.name.clone()], numbers.to_vec()].concat())?;
    }
    Ok(writeln!(out)?)
}

impl Bench {
    /// So many runs of a kind that had no seed yet.
    fn each<T: Send>(&mut self, runs: u64, of: &(dyn Fn(u64) -> T + Sync)) -> Vec<T> {
        let first = self.options.seed.wrapping_add(self.kinds << 32);
        self.kinds += 1;
        per_seed(runs.max(1), self.threads, &|run| of(first.wrapping_add(run)))
    }

    fn outcomes(&mut self, setting: Setting, runs: u64) -> Vec<Outcome> {
        self.each(runs, &|seed| setting.outcome(seed))
    }

    fn progress(&self, what: &str) {
        let seconds = self.since.elapsed().as_secs();
        let _ = writeln!(io::stderr(), "judge: {what}, {seconds} s so far");
    }

    fn harmless(&mut self, table: &mut Table, out: &mut impl Write) -> Result<()> {
        writeln!(out, "### Nothing changed\n")?;
        let columns = ["noise", "compared with", "rolled back", "at most %", "passed %"];
        let last = ["minutes", "undecided %", "gains claimed %", "intervals hold %"];
        head(out, &[&columns[..], &last].concat())?;
        let runs = self.options.runs;
        let mut all = Share::default();
        for design in DESIGNS {
            for (name, noises) in [("synthetic", synthetic(&LEVELS)), ("recorded", recorded())] {
                self.progress(&format!("nothing changed, {name}, {}", design.name()));
                let each = runs.div_ceil(noises.len() as u64);
                let of = |noise| Setting { noise, design, harm: 0.0 };
                let seen: Vec<Outcome> =
                    noises.into_iter().flat_map(|noise| self.outcomes(of(noise), each)).collect();
                let back = Share::count(&seen, |o| o.harm_ever.is_some());
                all = all.plus(back);
                line(out, &harmless_cells(name, design, back, &seen))?;
                let what = format!("nothing changed, {name}, {}: rolled back", design.name());
                push(table, &what, back.at_most(), Bar::AtMost(MOST_FALSE));
            }
        }
        push(table, "nothing changed, all: rolled back", all.at_most(), Bar::AtMost(MOST_FALSE));
        Ok(writeln!(out)?)
    }

    fn large(&mut self, table: &mut Table, out: &mut impl Write) -> Result<()> {
        writeln!(out, "### 20 % more misses, medium noise: found, at least %, minutes\n")?;
        head(out, &[&["noise"], &DESIGNS.map(Design::name)[..]].concat())?;
        let runs = self.options.runs.div_ceil(10);
        let mut all = DESIGNS.map(|_| Share::default());
        for noise in [synthetic(&[MEDIUM]), recorded()].concat() {
            self.progress(&format!("20 % more misses, {}", noise.name()));
            let mut cells = vec![noise.name()];
            for (i, design) in DESIGNS.into_iter().enumerate() {
                let seen = self.outcomes(Setting { noise, design, harm: LARGE }, runs);
                let found = Share::count(&seen, |o| o.harm.is_some());
                if matches!(noise, Noise::Made(..)) {
                    all[i] = all[i].plus(found);
                }
                let (of, least) = (counts(found), percent(found.at_least()));
                cells.push(format!("{of}, {least}, {}", minutes(&seen, |o| o.harm)));
            }
            line(out, &cells)?;
        }
        for (design, found) in DESIGNS.into_iter().zip(all) {
            let what = format!("20 % more misses, medium noise, {}: found", design.name());
            push(table, &what, found.at_least(), Bar::AtLeast(LEAST_FOUND));
        }
        Ok(writeln!(out)?)
    }

    fn harmful(&mut self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "### More misses: found %, median minutes, promoted %\n")?;
        let harms = HARMS.map(|harm| format!("+{:.0} %", 100.0 * harm));
        let harms: Vec<&str> = harms.iter().map(String::as_str).collect();
        head(out, &[&["compared with", "noise, % of the misses"], &harms[..]].concat())?;
        let runs = self.options.runs.div_ceil(50);
        for design in DESIGNS {
            self.progress(&format!("harm, {}", design.name()));
            let mut rows: Vec<(String, Vec<Noise>)> =
                LEVELS.map(|level| (percent(level), synthetic(&[level]))).to_vec();
            rows.extend(recorded().into_iter().map(|noise| (noise.name(), vec![noise])));
            for (name, noises) in rows {
                let mut cells = vec![design.name().to_owned(), name];
                for harm in HARMS {
                    let of = |noise| Setting { noise, design, harm };
                    let seen: Vec<Outcome> =
                        noises.iter().flat_map(|n| self.outcomes(of(*n), runs)).collect();
                    let found = percent(Share::count(&seen, |o| o.harm.is_some()).value());
                    let passed = percent(Share::count(&seen, |o| o.pass.is_some()).value());
                    cells.push(format!("{found}, {}, {passed}", minutes(&seen, |o| o.harm)));
                }
                line(out, &cells)?;
            }
        }
        Ok(writeln!(out)?)
    }

    /// Trials that are not about one unit's hit ratio before and after.
    fn verdicts(&mut self, runs: u64, made: &(dyn Fn(u64) -> (Trial, i64) + Sync)) -> Vec<Verdict> {
        self.each(runs, &|seed| {
            let (trial, until_ms) = made(seed);
            judge(&trial, until_ms)
        })
    }

    fn courses(&mut self, out: &mut impl Write) -> Result<()> {
        self.progress("caches that grow or change their policy");
        writeln!(out, "### A growing cache, and a policy that warms up\n")?;
        head(
            out,
            &["course", "rolled back %", "windows", "for its promise %", "passed %", "windows"],
        )?;
        let runs = self.options.runs.div_ceil(10);
        for course in [&growth::GROWING[..], &growth::SWITCHED].concat() {
            let seen = self.verdicts(runs, &|seed| growth::rollout(course, seed));
            let promise = |v: &Verdict| {
                v.result == Judgement::Harm && v.reason.contains("does not keep what was promised")
            };
            let promise = percent(Share::count(&seen, promise).value());
            let cells = course_cells(course.name().to_owned(), &seen);
            line(out, &[&cells[..3], &[promise], &cells[3..]].concat())?;
        }
        Ok(writeln!(out)?)
    }

    fn whole(&mut self, out: &mut impl Write) -> Result<()> {
        self.progress("five metrics at once");
        writeln!(out, "### Five metrics at once\n")?;
        head(out, &["change", "rolled back %", "windows", "for its metric %", "passed %"])?;
        let runs = self.options.runs.div_ceil(500);
        for change in whole::CHANGES {
            let seen = self.verdicts(runs, &|seed| whole::trial(change, seed));
            let right = Share::count(&seen, |v| {
                v.result == Judgement::Harm && Some(v.metric.as_str()) == change.metric()
            });
            let cells = course_cells(format!("{change:?}"), &seen);
            let right = percent(right.value());
            line(out, &[&cells[..3], &[right, cells[3].clone()]].concat())?;
        }
        Ok(writeln!(out)?)
    }
}

/// All shapes at these levels.
fn synthetic(levels: &[f64]) -> Vec<Noise> {
    let at = |level: &f64| SHAPES.map(|shape| Noise::Made(shape, *level));
    levels.iter().flat_map(at).collect()
}

fn recorded() -> Vec<Noise> {
    [false, true].map(|bursty| Noise::Recorded { bursty }).to_vec()
}

fn push(table: &mut Table, what: &str, share: f64, bar: Bar) {
    let limit = match bar {
        Bar::AtMost(_) | Bar::Never => "at most",
        Bar::AtLeast(_) => "at least",
    };
    let what = format!("{what}, {limit}, %");
    table.0.push(Figure { what, values: vec![100.0 * share], bar: Some(bar) });
}

fn harmless_cells(noise: &str, design: Design, back: Share, seen: &[Outcome]) -> Vec<String> {
    let share = |holds: &dyn Fn(&Outcome) -> bool| percent(Share::count(seen, holds).value());
    vec![
        noise.to_owned(),
        design.name().to_owned(),
        counts(back),
        percent(back.at_most()),
        share(&|o| o.pass.is_some()),
        minutes(seen, |o| o.pass),
        share(&|o| o.pass.is_none() && o.harm.is_none()),
        share(&|o| o.gain),
        share(&|o| o.covered),
    ]
}

fn course_cells(label: String, seen: &[Verdict]) -> Vec<String> {
    let of = |result| {
        let share = Share::count(seen, |v: &Verdict| v.result == result);
        let windows = seen.iter().filter(|v| v.result == result).map(|v| v.windows).collect();
        [percent(share.value()), median(windows).map_or("-".into(), |n| n.to_string())]
    };
    let cells = [of(Judgement::Harm), of(Judgement::Pass)].concat();
    [vec![label], cells].concat()
}

fn counts(share: Share) -> String {
    format!("{} of {}", share.of, share.all)
}

/// Median time of those that have one.
fn minutes(seen: &[Outcome], windows: impl Fn(&Outcome) -> Option<u32>) -> String {
    let median = median(seen.iter().filter_map(windows).collect());
    median.map_or("-".to_owned(), |windows| format!("{:.1}", f64::from(windows) * WINDOW_S / 60.0))
}

/// With so many digits that small ones are no zeroes.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let digits =
        if percent >= 99.95 || percent == 0.0 { 0 } else { usize::from(percent < 1.0) + 1 };
    format!("{percent:.digits$}")
}

fn head(out: &mut impl Write, columns: &[&str]) -> Result<()> {
    Ok(writeln!(out, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))?)
}

fn line(out: &mut impl Write, cells: &[String]) -> Result<()> {
    writeln!(out, "| {} |", cells.join(" | "))?;
    Ok(out.flush()?)
}
