//! `flyball-bench`: measures the shipped binaries beside their peers, and makes the pictures of the documentation.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use flyball_tests::bench::disk;
use flyball_tests::bench::table::Table;
use flyball_tests::bench::{
    agent, balance, cache, cache_cost, confirm, harm, judge, latency, outage, query, replay,
    screenshot, start, steer,
};
use flyball_tests::load::{self, Pace, Plan, Scale};
use flyball_tests::workload::SERIES_PER_NODE;

/// Measures the shipped binaries beside their peers. Needs what `scripts/bench.sh` installs.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU and memory of the agent beside node_exporter, with 300 processes.
    Agent {
        /// Seconds both run before they are measured.
        #[arg(long, default_value_t = 420)]
        settle: u64,
        /// Seconds of one window.
        #[arg(long, default_value_t = 60)]
        window: u64,
        /// Windows.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Load balancing: real HAProxys before backends of known capacity, with Flyball's weights and without.
    Balance(Balance),
    /// Time from a sample to the event and the answer that show it.
    Latency {
        /// Ticks to watch.
        #[arg(long, default_value_t = 100)]
        ticks: usize,
    },
    /// Time from the command to the first live points.
    Start {
        /// Times to start it.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Bytes a sample takes on disk beside VictoriaMetrics: 10 million samples in series of 50 and of 500 points.
    Disk {
        /// Million samples of each shape.
        #[arg(long, default_value_t = 10)]
        millions: u64,
    },
    /// Simulated agents against the shipped collector: acknowledged samples, latency, CPU, memory, and the check that none was lost or doubled.
    #[command(subcommand)]
    Load(Load),
    /// Queries on a day of a fleet's samples.
    #[command(subcommand)]
    Query(Query),
    /// What is predicted of a Redis at other sizes and with LFU, beside what it then does: four
    /// workloads at two sizes each.
    Cache {
        /// Orders of requests.
        #[arg(long, default_value_t = 3)]
        seeds: u64,
        /// The first of them. Those from 1 to 99 were used while estimators were made.
        #[arg(long, default_value_t = 101)]
        first_seed: u64,
        /// Servers that are measured at once, with four more each for the truth.
        #[arg(long, default_value_t = 8)]
        parallel: usize,
        /// Where predictions and truths are kept; what is there is not measured again.
        #[arg(long)]
        dir: PathBuf,
        /// Only these of the scenarios, by their numbers from 0 on.
        #[arg(long, value_delimiter = ',')]
        only: Vec<usize>,
        /// Keeps what estimators were shown, 60 MB for each scenario.
        #[arg(long)]
        keep: bool,
        /// Measures nothing: shows what was kept to the estimators as they are now.
        #[arg(long)]
        again: bool,
    },
    /// What observing costs a real Redis under load, and its clients: no agent, one that samples only, one that draws ages, one that hears events for a whole cycle.
    CacheCost {
        /// Reads a second.
        #[arg(long, default_value_t = 40_000.0)]
        per_second: f64,
        /// Memory of the server, in megabytes.
        #[arg(long, default_value_t = 64)]
        megabytes: u64,
        /// Keys.
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        /// Seconds until the server is full.
        #[arg(long, default_value_t = 60)]
        warm: u64,
        /// Seconds for each kind of agent but the last.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Seconds that a cycle of windows may take; 0: events are left out.
        #[arg(long, default_value_t = 9_000)]
        cycle: u64,
        /// What observing may cost, as the agent is told: a larger share makes a cycle shorter.
        #[arg(long, default_value_t = 0.01)]
        share: f64,
        /// Times that the kinds of agent follow each other.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// The backlog of an hour sent beside live samples: memory of the agent, and how late live samples are seen meanwhile.
    Replay {
        /// Times, each with a new agent and collector.
        #[arg(long, default_value_t = 4)]
        rounds: usize,
    },
    /// From a wish to its being in force, at one of many agents and at all of them at once.
    Steer {
        /// Agents, each with a server in memory.
        #[arg(long, default_value_t = 1_000)]
        agents: usize,
        /// Wishes for one agent.
        #[arg(long, default_value_t = 500)]
        changes: usize,
        /// Wishes for all agents.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
        /// Confirmations over HTTP, one after the other; at the other agents many at once.
        #[arg(long, default_value_t = 500)]
        confirms: usize,
    },
    /// A harmful change at a real Redis: from the verdict to the old value, also with the collector killed.
    Harm {
        /// Changes of each kind.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// How often the judge is wrong, computed: rollouts that change nothing, that do harm at several levels of noise, and caches that grow. With the driver's own code and settings.
    Judge {
        /// Rollouts without a change for each way to compare, on synthetic and on recorded noise each; others are fewer in proportion.
        #[arg(long, default_value_t = 10_000)]
        runs: u64,
        /// The first seed. Every kind has seeds of its own.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A twentieth of the runs: shows the way, and whether the bars are met only roughly.
        #[arg(long)]
        quick: bool,
    },
    /// ClickHouse away for minutes: memory of the agent, and whether everything is stored afterwards.
    Outage {
        /// Seconds that the agent runs before.
        #[arg(long, default_value_t = 240)]
        settle: u64,
        /// Seconds without ClickHouse.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Starts a stack, lets it collect, and has a script draw it.
    Screenshot {
        /// Script that is given the dashboard's address and the output file.
        #[arg(long)]
        script: PathBuf,
        /// The picture.
        #[arg(long)]
        output: PathBuf,
        /// Seconds to collect before.
        #[arg(long, default_value_t = 290)]
        collect: u64,
    },
}

#[derive(clap::Args)]
struct Balance {
    /// What is measured, all of it by default.
    #[arg(long = "case", value_enum, value_delimiter = ',')]
    cases: Vec<balance::Case>,
    /// Ways to share requests that are compared, all of them by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    arms: Vec<balance::Arm>,
    /// Times that each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measured seconds of a run.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds under full load before them.
    #[arg(long, default_value_t = 10)]
    warm: u64,
    /// Share of the backends' capacity that is asked for.
    #[arg(long, default_value_t = 0.8)]
    load: f64,
    /// Policies that are pushed.
    #[arg(long, default_value_t = 1_000)]
    pushes: usize,
    /// Counts what was measured on a busy machine too.
    #[arg(long)]
    even_if_busy: bool,
}

#[derive(Subcommand)]
enum Load {
    /// The highest rate that credits and cores allow.
    Flood {
        /// Simulated agents, 200 series each.
        #[arg(long, default_value_t = 1_000)]
        agents: u64,
        /// Connections that they share; one for each by default.
        #[arg(long)]
        connections: Option<u64>,
        /// Seconds measured, after a quarter of that as warm-up.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Times, each with a new collector.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// A fleet at its own pace: latency from the time a frame was due, memory, growth.
    Steady {
        /// Simulated agents.
        #[arg(long, default_value_t = 1_000)]
        agents: u64,
        /// Series of each.
        #[arg(long, default_value_t = SERIES_PER_NODE)]
        series: usize,
        /// Milliseconds between two frames of an agent.
        #[arg(long, default_value_t = 10_000)]
        interval_ms: u64,
        /// Connections that they share; one for each by default.
        #[arg(long)]
        connections: Option<u64>,
        /// Series of each agent that end and make room for new ones in a minute.
        #[arg(long, default_value_t = 0.0)]
        churn: f64,
        /// Agents take turns within the interval; real ones all sample at its multiples.
        #[arg(long)]
        spread: bool,
        /// Seconds before the measurement.
        #[arg(long, default_value_t = 60)]
        warmup: u64,
        /// Seconds measured.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Cost of growing fleets, as a table and a picture.
    Scale {
        /// Numbers of agents.
        #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000")]
        sizes: Vec<u64>,
        /// Milliseconds between two frames of an agent.
        #[arg(long, default_value_t = 10_000)]
        interval_ms: u64,
        /// Seconds before each measurement.
        #[arg(long, default_value_t = 30)]
        warmup: u64,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// The picture, SVG.
        #[arg(long, default_value = "scale.svg")]
        picture: PathBuf,
    },
    /// What it costs that an insert waits for the disk, at one insert a second.
    Fsync {
        /// Seconds measured, with and without.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

#[derive(Subcommand)]
enum Query {
    /// Loads a data directory with the past of a fleet and all rollups of it; used again when it holds them already.
    Load {
        /// The directory.
        #[arg(long)]
        data_dir: PathBuf,
        /// Simulated agents, 200 series each at 10 s.
        #[arg(long, default_value_t = 1_000)]
        agents: u64,
        /// Hours before the present.
        #[arg(long, default_value_t = 24)]
        hours: u64,
    },
    /// What a loaded directory answers, beside VictoriaMetrics and Prometheus: rates, latencies, overload.
    Run {
        /// The directory that `query load` has made.
        #[arg(long, required_unless_present = "quick")]
        data_dir: Option<PathBuf>,
        /// 100 nodes and two hours in a temporary directory, and short measurements.
        #[arg(long, conflicts_with = "data_dir")]
        quick: bool,
        /// Times that everything is measured.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
}

async fn run_balance(table: &mut Table, what: Balance) -> Result<()> {
    use clap::ValueEnum as _;
    open_files()?;
    let all_cases = balance::Case::value_variants().to_vec();
    let all_arms = balance::Arm::value_variants().to_vec();
    let options = balance::Options {
        cases: if what.cases.is_empty() { all_cases } else { what.cases },
        arms: if what.arms.is_empty() { all_arms } else { what.arms },
        rounds: what.rounds,
        seconds: Duration::from_secs(what.seconds),
        warm: Duration::from_secs(what.warm),
        load: what.load,
        pushes: what.pushes,
        even_if_busy: what.even_if_busy,
    };
    balance::run(table, &options).await
}

async fn run_query(table: &mut Table, what: Query) -> Result<()> {
    open_files()?;
    match what {
        Query::Load { data_dir, agents, hours } => {
            query::load(&data_dir, agents, hours).await?;
            Ok(())
        }
        Query::Run { data_dir: Some(dir), quick: false, rounds } => {
            query::run(table, &dir, query::Size { rounds, ..query::Size::FULL }).await
        }
        Query::Run { .. } => query::quick(table).await,
    }
}

/// Allows as many open files as the system does: a thousand agents and a thousand clients have a connection each.
fn open_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

async fn run_load(table: &mut Table, what: Load) -> Result<()> {
    let seconds = Duration::from_secs;
    match what {
        Load::Flood { agents, connections, seconds: window, rounds } => {
            let connections = connections.unwrap_or(agents);
            load::flood(table, agents, connections, seconds(window), rounds).await
        }
        Load::Steady {
            agents,
            series,
            interval_ms,
            connections,
            churn,
            spread,
            warmup,
            seconds: window,
        } => {
            let interval = Duration::from_millis(interval_ms);
            let plan = Plan {
                agents,
                series,
                connections: connections.unwrap_or(agents),
                pace: if spread { Pace::Spread(interval) } else { Pace::Aligned(interval) },
                churn,
                warmup: seconds(warmup),
                window: seconds(window),
                settings: Vec::new(),
            };
            load::steady(table, &plan).await
        }
        Load::Scale { sizes, interval_ms, warmup, seconds: window, picture } => {
            let interval = Duration::from_millis(interval_ms);
            let scale = Scale { sizes, interval, warmup: seconds(warmup), window: seconds(window) };
            load::scale(table, &scale, &picture).await
        }
        Load::Fsync { seconds: window } => load::fsync(table, seconds(window)).await,
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut table = Table::default();
    match Arguments::parse().what {
        What::Agent { settle, window, rounds } => {
            let (settle, window) = (Duration::from_secs(settle), Duration::from_secs(window));
            agent::run(&mut table, settle, window, rounds).await?;
        }
        What::Balance(what) => {
            // What was measured before a failure is worth printing too.
            let conditions = balance::conditions()?;
            let result = run_balance(&mut table, what).await;
            write!(std::io::stdout(), "{conditions}\n\n{table}")?;
            result?;
            ensure!(table.all_met(), "a bar is not met");
            return Ok(());
        }
        What::Latency { ticks } => latency::run(&mut table, ticks).await?,
        What::Start { rounds } => start::run(&mut table, rounds).await?,
        What::Disk { millions } => {
            for (ticks, bar) in [(50, 1.55), (500, 1.2)] {
                let nodes = millions * 1_000_000 / SERIES_PER_NODE as u64 / ticks;
                disk::run(&mut table, &disk::Load::new(nodes, ticks as usize), bar).await?;
            }
        }
        What::Load(what) => run_load(&mut table, what).await?,
        What::Query(what) => {
            // What was measured before a failure is worth printing too.
            let result = run_query(&mut table, what).await;
            write!(std::io::stdout(), "{table}")?;
            result?;
            ensure!(table.all_met(), "a bar is not met");
            return Ok(());
        }
        What::Cache { seeds, first_seed, parallel, dir, only, keep, again } => {
            let all = cache::Scenario::grid(first_seed..first_seed + seeds).into_iter().enumerate();
            let chosen = all.filter(|(i, _)| only.is_empty() || only.contains(i));
            let scenarios = chosen.map(|(_, scenario)| scenario).collect();
            let options = cache::Options { dir, scenarios, parallel, keep, again };
            let result = cache::run(&mut table, &options).await;
            write!(std::io::stdout(), "{table}")?;
            result?;
            ensure!(table.all_met(), "a bar is not met");
            return Ok(());
        }
        What::CacheCost { per_second, megabytes, keys, warm, seconds, cycle, share, rounds } => {
            let bytes = megabytes << 20;
            let options = cache_cost::Options {
                per_second,
                bytes,
                keys,
                warm,
                seconds,
                cycle,
                share,
                rounds,
            };
            cache_cost::run(&mut table, &options).await?;
        }
        What::Replay { rounds } => replay::run(&mut table, rounds).await?,
        What::Steer { agents, changes, rounds, confirms } => {
            open_files()?;
            steer::run(&mut table, agents, changes, rounds).await?;
            confirm::run(&mut table, agents, confirms).await?;
        }
        What::Judge { runs, seed, quick } => {
            let runs = if quick { runs.div_ceil(20) } else { runs };
            judge::run(&mut table, judge::Options { runs, seed })?;
        }
        What::Harm { rounds } => harm::run(&mut table, rounds).await?,
        What::Outage { settle, seconds } => {
            let (settle, outage) = (Duration::from_secs(settle), Duration::from_secs(seconds));
            outage::run(&mut table, settle, outage).await?;
        }
        What::Screenshot { script, output, collect } => {
            return screenshot::run(&script, &output, Duration::from_secs(collect)).await;
        }
    }
    write!(std::io::stdout(), "{table}")?;
    ensure!(table.all_met(), "a bar is not met");
    Ok(())
}
