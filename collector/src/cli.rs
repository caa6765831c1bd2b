//! The command line: flags and subcommands, and the settings they lead to.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use flyball_service::config::{Problems, Sources, load};
use flyball_service::logging::LogFormat;

use crate::config::Config;
use crate::store::cli::{EngineCommand, MigrateCommand};

const EXAMPLES: &str = "\
Examples:
  flyball-collector
      embedded ClickHouse, dashboard on http://127.0.0.1:7480, agents on 127.0.0.1:7400
  flyball-collector --clickhouse http://127.0.0.1:8123 --data-dir /srv/flyball
      store in a ClickHouse server that is already there
  flyball-collector --clickhouse http://ch1:8123,http://ch2:8123 --clickhouse-cluster main
      store in a ClickHouse cluster, see docs/clickhouse-cluster.md
  FLYBALL_CLICKHOUSE_RETENTION_DAYS=90 flyball-collector --config /etc/flyball/collector.toml
      settings from a file, one of them overridden
  flyball-collector --config collector.toml --check-config
      list everything that is wrong with the settings, exit 0 or 2
  flyball-collector engine fetch
      download the embedded engine now rather than at the first start
  flyball-collector migrate status
      which migrations the database has

Every key of the file is also an environment variable, FLYBALL_<SECTION>_<KEY>. Flags win over the environment, the environment
over the file, the file over the defaults. flyball-collector.example.toml shows all keys. RUST_LOG chooses what is logged.

Exit codes: 0 stopped by SIGTERM or SIGINT, or done; 1 failed while running; 2 wrong usage or configuration.";

/// Stores the samples of Flyball's agents in ClickHouse and serves the API and the dashboard.
#[derive(Debug, Parser)]
#[command(name = "flyball-collector", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without it: serve
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings in TOML
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the settings, list every error with its key and exit
    #[arg(long, global = true)]
    pub check_config: bool,
    /// Address of the dashboard and the HTTP API [default: 127.0.0.1:7480]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Address that agents and programs reach by gRPC [default: 127.0.0.1:7400]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub grpc: Option<String>,
    /// Allow addresses that other hosts reach, without encryption and authentication
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Where the collector keeps its files; one collector for each directory
    /// [default: /var/lib/flyball/collector as root, else ~/.local/state/flyball/collector]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A ClickHouse server that is already there; several of a cluster separated by commas, or the flag again
    /// [default: the embedded engine]
    #[arg(long, global = true, value_name = "URL", value_delimiter = ',')]
    pub clickhouse: Vec<String>,
    /// Name of the cluster that the ClickHouse servers belong to
    #[arg(long, global = true, value_name = "NAME")]
    pub clickhouse_cluster: Option<String>,
    /// A Redis server that collectors share answers through, redis://HOST:PORT or rediss:// [default: none]
    #[arg(long, global = true, value_name = "URL")]
    pub redis: Option<String>,
    /// How log lines look [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take in samples and serve the API and the dashboard
    Serve,
    /// Apply, undo or show migrations of the database
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// The embedded ClickHouse engine
    #[command(subcommand)]
    Engine(EngineCommand),
}

impl Cli {
    /// Settings from the flags, the environment, the file and the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn settings(&self) -> Result<Config, Problems> {
        let mut sources = Sources { file: self.config.clone(), ..Sources::default() };
        sources
            .flag("server.http", self.http.as_ref())
            .flag("server.grpc", self.grpc.as_ref())
            .flag("server.insecure", self.insecure.then_some(true))
            .flag("server.data_dir", self.data_dir.as_ref())
            .flag("server.log_format", self.log_format)
            .flag("clickhouse.url", Some(&self.clickhouse).filter(|urls| !urls.is_empty()))
            .flag("clickhouse.cluster", self.clickhouse_cluster.as_ref())
            .flag("redis.url", self.redis.as_ref());
        load(&sources)
    }
}
