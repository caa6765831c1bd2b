//! Entry point of the operator's command line: flags, settings, then one of the [`commands`].

mod api;
mod args;
mod commands;
mod config;
mod error;
mod rate;
mod sort;
mod sse;
mod text;
mod top;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use flyball_service::config::load;
use flyball_service::{EXIT_USAGE, logging, program};

use args::{Cli, Command};
use commands::Context;
use config::Config;
use error::Error;

fn main() -> ExitCode {
    let (cli, config) = match configure() {
        Ok(configured) => configured,
        Err(code) => return code,
    };
    let Some(command) = cli.command else {
        let _ = write!(std::io::stderr(), "{}", Cli::command().render_help());
        return EXIT_USAGE.into();
    };
    // A log line in the middle of the live view would tear it.
    if !(matches!(command, Command::Top(_)) && std::io::stderr().is_terminal()) {
        logging::init(config.cli.log_format);
    }
    match run(&config, command) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as in `flyball metrics | head`.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "flyball: {error}");
            error.exit_code().into()
        }
    }
}

fn configure() -> Result<(Cli, Config), ExitCode> {
    let cli: Cli = program::flags()?;
    let config = program::settings(load(&cli.sources()), cli.check_config)?;
    Ok((cli, config))
}

fn run(config: &Config, command: Command) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::Output)?.block_on(async {
        let context = Context::new(config)?;
        perform(&context, command).await
    })
}

async fn perform(context: &Context, command: Command) -> Result<(), Error> {
    use commands::{
        alerts, audit, caches, control, decide, metrics, nodes, policies, propose, rollout, show,
        status, suggestions,
    };
    match command {
        Command::Status => status::run(context).await,
        Command::Nodes(args) => nodes::run(context, &args).await,
        Command::Alerts(args) => alerts::run(context, &args).await,
        Command::Metrics(args) => metrics::run(context, &args).await,
        Command::Top(args) => top::run(context, &args).await,
        Command::Caches(args) => caches::run(context, &args).await,
        Command::Balancers(args) => control::run(context, &args).await,
        Command::Optimize(args) => suggestions::optimize(context, &args).await,
        Command::Propose(args) => propose::run(context, &args).await,
        Command::Suggestions(args) => suggestions::list(context, &args).await,
        Command::Show(args) => show::run(context, &args).await,
        Command::Confirm(args) => decide::confirm(context, &args).await,
        Command::Reject(args) => decide::reject(context, &args).await,
        Command::Rollouts(args) => rollout::list(context, &args).await,
        Command::Rollback(args) => rollout::rollback(context, &args).await,
        Command::Pause(args) => rollout::pause(context, &args).await,
        Command::Resume(args) => rollout::resume(context, &args).await,
        Command::Unlock(args) => decide::unlock(context, &args).await,
        Command::Policies(args) => policies::run(context, &args).await,
        Command::Audit(args) => audit::run(context, &args).await,
    }
}

#[cfg(test)]
mod snapshot;
