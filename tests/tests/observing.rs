//! Observing on the whole path: a real Redis under load, the shipped agent, the shipped collector, and what the API shows of the cache.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::load::cache::{Kind, Load, Tally, drive};
use flyball_tests::redis::{self, Redis};
use flyball_tests::stack::Stack;
use flyball_tests::wait::{SOON, until};

/// The limit of the server.
const BYTES: u64 = 6 << 20;

#[tokio::test]
async fn a_cache_under_load_shows_its_curve() -> Result<()> {
    let mut stack = Stack::start().await?;
    let options = ["--maxmemory", &BYTES.to_string(), "--maxmemory-policy", "allkeys-lru"];
    let redis = Redis::start_with(stack.dir(), &options).await?;
    let port = redis::port(&redis.url())?;
    let load = Load { kind: Kind::Still, keys: 100_000, per_second: 3_000.0, seed: 7 };
    let driving =
        tokio::spawn(
            async move { drive(port, &load, Duration::from_mins(5), &Tally::default()).await },
        );
    let settings = format!(
        "[observe]\nreport = '1s'\nmax_cpu_share = 0.5\nmost_draws = 200\nlongest_window = '10s'\n\
         longest_rest = '1m'\n[[redis]]\nname = 'sessions'\nurl = '{}'\nobserve = 'events'\n",
        redis.url()
    );
    let file = stack.dir().join("agent.toml");
    std::fs::write(&file, settings)?;
    let file = file.to_str().context("a path in UTF-8")?.to_owned();
    stack.start_agent("cache-1", &["--config", &file])?;
    until("a curve", SOON * 3, || async {
        let answer = stack.collector.api.json("/api/performance/cache").await?;
        let cache = &answer["caches"][0];
        ensure!(cache["id"] == "redis:cache-1:sessions" && cache["state"] == "up", "{answer}");
        let curve = &cache["curve"];
        let points = curve["points"].as_array().context("no curve yet")?;
        let ratios: Vec<f64> = points.iter().filter_map(|p| p["hit_ratio"].as_f64()).collect();
        ensure!(ratios.len() >= 2 && ratios.is_sorted(), "{curve}");
        ensure!(points.iter().any(|point| point["bytes"] == BYTES), "{curve}");
        ensure!(curve["reach_bytes"].as_u64() > Some(BYTES), "larger sizes too: {curve}");
        let misses = &cache["misses"];
        ensure!(misses["sampled"].as_u64() > Some(50), "{cache}");
        Ok(())
    })
    .await?;
    until("what it cost", SOON, || async {
        for metric in ["flyball.cache.windows", "flyball.cache.events", "flyball.redis.probes"] {
            let path = format!(
                "/api/performance/metrics?metric={metric}&filter=cache=sessions&step=1000&agg=last"
            );
            let answer = stack.collector.api.json(&path).await?;
            let points = answer["series"][0]["points"].as_array().context("no series yet")?;
            let last = points.iter().rev().find_map(|point| point[1].as_f64());
            ensure!(last > Some(0.0), "{metric}: {last:?}");
        }
        Ok(())
    })
    .await?;
    driving.abort();
    stack.stop().await
}
