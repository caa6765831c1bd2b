//! What the benchmarks of the store have in common: a database on the embedded engine, its CPU time, a workload.

#![allow(dead_code, reason = "each benchmark is a crate of its own and uses a part of it")]

use std::error::Error;
use std::time::Duration;

use flyball_collector::store::engine::Engine;
use flyball_collector::store::{
    HOUR_MS, SampleRow, SeriesId, SeriesRow, Store, StoreConfig, StoreMetrics,
};
use flyball_proto::series::{Kind, NodeName, Scale, Series};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) const SERIES_OF_A_NODE: u64 = 200;
const BLOCK_ROWS: usize = 100_000;
pub(crate) const STEP_MS: i64 = 10_000;

pub(crate) type Failure = Box<dyn Error>;

/// A new database on an engine of its own.
pub(crate) struct Database {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    /// The engine's process.
    pub(crate) pid: u32,
    pub(crate) dir: TempDir,
}

impl Database {
    pub(crate) async fn open() -> Result<Self, Failure> {
        let dir = tempfile::tempdir()?;
        let mut config = StoreConfig::embedded(dir.path());
        config.program = Some(env!("CARGO_BIN_EXE_flyball-collector").into());
        let metrics = StoreMetrics::default();
        let engine = Engine::start(&config, &metrics, CancellationToken::new()).await?;
        let endpoints = std::slice::from_ref(engine.endpoint());
        let store = Store::connect(endpoints, &config.clickhouse, &metrics).await?;
        store.migrator().up().await?;
        let pid = engine.state().borrow().pid.ok_or("the engine has a process")?;
        Ok(Self { engine, store, pid, dir })
    }
}

/// Waits until no merge has run for a second.
pub(crate) async fn settle(store: &Store) -> Result<(), Failure> {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut quiet = 0;
    while quiet < 10 {
        tick.tick().await;
        let running: u64 =
            store.client().query("SELECT count() FROM system.merges").fetch_one().await?;
        quiet = if running == 0 { quiet + 1 } else { 0 };
    }
    Ok(())
}

/// CPU seconds that a process has used.
pub(crate) fn server_cpu_s(pid: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit_once(')').ok_or("no process")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |age| age.as_millis() as i64)
}

/// The workload: the state of every series, and how far it was handed out.
pub(crate) struct Load {
    random: StdRng,
    series: Vec<Synthetic>,
    next: usize,
    tick: i64,
    start_ms: i64,
}

struct Synthetic {
    id: u64,
    raw: i64,
    rate: f64,
    step: Step,
}

/// How a series goes on; the scale follows from it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Constant,
    Counter,
    Seconds,
    Pages,
    Small,
    Walk,
}

impl Load {
    /// `nodes` nodes, whose first samples are of `start_ms`.
    pub(crate) fn new(nodes: u64, start_ms: i64) -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let mut series: Vec<_> = (0..nodes)
            .flat_map(|node| (0..SERIES_OF_A_NODE).map(move |number| (node, number)))
            .map(|(node, number)| Synthetic::new(&mut random, node, number))
            .collect();
        // Within a node in no order by id, as definitions come.
        for node in series.chunks_mut(SERIES_OF_A_NODE as usize) {
            node.sort_unstable_by_key(|series| series.id & 0xfff);
        }
        Self { random, series, next: 0, tick: 0, start_ms }
    }

    /// Rows of `series` for all of it.
    pub(crate) fn series(&self) -> Vec<SeriesRow> {
        self.series.iter().map(Synthetic::row).collect()
    }

    /// The next block; empty after `ticks` ticks.
    pub(crate) fn rows(&mut self, ticks: i64) -> Vec<SampleRow> {
        let mut rows = Vec::with_capacity(BLOCK_ROWS);
        while rows.len() < BLOCK_ROWS && self.tick < ticks {
            let ts_ms = self.start_ms + self.tick * STEP_MS;
            // A block is one partition.
            if rows
                .first()
                .is_some_and(|first: &SampleRow| first.ts_ms / HOUR_MS != ts_ms / HOUR_MS)
            {
                break;
            }
            rows.push(self.series[self.next].sample(ts_ms, &mut self.random));
            self.next += 1;
            if self.next == self.series.len() {
                (self.next, self.tick) = (0, self.tick + 1);
            }
        }
        rows
    }
}

impl Synthetic {
    /// Its row in `series`.
    fn row(&self) -> SeriesRow {
        let name = format!("bench-{:05}", self.id >> 28 & 0xffff);
        let node = NodeName::new(&name).expect("it is a name");
        let kind = match self.step {
            Step::Counter | Step::Seconds => Kind::Counter,
            Step::Constant | Step::Pages | Step::Small | Step::Walk => Kind::Gauge,
        };
        let series = Series {
            metric: format!("bench.metric_{}", self.id >> 44),
            unit: "1".to_owned(),
            kind,
            scale: Scale::UNIT,
            attributes: vec![("number".to_owned(), self.id.to_string())],
        };
        SeriesRow::new(SeriesId::from(self.id), &node, &series, 0)
    }

    fn new(random: &mut StdRng, node: u64, number: u64) -> Self {
        let (step, zero) = match number {
            0..44 => (Step::Constant, true),
            44..58 => (Step::Constant, false),
            58..110 => (Step::Seconds, false),
            110..156 => (Step::Counter, false),
            156..184 => (Step::Pages, false),
            184..192 => (Step::Small, false),
            _ => (Step::Walk, false),
        };
        let raw = match step {
            Step::Constant if zero => 0,
            Step::Constant => random.random_range(1..1 << 24),
            Step::Counter => random.random_range(0..1 << 32),
            Step::Seconds => random.random_range(0..100_000_000),
            Step::Pages => random.random_range(1 << 10..1 << 22),
            Step::Small => 3,
            Step::Walk => random.random_range(0..5_000),
        };
        // 100 metrics of two series each.
        let id = (number / 2) << 44 | node << 28 | random.random_range(0..1 << 28);
        let rate = (6.0 + 2.0 * normal(random)).exp() * 10.0;
        Self { id, raw, rate, step }
    }

    fn sample(&mut self, ts_ms: i64, random: &mut StdRng) -> SampleRow {
        let scale = match self.step {
            Step::Seconds | Step::Walk => 2,
            Step::Pages => -12,
            _ => 0,
        };
        match self.step {
            Step::Constant => {}
            Step::Counter => {
                self.raw += (self.rate + self.rate.sqrt() * normal(random)).max(0.0) as i64;
            }
            Step::Seconds => self.raw += random.random_range(0..1_000),
            Step::Pages => self.raw += random.random_range(-500..500),
            Step::Small => self.raw = (3.0 + 1.7 * normal(random)).max(0.0) as i64,
            Step::Walk => self.raw = (self.raw + (30.0 * normal(random)) as i64).abs(),
        }
        SampleRow { series_id: self.id, ts_ms, raw: self.raw, scale }
    }
}

/// A standard normal number (Box and Muller).
fn normal(random: &mut StdRng) -> f64 {
    let (a, b): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
