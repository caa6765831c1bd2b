//! How long after it was taken a sample is seen: in an event, and in the answer to a query.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::table::{Table, percentile};
use crate::stack::Stack;

/// Watches `ticks` ticks of one agent.
///
/// # Errors
/// When the collector or the agent ends.
pub async fn run(table: &mut Table, ticks: usize) -> Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_agent("bench", &["--interval", "1s"])?;
    stack.wait_up("bench").await?;
    let (events, answers) = tokio::join!(in_events(&stack, ticks), in_answers(&stack, ticks));
    for (what, mut seen, bar) in [
        ("sample taken -> in an event, p99 ms", events?, 200.0),
        ("sample taken -> in `metrics`, p99 ms", answers?, 2000.0),
    ] {
        seen.sort_by(f64::total_cmp);
        table.push(what, vec![percentile(&seen, 0.99)], Some(bar));
        table.push(&what.replace("p99", "median"), vec![percentile(&seen, 0.5)], None);
    }
    stack.stop().await
}

async fn in_events(stack: &Stack, ticks: usize) -> Result<Vec<f64>> {
    let mut events = stack.collector.api.events("?node=bench&metric=system.memory.limit").await?;
    let mut seen = Vec::new();
    while seen.len() < ticks {
        let event = events.next().await?;
        if event["type"] == "samples" {
            seen.push(now_ms() - event["ts_ms"].as_f64().context("ts_ms")?);
        }
    }
    Ok(seen)
}

/// Asks for the newest point again and again; each new one is timed when it first appears.
async fn in_answers(stack: &Stack, ticks: usize) -> Result<Vec<f64>> {
    let (mut seen, mut newest) = (Vec::new(), 0.0_f64);
    let mut pause = tokio::time::interval(Duration::from_millis(25));
    while seen.len() < ticks {
        pause.tick().await;
        let from = now_ms() as i64 - 10_000;
        let path = "/api/performance/metrics?metric=system.memory.limit&node=bench&agg=last&step=1000&from=";
        let answer = stack.collector.api.json(&format!("{path}{from}")).await?;
        let points =
            answer["series"][0]["points"].as_array().map(Vec::as_slice).unwrap_or_default();
        let known = points.iter().filter(|p| !p[1].is_null()).filter_map(|p| p[0].as_f64());
        let last = known.fold(0.0, f64::max);
        if last > newest {
            // The first one may have been there for long.
            if newest > 0.0 {
                seen.push(now_ms() - last);
            }
            newest = last;
        }
    }
    Ok(seen)
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}
