//! The operator's command line against a real collector and agent: tables, JSON, errors, exit codes, the live view in a terminal.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::command::{command, flyball};
use flyball_tests::process::children;
use flyball_tests::stack::Stack;
use flyball_tests::terminal::Terminal;
use flyball_tests::wait::{SOON, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A collector and the agent `alpha`, with CPU and memory known.
async fn stack() -> Result<Stack> {
    let mut stack = Stack::start().await?;
    stack.start_agent("alpha", &["--interval", "1s"])?;
    stack.wait_up("alpha").await?;
    until("cpu in the status", SOON, || async {
        let status = stack.collector.api.json("/api/performance/status").await?;
        status["nodes"][0]["cpu_utilization"].as_f64().context("no cpu yet")
    })
    .await?;
    Ok(stack)
}

#[tokio::test]
async fn the_fleet_is_told_as_table_and_as_json() -> Result<()> {
    let stack = stack().await?;
    let server = stack.collector.api.base();

    let status = flyball(server, &["status"]).await?;
    ensure!(status.code == Some(0), "{status:?}");
    for part in ["ready", "clickhouse", "1 of 1 up", "samples/s", "alpha"] {
        ensure!(status.out.contains(part), "{part} is missing: {status:?}");
    }
    let json: Value = serde_json::from_str(&flyball(server, &["-o", "json", "status"]).await?.out)?;
    ensure!(json["readyz"]["status"] == "ready", "{json}");
    ensure!(json["status"]["totals"]["nodes_up"] == 1, "{json}");

    ensure!(json["alerts"]["firing"] == 0 && status.out.contains("\nalerts "), "{json} {status:?}");
    let alerts = flyball(server, &["alerts", "--node", "alpha"]).await?;
    ensure!(alerts.code == Some(0) && alerts.err.contains("nothing is wrong"), "{alerts:?}");
    let json: Value = serde_json::from_str(&flyball(server, &["-o", "json", "alerts"]).await?.out)?;
    ensure!(json["alerts"].as_array().is_some_and(Vec::is_empty), "{json}");
    let unknown = flyball(server, &["alerts", "--node", "beta"]).await?;
    ensure!(unknown.failed_with(1, &["no such node"]), "{unknown:?}");

    let nodes = flyball(server, &["nodes", "al*", "--state", "up", "--sort", "cpu"]).await?;
    let rows: Vec<_> = nodes.out.lines().collect();
    ensure!(rows.len() == 2 && rows[0].starts_with("NODE"), "{nodes:?}");
    ensure!(rows[1].starts_with("alpha") && rows[1].contains(" % "), "{nodes:?}");
    let json: Value = serde_json::from_str(&flyball(server, &["-o", "json", "nodes"]).await?.out)?;
    ensure!(json["nodes"][0]["node"] == "alpha", "{json}");
    ensure!(json["nodes"][0]["host"]["cpus"].as_u64() >= Some(1), "as the API gives it: {json}");

    let snapshot = flyball(server, &["top"]).await?;
    ensure!(snapshot.code == Some(0) && snapshot.out.contains("alpha"), "{snapshot:?}");
    ensure!(snapshot.err.contains("not a terminal"), "{snapshot:?}");
    ensure!(
        !format!("{status:?}{nodes:?}{snapshot:?}").contains("\\u{1b}"),
        "no colours in a pipe"
    );
    stack.stop().await
}

#[tokio::test]
async fn metrics_are_told_as_table_and_as_json() -> Result<()> {
    let stack = stack().await?;
    let api = &stack.collector.api;

    let catalog = flyball(api.base(), &["metrics", "system.memory.*", "--node", "alpha"]).await?;
    ensure!(catalog.code == Some(0), "{catalog:?}");
    ensure!(catalog.out.contains("\nsystem.memory.limit "), "{catalog:?}");
    ensure!(!catalog.out.contains("system.cpu"), "{catalog:?}");

    let path = "/api/performance/metrics?metric=system.memory.limit&agg=last&step=1s";
    let limit = until("a stored point", SOON, || async {
        let answer = api.json(path).await?;
        let points = answer["series"][0]["points"].as_array().context("no series yet")?;
        points.iter().rev().find_map(|p| p[1].as_f64()).context("no point yet")
    })
    .await?;
    let arguments = ["metrics", "system.memory.limit", "--from", "-10m", "--agg", "last"];
    let table = flyball(api.base(), &arguments).await?;
    ensure!(table.code == Some(0), "{table:?}");
    let lines: Vec<_> = table.out.lines().collect();
    ensure!(lines[0].starts_with("system.memory.limit (By), a point each "), "{table:?}");
    ensure!(lines[1].starts_with("node ") && lines[1].ends_with("TREND"), "{table:?}");
    ensure!(lines[2].starts_with("alpha ") && lines[2].contains("iB"), "{table:?}");

    let json = [&["--output", "json"], &arguments[..]].concat();
    let json: Value = serde_json::from_str(&flyball(api.base(), &json).await?.out)?;
    let points = json["series"][0]["points"].as_array().context("points")?;
    ensure!(points.iter().any(|p| p[1].as_f64() == Some(limit)), "{json}");
    ensure!(json["unit"] == "By" && json["step_ms"].is_u64(), "{json}");

    let arguments = ["metrics", "system.cpu.utilization", "--by", "node,cpu.mode", "--filter"];
    let arguments = [&arguments[..], &["cpu.mode=user"]].concat();
    // A share of time needs two ticks: it is stored later than the limit of memory.
    until("one series of cpu", SOON, || async {
        let user = flyball(api.base(), &arguments).await?;
        let lines: Vec<_> = user.out.lines().collect();
        ensure!(lines.len() == 3 && lines[2].contains("user"), "{user:?}");
        Ok(())
    })
    .await?;
    stack.stop().await
}

#[tokio::test]
async fn errors_tell_what_is_wrong_and_the_code_whose_it_is() -> Result<()> {
    let stack = stack().await?;
    let server = stack.collector.api.base();
    let cpu = "system.cpu.utilization";
    let wrong: [(&[&str], i32, &[&str]); 7] = [
        (&["metrics", cpu, "--step", "soon", "--agg", "mean"], 2, &["\n  step: ", "\n  agg: "]),
        (&["metrics", cpu, "--from", "now", "--to", "-1h"], 2, &["from"]),
        (&["metrics", cpu, "--from", "-1parsec"], 2, &["--from: -1parsec"]),
        (&["metrics", "no.such.metric"], 1, &["metric: "]),
        (&["metrics", "no.such.*"], 1, &["no metric matches"]),
        (&["nodes", "beta"], 1, &["no node is beta"]),
        (&["--output", "xml", "nodes"], 2, &["xml", "table, json"]),
    ];
    for (arguments, code, words) in wrong {
        let ran = flyball(server, arguments).await?;
        ensure!(ran.failed_with(code, words) && ran.out.is_empty(), "{arguments:?}: {ran:?}");
    }
    stack.stop().await?;
    let ran = flyball("http://127.0.0.1:1", &["status"]).await?;
    ensure!(ran.failed_with(1, &["cannot reach http://127.0.0.1:1", "--server"]), "{ran:?}");
    ensure!(ran.err.lines().count() == 1, "one line: {ran:?}");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_not_ready_is_told_with_the_reason() -> Result<()> {
    let stack = stack().await?;
    let server = stack.collector.api.base();
    let collector = stack.collector.process.pid().context("the collector runs")?;
    let signal = |signal| -> Result<()> {
        for pid in children(collector)? {
            kill_process(Pid::from_raw(pid as i32).context("a pid")?, signal)?;
        }
        Ok(())
    };
    signal(Signal::STOP)?;
    let told = until("the failing check", SOON, || async {
        let ran = flyball(server, &["--timeout", "20s", "status"]).await?;
        ensure!(ran.failed_with(1, &["is not ready", "clickhouse"]), "{ran:?}");
        ensure!(ran.out.contains("1 of 1 up"), "the fleet is told all the same: {ran:?}");
        Ok(())
    })
    .await;
    signal(Signal::CONT)?;
    told?;
    stack.stop().await
}

#[tokio::test]
async fn top_is_live_and_gives_the_terminal_back() -> Result<()> {
    let mut stack = stack().await?;
    let server = stack.collector.api.base().to_owned();

    let mut top = Terminal::start(command(&server, &["top"])?, 120, 36)?;
    top.wait_for("live").await?;
    top.wait_for("alpha").await?;
    top.press("\r").await?;
    top.wait_for("memory and load").await?;
    top.wait_until("a process", |screen| {
        let mut lines = screen.lines().skip_while(|line| !line.starts_with("processes by cpu"));
        lines.nth(1).is_some_and(|line| line.contains(" % "))
    })
    .await?;
    top.press("?").await?;
    top.wait_for("a value that is not known").await?;
    top.press("q").await?;
    let status = top.wait_restored(SOON).await?;
    ensure!(status.code() == Some(0), "after q: {status}");

    let top = Terminal::start(command(&server, &["top", "alpha"])?, 100, 30)?;
    top.wait_for("memory and load").await?;
    top.signal(Signal::TERM)?;
    let status = top.wait_restored(SOON).await?;
    ensure!(status.code() == Some(0), "after SIGTERM: {status}");

    let mut top = Terminal::start(command(&server, &["top"])?, 100, 30)?;
    top.wait_for("live").await?;
    stack.collector.process.signal(Signal::KILL)?;
    stack.collector.process.wait(SOON).await?;
    top.wait_for("reconnecting in").await?;
    top.wait_for("Connection refused").await?;
    top.press("\u{3}").await?;
    let status = top.wait_restored(Duration::from_secs(10)).await?;
    ensure!(status.code() == Some(0), "after ctrl-c: {status}");
    for agent in &mut stack.agents {
        agent.stop().await?;
    }
    Ok(())
}
