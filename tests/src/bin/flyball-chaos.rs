//! The long form of the fault tests: many rounds of faults on real processes, every sample compared.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use flyball_service::shutdown;
use flyball_tests::chaos::campaign::{self, Size};
use flyball_tests::chaos::{SEED, seed};

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
    let size = Size { faults: cli.faults, per_round: cli.per_round.max(1) };
    let interrupted = shutdown::on_signal()?;
    let tally = tokio::select! {
        tally = campaign::run(seed, size) => tally?,
        () = interrupted.cancelled() => bail!("interrupted"),
    };
    writeln!(out, "\n{tally}")?;
    Ok(())
}
