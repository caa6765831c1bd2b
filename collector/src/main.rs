//! Entry point.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flyball_collector::store::StoreConfig;
use flyball_collector::store::cli::{EngineCommand, MigrateCommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// Directory for everything that is kept
    #[arg(long, global = true, default_value = "data", value_name = "DIR")]
    data_dir: std::path::PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The embedded ClickHouse engine
    #[command(subcommand)]
    Engine(EngineCommand),
    /// Apply, undo or show migrations of the database
    #[command(subcommand)]
    Migrate(MigrateCommand),
}

fn main() -> ExitCode {
    flyball_service::logging::init(flyball_service::logging::LogFormat::Text);
    let cli = Cli::parse();
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(flyball_service::EXIT_FAILED)
        }
    }
}

fn execute(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    if let Command::Engine(EngineCommand::Run { library, arguments }) = cli.command {
        return Ok(flyball_collector::store::engine::run::run(&library, arguments)?);
    }
    let config = StoreConfig::embedded(&cli.data_dir);
    tokio::runtime::Runtime::new()?.block_on(async {
        let shutdown = flyball_service::shutdown::on_signal()?;
        match cli.command {
            Command::Engine(command) => command.execute(&config, shutdown).await?,
            Command::Migrate(command) => command.execute(&config, shutdown).await?,
        }
        Ok(())
    })
}
