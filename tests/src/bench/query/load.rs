//! A data directory with a day of samples and all of their rollups, made once and used again.
//!
//! Rollups are off while samples are loaded: each insert of the past marks its ten minutes as late,
//! and they would be computed again and again. These marks are deleted before rollups are on for
//! the first time, since those that begin from nothing leave nothing out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::say;
use crate::engine;
use crate::http::Api;
use crate::load::{History, Reporters, conserved, now_ms};
use crate::stack::{ANY_PORT, Collector};
use crate::wait::until;
use crate::workload::{SERIES_PER_NODE, STEP_MS};

/// What a data directory holds, as a file in it.
const MARKER: &str = "loaded.json";
/// The newest samples are left to the run, which sends them live: the collector keeps the last hour
/// in memory.
pub(super) const LEFT: Duration = Duration::from_mins(65);
/// Rollups are computed ten minutes at a time, a minute after their end.
const LAG_S: f64 = 720.0;
/// Longest time that the rollups of a day may take.
const ROLLED_UP: Duration = Duration::from_hours(4);

const HOUR_MS: i64 = 3_600_000;

/// A data directory's fleet and times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The directory; the collector's own data are in `collector` below it.
    #[serde(skip)]
    pub dir: PathBuf,
    /// Nodes.
    pub agents: u64,
    /// Hours that were asked for.
    pub hours: u64,
    /// Time of the first sample.
    pub start_ms: i64,
    /// Time of the next sample of every series, which is not stored; 0 while loading.
    pub end_ms: i64,
    /// All rollups up to `end_ms` have been computed.
    pub is_rolled_up: bool,
}

impl Loaded {
    /// What `dir` holds, `None` when it was not loaded.
    fn read(dir: &Path) -> Result<Option<Self>> {
        let file = dir.join(MARKER);
        if !file.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&file)?;
        let loaded: Self =
            serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        Ok(Some(Self { dir: dir.to_owned(), ..loaded }))
    }

    /// What `dir` holds.
    ///
    /// # Errors
    /// When it was not loaded, or not to the end.
    pub fn open(dir: &Path) -> Result<Self> {
        let loaded = Self::read(dir)?.filter(|loaded| loaded.is_rolled_up);
        loaded.with_context(|| format!("{} is not loaded: `query load` does it", dir.display()))
    }

    /// Remembers it in the directory.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<()> {
        std::fs::write(self.dir.join(MARKER), serde_json::to_string_pretty(self)?)
            .context("write the marker")
    }

    /// Samples of all series from the first time to the last.
    pub(super) fn samples(&self) -> i64 {
        let series = self.agents as i64 * SERIES_PER_NODE as i64;
        (self.end_ms - self.start_ms) / STEP_MS * series
    }

    /// The history of this fleet, to be told from `from_ms` on.
    pub fn history(&self, from_ms: i64) -> History {
        let step = Duration::from_millis(STEP_MS as u64);
        History { start_ms: self.start_ms, from_ms, step }
    }
}

/// Loads `dir` with `hours` hours of `agents` agents, unless it holds them already.
///
/// # Errors
/// When the collector loses or doubles a sample, or the rollups do not come to an end.
pub async fn load(dir: &Path, agents: u64, hours: u64) -> Result<Loaded> {
    std::fs::create_dir_all(dir)?;
    let found = Loaded::read(dir)?;
    let mut loaded = match found {
        Some(loaded) if loaded.agents == agents && loaded.hours == hours && loaded.end_ms > 0 => {
            say(&format!("{} is loaded already: {loaded:?}", dir.display()));
            loaded
        }
        None if dir.join("collector").exists() => {
            bail!("{} holds something else", dir.display())
        }
        _ => begin(dir, agents, hours).await?,
    };
    if !loaded.is_rolled_up {
        roll_up(&loaded).await?;
        loaded.is_rolled_up = true;
        loaded.save()?;
    }
    Ok(loaded)
}

