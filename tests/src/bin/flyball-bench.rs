//! `flyball-bench`: measures the shipped binaries beside their peers, and makes the pictures of the documentation.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use flyball_tests::bench::disk::Load;
use flyball_tests::bench::table::Table;
use flyball_tests::bench::{agent, disk, latency, screenshot, start};
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

#[tokio::main]
async fn main() -> Result<()> {
    let mut table = Table::default();
    match Arguments::parse().what {
        What::Agent { settle, window, rounds } => {
            let (settle, window) = (Duration::from_secs(settle), Duration::from_secs(window));
            agent::run(&mut table, settle, window, rounds).await?;
        }
        What::Latency { ticks } => latency::run(&mut table, ticks).await?,
        What::Start { rounds } => start::run(&mut table, rounds).await?,
        What::Disk { millions } => {
            for (ticks, bar) in [(50, 1.55), (500, 1.2)] {
                let nodes = millions * 1_000_000 / SERIES_PER_NODE as u64 / ticks;
                disk::run(&mut table, &Load::new(nodes, ticks as usize), bar).await?;
            }
        }
        What::Screenshot { script, output, collect } => {
            return screenshot::run(&script, &output, Duration::from_secs(collect)).await;
        }
    }
    write!(std::io::stdout(), "{table}")?;
    ensure!(table.all_met(), "a bar is not met");
    Ok(())
}
