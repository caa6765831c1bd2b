//! What a Redis that does not answer costs those who ask: nothing, once the breaker is open.
//!
//! The same kind of question, each new to all caches and small to the store, with Redis as it should be, stopped like a process that hangs, and killed.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::client::{Ask, Client};
use super::load::Loaded;
use super::offer::percentile_of;
use super::say;
use super::single::sequential;
use super::subject::gauges;
use crate::bench::table::{Bar, Table};
use crate::load::{node_name, now_ms};
use crate::redis::Redis;
use crate::stack::{ANY_PORT, Collector};
use crate::wait::{SOON, until};

/// Questions in each state.
const TIMES: usize = 300;
/// The slowest that any of them may be.
const SLOWEST_MS: f64 = 50.0;
const CACHE: &str = "/api/performance/cache";

/// Measures on a loaded directory.
pub(super) async fn run(table: &mut Table, dir: &Path) -> Result<()> {
    let files = crate::bench::temporary()?;
    let redis = Redis::start(files.path()).await?;
    let settings = [("FLYBALL_REDIS_URL", &*redis.url())];
    let loaded = Loaded::open(dir)?;
    // The past is enough: no agents.
    let mut collector = Collector::start_with(&loaded.dir, ANY_PORT, &settings).await?;
    let breaker = async || {
        let stats = collector.api.json(CACHE).await?;
        let breaker = stats["query_cache"]["l2"]["breaker"].as_str().map(str::to_owned);
        breaker.with_context(|| format!("no breaker: {stats}"))
    };
    let mut asked = 0;
    let base = collector.api.base();
    ask(base, &loaded, table, &mut asked, "as it should be").await?;
    redis.process.signal(Signal::STOP)?;
    let asks = Client::new(base);
    until("the breaker to open", SOON, || {
        asked += 1;
        let question = question(&loaded, asked);
        let (asks, breaker) = (&asks, &breaker);
        async move {
            asks.get(&question).await?;
            let state = breaker().await?;
            ensure!(state == "open", "{state}");
            Ok(())
        }
    })
    .await?;
    ask(base, &loaded, table, &mut asked, "stopped").await?;
    redis.process.signal(Signal::KILL)?;
    ask(base, &loaded, table, &mut asked, "killed").await?;
    collector.process.stop().await
}

async fn ask(
    base: &str,
    loaded: &Loaded,
    table: &mut Table,
    asked: &mut u64,
    how: &str,
) -> Result<()> {
    say(&format!("redis {how}"));
    let first = *asked + 1;
    *asked += TIMES as u64;
    let answers = sequential(base, TIMES, |n| question(loaded, first + n)).await?;
    let answers = answers.context("the collector knows the question")?;
    let ms = || answers.iter().map(|answer| answer.took.as_secs_f64() * 1e3);
    let mut add = |name: &str, share, bar| {
        table.add(&format!("redis {how}: {name}"), percentile_of(ms(), share), bar);
    };
    add("median ms", 0.5, None);
    add("p99 ms", 0.99, None);
    let bar = (how != "as it should be").then_some(Bar::AtMost(SLOWEST_MS));
    add("slowest ms", 1.0, bar);
    Ok(())
}

/// Ten minutes of one gauge of one node, each another ten minutes or node.
fn question(loaded: &Loaded, n: u64) -> Ask {
    let gauges = gauges();
    let gauge = &gauges[n as usize % gauges.len()];
    let to = now_ms() / 600_000 * 600_000 - 7_200_000 - (n as i64 % 60) * 600_000;
    let to = to.max(loaded.start_ms + 600_000);
    let (from, node) = (to - 600_000, node_name(n % loaded.agents));
    Ask::of(format!("/api/performance/metrics?{gauge}&node={node}&from={from}&to={to}&step=10s"))
}