/// Stores the samples of an empty directory.
async fn begin(dir: &Path, agents: u64, hours: u64) -> Result<Loaded> {
    let collector = dir.join("collector");
    if collector.exists() {
        std::fs::remove_dir_all(&collector)?;
    }
    let now = now_ms();
    let start_ms = now - now.rem_euclid(600_000) - hours as i64 * HOUR_MS;
    let (dir, mut loaded) = (
        dir.to_owned(),
        Loaded { dir: dir.to_owned(), agents, hours, start_ms, end_ms: 0, is_rolled_up: false },
    );
    loaded.save()?;
    let settings = [("FLYBALL_ROLLUP_ENABLED", "false")];
    let mut collector = Collector::start_with(&dir, ANY_PORT, &settings).await?;
    let mut fleet = Reporters::connect(collector.grpc, agents, loaded.history(start_ms)).await?;
    let last_ms = now - LEFT.as_millis() as i64;
    let (started, mut told) = (Instant::now(), Instant::now());
    let progress = |at_ms: i64, samples: u64| {
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let hours = (at_ms - start_ms) as f64 / HOUR_MS as f64;
            let rate = samples as f64 / started.elapsed().as_secs_f64() / 1e6;
            say(&format!("loaded {hours:.2} h, {} M samples, {rate:.2} M/s", samples / 1_000_000));
        }
    };
    fleet.catch_up(last_ms, progress).await?;
    let sent = fleet.finish().await?;
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("{} samples in {seconds:.0} s, now checked", sent.samples));
    collector.process.stop().await?;
    conserved(collector.data_dir(), sent.samples, sent.raw).await?;
    engine::run(collector.data_dir(), "TRUNCATE TABLE flyball.rollup_marks").await?;
    loaded.end_ms = sent.end_ms;
    loaded.save()?;
    Ok(loaded)
}

/// Lets the collector compute all rollups, and checks them against the samples.
async fn roll_up(loaded: &Loaded) -> Result<()> {
    let mut collector = Collector::start_with(&loaded.dir, ANY_PORT, &[]).await?;
    let started = Instant::now();
    let mut told = Instant::now();
    until("all rollups", ROLLED_UP, || {
        let running = collector.process.check_running();
        let is_due = told.elapsed() > Duration::from_secs(20);
        if is_due {
            told = Instant::now();
        }
        let api = &collector.api;
        async move {
            running?;
            let done = rolled_up(api).await;
            if let (Err(error), true) = (&done, is_due) {
                say(&format!("rollups: {error}"));
            }
            done
        }
    })
    .await?;
    say(&format!("rollups of all samples after {:.0} s", started.elapsed().as_secs_f64()));
    collector.process.stop().await?;
    check_rollups(collector.data_dir(), loaded).await?;
    merge(collector.data_dir()).await
}

/// That the rollups are as far as they can be and no late sample waits.
///
/// # Errors
/// With what is still missing.
pub(super) async fn rolled_up(api: &Api) -> Result<()> {
    let (_, text) = api.get("/metrics").await?;
    let value = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no metric {name}"))?.parse()?)
    };
    let lag_s = value("flyball_rollup_lag_seconds")?;
    let (spans, late) =
        (value("flyball_rollup_spans_total")?, value("flyball_rollup_late_marks_waiting")?);
    let holder = value("flyball_rollup_holder")?;
    ensure!(holder > 0.0, "nothing computed yet");
    ensure!(lag_s > 0.0 && lag_s < LAG_S, "{spans} times ten minutes, {lag_s} s behind");
    ensure!(late == 0.0, "{late} late marks");
    Ok(())
}

/// Merges what has not been merged yet, as ClickHouse does by itself within an hour or two: what is measured is the steady state.
async fn merge(data: &Path) -> Result<()> {
    for table in ["rollup_1h", "rollup_1m", "rollup_10s", "performance_metrics"] {
        say(&format!("merging {table}"));
        engine::run(data, &format!("OPTIMIZE TABLE flyball.{table} FINAL")).await?;
    }
    Ok(())
}

/// That the rollups of minutes and of hours count every sample once.
async fn check_rollups(data: &Path, loaded: &Loaded) -> Result<()> {
    let samples = loaded.samples();
    let sum = |table: &str| {
        format!(
            "SELECT sum(count) FROM flyball.{table} FINAL \
             SETTINGS do_not_merge_across_partitions_select_final = 1, max_threads = 2"
        )
    };
    let minutes: i64 = engine::query(data, &sum("rollup_1m")).await?.trim().parse()?;
    ensure!(minutes == samples, "rollup_1m counts {minutes} of {samples} samples");
    let rows = "SELECT count() FROM flyball.rollup_1h FINAL";
    let hours: i64 = engine::query(data, rows).await?.trim().parse()?;
    let marks = "SELECT sum(sign) FROM flyball.rollup_marks";
    let marks: i64 = engine::query(data, marks).await?.trim().parse()?;
    ensure!(marks == 0, "{marks} late marks");
    say(&format!("rollup_1m counts all {samples} samples, rollup_1h has {hours} rows"));
    Ok(())
}
