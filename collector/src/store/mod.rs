//! The store: one ClickHouse for measurements and decisions, embedded or already there, and everything that touches it.
//!
//! [`open`] does all that a collector needs: starts the embedded engine unless a URL is configured, creates the database, applies migrations
//! and retention, checks the settings that correctness rests on, and loads the [`Catalog`].

pub mod catalog;
pub mod cli;
mod client;
pub mod config;
pub mod engine;
mod error;
mod hex;
mod metrics;
pub mod migrate;
mod prune;
mod retention;
mod rows;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clickhouse::Client;
use tokio_util::sync::CancellationToken;

pub use self::catalog::{Catalog, CatalogFull, SeriesId};
pub use self::client::Endpoint;
pub use self::config::{ClickHouseSettings, EngineSettings, Secret, StoreConfig};
use self::engine::Engine;
pub use self::error::{ErrorClass, StoreError};
pub use self::metrics::StoreMetrics;
use self::migrate::Migrator;
pub use self::rows::{DAY_MS, SampleRow, SeriesRow};
use self::writer::Writer;

/// Inserts that a table remembers the deduplication tokens of: half an hour at two inserts a second.
const DEDUPLICATION_WINDOW: u32 = 1_000;

/// A connected, migrated database. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    writer: Writer,
    settings: Arc<ClickHouseSettings>,
}

/// All that [`open`] opened.
#[derive(Debug)]
pub struct OpenStore {
    /// For inserts and queries.
    pub store: Store,
    /// Every series of the store.
    pub catalog: Arc<Catalog>,
    /// The embedded engine; `None` with a server that is already there. It runs until [`Engine::stop`] or the end of this process.
    pub engine: Option<Engine>,
}

/// Opens the store as configured. When `shutdown` is cancelled while the engine starts, this ends early with an error. With the embedded engine,
/// series whose samples have all expired are forgotten once a day until it is cancelled; on a server that is already there another collector may still use them.
///
/// # Errors
/// Any [`StoreError`]; each message says what mends it.
pub async fn open(
    config: &StoreConfig,
    metrics: &StoreMetrics,
    shutdown: CancellationToken,
) -> Result<OpenStore, StoreError> {
    let engine = match config.clickhouse.url {
        Some(_) => None,
        None => Some(Engine::start(config, metrics, shutdown.clone()).await?),
    };
    match open_at(config, metrics, engine.as_ref()).await {
        Ok((store, catalog)) => {
            if engine.is_some() {
                let (client, settings) = (store.client.clone(), Arc::clone(&store.settings));
                let catalog = Arc::downgrade(&catalog);
                tokio::spawn(prune::daily(client, settings, catalog, shutdown));
            }
            Ok(OpenStore { store, catalog, engine })
        }
        Err(error) => {
            if let Some(engine) = engine {
                engine.stop().await;
            }
            Err(error)
        }
    }
}

async fn open_at(
    config: &StoreConfig,
    metrics: &StoreMetrics,
    engine: Option<&Engine>,
) -> Result<(Store, Arc<Catalog>), StoreError> {
    let endpoint = match engine {
        Some(engine) => engine.endpoint().clone(),
        None => configured_endpoint(&config.clickhouse)?,
    };
    let settings = &config.clickhouse;
    let store = Store::connect(&endpoint, settings, metrics).await?;
    let migrator = store.migrator();
    if settings.migrate || engine.is_some() {
        migrator.up().await?;
    } else {
        let missing = migrator.pending().await?;
        if missing > 0 {
            return Err(StoreError::MigrationsMissing { missing });
        }
    }
    retention::apply(&store.client, settings).await?;
    store.check_settings().await?;
    let catalog = Arc::new(store.load_catalog().await?);
    Ok((store, catalog))
}

/// The server of the configuration.
///
/// # Errors
/// When there is no URL or the password file cannot be read.
pub fn configured_endpoint(settings: &ClickHouseSettings) -> Result<Endpoint, StoreError> {
    let url = settings
        .url
        .clone()
        .ok_or_else(|| StoreError::Config { key: "url", reason: "is needed here".to_owned() })?;
    Ok(Endpoint { url, user: settings.user.clone(), password: settings.resolved_password()? })
}

