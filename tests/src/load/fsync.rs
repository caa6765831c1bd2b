//! What `clickhouse.fsync` costs: the same fleet with one insert a second, with it and without, twice in turn so that other work on the machine shows.

use std::time::Duration;

use anyhow::Result;

use super::Pace;
use super::run::{Outcome, Plan, run};
use crate::bench::table::Table;
use crate::workload::SERIES_PER_NODE;

/// Runs with each setting.
const ROUNDS: usize = 2;

/// Measures for `window` in each run.
///
/// # Errors
/// As [`run`].
pub async fn fsync(table: &mut Table, window: Duration) -> Result<()> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(run(&plan("true", window)).await?);
        without.push(run(&plan("false", window)).await?);
    }
    for (name, outcomes) in [("with", &with), ("without", &without)] {
        let mut push = |what: &str, figure: fn(&Outcome) -> f64| {
            table.push(
                &format!("{name} fsync: {what}"),
                outcomes.iter().map(figure).collect(),
                None,
            );
        };
        push("engine, CPU s/M", |outcome| outcome.engine_cpu);
        push("engine with its merges, CPU s/M", |outcome| outcome.engine_cpu_settled);
        push("due to acknowledged, p50 ms", |outcome| outcome.latency(0.5));
        push("due to acknowledged, p99 ms", |outcome| outcome.latency(0.99));
    }
    Ok(())
}

/// 200 agents at one frame a second and one insert a second: 40,000 rows each.
fn plan(setting: &'static str, window: Duration) -> Plan {
    Plan {
        agents: 200,
        series: SERIES_PER_NODE,
        connections: 200,
        pace: Pace::Aligned(Duration::from_secs(1)),
        churn: 0.0,
        warmup: Duration::from_secs(10),
        window,
        settings: vec![("FLYBALL_INGEST_PERIOD_MS", "1000"), ("FLYBALL_CLICKHOUSE_FSYNC", setting)],
    }
}
