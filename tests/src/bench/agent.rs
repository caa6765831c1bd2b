//! What the agent costs, beside node_exporter scraped once a second in the same minutes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};
use tokio::time::MissedTickBehavior;

use super::progress;
use super::table::Table;
use crate::process::{Process, Usage, usage};
use crate::stack::Stack;
use crate::wait::{SOON, until};

/// Processes on the host while it is measured.
const PROCESSES: usize = 300;

/// Measures agent and node_exporter side by side: `rounds` windows of `window`, after `settle` of both running.
///
/// # Errors
/// When one of them cannot be started or ends.
pub async fn run(
    table: &mut Table,
    settle: Duration,
    window: Duration,
    rounds: usize,
) -> Result<()> {
    let _others = idle_processes()?;
    let mut stack = Stack::start().await?;
    stack.start_agent("bench", &["--interval", "1s"])?;
    let exporter = Exporter::start(&stack).await?;
    stack.wait_up("bench").await?;
    progress("agent: settling", settle);
    scrape(&exporter, settle).await?;

    let agent = stack.agents[0].pid().context("the agent runs")?;
    let collector = stack.collector.process.pid().context("the collector runs")?;
    let mut figures = Figures::default();
    for round in 0..rounds {
        progress(&format!("agent: round {} of {rounds}", round + 1), window);
        let (start, before) = (Instant::now(), (usage(agent)?, exporter.process.usage()?));
        scrape(&exporter, window).await?;
        let seconds = start.elapsed().as_secs_f64();
        figures.add(seconds, before, (usage(agent)?, exporter.process.usage()?));
        let status = stack.collector.api.json("/api/performance/status").await?;
        let node = &status["nodes"][0];
        figures.samples.push(node["samples_per_second"].as_f64().context("samples_per_second")?);
        figures.series.push(node["series"].as_f64().context("series")?);
        figures.collector_mb.push(mebibytes(usage(collector)?));
    }
    figures.report(table);
    stack.stop().await
}

#[derive(Default)]
struct Figures {
    series: Vec<f64>,
    samples: Vec<f64>,
    agent_ms: Vec<f64>,
    agent_mb: Vec<f64>,
    exporter_ms: Vec<f64>,
    exporter_mb: Vec<f64>,
    collector_mb: Vec<f64>,
}

impl Figures {
    fn add(&mut self, seconds: f64, before: (Usage, Usage), after: (Usage, Usage)) {
        let ms = |a: Usage, b: Usage| b.cpu.saturating_sub(a.cpu).as_secs_f64() * 1000.0 / seconds;
        self.agent_ms.push(ms(before.0, after.0));
        self.exporter_ms.push(ms(before.1, after.1));
        self.agent_mb.push(mebibytes(after.0));
        self.exporter_mb.push(mebibytes(after.1));
    }

    fn report(self, table: &mut Table) {
        let ratio = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>();
        let per_thousand =
            ratio(&self.agent_ms, &self.samples).iter().map(|r| r * 1000.0).collect();
        let cpu_ratio = ratio(&self.agent_ms, &self.exporter_ms);
        let rss_ratio = ratio(&self.agent_mb, &self.exporter_mb);
        table.push("agent: series", self.series, None);
        table.push("agent: samples/s", self.samples, None);
        table.push("agent: CPU ms/s", self.agent_ms, Some(2.5));
        table.push("agent: CPU ms per 1000 samples", per_thousand, Some(3.0));
        table.push("agent: RSS MiB", self.agent_mb, Some(12.0));
        table.push("node_exporter: CPU ms/s", self.exporter_ms, None);
        table.push("node_exporter: RSS MiB", self.exporter_mb, None);
        table.push("agent / node_exporter: CPU", cpu_ratio, Some(1.0 / 3.0));
        table.push("agent / node_exporter: RSS", rss_ratio, Some(0.5));
        table.push("collector without the engine: RSS MiB", self.collector_mb, Some(50.0));
    }
}

struct Exporter {
    process: Process,
    url: String,
    client: reqwest::Client,
}

impl Exporter {
    async fn start(stack: &Stack) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("prometheus-node-exporter");
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("node_exporter", command, stack.dir())?;
        let url = format!("http://127.0.0.1:{port}/metrics");
        let exporter = Self { process, url, client: reqwest::Client::new() };
        until("node_exporter to answer", SOON, || exporter.scrape()).await?;
        Ok(exporter)
    }

    async fn scrape(&self) -> Result<()> {
        self.client.get(&self.url).send().await?.error_for_status()?.bytes().await?;
        Ok(())
    }
}

/// Scrapes once a second for `time`, as Prometheus would.
async fn scrape(exporter: &Exporter, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        second.tick().await;
        exporter.scrape().await?;
    }
    Ok(())
}

/// Fills the host up to `PROCESSES` processes.
fn idle_processes() -> Result<Vec<Child>> {
    let names = std::fs::read_dir("/proc")?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let running = names.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).count();
    (running..PROCESSES)
        .map(|_| Ok(Command::new("sleep").arg("infinity").kill_on_drop(true).spawn()?))
        .collect()
}

fn mebibytes(usage: Usage) -> f64 {
    usage.rss_bytes as f64 / f64::from(1 << 20)
}