impl Store {
    /// Connects, and creates the database when it is missing. Applies no migrations.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses us.
    pub async fn connect(
        endpoint: &Endpoint,
        settings: &ClickHouseSettings,
        metrics: &StoreMetrics,
    ) -> Result<Self, StoreError> {
        let sql = migrate::Template::new(settings)
            .fill("CREATE DATABASE IF NOT EXISTS {database}{on_cluster}");
        within(settings.timeout(), endpoint.bare_client().query_raw(&sql).execute()).await?;
        let client = endpoint.client(&settings.database, settings.timeout());
        let writer = Writer::new(&client, settings.timeout(), metrics.clone());
        Ok(Self { client, writer, settings: Arc::new(settings.clone()) })
    }

    /// Stores samples of one day as one block. The same `token` with the same rows is stored once. Rows need no order.
    ///
    /// # Errors
    /// When they are of several days, or as [`StoreError::class`] says. After an error the rows are stored or not; send them again.
    pub async fn insert_samples(&self, rows: &[SampleRow], token: &str) -> Result<(), StoreError> {
        self.writer.insert_samples(rows, token).await
    }

    /// Stores series. The newest row of an id counts.
    ///
    /// # Errors
    /// As [`StoreError::class`] says.
    pub async fn insert_series(&self, rows: &[SeriesRow], token: &str) -> Result<(), StoreError> {
        self.writer.insert_series(rows, token).await
    }

    /// All series that are stored.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn load_series(&self) -> Result<Vec<SeriesRow>, StoreError> {
        let mut cursor = self.series_cursor()?;
        let mut rows = Vec::new();
        while let Some(row) = cursor.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// The catalog of all series that are stored.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn load_catalog(&self) -> Result<Catalog, StoreError> {
        let catalog = Catalog::counted(self.settings.max_series, self.writer.series_gauge());
        let (mut cursor, mut left_out) = (self.series_cursor()?, 0_u64);
        while let Some(row) = cursor.next().await? {
            left_out += u64::from(!catalog.load(row));
        }
        if left_out > 0 {
            tracing::warn!(left_out, loaded = catalog.len(), "series left out of the catalog");
        }
        Ok(catalog)
    }

    /// Forgets the series that are older than a day, have no sample and were not asked for since `catalog` was loaded. Gives their number.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn prune_series(&self, catalog: &Catalog) -> Result<usize, StoreError> {
        prune::once(&self.client, &self.settings, catalog).await
    }

    /// For queries. Every one is bounded in time and reads each row once, however often it was sent.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Migrations of this database.
    pub fn migrator(&self) -> Migrator {
        Migrator::new(&self.client, &self.settings)
    }

    /// How long a trivial query takes.
    ///
    /// # Errors
    /// When ClickHouse does not answer within 2 s.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        let start = Instant::now();
        let query = self.client.query("SELECT 1");
        within(Duration::from_secs(2), async { query.fetch_one::<u8>().await }).await?;
        Ok(start.elapsed())
    }

    fn series_cursor(&self) -> Result<clickhouse::query::RowCursor<SeriesRow>, StoreError> {
        Ok(self.client.query("SELECT ?fields FROM series ORDER BY series_id").fetch()?)
    }

    /// Reads back that retried blocks are recognized: the default for these tables is not to.
    async fn check_settings(&self) -> Result<(), StoreError> {
        if self.settings.cluster.is_some() {
            return Ok(());
        }
        let setting = "non_replicated_deduplication_window";
        for table in ["performance_metrics", "series", "cache_stats", "optimization_logs"] {
            let sql = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = ?";
            let engine: String = self.client.query(sql).bind(table).fetch_one().await?;
            let expected = DEDUPLICATION_WINDOW.to_string();
            let found = setting_of(&engine, setting).unwrap_or("the default").to_owned();
            if found != expected {
                return Err(StoreError::SettingNotInForce { table, setting, expected, found });
            }
        }
        Ok(())
    }
}

/// Where the embedded engine's data lies.
fn engine_dir(config: &StoreConfig) -> PathBuf {
    let dir = config.data_dir.join("clickhouse");
    std::path::absolute(&dir).unwrap_or(dir)
}

/// Value of a setting in the engine clause of a table.
fn setting_of<'a>(engine: &'a str, name: &str) -> Option<&'a str> {
    let settings = engine.split_once(" SETTINGS ")?.1;
    settings.split(", ").find_map(|pair| pair.strip_prefix(name)?.strip_prefix(" = "))
}

async fn within<T>(
    timeout: Duration,
    request: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::Timeout { timeout_ms: timeout.as_millis() as u64 }),
    }
}
