//! Cost as the fleet grows, as a table and a picture. Each size gets a fresh collector. Rollups are off: they come every ten minutes, into some of the windows
//! and not into others.
//!
//! Twice: at one interval for all sizes, where the rate grows with the fleet and fixed costs (an insert each half second, the engine's housekeeping) are
//! spread over more samples; and at one rate for all sizes, where small fleets sample more often, which shows what agents and series cost by themselves.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Pace;
use super::plot::{Curve, plot};
use super::run::{Outcome, Plan, run};
use crate::bench::table::Table;
use crate::workload::SERIES_PER_NODE;

/// Which sizes, and for how long each.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Numbers of agents, ascending.
    pub sizes: Vec<u64>,
    /// Interval of the largest fleet, and of all fleets in the first part.
    pub interval: Duration,
    /// Before each measured window.
    pub warmup: Duration,
    /// Each measured window.
    pub window: Duration,
}

/// Measures all sizes, adds the figures to `table` and draws them into the SVG file `picture`.
///
/// # Errors
/// As [`run`], or when the picture cannot be written.
pub async fn scale(table: &mut Table, scale: &Scale, picture: &Path) -> Result<()> {
    let largest = *scale.sizes.last().context("there is a size")?;
    let mut curves = Vec::new();
    for (name, is_one_rate) in [("one interval", false), ("one rate", true)] {
        let mut points = Vec::new();
        for &agents in &scale.sizes {
            let share = if is_one_rate { agents as f64 / largest as f64 } else { 1.0 };
            let interval_ms = (scale.interval.as_millis() as f64 * share).round().max(10.0);
            let interval = Duration::from_millis(interval_ms as u64);
            let (pace, series) = (Pace::Aligned(interval), SERIES_PER_NODE);
            let Scale { warmup, window, .. } = *scale;
            let plan = Plan {
                agents,
                series,
                connections: agents,
                pace,
                churn: 0.0,
                warmup,
                window,
                settings: vec![("FLYBALL_ROLLUP_ENABLED", "false")],
            };
            let outcome = run(&plan).await?;
            push(table, &format!("{name}, {agents} agents each {interval_ms} ms"), &outcome);
            points.push((agents as f64, outcome.servers_cpu()));
        }
        let (first, last) = (points[0].1, points[points.len() - 1].1);
        let growth = format!("{name}: CPU s/M of the largest fleet / of the smallest");
        table.push(&growth, vec![last / first], Some(1.3));
        curves.push(Curve { name: name.to_owned(), points });
    }
    std::fs::write(
        picture,
        plot("collector + engine, CPU seconds for a million samples", "agents", &curves),
    )
    .with_context(|| format!("write {}", picture.display()))
}

fn push(table: &mut Table, what: &str, outcome: &Outcome) {
    for (name, value) in [
        ("k samples/s", outcome.rate / 1e3),
        ("collector + engine, CPU s/M", outcome.servers_cpu()),
        ("collector, CPU s/M", outcome.collector_cpu),
        ("collector RSS, MiB", outcome.collector_mib),
        ("due to acknowledged, p99 ms", outcome.latency(0.99)),
    ] {
        table.push(&format!("{what}: {name}"), vec![value], None);
    }
}
