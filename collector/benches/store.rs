//! What storing costs: CPU of both sides for a million samples, and bytes on disk, for the writer and for the ways that were not chosen.
//!
//! The workload is that of the peers' comparison: nodes of 200 series each, one sample every 10 s, in arrival order, in blocks of 100,000 rows. 22 % of the
//! series are always zero, 7 % constant, 26 % seconds with 2 decimals, 23 % integer counters, 14 % bytes in whole pages, 4 % small integers, 4 % random walks
//! with 2 decimals. `QUICK=1` stores a tenth of the nodes.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

use clickhouse::Row;
use flyball_collector::store::engine::Engine;
use flyball_collector::store::{DAY_MS, HOUR_MS, SampleRow, Store, StoreConfig, StoreMetrics};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

const SERIES_OF_A_NODE: u64 = 200;
const BLOCK_ROWS: usize = 100_000;
const STEP_MS: i64 = 10_000;

const HEADER: &str = "| case | samples a series | k samples/s | client CPU s/M | server CPU s/M acked | settled | merged | B/sample | merged |
|---|---|---|---|---|---|---|---|---|";

type Failure = Box<dyn Error>;

/// How rows reach the table.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// [`Store::insert_samples`].
    Writer,
    /// The client's typed rows.
    Typed,
    /// RowBinary, encoded here.
    RowBinary { optimize_on_insert: u8 },
}

/// Which table the rows go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// As the migrations make it.
    AsIs,
    /// A MergeTree that keeps repeated rows.
    Plain,
    /// Without waiting for the disk.
    Unsynced,
}

/// One line of the table.
struct Case {
    name: &'static str,
    way: Way,
    /// What is changed about the table.
    table: Table,
    /// Nodes and samples of each series.
    size: (u64, i64),
}

#[derive(Debug, Row, Serialize)]
struct TypedRow {
    series_id: u64,
    ts: i64,
    raw: i64,
    scale: i8,
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let nodes = if std::env::var_os("QUICK").is_some() { 100 } else { 1_000 };
    let (short, long) = ((nodes, 50), (nodes / 10, 500));
    let binary = |optimize_on_insert| Way::RowBinary { optimize_on_insert };
    let cases = [
        Case { name: "writer (Native)", way: Way::Writer, table: Table::AsIs, size: short },
        Case { name: "writer (Native)", way: Way::Writer, table: Table::AsIs, size: long },
        Case { name: "RowBinary bytes", way: binary(0), table: Table::AsIs, size: short },
        Case {
            name: "RowBinary bytes, optimize_on_insert",
            way: binary(1),
            table: Table::AsIs,
            size: short,
        },
        Case { name: "typed rows", way: Way::Typed, table: Table::AsIs, size: short },
        Case { name: "writer, no fsync", way: Way::Writer, table: Table::Unsynced, size: short },
        Case {
            name: "writer, plain MergeTree",
            way: Way::Writer,
            table: Table::Plain,
            size: short,
        },
    ];
    writeln!(stdout(), "{HEADER}")?;
    for case in &cases {
        writeln!(stdout(), "{}", measure(case).await?)?;
    }
    Ok(())
}

async fn measure(case: &Case) -> Result<String, Failure> {
    let dir = tempfile::tempdir()?;
    let mut config = StoreConfig::embedded(dir.path());
    config.program = Some(env!("CARGO_BIN_EXE_flyball-collector").into());
    let metrics = StoreMetrics::default();
    let engine = Engine::start(&config, &metrics, CancellationToken::new()).await?;
    let store =
        Store::connect(std::slice::from_ref(engine.endpoint()), &config.clickhouse, &metrics)
            .await?;
    store.migrator().up().await?;
    match case.table {
        Table::AsIs => {}
        Table::Plain => replace_by_plain(&store).await?,
        Table::Unsynced => {
            let sql = "ALTER TABLE performance_metrics MODIFY SETTING fsync_after_insert = 0";
            store.client().query(sql).execute().await?;
        }
    }
    let pid = engine.state().borrow().pid.ok_or("the engine has a process")?;

    let mut load = Load::new(case.size.0);
    let (mut samples, mut client, mut wall) = (0_u64, Duration::ZERO, Duration::ZERO);
    let before = server_cpu_s(pid)?;
    for block in 0.. {
        let rows = load.rows(case.size.1);
        if rows.is_empty() {
            break;
        }
        let (cpu, start) = (client_cpu(), Instant::now());
        insert(case.way, &store, &rows, &format!("{block}")).await?;
        (client, wall) = (client + client_cpu().saturating_sub(cpu), wall + start.elapsed());
        samples += rows.len() as u64;
    }
    let acked = server_cpu_s(pid)? - before;
    settle(&store).await?;
    let settled = server_cpu_s(pid)? - before;
    let natural = bytes_on_disk(&store).await?;
    store.client().query("OPTIMIZE TABLE performance_metrics FINAL").execute().await?;
    settle(&store).await?;
    let merged = server_cpu_s(pid)? - before;
    let least = bytes_on_disk(&store).await?;
    engine.stop().await;

    let millions = samples as f64 / 1e6;
    Ok(format!(
        "| {} | {} | {:.0} | {:.3} | {:.3} | {:.3} | {:.3} | {:.2} | {:.3} |",
        case.name,
        case.size.1,
        samples as f64 / 1e3 / wall.as_secs_f64(),
        client.as_secs_f64() / millions,
        acked / millions,
        settled / millions,
        merged / millions,
        natural as f64 / samples as f64,
        least as f64 / samples as f64,
    ))
}

