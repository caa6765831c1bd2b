//! Bytes a sample takes on disk after merges, beside VictoriaMetrics with the same samples in the same run.
//!
//! The samples go through the shipped collector over gRPC. The table is then merged as a closed day is, and measured as the engine accounts it: all columns, the
//! index and the marks.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::table::Table;
use super::victoria;
use crate::engine;
use crate::simulate::{Plan, connect, send};
use crate::stack::Stack;
use crate::workload::{SERIES_PER_NODE, STEP_MS, Template, templates};

/// Seed of the samples.
pub const SEED: u64 = 7;

/// Simulated agents at once.
const LANES: u64 = 16;

/// Layouts of a sample's value that are measured beside the table's own: column definitions and how they come from the table.
const LAYOUTS: [(&str, &str, &str); 8] = [
    ("Int64 Delta, T64('bit'), ZSTD(1)", "raw Int64 CODEC(Delta(8), T64('bit'), ZSTD(1))", "raw"),
    ("Int64 Delta, ZSTD(1)", "raw Int64 CODEC(Delta(8), ZSTD(1))", "raw"),
    ("Int64 DoubleDelta, ZSTD(1)", "raw Int64 CODEC(DoubleDelta, ZSTD(1))", "raw"),
    ("Int64 T64('bit'), ZSTD(1)", "raw Int64 CODEC(T64('bit'), ZSTD(1))", "raw"),
    ("Float64 Delta, ZSTD(1)", "value Float64 CODEC(Delta(8), ZSTD(1))", "value"),
    ("Float64 DoubleDelta, ZSTD(1)", "value Float64 CODEC(DoubleDelta, ZSTD(1))", "value"),
    ("Float64 Gorilla, ZSTD(1)", "value Float64 CODEC(Gorilla, ZSTD(1))", "value"),
    ("Float64 ZSTD(1)", "value Float64 CODEC(ZSTD(1))", "value"),
];

/// What is loaded.
#[derive(Debug, Clone)]
pub struct Load {
    /// Series of every node.
    pub templates: Arc<Vec<Template>>,
    /// Nodes.
    pub nodes: u64,
    /// Samples of each series.
    pub ticks: usize,
    /// Time of the first samples.
    pub start_ms: i64,
}

impl Load {
    /// Recent samples, all of them in one UTC day.
    pub fn new(nodes: u64, ticks: usize) -> Self {
        const DAY_MS: i64 = 86_400_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let span = ticks as i64 * STEP_MS;
        let start = (now.as_millis() as i64 - span) / 60_000 * 60_000 - 120_000;
        let day = (start + span) / DAY_MS * DAY_MS;
        let start_ms = if start < day { day - span - 60_000 } else { start };
        Self { templates: Arc::new(templates()), nodes, ticks, start_ms }
    }

    /// Samples in all.
    pub fn samples(&self) -> u64 {
        self.nodes * (self.ticks * SERIES_PER_NODE) as u64
    }

    fn shape(&self) -> String {
        format!("{} points a series", self.ticks)
    }
}

/// Loads both stores with the same samples and compares them.
///
/// # Errors
/// When a store cannot be started, loses a sample, or does not settle.
pub async fn run(table: &mut Table, load: &Load, bar: f64) -> Result<()> {
    let (samples, shape) = (load.samples() as f64, load.shape());
    let ours = collector(table, load).await?;
    let (theirs, index) = victoria::bytes(load).await?;
    table.push(&format!("disk, {shape}: B/sample"), vec![ours / samples], Some(bar));
    table.push(&format!("disk, {shape}: VictoriaMetrics B/sample"), vec![theirs / samples], None);
    table.push(&format!("disk, {shape}: ours / VictoriaMetrics"), vec![ours / theirs], Some(1.0));
    let index = index / (load.nodes as usize * SERIES_PER_NODE) as f64;
    table.push(&format!("disk, {shape}: VictoriaMetrics index, B/series"), vec![index], None);
    Ok(())
}

async fn collector(table: &mut Table, load: &Load) -> Result<f64> {
    let (samples, shape) = (load.samples(), load.shape());
    let stack = Stack::start().await?;
    let started = Instant::now();
    let written = send_all(&stack, load).await?;
    let rate = samples as f64 / started.elapsed().as_secs_f64() / 1000.0;
    ensure!(written == samples, "acknowledged {written} of {samples} samples");
    table.push(&format!("ingest over gRPC, {shape}: k samples/s acknowledged"), vec![rate], None);

    // The directory lasts until the end of this function.
    let (data, _dir) = stack.shut_down().await?;
    let (bytes, rows) = merged(&data, "performance_metrics").await?;
    ensure!(rows == samples, "{rows} rows stored of {samples}");
    for (name, columns, expression) in LAYOUTS {
        let bytes = layout(&data, columns, expression).await?;
        let what = format!("layout, {shape}: {name}, B/sample");
        table.push(&what, vec![bytes / samples as f64], None);
    }
    Ok(bytes)
}

/// Sends every node's samples over gRPC and waits for their acknowledgement.
///
/// # Errors
/// When the collector rejects or loses one.
pub async fn send_all(stack: &Stack, load: &Load) -> Result<u64> {
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES.min(load.nodes) {
        let (load, channel) = (load.clone(), connect(stack.collector.grpc).await?);
        lanes.spawn(async move {
            let mut written = 0;
            for index in (lane..load.nodes).step_by(LANES as usize) {
                let plan = Plan { seed: SEED, index, start_ms: load.start_ms, ticks: load.ticks };
                written += send(channel.clone(), &load.templates, plan).await?;
            }
            Ok::<_, anyhow::Error>(written)
        });
    }
    let mut written = 0;
    while let Some(lane) = lanes.join_next().await {
        written += lane??;
    }
    Ok(written)
}

/// Merges a table as a closed day is merged; gives its bytes and rows.
async fn merged(data: &Path, table: &str) -> Result<(f64, u64)> {
    let statements = format!(
        "OPTIMIZE TABLE flyball.{table} FINAL;
         SELECT sum(bytes_on_disk), sum(rows) FROM system.parts
         WHERE active AND database = 'flyball' AND table = '{table}'"
    );
    let answer = engine::query(data, &statements).await?;
    let (bytes, rows) = answer.trim().split_once('\t').context("two numbers")?;
    Ok((bytes.parse()?, rows.parse()?))
}

/// Bytes of the same samples with another layout of the value.
async fn layout(data: &Path, columns: &str, expression: &str) -> Result<f64> {
    let create = format!(
        "DROP TABLE IF EXISTS flyball.layout SYNC;
         CREATE TABLE flyball.layout (series_id UInt64 CODEC(ZSTD(1)), ts DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)), {columns})
         ENGINE = MergeTree PARTITION BY toDate(ts) ORDER BY (series_id, ts);
         INSERT INTO flyball.layout SELECT series_id, ts, {expression} FROM flyball.performance_metrics"
    );
    engine::run(data, &create).await?;
    Ok(merged(data, "layout").await?.0)
}
