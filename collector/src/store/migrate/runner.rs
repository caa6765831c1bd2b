//! Migrations of one place: a server, or a replicated cluster through any of its servers.

use std::time::Duration;

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::files::{LOG, Migration, Template};
use super::lock::{Lease, Request};
use super::{MigrationState, MigrationStatus};
use crate::store::error::StoreError;
use crate::store::servers::Choice;
use crate::store::within;

/// Longest that a server may take to say what is there. Statements of migrations have no bound.
const ANSWER: Duration = Duration::from_secs(30);
const UP: i8 = 1;
const DOWN: i8 = 2;

/// Applies and undoes migrations in one place.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    pub(super) choice: Choice<'a>,
    pub(super) template: &'a Template,
    pub(super) migrations: &'static [Migration],
    pub(super) lock: &'a Request,
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

impl Runner<'_> {
    /// Lets what came of it speak for the server.
    pub(super) fn settled<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.choice.settle(&result);
        result
    }

    pub(super) async fn status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        self.prepare().await?;
        Ok(self.compare(self.applied().await?))
    }

    pub(super) async fn pending(&self) -> Result<usize, StoreError> {
        Ok(checked(self.status().await?)?.iter().filter(|s| s.applied_at_ms.is_none()).count())
    }

    pub(super) async fn up(&self) -> Result<Vec<u32>, StoreError> {
        if self.pending().await? == 0 {
            return Ok(Vec::new());
        }
        let lease = self.lock().await?;
        let done = self.up_locked(&lease).await;
        lease.release().await?;
        done
    }

    pub(super) async fn down(&self, to: Option<u32>) -> Result<Vec<u32>, StoreError> {
        self.pending().await?;
        let lease = self.lock().await?;
        let done = self.down_locked(&lease, to).await;
        lease.release().await?;
        done
    }

    pub(super) async fn lock(&self) -> Result<Lease, StoreError> {
        Lease::acquire(&self.choice.client, self.lock).await
    }

    async fn up_locked(&self, lease: &Lease) -> Result<Vec<u32>, StoreError> {
        let mut done = Vec::new();
        for status in checked(self.status().await?)? {
            let Some(migration) = self.find(status.version) else { continue };
            if status.applied_at_ms.is_none() {
                self.run(lease, migration, migration.up_statements(self.template)).await?;
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
            self.run(lease, migration, migration.down_statements(self.template)).await?;
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
            let result = self.choice.client.query_raw(&statement).execute().await;
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

    /// Creates the log when it is missing; `ON CLUSTER` waits for every server, so not for nothing.
    async fn prepare(&self) -> Result<(), StoreError> {
        let exists = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'migrations'";
        let query = self.choice.client.query(exists);
        if within(ANSWER, async { query.fetch_one::<u64>().await }).await? == 1 {
            return Ok(());
        }
        Ok(self.choice.client.query_raw(&self.template.fill(LOG)).execute().await?)
    }

    /// The last event of each version that is up, by version.
    async fn applied(&self) -> Result<Vec<Event>, StoreError> {
        let query = self.choice.client.query("SELECT ?fields FROM migrations ORDER BY sequence");
        let events = within(ANSWER, async { query.fetch_all::<Event>().await }).await?;
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
        let insert = self.choice.client.query(sql).bind(migration.version).bind(migration.name);
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
