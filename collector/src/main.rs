//! Entry point of the collector: flags, settings, logging, then the command.

use std::io::Write as _;
use std::process::ExitCode;

use flyball_collector::cli::{Cli, Command};
use flyball_collector::config::Config;
use flyball_collector::run;
use flyball_collector::store::cli::EngineCommand;
use flyball_collector::store::engine;
use flyball_service::{EXIT_FAILED, logging, program, shutdown};
use tikv_jemallocator::Jemalloc;

/// A connection's buffers are mostly empty and a burst's rows come and go: jemalloc gives back whole pages of both, where glibc keeps them. A fifth less memory
/// with thousands of agents at the same CPU: docs/adr/007-ingest-throughput.md.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let mut cli: Cli = match program::flags() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let command = cli.command.take().unwrap_or(Command::Serve);
    // The engine's own process is the engine and nothing else: no settings, no runtime, no signal handlers.
    if let Command::Engine(EngineCommand::Run { library, arguments }) = command {
        return finish(engine::run::run(&library, arguments).map_err(Into::into));
    }
    let config = match program::settings(cli.settings(), cli.check_config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    logging::init(config.server.log_format);
    finish(start(config, command))
}

fn start(config: Config, command: Command) -> Result<(), run::Error> {
    run::runtime()?.block_on(async {
        let shutdown = shutdown::on_signal()?;
        match command {
            Command::Serve => Box::pin(run::run(config, shutdown)).await,
            Command::Migrate(command) => Ok(command.execute(&config.store(), shutdown).await?),
            Command::Engine(command) => Ok(command.execute(&config.store(), shutdown).await?),
        }
    })
}

fn finish(result: Result<(), run::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a logger (the engine's process) the line goes to standard error all the same.
            if tracing::dispatcher::has_been_set() {
                tracing::error!(%error, "stopped");
            } else {
                let _ = writeln!(std::io::stderr(), "{error}");
            }
            EXIT_FAILED.into()
        }
    }
}
