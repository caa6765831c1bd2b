//! VictoriaMetrics with the same samples: given as text, flushed, and merged twice, as its figures are best then.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::disk::{Load, SEED};
use crate::process::Process;
use crate::wait::{SOON, until};
use crate::workload::{Node, STEP_MS};

/// Time that its merges may take.
const MERGED: Duration = Duration::from_mins(10);
/// Its directory counts as settled when its size has not changed for this long.
const STILL: Duration = Duration::from_secs(10);

/// Bytes that the samples of `load` take, and bytes of the index of their series.
///
/// # Errors
/// When it cannot be started or does not settle.
pub async fn bytes(load: &Load) -> Result<(f64, f64)> {
    let dir = super::temporary()?;
    let data = dir.path().join("data");
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command.arg(format!("-storageDataPath={}", data.display()));
    let mut process = Process::start("victoria-metrics", command, dir.path())?;
    let (base, client) = (format!("http://127.0.0.1:{port}"), reqwest::Client::new());
    let get = |path: &str| client.get(format!("{base}{path}")).send();
    until("victoria-metrics to answer", SOON, || async {
        Ok(get("/health").await?.error_for_status()?)
    })
    .await?;
    for index in 0..load.nodes {
        let post = client.post(format!("{base}/api/v1/import/prometheus")).body(text(load, index));
        post.send().await?.error_for_status()?;
    }
    for path in ["/internal/force_flush", "/internal/force_merge", "/internal/force_merge"] {
        get(path).await?.error_for_status()?;
        settled(&data).await?;
    }
    let bytes = |name: &str| tree_bytes(&data.join(name)) as f64;
    let bytes = (bytes("data"), bytes("indexdb"));
    process.stop().await.context("stop victoria-metrics")?;
    Ok(bytes)
}

async fn settled(data: &Path) -> Result<()> {
    let mut last = (0, Instant::now());
    until("victoria-metrics to settle", MERGED, || {
        let now = tree_bytes(data);
        if now != last.0 {
            last = (now, Instant::now());
        }
        let still = last.1.elapsed() >= STILL;
        async move {
            ensure!(still, "still changing: {now} bytes");
            Ok(())
        }
    })
    .await
}

fn tree_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => tree_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            // It was merged away between the listing and the look.
            Err(_) => 0,
        })
        .sum()
}

/// All samples of one node in Prometheus' text format.
fn text(load: &Load, index: u64) -> String {
    let prefix = |template: &crate::workload::Template| {
        let attributes = &template.series.attributes;
        let labels: Vec<_> = attributes.iter().map(|(k, v)| format!(",{k}=\"{v}\"")).collect();
        format!("{}{{node=\"node-{index:04}\"{}}} ", template.series.metric, labels.concat())
    };
    let prefixes: Vec<_> = load.templates.iter().map(prefix).collect();
    let mut node = Node::new(&load.templates, SEED, index);
    let mut body = String::new();
    for tick in 0..load.ticks as i64 {
        let ts = load.start_ms + tick * STEP_MS;
        for (prefix, value) in prefixes.iter().zip(node.tick()) {
            writeln!(body, "{prefix}{value} {ts}").expect("writing to a string cannot fail");
        }
    }
    body
}
