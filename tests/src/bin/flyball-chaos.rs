//! The long form of the fault tests: many rounds of faults on real processes, every sample compared.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use flyball_service::shutdown;
use flyball_tests::chaos::campaign::{self, Size};
use flyball_tests::chaos::{SEED, rollout, seed};

/// Kills, pauses, cuts and corrupts collectors, agents and ClickHouse, then compares every sample.
#[derive(Debug, Parser)]
#[command(name = "flyball-chaos", version)]
struct Cli {
    /// Faults of all rounds together.
    #[arg(long, default_value_t = 1_000)]
    faults: usize,
    /// Faults of one round.
    #[arg(long, default_value_t = 100)]
    per_round: usize,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Kills collectors while they carry out changes at real Redis servers, then checks each change and the journal.
    Rollout {
        /// Kills, half of them with one collector and half with two.
        #[arg(long, default_value_t = 200)]
        kills: usize,
        /// Redis servers.
        #[arg(long, default_value_t = 4)]
        caches: usize,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<()> {
    let seed = seed()?;
    let mut out = std::io::stdout();
    writeln!(out, "replay with {SEED}={seed}\n")?;
    let interrupted = shutdown::on_signal()?;
    if let Some(What::Rollout { kills, caches }) = cli.what {
        let report = tokio::select! {
            report = rollout::run(seed, kills, caches) => report?,
            () = interrupted.cancelled() => bail!("interrupted"),
        };
        writeln!(out, "{report}")?;
        return Ok(());
    }
    let size = Size { faults: cli.faults, per_round: cli.per_round.max(1) };
    let tally = tokio::select! {
        tally = campaign::run(seed, size) => tally?,
        () = interrupted.cancelled() => bail!("interrupted"),
    };
    writeln!(out, "\n{tally}")?;
    Ok(())
}
