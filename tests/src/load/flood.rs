//! The highest rate: every agent sends whatever its credits allow, so the credits and the two cores are the only limit.

use std::time::Duration;

use anyhow::Result;

use super::Pace;
use super::run::{Bars, Outcome, Plan, run};
use crate::bench::table::Table;
use crate::workload::SERIES_PER_NODE;

/// Floods a fresh collector from `agents` agents over `connections` connections, `rounds` times, and adds the figures to `table`.
///
/// # Errors
/// As [`run`].
pub async fn flood(
    table: &mut Table,
    agents: u64,
    connections: u64,
    window: Duration,
    rounds: usize,
) -> Result<()> {
    let series = SERIES_PER_NODE;
    let warmup = window / 4;
    let (pace, settings) = (Pace::Flood, Vec::new());
    let plan = Plan { agents, series, connections, pace, churn: 0.0, warmup, window, settings };
    let mut outcomes = Vec::new();
    for _ in 0..rounds {
        outcomes.push(run(&plan).await?);
    }
    // 1.5 million samples a second, of which the generator itself must not take much.
    let bars = Bars {
        us_a_sample: Some(1.0 / 1.5),
        cpu: Some(1.0),
        generator_cpu: Some(0.15),
        ..Bars::default()
    };
    Outcome::push(&outcomes, table, &format!("flood, {} series", agents * series as u64), &bars);
    Ok(())
}
