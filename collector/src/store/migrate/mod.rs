//! Migrations: the schema as numbered steps, each with its way back.
//!
//! What was applied is an append-only table, `migrations`: one row for each step up or down, in sequence, with the checksum of the files. A step
//! that was applied and whose files have changed since is an error, as is one that this version does not know. Statements are idempotent, because
//! ClickHouse has no transactions over DDL: a run that was cut off is simply run again.

mod files;
mod lock;

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

pub(super) use self::files::Template;
pub use self::files::{ALL, Migration};
pub use self::lock::Lease;
use super::config::ClickHouseSettings;
use super::error::StoreError;

const UP: i8 = 1;
const DOWN: i8 = 2;

/// Applies and undoes migrations in one database.
#[derive(Debug, Clone)]
pub struct Migrator {
    client: Client,
    template: Template,
    migrations: &'static [Migration],
}

/// A migration and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationStatus {
    /// Its number.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// When it was applied, milliseconds since the Unix epoch; `None` while it is not.
    pub applied_at_ms: Option<i64>,
    /// Whether its files are those that were applied.
    pub state: MigrationState,
}

/// Where a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationState {
    /// Not applied.
    Pending,
    /// Applied as it is.
    Applied,
    /// Applied, and its files have changed since.
    Changed,
    /// Applied by a version that knows more.
    Unknown,
}

#[derive(Debug, Row, Serialize, Deserialize)]
struct Event {
    sequence: u64,
    version: u32,
    name: String,
    checksum: String,
    direction: i8,
    at: i64,
}

impl Migrator {
    /// Migrations of this version, for the database that `client` works in.
    pub fn new(client: &Client, settings: &ClickHouseSettings) -> Self {
        Self { client: client.clone(), template: Template::new(settings), migrations: ALL }
    }

