//! Caches on the whole path: real servers, an agent that samples them by its settings file, the series that are answered, and the rows in `cache_stats`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::engine;
use flyball_tests::process::Process;
use flyball_tests::redis::Redis;
use flyball_tests::stack::{Collector, Stack};
use flyball_tests::wait::{SOON, until};
use flyball_tests::{port, redis};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// A memcached that has answered.
async fn start_memcached(dir: &Path) -> Result<(Process, u16)> {
    let port = port::free()?;
    let mut command = Command::new("memcached");
    command.args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
    let process = Process::start("memcached", command, dir)?;
    until("memcached to answer", SOON, || ask(port, "get a\r\n", "END\r\n")).await?;
    Ok((process, port))
}

/// Sends `request` and reads an answer of this length, which must be it.
async fn ask(port: u16, request: &str, answer: &str) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).await?;
    ensure!(got == answer.as_bytes(), "{:?}", String::from_utf8_lossy(&got));
    Ok(())
}

/// Waits until the agent has published this value of a metric.
async fn wait_value(stack: &Stack, metric: &str, filter: &str, value: f64) -> Result<()> {
    let path =
        format!("/api/performance/metrics?metric={metric}&filter={filter}&step=1000&agg=last");
    until(&format!("{metric} to be {value}"), SOON, || async {
        let answer = stack.collector.api.json(&path).await?;
        let points = answer["series"][0]["points"].as_array().context("no series yet")?;
        let last = points.iter().rev().find_map(|point| point[1].as_f64());
        ensure!(last == Some(value), "{last:?} in {answer}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn caches_of_the_settings_are_sampled_answered_and_kept_as_rows() -> Result<()> {
    let mut stack = Stack::start().await?;
    let redis = Redis::start(stack.dir()).await?;
    let (_memcached, memcached_port) = start_memcached(stack.dir()).await?;
    let redis_port = redis::port(&redis.url())?;
    let mut settings = String::new();
    writeln!(settings, "[[redis]]\nname = 'sessions'\nurl = '{}'", redis.url())?;
    writeln!(settings, "[[redis]]\nname = 'gone'\nurl = 'redis://127.0.0.1:{}'", port::free()?)?;
    let address = format!("127.0.0.1:{memcached_port}");
    writeln!(settings, "[[memcached]]\nname = 'pages'\naddress = '{address}'")?;
    let file = stack.dir().join("agent.toml");
    std::fs::write(&file, settings)?;
    stack.start_agent("alpha", &["--config", &file.display().to_string()])?;
    stack.wait_up("alpha").await?;

    ask(
        redis_port,
        "SET k v\r\nGET k\r\nGET k\r\nGET none\r\n",
        "+OK\r\n$1\r\nv\r\n$1\r\nv\r\n$-1\r\n",
    )
    .await?;
    wait_value(&stack, "redis.keyspace.hits", "cache=sessions", 2.0).await?;
    wait_value(&stack, "flyball.redis.up", "cache=sessions", 1.0).await?;
    wait_value(&stack, "flyball.redis.up", "cache=gone", 0.0).await?;
    wait_value(&stack, "flyball.memcached.up", "cache=pages", 1.0).await?;

    // What was taken while no collector was there comes later, and makes its rows all the same.
    stack.collector.process.signal(Signal::KILL)?;
    stack.collector.process.wait(SOON).await?;
    ask(redis_port, "GET k\r\n", "$1\r\nv\r\n").await?;
    let (dir, grpc) = (stack.dir().to_owned(), stack.collector.grpc);
    stack.collector = Collector::start(&dir, grpc).await?;
    wait_value(&stack, "redis.keyspace.hits", "cache=sessions", 3.0).await?;
    stack.agents[0].stop().await?;
    let log = stack.agents.remove(0).log();
    ensure!(log.matches("redis does not serve").count() == 1, "said once:\n{log}");
    let (data, _dir) = stack.shut_down().await?;
    check_rows(&data).await
}

/// A row for each tick of each cache that was there, without gaps and repetitions, and the same as the samples.
async fn check_rows(data: &Path) -> Result<()> {
    let of_samples = "SELECT toUInt64(raw) AS value, ts FROM flyball.performance_metrics FINAL \
        WHERE series_id IN (SELECT series_id FROM flyball.series WHERE metric = 'redis.keyspace.hits')";
    let differ = format!(
        "SELECT count() FROM ({of_samples}) AS s FULL JOIN \
         (SELECT hits, ts FROM flyball.cache_stats FINAL WHERE cache = 'sessions') AS r \
         ON s.ts = r.ts WHERE s.value != r.hits"
    );
    ensure!(engine::query(data, &differ).await?.trim() == "0", "rows are not the samples");
    let rows = "SELECT cache, kind, max(hits), max(misses), max(requests), max(keys), \
        uniqExact(started_at), count() = uniqExact(ts), min(used_bytes) > 0, version != '', \
        max(length(latency_counts)) FROM flyball.cache_stats FINAL GROUP BY cache, kind, version \
        ORDER BY cache";
    let rows = engine::query(data, rows).await?;
    let expected =
        ["pages\tmemcached\t0\t1\t1\t0\t1\t1\t", "sessions\tredis\t3\t1\t4\t1\t1\t1\t1\t1\t21"];
    let lines: Vec<_> = rows.trim().lines().collect();
    ensure!(lines.len() == 2, "{rows}");
    for (line, expected) in lines.iter().zip(expected) {
        ensure!(line.starts_with(expected), "{line} and not {expected}");
    }
    Ok(())
}
