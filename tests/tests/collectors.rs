//! Two collectors on one ClickHouse: each answers for all nodes, whichever of them an agent is connected to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use flyball_tests::clickhouse::{ClickHouse, PASSWORD, USER};
use flyball_tests::process::{Process, binary};
use flyball_tests::redis::Redis;
use flyball_tests::stack::Collector;
use flyball_tests::wait::until;
use serde_json::Value;
use tokio::process::Command;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Without Redis the store is looked at every ten seconds.
const TOLD: Duration = Duration::from_mins(1);

async fn collector(
    dir: &Path,
    name: &str,
    clickhouse: &ClickHouse,
    redis: &str,
) -> Result<Collector> {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir)?;
    let url = format!("http://{}", clickhouse.address());
    let settings = [
        ("FLYBALL_CLICKHOUSE_URL", &*url),
        ("FLYBALL_CLICKHOUSE_USER", USER),
        ("FLYBALL_CLICKHOUSE_PASSWORD", PASSWORD),
        ("FLYBALL_REDIS_URL", redis),
        ("FLYBALL_SERVER_NAME", name),
    ];
    Collector::start_with(&dir, ANY_PORT, &settings).await
}

fn agent(dir: &Path, node: &str, collector: &Collector) -> Result<Process> {
    let mut command = Command::new(binary("flyball-agent")?);
    command.arg("--collector").arg(format!("http://{}", collector.grpc));
    command.args(["--node", node, "--interval", "1s", "--data-dir"]).arg(dir.join(node));
    Process::start(node, command, dir)
}

/// The status of a node once it is up and what it does is known.
async fn known(collector: &Collector, node: &str) -> Result<Value> {
    until(&format!("{node} to be known"), TOLD, || async {
        let status = collector.api.json("/api/performance/status").await?;
        let nodes = status["nodes"].as_array().context("status has nodes")?;
        let found = nodes.iter().find(|n| n["node"] == node && n["up"] == true);
        let found = found.with_context(|| format!("not up: {status}"))?;
        for field in ["cpu_utilization", "memory_utilization", "network_receive_bytes_per_second"] {
            ensure!(found[field].is_number(), "{field} is not known: {found}");
        }
        Ok(found.clone())
    })
    .await
}

async fn each_answers_for_both(with_redis: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (clickhouse, mut server) = ClickHouse::start(dir.path()).await?;
    let redis = if with_redis { Some(Redis::start(dir.path()).await?) } else { None };
    let url = redis.as_ref().map(Redis::url).unwrap_or_default();
    let mut a = collector(dir.path(), "a", &clickhouse, &url).await?;
    let mut b = collector(dir.path(), "b", &clickhouse, &url).await?;
    let mut agents = [agent(dir.path(), "alpha", &a)?, agent(dir.path(), "beta", &b)?];
    for collector in [&a, &b] {
        for node in ["alpha", "beta"] {
            let status = known(collector, node).await?;
            // What an agent says of itself travels with its status only.
            ensure!(!with_redis || status["host"].is_object(), "{status}");
        }
        let path = "/api/performance/last?metric=system.cpu.load_average.1m&by=node";
        until("the newest values of both", TOLD, || async {
            let last = collector.api.json(path).await?;
            let values = last["values"].as_array().context("values")?;
            ensure!(values.len() == 2 && values.iter().all(|v| v["value"].is_number()), "{last}");
            Ok(())
        })
        .await?;
        let path = "/api/performance/metrics?metric=system.cpu.load_average.1m&by=node&step=1s";
        until("the history of both", TOLD, || async {
            let answer = collector.api.json(path).await?;
            let series = answer["series"].as_array().context("series")?;
            ensure!(series.len() == 2, "{answer}");
            Ok(())
        })
        .await?;
    }
    // An agent that moves is counted once, whatever its former collector still remembers.
    agents[0].stop().await?;
    agents[0] = agent(dir.path(), "alpha", &b)?;
    let moved_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let path = "/api/performance/last?metric=system.cpu.load_average.1m&node=alpha";
    let most = std::cell::Cell::new(0);
    until("what the agent that moved says now", TOLD, || async {
        let last = a.api.json(path).await?;
        let values = last["values"].as_array().context("values")?;
        most.set(most.get().max(values.len()));
        let is_new = values.iter().any(|v| v["ts_ms"].as_i64().is_some_and(|ts| ts > moved_ms));
        ensure!(is_new, "{last}");
        Ok(())
    })
    .await?;
    ensure!(most.get() == 1, "one series was told {} times", most.get());
    for agent in &mut agents {
        agent.stop().await?;
    }
    for collector in [&mut a, &mut b] {
        collector.process.stop().await?;
    }
    drop(redis);
    server.signal(rustix::process::Signal::KILL)?;
    server.wait(Duration::from_secs(20)).await?;
    Ok(())
}

#[tokio::test]
async fn through_redis_each_answers_for_the_nodes_of_both() -> Result<()> {
    each_answers_for_both(true).await
}

#[tokio::test]
async fn without_redis_the_store_says_what_the_other_one_knows() -> Result<()> {
    each_answers_for_both(false).await
}
