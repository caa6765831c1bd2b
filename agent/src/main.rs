//! Entry point of the agent: flags, settings, logging, then [`flyball_agent::run::run`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use flyball_agent::config::Config;
use flyball_agent::run;
use flyball_service::config::{Sources, load};
use flyball_service::logging::LogFormat;
use flyball_service::{EXIT_FAILED, logging, program, shutdown};

const EXAMPLES: &str = "\
Examples:
  flyball-agent
      sample this host once a second and send to a collector on it
  flyball-agent --collector http://127.0.0.1:7400 --node web-1 --interval 500ms
      another name and twice the rate
  FLYBALL_BUDGET_CPU_PERCENT=0.2 flyball-agent --config /etc/flyball/agent.toml
      settings from a file, one of them overridden
  flyball-agent --config agent.toml --check-config
      list everything that is wrong with the settings, exit 0 or 2

Every key of the file is also an environment variable, FLYBALL_<SECTION>_<KEY>. Flags win over the environment, the environment
over the file, the file over the defaults. flyball-agent.example.toml shows all keys. RUST_LOG chooses what is logged.

Exit codes: 0 stopped by SIGTERM or SIGINT, 1 failed while running, 2 wrong usage or configuration.";

/// Samples this host and streams the samples to a Flyball collector.
#[derive(Debug, Parser)]
#[command(name = "flyball-agent", version, after_help = EXAMPLES)]
struct Cli {
    /// Settings in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Checks the settings, lists every error with its key and exits.
    #[arg(long)]
    check_config: bool,
    /// Address of the collector's gRPC port; more than once, or separated by commas: the next
    /// one is used when one is gone [default: http://127.0.0.1:7400].
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    collector: Vec<String>,
    /// Name of this node, unique in the fleet [default: the host's name].
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Time between two frames, 100ms to 60s [default: 1s].
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,
    /// Where the agent keeps its state; one agent for each directory
    /// [default: /var/lib/flyball/agent as root, else ~/.local/state/flyball/agent].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Allows a collector on another host to be reached without encryption.
    #[arg(long)]
    insecure: bool,
    /// Also writes everything that is produced to this file, for tests; it grows without limit.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// How log lines look [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl Cli {
    fn sources(&self) -> Sources {
        let mut sources = Sources { file: self.config.clone(), ..Sources::default() };
        sources
            .flag("agent.collector", (!self.collector.is_empty()).then_some(&self.collector))
            .flag("agent.node", self.node.as_ref())
            .flag("agent.interval", self.interval.as_ref())
            .flag("agent.data_dir", self.data_dir.as_ref())
            .flag("agent.insecure", self.insecure.then_some(true))
            .flag("agent.record", self.record.as_ref())
            .flag("agent.log_format", self.log_format);
        sources
    }
}

fn main() -> ExitCode {
    let config = match configure() {
        Ok(config) => config,
        Err(code) => return code,
    };
    logging::init(config.agent.log_format);
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            EXIT_FAILED.into()
        }
    }
}

fn configure() -> Result<Config, ExitCode> {
    let cli: Cli = program::flags()?;
    program::settings(load(&cli.sources()), cli.check_config)
}

fn start(config: Config) -> Result<(), run::Error> {
    let runtime = run::runtime()?;
    let result = runtime.block_on(async { run::run(config, shutdown::on_signal()?).await });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    result
}
