//! A real stack with a few minutes of data, for pictures of the dashboard.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::stack::Stack;
use crate::wait::until;

/// Starts a stack, waits until it has collected for `collect`, and runs `script ADDRESS OUTPUT`.
///
/// # Errors
/// When the stack or the script fails.
pub async fn run(script: &Path, output: &Path, collect: Duration) -> Result<()> {
    let mut stack = Stack::start().await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    stack.start_agent(host.trim(), &["--interval", "1s"])?;
    stack.wait_up(host.trim()).await?;
    let path = "/api/performance/metrics?metric=system.memory.limit&step=1000&agg=last";
    until("enough data", collect * 2, || async {
        let answer = stack.collector.api.json(path).await?;
        let points = answer["series"][0]["points"].as_array().map(Vec::as_slice);
        let known = points.unwrap_or_default().iter().filter(|p| !p[1].is_null()).count();
        ensure!(known as u64 >= collect.as_secs(), "{known} points");
        Ok(())
    })
    .await?;
    let mut draw = Command::new("node");
    draw.arg(script).arg(stack.collector.api.base()).arg(output).kill_on_drop(true);
    ensure!(draw.status().await?.success(), "the script failed");
    stack.stop().await
}
