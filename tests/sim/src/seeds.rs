//! Runs seeds: each in a process of its own, several at a time, and tells which ones failed and how to see why.

#![allow(clippy::print_stdout, reason = "seeds and rates are for people")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::world::Report;
use crate::{kernel, trace, world};

/// The seed that a process is to run.
const SEED: &str = "FLYBALL_SIM_SEED";
/// Set in processes that a parent counts on: they tell their figures and no trace.
const FIGURES: &str = "FLYBALL_SIM_FIGURES";
/// How long new seeds are run for.
const SOAK_SECONDS: &str = "FLYBALL_SOAK_SECONDS";
/// Seeds that every run of the tests takes.
const FIXED: u64 = 60;
/// Seeds that are run twice.
const TWICE: u64 = 5;

/// Runs a seed on a thread that has seen nothing yet.
fn run(seed: u64, is_printed: bool) -> Report {
    let world = move || {
        kernel::seed(seed);
        trace::begin(is_printed);
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("info,flyball=debug"))
            .with_ansi(false)
            .without_time()
            .with_writer(trace::Log)
            .finish();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("it needs no system");
        tracing::subscriber::with_default(log, || runtime.block_on(world::run(seed)))
    };
    std::thread::spawn(world).join().expect("a world does not panic")
}

/// What a process said of its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figures {
    /// Name and value, the hash among them.
    values: BTreeMap<String, u64>,
    broken: Vec<String>,
}

impl Figures {
    fn get(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or_default()
    }
}

/// Prints a report as [`parse`] reads it.
fn tell(seed: u64, report: &Report) {
    let account = &report.account;
    for (name, value) in [
        ("seed", seed),
        ("hash", report.hash),
        ("events", report.events),
        ("virtual_ms", report.virtual_time.as_millis() as u64),
        ("faults", report.faults as u64),
        ("frames", report.frames as u64),
        ("produced", account.produced),
        ("stored", account.stored),
        ("missing", account.missing),
        ("shed", account.shed),
        ("excused", account.excused),
        ("deduplicated", report.deduplicated),
        ("repeated_rows", report.repeated_rows),
    ] {
        println!("figure {name} {value}");
    }
    for text in &report.broken {
        println!("broken {text}");
    }
}

fn parse(output: &str) -> Figures {
    let figure = |line: &str| {
        let (name, value) = line.strip_prefix("figure ")?.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let broken = output.lines().filter_map(|line| line.strip_prefix("broken "));
    Figures {
        values: output.lines().filter_map(figure).collect(),
        broken: broken.map(str::to_owned).collect(),
    }
}

/// Runs a seed in a process of its own.
fn spawn(seed: u64) -> Result<Figures> {
    let output = Command::new(std::env::current_exe()?)
        .args(["seeds::tests::replay", "--exact", "--nocapture", "--test-threads=1"])
        .env(SEED, seed.to_string())
        .env(FIGURES, "1")
        .stdin(Stdio::null())
        .output()
        .context("the simulation's own program cannot be started")?;
    let figures = parse(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() && figures.broken.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<_> = said.lines().rev().take(12).collect();
        bail!("seed {seed} ended without figures: {tail:?}");
    }
    Ok(figures)
}

/// Runs the seeds that `next` gives on all processors, and sums up their figures. Fails with every seed that failed.
fn run_all(next: impl Fn() -> Option<u64> + Sync) -> Result<(u64, BTreeMap<String, u64>)> {
    let sums = Mutex::new((0, BTreeMap::<String, u64>::new(), Vec::new()));
    let worker = || {
        while let Some(seed) = next() {
            let result = spawn(seed);
            let (count, figures, failed) = &mut *sums.lock();
            *count += 1;
            match result {
                Ok(one) => {
                    for (name, value) in one.values.iter().filter(|(name, _)| *name != "hash") {
                        *figures.entry(name.clone()).or_default() += value;
                    }
                    if !one.broken.is_empty() {
                        println!("seed {seed} failed: {:?}", one.broken);
                        failed.push(seed);
                    }
                }
                Err(error) => {
                    println!("{error:#}");
                    failed.push(seed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    let (count, figures, failed) = sums.into_inner();
    if let Some(seed) = failed.first() {
        bail!(
            "{} of {count} seeds failed: {failed:?}; to see why: {SEED}={seed} cargo nextest run -p flyball-sim replay --no-capture",
            failed.len()
        );
    }
    Ok((count, figures))
}

fn print_rate(count: u64, figures: &BTreeMap<String, u64>, time: Duration) {
    let figure = |name: &str| figures.get(name).copied().unwrap_or_default();
    let seconds = time.as_secs_f64();
    println!(
        "{count} seeds in {seconds:.1} s ({:.1}/s): {:.1} h of virtual time, {} faults, {} samples produced, {} stored, {} missing, all of them given up and counted \
         ({}) or off the medium when a host or its agent died ({} at most); {} blocks recognized by their token, {} rows sent again",
        count as f64 / seconds,
        figure("virtual_ms") as f64 / 3_600_000.0,
        figure("faults"),
        figure("produced"),
        figure("stored"),
        figure("missing"),
        figure("shed"),
        figure("excused"),
        figure("deduplicated"),
        figure("repeated_rows"),
    );
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One seed in this process: the one that is named, told line by line, or the first one.
    #[test]
    fn replay() {
        let seed = number(SEED);
        let report = run(seed.unwrap_or(1), seed.is_some() && number(FIGURES).is_none());
        tell(seed.unwrap_or(1), &report);
        assert_eq!(report.broken, Vec::<String>::new(), "seed {seed:?}");
        assert!(report.account.stored > 0, "{report:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() -> Result<()> {
        for seed in 0..TWICE {
            let (first, second) = (spawn(seed)?, spawn(seed)?);
            assert!(first.get("hash") != 0 && first.get("events") > 20, "{first:?}");
            assert_eq!(first, second, "seed {seed}");
        }
        assert_ne!(spawn(0)?.get("hash"), spawn(1)?.get("hash"));
        Ok(())
    }

    #[test]
    fn fixed_seeds_keep_every_promise() -> Result<()> {
        let (start, next) = (Instant::now(), AtomicU64::new(0));
        let next = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < FIXED);
        let (count, figures) = run_all(next)?;
        print_rate(count, &figures, start.elapsed());
        for met in ["faults", "shed", "excused", "deduplicated", "repeated_rows"] {
            assert!(figures[met] > 0, "no seed met {met}: {figures:?}");
        }
        Ok(())
    }

    /// New seeds for as long as is asked for; without a word a few more of those that every run takes.
    #[test]
    fn soak() -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let (first, seconds) = match number(SOAK_SECONDS) {
            Some(seconds) => (now.as_millis() as u64, seconds),
            None => (FIXED, 2),
        };
        let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
        let next = AtomicU64::new(0);
        println!("seeds from {first} on, for {limit:?}");
        let next =
            || (start.elapsed() < limit).then(|| first + next.fetch_add(1, Ordering::Relaxed));
        let (count, figures) = run_all(next)?;
        print_rate(count, &figures, start.elapsed());
        Ok(())
    }
}
