//! One run: a fresh collector, a fleet, a warm-up, a measured window, the last acknowledgements, and the check that nothing was lost or doubled.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::Pace;
use super::agent::{Acked, Agent, Fleet, Totals, now_ms};
use super::measure::{Processes, Snapshot, slope};
use super::story::Stories;
use crate::bench::table::{Table, percentile};
use crate::engine;
use crate::simulate::connect;
use crate::stack::Stack;
use crate::wait::until;
use crate::workload::{SERIES_PER_NODE, templates};

/// Seed of the values.
const SEED: u64 = 7;
/// Connections that are opened at once.
const OPENING: usize = 64;
/// Longest time until all agents are connected and their series stored.
const DEFINED: Duration = Duration::from_mins(10);
/// Longest time for the last acknowledgements.
const DRAINED: Duration = Duration::from_mins(2);
/// Longest time that the engine may go on merging afterwards.
const SETTLED: Duration = Duration::from_mins(5);
/// Time between two looks at memory.
const LOOK: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Simulated agents.
    pub agents: u64,
    /// Series of each agent, 200 at most.
    pub series: usize,
    /// Connections that the agents share.
    pub connections: u64,
    /// When frames are due.
    pub pace: Pace,
    /// Series that each agent replaces by new ones in a minute.
    pub churn: f64,
    /// From the moment when all agents are connected to the measured window.
    pub warmup: Duration,
    /// The measured window.
    pub window: Duration,
    /// Settings of the collector that are not the defaults, as environment variables.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// From the first connection until the series of all agents were stored, in seconds.
    pub connect_s: f64,
    /// Samples acknowledged in a second of the window.
    pub rate: f64,
    /// Milliseconds from when a frame was due to its acknowledgement, sorted; frames due within the window.
    pub latency_ms: Vec<f64>,
    /// CPU seconds for a million samples acknowledged, in the window.
    pub collector_cpu: f64,
    /// The engine's, in the window.
    pub engine_cpu: f64,
    /// The engine's from the window's beginning until its merges have ended, for a million samples acknowledged since then.
    pub engine_cpu_settled: f64,
    /// The generator's, in the window.
    pub generator_cpu: f64,
    /// Resident memory of the collector, most within the window, in MiB.
    pub collector_mib: f64,
    /// Resident memory of the engine, most within the window, in MiB.
    pub engine_mib: f64,
    /// Growth of the collector's memory over the window, MiB in a minute.
    pub growth_mib: f64,
    /// Samples acknowledged in all, each of which was found in the engine once.
    pub samples: u64,
}

/// Runs `plan` on a fresh collector.
///
/// # Errors
/// When the collector ends a stream, rejects or loses or doubles a sample, or falls minutes behind.
pub async fn run(plan: &Plan) -> Result<Outcome> {
    ensure!((1..=SERIES_PER_NODE).contains(&plan.series), "1 to {SERIES_PER_NODE} series");
    let stack = Stack::start_with(&plan.settings).await?;
    let processes = Processes::of(stack.collector.process.pid().context("the collector runs")?)?;
    let fleet = Arc::new(fleet(plan));
    let mut agents = start(stack.collector.grpc, plan, &fleet).await?;
    defined(&fleet, &mut agents).await?;
    let connect_s = fleet.origin.0.elapsed().as_secs_f64();
    fleet.go.cancel();
    watched(&mut agents, plan.warmup, || Ok(())).await?;

    let window = Window::measure(plan, &fleet, processes, &mut agents).await?;
    fleet.stop.cancel();
    let acked = tokio::time::timeout(DRAINED, finished(agents));
    let acked = acked.await.context("the last acknowledgements did not come")??;
    let settled_cpu_s = settled(processes).await?;
    let (data, _dir) = stack.shut_down().await?;
    let totals = &fleet.totals;
    conserved(&data, totals.acked.load(Relaxed), totals.acked_raw.load(Relaxed)).await?;
    Ok(window.outcome(&fleet, connect_s, &acked, settled_cpu_s))
}

/// Runs `plan` and adds its figures to `table`.
///
/// # Errors
/// As [`run`].
pub async fn steady(table: &mut Table, plan: &Plan) -> Result<()> {
    let outcome = run(plan).await?;
    let mut what = format!("{} agents x {} series", plan.agents, plan.series);
    if plan.churn > 0.0 {
        what = format!("{what}, {} replaced a minute", plan.churn);
    }
    let big = plan.agents * plan.series as u64 >= 2_000_000;
    Outcome::push(
        &[outcome],
        table,
        &what,
        &Bars {
            p99_ms: Some(3_000.0),
            rss_mib: big.then_some(512.0),
            // New series stay known for as long as their samples do.
            growth_mib: (plan.churn == 0.0).then_some(1.0),
            ..Bars::default()
        },
    );
    Ok(())
}

