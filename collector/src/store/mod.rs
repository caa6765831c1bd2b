//! The store: one ClickHouse for measurements and decisions, embedded or already there, and everything that touches it.
//!
//! [`open`] does all that a collector needs: starts the embedded engine unless a URL is configured, creates the database, applies migrations
//! and retention, checks the settings that correctness rests on, and loads the [`Catalog`].

mod balancer_reads;
mod balancer_rows;
mod cache_reads;
pub mod catalog;
pub mod cli;
mod client;
mod cluster;
pub mod config;
mod decisions;
pub mod engine;
mod error;
mod fsync;
pub(crate) mod hex;
mod late;
mod metrics;
pub mod migrate;
mod prune;
mod refresh;
mod requests;
mod retention;
mod rows;
mod schema;
mod servers;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use clickhouse::Client;
use tokio_util::sync::CancellationToken;

pub use self::balancer_reads::{BalancerWindow, LastWeight};
pub use self::balancer_rows::BalancerRow;
pub use self::cache_reads::{CacheMemory, CacheNow, CacheSince, CacheTick, CacheTraffic};
pub use self::catalog::{Catalog, CatalogFull, SeriesId};
pub use self::client::{Endpoint, configured_endpoints};
pub use self::config::{ClickHouseSettings, EngineSettings, Layout, Secret, StoreConfig};
pub use self::decisions::DecisionCount;
use self::engine::Engine;
pub use self::error::{Blame, ErrorClass, StoreError};
pub use self::metrics::StoreMetrics;
use self::migrate::Migrator;
pub use self::rows::{CacheRow, DAY_MS, HOUR_MS, LateMark, SampleRow, SeriesRow};
use self::schema::Schema;
pub use self::servers::{Choice, ServerFailure, ServerHealth, Servers, describe};
use self::writer::Writer;
use crate::rollup::RollupProgress;

/// Inserts that a table remembers the deduplication tokens of: half an hour at two inserts a second.
const DEDUPLICATION_WINDOW: u32 = 1_000;