    /// Every migration that is known here or applied there, by number.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        self.prepare().await?;
        Ok(self.compare(self.applied().await?))
    }

    /// Number of migrations that are not applied.
    ///
    /// # Errors
    /// When what was applied is not what this version knows, or ClickHouse cannot be asked.
    pub async fn pending(&self) -> Result<usize, StoreError> {
        Ok(checked(self.status().await?)?.iter().filter(|s| s.applied_at_ms.is_none()).count())
    }

    /// Applies what is not applied. Gives the numbers that were.
    ///
    /// # Errors
    /// When somebody else migrates, when what was applied is not what this version knows, or when a statement fails.
    pub async fn up(&self) -> Result<Vec<u32>, StoreError> {
        if self.pending().await? == 0 {
            return Ok(Vec::new());
        }
        let lease = self.lock().await?;
        let done = self.up_locked(&lease).await;
        lease.release().await?;
        done
    }

    /// Undoes the migrations above `to`, newest first; without `to`, the newest one. Gives the numbers that were undone.
    ///
    /// # Errors
    /// As [`Migrator::up`]; also when there is no migration `to` (0 undoes all).
    pub async fn down(&self, to: Option<u32>) -> Result<Vec<u32>, StoreError> {
        if let Some(version) = to.filter(|&to| to > 0 && self.find(to).is_none()) {
            return Err(StoreError::NoSuchMigration { version });
        }
        self.pending().await?;
        let lease = self.lock().await?;
        let done = self.down_locked(&lease, to).await;
        lease.release().await?;
        done
    }

    async fn up_locked(&self, lease: &Lease) -> Result<Vec<u32>, StoreError> {
        let mut done = Vec::new();
        for status in checked(self.status().await?)? {
            let Some(migration) = self.find(status.version) else { continue };
            if status.applied_at_ms.is_none() {
                self.run(lease, migration, migration.up_statements(&self.template)).await?;
                self.record(migration, UP).await?;
                tracing::info!(version = migration.version, name = migration.name, "migrated up");
                done.push(migration.version);
            }
        }
        Ok(done)
    }

    async fn down_locked(&self, lease: &Lease, to: Option<u32>) -> Result<Vec<u32>, StoreError> {
        let applied = checked(self.status().await?)?;
        let mut applied: Vec<_> =
            applied.iter().filter(|s| s.applied_at_ms.is_some()).map(|s| s.version).collect();
        applied.reverse();
        match to {
            Some(to) => applied.retain(|&version| version > to),
            None => applied.truncate(1),
        }
        for &version in &applied {
            let migration = self.find(version).ok_or(StoreError::NoSuchMigration { version })?;
            self.run(lease, migration, migration.down_statements(&self.template)).await?;
            self.record(migration, DOWN).await?;
            tracing::info!(version, name = migration.name, "migrated down");
        }
        Ok(applied)
    }

    async fn run(
        &self,
        lease: &Lease,
        migration: &Migration,
        statements: Vec<String>,
    ) -> Result<(), StoreError> {
        for statement in statements {
            lease.renew().await?;
            let result = self.client.query_raw(&statement).execute().await;
            result.map_err(|error| StoreError::MigrationFailed {
                version: migration.version,
                name: migration.name.to_owned(),
                source: Box::new(error.into()),
            })?;
        }
        Ok(())
    }

    fn find(&self, version: u32) -> Option<&'static Migration> {
        self.migrations.iter().find(|m| m.version == version)
    }

    /// Keeps the schema as it is: no migration runs while the lease is held.
    ///
    /// # Errors
    /// When somebody else holds it, or ClickHouse cannot be asked.
    pub async fn lock(&self) -> Result<Lease, StoreError> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let holder = format!("pid {} on {host}", std::process::id());
        Lease::acquire(&self.client, self.template.fill("{on_cluster}"), &holder).await
    }

    /// The table of what was applied; not a migration itself, since those are recorded in it.
    async fn prepare(&self) -> Result<(), StoreError> {
        let sql = self.template.fill(
            "CREATE TABLE IF NOT EXISTS {database}.migrations{on_cluster} (sequence UInt64, version UInt32, name String, \
             checksum String, direction Enum8('up' = 1, 'down' = 2), at DateTime64(3, 'UTC')) \
             ENGINE = {replicated}MergeTree ORDER BY sequence",
        );
        Ok(self.client.query_raw(&sql).execute().await?)
    }

    /// The last event of each version that is up, by version.
    async fn applied(&self) -> Result<Vec<Event>, StoreError> {
        let events: Vec<Event> = self
            .client
            .query("SELECT ?fields FROM migrations ORDER BY sequence")
            .fetch_all()
            .await?;
        let mut applied = std::collections::BTreeMap::new();
        for event in events {
            match event.direction {
                UP => applied.insert(event.version, event),
                _ => applied.remove(&event.version),
            };
        }
        Ok(applied.into_values().collect())
    }

    fn compare(&self, applied: Vec<Event>) -> Vec<MigrationStatus> {
        let pending =
            self.migrations.iter().filter(|m| applied.iter().all(|e| e.version != m.version));
        let mut all: Vec<_> = pending
            .map(|m| MigrationStatus {
                version: m.version,
                name: m.name.to_owned(),
                applied_at_ms: None,
                state: MigrationState::Pending,
            })
            .collect();
        all.extend(applied.into_iter().map(|event| MigrationStatus {
            state: match self.find(event.version) {
                None => MigrationState::Unknown,
                Some(known) if known.checksum() == event.checksum => MigrationState::Applied,
                Some(_) => MigrationState::Changed,
            },
            version: event.version,
            name: event.name,
            applied_at_ms: Some(event.at),
        }));
        all.sort_unstable_by_key(|status| status.version);
        all
    }

    async fn record(&self, migration: &Migration, direction: i8) -> Result<(), StoreError> {
        let sql = "INSERT INTO migrations SELECT \
                   (SELECT max(sequence) FROM migrations) + 1, ?, ?, ?, ?, now64(3)";
        let insert = self.client.query(sql).bind(migration.version).bind(migration.name);
        Ok(insert.bind(migration.checksum()).bind(direction).execute().await?)
    }
}

/// Refuses what was applied otherwise than this version knows it.
fn checked(all: Vec<MigrationStatus>) -> Result<Vec<MigrationStatus>, StoreError> {
    let wrong =
        all.iter().find(|s| matches!(s.state, MigrationState::Changed | MigrationState::Unknown));
    match wrong {
        None => Ok(all),
        Some(MigrationStatus { version, name, state: MigrationState::Changed, .. }) => {
            Err(StoreError::MigrationChanged { version: *version, name: name.clone() })
        }
        Some(MigrationStatus { version, name, .. }) => {
            Err(StoreError::MigrationUnknown { version: *version, name: name.clone() })
        }
    }
}
