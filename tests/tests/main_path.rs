//! The whole path on real parts: an agent on this host, a collector, its ClickHouse, the answers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::engine;
use flyball_tests::process::{children, usage};
use flyball_tests::stack::{Collector, Stack};
use flyball_tests::wait::{SOON, until};
use rustix::process::Signal;
use serde_json::Value;

/// Times of the points that are known, over all series of an answer.
fn known_times(answer: &Value) -> Vec<i64> {
    let series = answer["series"].as_array().map(Vec::as_slice).unwrap_or_default();
    let points = series.iter().filter_map(|s| s["points"].as_array()).flatten();
    points.filter(|p| !p[1].is_null()).filter_map(|p| p[0].as_i64()).collect()
}

/// Time and value of each point of the answer's first series.
fn first_points(answer: &Value) -> Vec<(i64, Option<f64>)> {
    let points = answer["series"][0]["points"].as_array();
    let pair = |p: &Value| Some((p[0].as_i64()?, p[1].as_f64()));
    points.map(Vec::as_slice).unwrap_or_default().iter().filter_map(pair).collect()
}

#[tokio::test]
async fn this_host_is_seen_from_agent_to_answer() -> Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_agent("alpha", &["--interval", "1s"])?;
    let node = stack.wait_up("alpha").await?;
    ensure!(node["host"]["cpus"].as_u64() >= Some(1), "host identity: {node}");

    let api = stack.collector.api.clone();
    let status = until("cpu and memory in the status", SOON, || async {
        let status = api.json("/api/performance/status").await?;
        let node = status["nodes"][0].clone();
        node["cpu_utilization"].as_f64().context("no cpu_utilization yet")?;
        node["memory_utilization"].as_f64().context("no memory_utilization yet")?;
        Ok(node)
    })
    .await?;
    for field in ["cpu_utilization", "memory_utilization"] {
        let share = status[field].as_f64().context("a share")?;
        ensure!((0.0..=1.0).contains(&share), "{field} is a share: {share}");
    }

    let path = "/api/performance/metrics?metric=system.memory.limit&node=alpha&step=1000&agg=last";
    let answer = until("three points of memory", SOON, || async {
        let answer = api.json(path).await?;
        ensure!(known_times(&answer).len() >= 3, "{answer}");
        Ok(answer)
    })
    .await?;
    ensure!(answer["unit"] == "By" && answer["tier"] == "raw", "{answer}");
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let total = meminfo.split_ascii_whitespace().nth(1).context("MemTotal")?.parse::<f64>()?;
    let stored = first_points(&answer).into_iter().rev().find_map(|(_, value)| value);
    ensure!(stored == Some(total * 1024.0), "stored {stored:?}, /proc says {total} kB");

    let catalog = api.json("/api/performance/catalog").await?.to_string();
    for metric in ["system.cpu.time", "system.network.io", "flyball.agent.memory.usage"] {
        ensure!(catalog.contains(&format!("\"{metric}\"")), "{metric} is not in the catalog");
    }
    stack.stop().await
}

#[tokio::test]
async fn samples_arrive_as_events_in_order_and_on_the_second() -> Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_agent("alpha", &["--interval", "1s"])?;
    stack.wait_up("alpha").await?;
    let mut events = stack.collector.api.events("?node=alpha&metric=system.cpu.time").await?;
    let mut times = Vec::new();
    tokio::time::timeout(SOON, async {
        while times.len() < 4 {
            let event = events.next().await?;
            if event["type"] == "samples" {
                let samples = event["samples"].as_array().context("samples")?;
                ensure!(samples.iter().all(|s| s["metric"] == "system.cpu.time"), "{event}");
                times.push(event["ts_ms"].as_i64().context("ts_ms")?);
            }
        }
        Ok(())
    })
    .await??;
    ensure!(times.iter().all(|t| t % 1000 == 0), "on the second: {times:?}");
    ensure!(times.windows(2).all(|w| w[0] < w[1]), "in order: {times:?}");
    stack.stop().await
}

#[tokio::test]
async fn the_engine_is_never_an_orphan() -> Result<()> {
    let mut stack = Stack::start().await?;
    let collector = stack.collector.process.pid().context("the collector runs")?;
    let engines = children(collector)?;
    ensure!(!engines.is_empty(), "the engine is a child of the collector");
    stack.collector.process.signal(Signal::KILL)?;
    stack.collector.process.wait(SOON).await?;
    until("the engine to be gone", SOON, || {
        let alive = engines.iter().filter(|pid| usage(**pid).is_ok()).count();
        async move {
            ensure!(alive == 0, "{alive} engines are still there");
            Ok(())
        }
    })
    .await
}

#[tokio::test]
async fn nothing_is_lost_when_the_engine_or_the_collector_is_killed() -> Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_agent("alpha", &["--interval", "200ms"])?;
    stack.wait_up("alpha").await?;
    wait_stored_after(&stack, 0).await?;

    let collector = stack.collector.process.pid().context("the collector runs")?;
    for engine in children(collector)? {
        let pid = rustix::process::Pid::from_raw(engine as i32).context("a pid is not zero")?;
        rustix::process::kill_process(pid, Signal::KILL)?;
    }
    wait_stored_after(&stack, now_ms()).await?;

    stack.collector.process.signal(Signal::KILL)?;
    stack.collector.process.wait(SOON).await?;
    let (dir, grpc) = (stack.dir().to_owned(), stack.collector.grpc);
    stack.collector = Collector::start(&dir, grpc).await?;
    wait_stored_after(&stack, now_ms()).await?;

    stack.agents[0].stop().await?;
    let log = stack.agents.remove(0).log();
    let produced = number_after(&log, "produced=")?;
    ensure!(number_after(&log, "lost=")? == 0 && number_after(&log, "shed=")? == 0, "{log}");
    let (data, _dir) = stack.shut_down().await?;
    let count = "SELECT count() FROM flyball.performance_metrics FINAL";
    let stored: u64 = engine::query(&data, count).await?.trim().parse()?;
    ensure!(stored == produced, "the agent produced {produced} samples, {stored} are stored");
    Ok(())
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_millis() as i64
}

/// Waits until a sample that was taken after `then_ms` is in an answer from ClickHouse.
async fn wait_stored_after(stack: &Stack, then_ms: i64) -> Result<()> {
    until("a newer sample to be stored", SOON * 2, || async {
        let from = now_ms() - 60_000;
        let path =
            "/api/performance/metrics?metric=system.memory.limit&node=alpha&step=200&agg=last";
        let answer = stack.collector.api.json(&format!("{path}&from={from}")).await?;
        let newest = known_times(&answer).into_iter().max().context("no point yet")?;
        ensure!(newest > then_ms, "newest is {newest}, wanted one after {then_ms}");
        Ok(())
    })
    .await
}

/// The number behind the last `key` of a log.
fn number_after(log: &str, key: &str) -> Result<u64> {
    let (_, rest) = log.rsplit_once(key).with_context(|| format!("{key} is not in:\n{log}"))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}