async fn insert(way: Way, store: &Store, rows: &[SampleRow], token: &str) -> Result<(), Failure> {
    match way {
        Way::Writer => store.insert_samples(rows, token).await?,
        Way::Typed => {
            let mut insert = store
                .client()
                .insert::<TypedRow>("performance_metrics")
                .await?
                .with_setting("insert_deduplication_token", token)
                .with_setting("optimize_on_insert", "0");
            for row in rows {
                let &SampleRow { series_id, ts_ms, raw, scale } = row;
                insert.write(&TypedRow { series_id, ts: ts_ms, raw, scale }).await?;
            }
            insert.end().await?;
        }
        Way::RowBinary { optimize_on_insert } => {
            let mut bytes = Vec::with_capacity(rows.len() * 25);
            for row in rows {
                bytes.extend_from_slice(&row.series_id.to_le_bytes());
                bytes.extend_from_slice(&row.ts_ms.to_le_bytes());
                bytes.extend_from_slice(&row.raw.to_le_bytes());
                bytes.extend_from_slice(&row.scale.to_le_bytes());
            }
            let sql =
                "INSERT INTO performance_metrics (series_id, ts, raw, scale) FORMAT RowBinary";
            let mut insert = store
                .client()
                .insert_formatted_with(sql)
                .with_setting("insert_deduplication_token", token)
                .with_setting("optimize_on_insert", optimize_on_insert.to_string());
            insert.send(bytes.into()).await?;
            insert.end().await?;
        }
    }
    Ok(())
}

async fn replace_by_plain(store: &Store) -> Result<(), Failure> {
    let sql = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'performance_metrics'";
    let create: String = store.client().query(sql).fetch_one().await?;
    store.client().query("DROP TABLE performance_metrics SYNC").execute().await?;
    let plain = create.replace("ReplacingMergeTree", "MergeTree");
    Ok(store.client().query_raw(&plain).execute().await?)
}

/// Waits until no merge has run for a second.
async fn settle(store: &Store) -> Result<(), Failure> {
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

async fn bytes_on_disk(store: &Store) -> Result<u64, Failure> {
    let sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'performance_metrics'";
    Ok(store.client().query(sql).fetch_one().await?)
}

fn client_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}

fn server_cpu_s(pid: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit_once(')').ok_or("no process")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The workload: the state of every series, and how far it was handed out.
struct Load {
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
    fn new(nodes: u64) -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let mut series: Vec<_> = (0..nodes)
            .flat_map(|node| (0..SERIES_OF_A_NODE).map(move |number| (node, number)))
            .map(|(node, number)| Synthetic::new(&mut random, node, number))
            .collect();
        // Within a node in no order by id, as definitions come.
        for node in series.chunks_mut(SERIES_OF_A_NODE as usize) {
            node.sort_unstable_by_key(|series| series.id & 0xfff);
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let today_ms = now.map_or(0, |d| d.as_millis() as i64) / DAY_MS * DAY_MS;
        Self { random, series, next: 0, tick: 0, start_ms: today_ms }
    }

    /// The next block; empty after `ticks` ticks.
    fn rows(&mut self, ticks: i64) -> Vec<SampleRow> {
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