/// A connected, migrated database. Clones share their connections and what is known of the servers' health.
#[derive(Debug, Clone)]
pub struct Store {
    servers: Servers,
    schema: Schema,
    writer: Writer,
    settings: Arc<ClickHouseSettings>,
    /// Clock of the server minus ours.
    clock_offset_ms: Arc<AtomicI64>,
    rollups: Arc<RollupProgress>,
    late: late::Listener,
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

/// Opens the store as configured. When `shutdown` is cancelled while the engine starts, this ends early with an error. Until it is cancelled
/// series whose samples have all expired are forgotten; on servers that are already there these are probed, and series of other collectors are taken over.
///
/// # Errors
/// Any [`StoreError`]; each message says what mends it. Those that are [passing](StoreError::is_passing) may be gone at the next try.
pub async fn open(
    config: &StoreConfig,
    metrics: &StoreMetrics,
    shutdown: CancellationToken,
) -> Result<OpenStore, StoreError> {
    let settings = &config.clickhouse;
    let engine = if settings.is_external() {
        None
    } else {
        Some(Engine::start(config, metrics, shutdown.clone()).await?)
    };
    let endpoints = match &engine {
        Some(engine) => vec![engine.endpoint().clone()],
        None => configured_endpoints(settings)?,
    };
    match open_at(&endpoints, settings, metrics, engine.is_some()).await {
        Ok((store, catalog)) => {
            let weak = Arc::downgrade(&catalog);
            tokio::spawn(prune::run(
                store.clone(),
                std::sync::Weak::clone(&weak),
                shutdown.clone(),
            ));
            if engine.is_none() {
                let learned = metrics.series_learned.clone();
                tokio::spawn(refresh::run(store.clone(), weak, learned, shutdown.clone()));
                tokio::spawn(store.servers.clone().watch(shutdown));
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

/// `alone` says that nobody else can reach the database.
async fn open_at(
    endpoints: &[Endpoint],
    settings: &ClickHouseSettings,
    metrics: &StoreMetrics,
    alone: bool,
) -> Result<(Store, Arc<Catalog>), StoreError> {
    let store = Store::connect(endpoints, settings, metrics).await?;
    let migrator = if alone { store.migrator().alone() } else { store.migrator() };
    if settings.migrate || alone {
        migrator.up().await?;
    } else {
        let missing = migrator.pending().await?;
        if missing > 0 {
            return Err(StoreError::MigrationsMissing { missing });
        }
    }
    let tables = async {
        retention::apply(&store.schema, settings).await?;
        fsync::apply(&store.schema, settings).await?;
        store.check_settings().await
    };
    let timeout_ms = settings.timeout_ms;
    let tables = tokio::time::timeout(settings.timeout(), tables).await;
    tables.map_err(|_| StoreError::Timeout { timeout_ms })??;
    let catalog = Arc::new(store.load_catalog().await?);
    Ok((store, catalog))
}

impl Store {
    /// Connects to a server, or to several of a cluster, and creates the database where it is missing. Applies no migrations.
    ///
    /// # Errors
    /// When no server can be reached, or one that is needed refuses us.
    pub async fn connect(
        endpoints: &[Endpoint],
        settings: &ClickHouseSettings,
        metrics: &StoreMetrics,
    ) -> Result<Self, StoreError> {
        cluster::check(endpoints, settings).await?;
        client::create_database(endpoints, settings).await?;
        let servers = client::servers(endpoints, settings);
        let writer = Writer::new(&servers, settings, metrics.clone());
        let schema = Schema::new(&servers, settings);
        let (settings, clock_offset_ms) = (Arc::new(settings.clone()), Arc::default());
        let (rollups, late) = (Arc::default(), late::Listener::default());
        Ok(Self { servers, schema, writer, settings, clock_offset_ms, rollups, late })
    }

    /// Stores samples of one hour as one block. The same `token` with the same rows is stored once. Rows need no order.
    ///
    /// # Errors
    /// When they are of several hours, or as [`StoreError::class`] says. After an error the rows are stored or not; send them again.
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

    /// Stores the caches' rows of one day as one block. The same `token` with the same rows is stored once.
    ///
    /// # Errors
    /// As [`StoreError::class`] says.
    pub async fn insert_cache_stats(
        &self,
        rows: &[CacheRow],
        token: &str,
    ) -> Result<(), StoreError> {
        self.writer.insert_cache_stats(rows, token).await
    }

    /// Stores the load balancers' rows of one day as one block. The same `token` with the same rows is stored once.
    ///
    /// # Errors
    /// As [`StoreError::class`] says.
    pub async fn insert_balancer_stats(
        &self,
        rows: &[BalancerRow],
        token: &str,
    ) -> Result<(), StoreError> {
        self.writer.insert_balancer_stats(rows, token).await
    }

    /// Notes that rollups of these marks have to be computed again. `id` tells this insert from every other, and makes a retry harmless.
    ///
    /// # Errors
    /// As [`StoreError::class`] says.
    pub async fn insert_late_marks(&self, marks: &[LateMark], id: u64) -> Result<(), StoreError> {
        self.writer.insert_late_marks(marks, id).await?;
        self.late.tell(marks);
        Ok(())
    }

    /// Has `listener` hear of every change of what was answered before: of late samples, before they are acknowledged, and of rollups that were computed again. The
    /// first listener stays.
    pub fn on_late(&self, listener: impl Fn(&[LateMark]) + Send + Sync + 'static) {
        self.late.set(listener);
    }

    /// Rollups of these marks were computed again.
    pub(crate) fn rolled_up_again(&self, marks: &[LateMark]) {
        self.late.tell(marks);
    }

    /// The present by the server's clock as far as it is known, milliseconds since the Unix epoch.
    pub fn server_now_ms(&self) -> i64 {
        crate::live::now_ms() + self.clock_offset_ms.load(Ordering::Relaxed)
    }

    /// Takes note of what the server's clock shows now.
    pub fn note_server_time(&self, server_now_ms: i64) {
        let offset_ms = server_now_ms - crate::live::now_ms();
        self.clock_offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// How far the rollups are.
    pub fn rollups(&self) -> &Arc<RollupProgress> {
        &self.rollups
    }

    /// Days that samples are kept.
    pub fn retention_days(&self) -> u32 {
        self.settings.retention_days
    }

    /// Days that decisions are kept.
    pub fn decisions_retention_days(&self) -> u32 {
        self.settings.decisions_retention_days
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
        while let Some(row) = within(self.settings.timeout(), cursor.next()).await? {
            left_out += u64::from(!catalog.load(row));
        }
        if left_out > 0 {
            tracing::warn!(left_out, loaded = catalog.len(), "series left out of the catalog");
        }
        Ok(catalog)
    }

    /// Forgets the series that are older than a day, have no sample and that no stream uses. Gives their number.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn prune_series(&self, catalog: &Catalog) -> Result<usize, StoreError> {
        prune::prune(self, catalog).await
    }

    /// Writes the rows of series in use that are missing in the table again, and forgets series that are not in use and missing there. Gives both numbers.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn reconcile_series(&self, catalog: &Catalog) -> Result<(usize, usize), StoreError> {
        let done = prune::reconcile(self, catalog, &mut Vec::new()).await?;
        Ok((done.restored, done.forgotten))
    }

    /// Takes over series that others have written into the table lately. Gives their number.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn learn_series(&self, catalog: &Catalog) -> Result<u64, StoreError> {
        Ok(refresh::look(self, catalog, None).await?.learned)
    }

    /// For one query, at the server that is used now. It is bounded in time and reads each row once, however often it was sent.
    pub fn client(&self) -> Client {
        self.servers.client()
    }

    /// For many queries: each goes to the server that is used at its time.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Migrations of this database.
    pub fn migrator(&self) -> Migrator {
        Migrator::new(&self.servers, &self.settings)
    }

    /// Makes sure that a server answers. [`Servers::health`] then tells which, and how fast.
    ///
    /// # Errors
    /// When none answers within 2 s.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.servers.ping().await
    }

    fn series_cursor(&self) -> Result<clickhouse::query::RowCursor<SeriesRow>, StoreError> {
        Ok(self.client().query("SELECT ?fields FROM series ORDER BY series_id").fetch()?)
    }

    /// Reads back that retried blocks are recognized: the default for plain tables is not to.
    async fn check_settings(&self) -> Result<(), StoreError> {
        let setting = match self.settings.layout() {
            Layout::Single | Layout::Sharded { .. } => "non_replicated_deduplication_window",
            Layout::Replicated { .. } => "replicated_deduplication_window",
        };
        for table in [
            "performance_metrics",
            "series",
            "cache_stats",
            "balancer_stats",
            "optimization_logs",
            "rollup_marks",
        ] {
            let expected = DEDUPLICATION_WINDOW.to_string();
            for engine in self.schema.engines(table).await? {
                let found = setting_of(&engine, setting).unwrap_or("the default").to_owned();
                if found != expected {
                    return Err(StoreError::SettingNotInForce { table, setting, expected, found });
                }
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