/// What a run must meet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bars {
    pub(super) us_a_sample: Option<f64>,
    pub(super) cpu: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) rss_mib: Option<f64>,
    pub(super) growth_mib: Option<f64>,
    pub(super) generator_cpu: Option<f64>,
}

impl Outcome {
    /// Milliseconds below which `share` of the latencies lie.
    pub fn latency(&self, share: f64) -> f64 {
        if self.latency_ms.is_empty() { f64::NAN } else { percentile(&self.latency_ms, share) }
    }

    /// CPU seconds of collector and engine for a million samples, in the window.
    pub fn servers_cpu(&self) -> f64 {
        self.collector_cpu + self.engine_cpu
    }

    /// Adds everything about runs of one plan to `table`.
    pub(super) fn push(rounds: &[Self], table: &mut Table, what: &str, bars: &Bars) {
        let mut push = |name: &str, bar, figure: fn(&Self) -> f64| {
            table.push(&format!("{what}: {name}"), rounds.iter().map(figure).collect(), bar);
        };
        push("k samples/s acknowledged", None, |run| run.rate / 1e3);
        push("us between two samples acknowledged", bars.us_a_sample, |run| 1e6 / run.rate);
        push("collector + engine, CPU s/M", bars.cpu, Self::servers_cpu);
        push("collector, CPU s/M", None, |run| run.collector_cpu);
        push("engine, CPU s/M", None, |run| run.engine_cpu);
        push("engine with the merges after it, CPU s/M", None, |run| run.engine_cpu_settled);
        push("generator, CPU s/M", bars.generator_cpu, |run| run.generator_cpu);
        push("due to acknowledged, p50 ms", None, |run| run.latency(0.5));
        push("due to acknowledged, p99 ms", bars.p99_ms, |run| run.latency(0.99));
        push("due to acknowledged, p99.9 ms", None, |run| run.latency(0.999));
        push("collector RSS, MiB", bars.rss_mib, |run| run.collector_mib);
        push("collector RSS, growth MiB/min", bars.growth_mib, |run| run.growth_mib);
        push("engine RSS, MiB", None, |run| run.engine_mib);
        push("until all series are stored, s", None, |run| run.connect_s);
        push("M samples acknowledged, each found once", None, |run| run.samples as f64 / 1e6);
    }
}

/// A fleet of `plan`, with values of the one seed.
pub(super) fn fleet(plan: &Plan) -> Fleet {
    let mut templates = templates();
    templates.truncate(plan.series);
    let first_ms = if let Pace::History(history) = plan.pace { history.from_ms } else { 0 };
    Fleet {
        stories: Arc::new(Stories::new(&templates, SEED)),
        templates,
        seed: SEED,
        pace: plan.pace,
        churn: plan.churn,
        agents: plan.agents,
        origin: (Instant::now(), now_ms()),
        go: CancellationToken::new(),
        stop: CancellationToken::new(),
        released: watch::Sender::new(first_ms),
        run: rand::random(),
        totals: Totals::default(),
    }
}

/// The agents of a run.
pub(super) type Agents = JoinSet<Result<Vec<Acked>>>;

/// Starts all agents, a few connections at a time.
pub(super) async fn start(grpc: SocketAddr, plan: &Plan, fleet: &Arc<Fleet>) -> Result<Agents> {
    let opening = Arc::new(Semaphore::new(OPENING));
    let shared: Vec<Channel> = if plan.connections < plan.agents {
        let mut channels = Vec::new();
        for _ in 0..plan.connections.max(1) {
            channels.push(connect(grpc).await?);
        }
        channels
    } else {
        Vec::new()
    };
    let mut agents = JoinSet::new();
    for index in 0..plan.agents {
        let agent = Agent::new(Arc::clone(fleet), index)?;
        let (opening, address) = (Arc::clone(&opening), grpc);
        let channel = shared.get(index as usize % shared.len().max(1)).cloned();
        agents.spawn(async move {
            let channel = if let Some(channel) = channel {
                channel
            } else {
                let _turn = opening.acquire_owned().await?;
                connect(address).await?
            };
            agent.run(channel).await
        });
    }
    Ok(agents)
}

/// Waits until the first frame of every agent is stored.
pub(super) async fn defined(fleet: &Fleet, agents: &mut Agents) -> Result<()> {
    let deadline = Instant::now() + DEFINED;
    while fleet.totals.defined.load(Relaxed) < fleet.agents {
        ensure!(Instant::now() < deadline, "not all agents were served");
        watched(agents, Duration::from_millis(100), || Ok(())).await?;
    }
    Ok(())
}

