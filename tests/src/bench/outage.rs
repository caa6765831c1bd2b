//! ClickHouse away for minutes: the agent's memory meanwhile, and whether all is stored when it is back.
//!
//! One agent at one frame a second, a collector, and a ClickHouse that the collector did not start. ClickHouse is killed, and after the outage started again
//! on its data. Memory is looked at every 100 ms.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::table::Table;
use super::{account, progress};
use crate::clickhouse::{ClickHouse, PASSWORD, USER};
use crate::process::{Process, usage};
use crate::stack::Stack;
use crate::wait::{SOON, until};

const NODE: &str = "bench";
const LOOK: Duration = Duration::from_millis(100);
/// Longest time from ClickHouse's return until the backlog is stored, as a multiple of the outage.
const RECOVERY: u32 = 2;

/// Takes ClickHouse away for `outage`, after the agent has run for `settle`.
///
/// # Errors
/// When a sample is given up, something does not come back, or `/readyz` does not say what is wrong.
pub async fn run(table: &mut Table, settle: Duration, outage: Duration) -> Result<()> {
    let dir = super::temporary()?;
    let (clickhouse, mut server) = ClickHouse::start(dir.path()).await?;
    let url = format!("http://{}", clickhouse.address());
    let mut stack = Stack::start_with(&[
        ("FLYBALL_CLICKHOUSE_URL", &url),
        ("FLYBALL_CLICKHOUSE_USER", USER),
        ("FLYBALL_CLICKHOUSE_PASSWORD", PASSWORD),
    ])
    .await?;
    stack.start_agent(NODE, &["--interval", "1s"])?;
    stack.wait_up(NODE).await?;
    progress("outage: settling", settle);
    highest(&stack, settle / 2).await?;
    let before = highest(&stack, settle / 2).await?;

    server.signal(Signal::KILL)?;
    server.wait(SOON).await?;
    progress("outage: ClickHouse is away", outage);
    let during = highest(&stack, outage).await?;
    let (status, text) = stack.collector.api.get("/readyz").await?;
    ensure!(status == 503 && text.contains("clickhouse"), "/readyz: {status} {text}");

    let server = Process::start_held("clickhouse", clickhouse.command()?, dir.path())?;
    let back = Instant::now();
    until("the collector to be ready", SOON, || stack.collector.api.json("/readyz")).await?;
    let ready_s = back.elapsed().as_secs_f64();
    let limit = outage * RECOVERY + SOON;
    let samples = account::settled(&stack.collector.api, NODE, limit).await?;
    let stored_s = back.elapsed().as_secs_f64();
    let after = highest(&stack, LOOK).await?;

    let what = format!("ClickHouse away for {} s", outage.as_secs());
    let mut push =
        |name: &str, value, bar| table.push(&format!("{what}: {name}"), vec![value], bar);
    push("agent RSS before, MiB", before.agent_mib, None);
    push("agent RSS, growth in the outage, MiB", during.agent_mib - before.agent_mib, Some(1.0));
    push("agent RSS after it, MiB", after.agent_mib, None);
    push(
        "collector RSS, growth in the outage, MiB",
        during.collector_mib - before.collector_mib,
        None,
    );
    push("until the collector is ready again, s", ready_s, None);
    push("until everything is stored, s (reports come every 10 s)", stored_s, None);
    push("k samples produced, none given up", samples as f64 / 1e3, None);
    stack.stop().await?;
    drop(server);
    Ok(())
}

/// Most memory within a time.
#[derive(Debug, Clone, Copy, Default)]
struct Highest {
    agent_mib: f64,
    collector_mib: f64,
}

async fn highest(stack: &Stack, time: Duration) -> Result<Highest> {
    let agent = stack.agents[0].pid().context("the agent runs")?;
    let collector = stack.collector.process.pid().context("the collector runs")?;
    let mib = |pid| anyhow::Ok(usage(pid)?.rss_bytes as f64 / f64::from(1 << 20));
    let (start, mut most) = (Instant::now(), Highest::default());
    let mut looks = tokio::time::interval(LOOK);
    while start.elapsed() < time || most.agent_mib == 0.0 {
        looks.tick().await;
        most.agent_mib = most.agent_mib.max(mib(agent)?);
        most.collector_mib = most.collector_mib.max(mib(collector)?);
    }
    Ok(most)
}
