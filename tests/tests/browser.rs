//! The dashboard in headless Chromium, against a real collector and agents.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::balanced::{Balanced, World};
use flyball_tests::controlled::promoted;
use flyball_tests::stack::Stack;
use flyball_tests::steered::{QUICK, Steered, perverse};
use tokio::process::Command;

/// Runs a script of `dashboard/e2e` against the collector. `FLYBALL_SCREENSHOTS` names a directory for pictures of every page.
async fn check(script: &str, stack: &Stack) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has a parent")?;
    let mut command = Command::new("node");
    command.arg(root.join("dashboard/e2e").join(script)).arg(stack.collector.api.base());
    if let Some(dir) = std::env::var_os("FLYBALL_SCREENSHOTS") {
        command.arg("--screenshot-dir").arg(dir);
    }
    let output = command.kill_on_drop(true).output().await.context("start node")?;
    ensure!(
        output.status.success(),
        "{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        stack.collector.process.log()
    );
    Ok(())
}

#[tokio::test]
async fn the_dashboard_shows_this_host_live() -> Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_agent("alpha", &["--interval", "1s"])?;
    stack.wait_up("alpha").await?;
    check("run.mjs", &stack).await?;
    stack.stop().await
}

#[tokio::test]
async fn the_dashboard_carries_a_change_through_its_life() -> Result<()> {
    // Pressing the buttons of a page takes longer than the judge needs here.
    let patient = ("FLYBALL_ROLLOUT_VALIDATE_MIN_MS", "30000");
    let stack = Stack::start_with(&[&QUICK[..], &[patient]].concat()).await?;
    let grpc = stack.collector.grpc;
    let _sessions = Steered::begin(grpc, "web-1", "sessions").await?;
    let pages = Steered::begin(grpc, "web-2", "pages").await?;
    *pages.server.law.lock() = perverse;
    let _feeds = Steered::begin(grpc, "web-3", "feeds").await?;
    check("changes.mjs", &stack).await?;
    stack.stop().await
}

#[tokio::test]
async fn the_dashboard_shows_like_caches_changing_in_waves() -> Result<()> {
    // Long enough in a wave that a page can be looked at.
    let patient = ("FLYBALL_ROLLOUT_VALIDATE_MIN_MS", "10000");
    let stack = Stack::start_with(&[&QUICK[..], &[patient]].concat()).await?;
    let mut caches = Vec::new();
    for node in ["web-1", "web-2", "web-3"] {
        caches.push(Steered::begin(stack.collector.grpc, node, "sessions").await?);
    }
    check("group.mjs", &stack).await?;
    drop(caches);
    stack.stop().await
}

#[tokio::test]
async fn the_dashboard_shows_load_balancers_and_their_pool() -> Result<()> {
    let stack = Stack::start().await?;
    let worlds = vec![World::exact("lb-1"), World::when_busy("lb-2")];
    worlds[1].weights.lock().insert("web3".into(), 40);
    *worlds[1].drained.lock() = Some("web2".into());
    let balanced = Balanced::begin(stack.collector.grpc, worlds);
    check("balancers.mjs", &stack).await?;
    drop(balanced);
    stack.stop().await
}

#[tokio::test]
async fn the_dashboard_shows_and_stops_standing_control_of_a_pool() -> Result<()> {
    let dir = Stack::directory()?;
    promoted(&dir.path().join("collector"), &["lb-1", "lb-2"]).await?;
    let stack = Stack::start_in(dir, &[("FLYBALL_BALANCE_WINDOW_MS", "1000")]).await?;
    let worlds = vec![World::exact("lb-1"), World::exact("lb-2")];
    let balanced = Balanced::begin(stack.collector.grpc, worlds);
    check("control.mjs", &stack).await?;
    for world in &balanced.worlds {
        let weights: Vec<u32> = world.weights.lock().values().copied().collect();
        ensure!(weights == [100; 3], "{}: {weights:?}", world.node);
    }
    drop(balanced);
    stack.stop().await
}
