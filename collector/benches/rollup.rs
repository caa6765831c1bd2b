//! What rollups cost: ClickHouse's CPU for a million samples, step by step, and bytes on disk.
//!
//! Two full hours of the store benchmark's workload, one sample every 10 s, are stored and merged as they happen to be; then the roller works until nothing is left. `QUICK=1`
//! takes a fifth of the nodes.

mod common;

use std::io::{Write as _, stdout};

use flyball_collector::rollup::{Roller, RollupMetrics, RollupSettings, RollupTier, Step};
use flyball_collector::store::{HOUR_MS, Store};

use common::{Database, Failure, Load, STEP_MS, now_ms, server_cpu_s, settle};

const HOURS: i64 = 2;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let nodes = if std::env::var_os("QUICK").is_some() { 20 } else { 100 };
    let Database { engine, store, pid, dir: _dir } = Database::open().await?;
    let samples = fill(&store, nodes).await?;
    settle(&store).await?;

    let start = server_cpu_s(pid)?;
    let metrics = RollupMetrics::default();
    let mut roller = Roller::new(&store, RollupSettings::default(), metrics, "bench").impatient();
    let (mut fine, mut hours) = (0.0, 0.0);
    loop {
        let (before, cpu_s) = (store.rollups().get().hours_until_ms, server_cpu_s(pid)?);
        let step = roller.step().await?;
        let used = server_cpu_s(pid)? - cpu_s;
        let is_hour = before > 0 && store.rollups().get().hours_until_ms > before;
        *(if is_hour { &mut hours } else { &mut fine }) += used;
        if step == Step::Idle {
            break;
        }
    }
    settle(&store).await?;
    let merges = server_cpu_s(pid)? - start - fine - hours;

    let millions = samples as f64 / 1e6;
    let mut out = stdout();
    writeln!(
        out,
        "| {millions:.1} M samples of {} series | CPU s/M |\n|---|---|",
        nodes * common::SERIES_OF_A_NODE
    )?;
    for (what, seconds) in [
        ("10 s and 1 min", fine),
        ("1 h", hours),
        ("merges of the rollups", merges),
        ("all", fine + hours + merges),
    ] {
        writeln!(out, "| {what} | {:.3} |", seconds / millions)?;
    }
    writeln!(out, "\n| table | rows | B/row | B/sample |\n|---|---|---|---|")?;
    for tier in [RollupTier::TenSeconds, RollupTier::Minute, RollupTier::Hour] {
        let (rows, bytes) = size(&store, tier.table()).await?;
        let (row, sample) = (bytes as f64 / rows.max(1) as f64, bytes as f64 / samples as f64);
        writeln!(out, "| {} | {rows} | {row:.2} | {sample:.3} |", tier.table())?;
    }
    engine.stop().await;
    Ok(())
}

/// Stores the hours before the present one. Gives the number of samples.
async fn fill(store: &Store, nodes: u64) -> Result<u64, Failure> {
    let start_ms = (now_ms() / HOUR_MS - HOURS) * HOUR_MS;
    let mut load = Load::new(nodes, start_ms);
    store.insert_series(&load.series(), "series").await?;
    let mut samples = 0;
    for block in 0.. {
        let rows = load.rows(HOURS * HOUR_MS / STEP_MS);
        if rows.is_empty() {
            break;
        }
        store.insert_samples(&rows, &block.to_string()).await?;
        samples += rows.len() as u64;
    }
    Ok(samples)
}

async fn size(store: &Store, table: &str) -> Result<(u64, u64), Failure> {
    let sql = format!(
        "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND table = '{table}'"
    );
    Ok(store.client().query(&sql).fetch_one().await?)
}
