//! The dashboard in headless Chromium, against a real collector and agent.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::stack::Stack;
use tokio::process::Command;

#[tokio::test]
async fn the_dashboard_shows_this_host_live() -> Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_agent("alpha", &["--interval", "1s"])?;
    stack.wait_up("alpha").await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has a parent")?;
    let output = Command::new("node")
        .arg(root.join("dashboard/e2e/run.mjs"))
        .arg(stack.collector.api.base())
        .kill_on_drop(true)
        .output()
        .await
        .context("start node")?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    stack.stop().await
}
