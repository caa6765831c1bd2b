//! The subcommands `engine` and `migrate`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::engine::{self, Engine, LIBRARY};
use super::error::StoreError;
use super::migrate::{MigrationState, MigrationStatus, down_sql, up_sql};
use super::{Store, StoreConfig, StoreMetrics, configured_endpoints};

/// `flyball-collector engine ...`
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Download the embedded ClickHouse engine into the cache, unless it is there
    Fetch,
    /// Print where the engine's library lies, or would lie
    Path,
    /// Run the engine alone in the foreground, for looking at the data while no collector runs; prints how to reach it
    Serve,
    /// Be the engine's process; the collector starts it
    #[command(hide = true)]
    Run {
        /// Path of the library
        library: PathBuf,
        /// Arguments of `clickhouse local`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
}

/// `flyball-collector migrate ...`
#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Apply what is not applied
    Up,
    /// Undo the newest migration, or all above a number
    Down {
        /// Undo every migration above this number; 0 undoes all
        #[arg(long, value_name = "N")]
        to: Option<u32>,
    },
    /// Show what is applied
    Status,
    /// Print the statements of all migrations as they are for the configured layout, without connecting to anything
    Sql {
        /// Those that undo them, newest first
        #[arg(long)]
        down: bool,
    },
}

impl EngineCommand {
    /// Does it. `shutdown` ends `serve` and breaks off `fetch`.
    ///
    /// # Errors
    /// Any [`StoreError`]; each message says what mends it.
    pub async fn execute(
        self,
        config: &StoreConfig,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        match self {
            Self::Fetch => {
                let library = engine::fetch(&config.engine, &shutdown).await?;
                print(&format!("{}\n", library.display()))
            }
            Self::Path => {
                let library = engine::directory(&config.engine)?.join(LIBRARY);
                print(&format!("{}\n", library.display()))
            }
            Self::Serve => serve(config, shutdown).await,
            Self::Run { library, arguments } => engine::run::run(&library, arguments),
        }
    }

    /// True for the engine's own process, which is to be run before anything else is set up: it needs no runtime and no signal handlers.
    pub const fn is_engine_process(&self) -> bool {
        matches!(self, Self::Run { .. })
    }
}

impl MigrateCommand {
    /// Does it, on the configured server or else on the embedded engine, which is started for it.
    ///
    /// # Errors
    /// Any [`StoreError`]; each message says what mends it.
    pub async fn execute(
        self,
        config: &StoreConfig,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        if let Self::Sql { down } = self {
            let settings = &config.clickhouse;
            return print(&if down { down_sql(settings) } else { up_sql(settings) });
        }
        let metrics = StoreMetrics::default();
        let engine = if config.clickhouse.is_external() {
            None
        } else {
            Some(Engine::start(config, &metrics, shutdown).await?)
        };
        let result = self.migrate(config, &metrics, engine.as_ref()).await;
        if let Some(engine) = engine {
            engine.stop().await;
        }
        print(&result?)
    }

    async fn migrate(
        self,
        config: &StoreConfig,
        metrics: &StoreMetrics,
        engine: Option<&Engine>,
    ) -> Result<String, StoreError> {
        let endpoints = match engine {
            Some(engine) => vec![engine.endpoint().clone()],
            None => configured_endpoints(&config.clickhouse)?,
        };
        let migrator = Store::connect(&endpoints, &config.clickhouse, metrics).await?.migrator();
        let migrator = if engine.is_some() { migrator.alone() } else { migrator };
        Ok(match self {
            Self::Up => done("applied", &migrator.up().await?),
            Self::Down { to } => done("undone", &migrator.down(to).await?),
            Self::Sql { .. } => String::new(),
            Self::Status => migrator.status().await?.iter().map(line).collect(),
        })
    }
}

async fn serve(config: &StoreConfig, shutdown: CancellationToken) -> Result<(), StoreError> {
    let metrics = StoreMetrics::default();
    let engine = Engine::start(config, &metrics, shutdown.clone()).await?;
    let endpoint = engine.endpoint();
    let reach = serde_json::json!({
        "url": endpoint.url, "user": endpoint.user, "password": endpoint.password.expose(),
        "pid": engine.state().borrow().pid,
    });
    print(&format!("{reach}\n"))?;
    shutdown.cancelled().await;
    engine.stop().await;
    Ok(())
}

fn done(what: &str, versions: &[u32]) -> String {
    if versions.is_empty() {
        return "nothing to do\n".to_owned();
    }
    let line = |text: String, version: &u32| format!("{text}{what} {version:04}\n");
    versions.iter().fold(String::new(), line)
}

fn line(status: &MigrationStatus) -> String {
    let state = match status.state {
        MigrationState::Pending => "pending",
        MigrationState::Applied => "applied",
        MigrationState::Changed => "applied, and its files have changed since",
        MigrationState::Unknown => "applied by a newer version",
    };
    format!("{:04} {:24} {state}\n", status.version, status.name)
}

fn print(text: &str) -> Result<(), StoreError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| StoreError::File {
        what: "write to",
        path: PathBuf::from("/dev/stdout"),
        source,
    })
}