/// Lets the agents run for `time` and looks every second; an agent that ends has failed.
pub(super) async fn watched(
    agents: &mut Agents,
    time: Duration,
    mut look: impl FnMut() -> Result<()>,
) -> Result<()> {
    let end = Instant::now() + time;
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(end) => return Ok(()),
            Some(ended) = agents.join_next() => {
                ended??;
                anyhow::bail!("an agent ended before its time");
            }
            _ = ticks.tick() => look()?,
        }
    }
}

/// Waits for the end of all agents; gives what they measured.
pub(super) async fn finished(mut agents: Agents) -> Result<Vec<Acked>> {
    let mut all = Vec::new();
    while let Some(acked) = agents.join_next().await {
        all.append(&mut acked??);
    }
    Ok(all)
}

/// Waits until the engine has no more work; gives its CPU seconds then.
async fn settled(processes: Processes) -> Result<f64> {
    let mut last = (processes.snapshot()?.engine.cpu_s, Instant::now());
    until("the engine to settle", SETTLED, || {
        let now = processes.snapshot().map(|snapshot| snapshot.engine.cpu_s);
        let elapsed = last.1.elapsed();
        let result = now.map(|now| {
            // Less than a twentieth of a core over three seconds: nothing but its own housekeeping.
            let still = elapsed >= 3 * LOOK && now - last.0 < 0.05 * elapsed.as_secs_f64();
            if elapsed >= 3 * LOOK {
                last = (now, Instant::now());
            }
            still.then_some(now)
        });
        async move { result?.context("still merging") }
    })
    .await
}

/// The engine's files hold every acknowledged sample once, and nothing else.
pub(crate) async fn conserved(data: &Path, samples: u64, raw: i64) -> Result<()> {
    let sql = "SELECT count(), sum(raw) FROM flyball.performance_metrics FINAL \
               SETTINGS do_not_merge_across_partitions_select_final = 1, max_threads = 2";
    let answer = engine::query(data, sql).await?;
    let (found, sum) = answer.trim().split_once('\t').context("two numbers")?;
    ensure!(found.parse() == Ok(samples), "{found} different samples stored of {samples}");
    ensure!(sum.parse() == Ok(raw), "the raw integers add up to {sum}, not to {raw}");
    Ok(())
}

/// The measured window.
struct Window {
    from: (Instant, Snapshot, u64),
    to: (Instant, Snapshot, u64),
    /// Memory of the collector and of the engine.
    rss: Vec<(f64, f64, f64)>,
}

impl Window {
    async fn measure(
        plan: &Plan,
        fleet: &Fleet,
        processes: Processes,
        agents: &mut Agents,
    ) -> Result<Self> {
        let now = || {
            anyhow::Ok((Instant::now(), processes.snapshot()?, fleet.totals.acked.load(Relaxed)))
        };
        let from = now()?;
        let mut rss = Vec::new();
        watched(agents, plan.window, || {
            let (at, snapshot, _) = now()?;
            let seconds = (at - from.0).as_secs_f64();
            rss.push((seconds, snapshot.collector.rss_bytes, snapshot.engine.rss_bytes));
            Ok(())
        })
        .await?;
        Ok(Self { from, to: now()?, rss })
    }

    fn outcome(
        &self,
        fleet: &Fleet,
        connect_s: f64,
        acked: &[Acked],
        settled_cpu_s: f64,
    ) -> Outcome {
        let ((start, first, acked_before), (end, last, acked_after)) = (self.from, self.to);
        let millions = (acked_after - acked_before) as f64 / 1e6;
        let samples = fleet.totals.acked.load(Relaxed);
        let us = |at: Instant| (at - fleet.origin.0).as_micros() as u64;
        let within = us(start)..us(end);
        let due = acked.iter().filter(|frame| within.contains(&frame.due_us));
        let mut latency_ms: Vec<_> = due.map(|frame| frame.latency_us as f64 / 1e3).collect();
        latency_ms.sort_by(f64::total_cmp);
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let most = |value: fn(&(f64, f64, f64)) -> f64| {
            mib(self.rss.iter().map(value).fold(0.0, f64::max))
        };
        let growth: Vec<_> = self.rss.iter().map(|(at, collector, _)| (*at, *collector)).collect();
        Outcome {
            connect_s,
            rate: millions * 1e6 / (end - start).as_secs_f64(),
            latency_ms,
            collector_cpu: (last.collector.cpu_s - first.collector.cpu_s) / millions,
            engine_cpu: (last.engine.cpu_s - first.engine.cpu_s) / millions,
            engine_cpu_settled: (settled_cpu_s - first.engine.cpu_s)
                / ((samples - acked_before) as f64 / 1e6),
            generator_cpu: (last.generator.cpu_s - first.generator.cpu_s) / millions,
            collector_mib: most(|at| at.1),
            engine_mib: most(|at| at.2),
            growth_mib: mib(slope(&growth) * 60.0),
            samples,
        }
    }
}
