//! Migrations: the schema as numbered steps, each with its way back.
//!
//! What was applied is an append-only table, `migrations`: one row for each step up or down, in sequence, with the checksum of the files. A step
//! that was applied and whose files have changed since is an error, as is one that this version does not know. Statements are idempotent, because
//! ClickHouse has no transactions over DDL: a run that was cut off is simply run again.
//!
//! On a replicated cluster there is one log for all servers, and statements run `ON CLUSTER`. Without Keeper each server has a log of its own and is migrated by
//! itself, so that a server that is new, or was away, catches up at the next start of a collector.

mod files;
mod lock;
mod runner;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

pub use self::files::{ALL, Migration, down_sql, up_sql};
pub(super) use self::files::{DATABASE, Template};
pub use self::lock::Lease;
use self::lock::{LEASE, Request};
use self::runner::Runner;
use super::config::{ClickHouseSettings, Layout};
use super::error::StoreError;
use super::servers::Servers;

/// How long another migration is waited for. A holder that was killed is out of the way before that.
const PATIENCE: Duration = LEASE.saturating_mul(2);

/// Applies and undoes migrations in one database, on however many servers it has.
#[derive(Debug, Clone)]
pub struct Migrator {
    servers: Servers,
    template: Template,
    /// Each server keeps a log of its own, and is migrated by itself.
    on_each: bool,
    lock: Request,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationState {
    /// Applied as it is.
    Applied,
    /// Not applied.
    Pending,
    /// Applied, and its files have changed since.
    Changed,
    /// Applied by a version that knows more.
    Unknown,
}

impl Migrator {
    /// Migrations of this version, for the database of the settings.
    pub fn new(servers: &Servers, settings: &ClickHouseSettings) -> Self {
        let template = Template::new(settings);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let lock = Request {
            on_cluster: template.fill("{on_cluster}"),
            holder: format!("pid {} on {host}", std::process::id()),
            patience: PATIENCE,
            alone: false,
        };
        let on_each = matches!(settings.layout(), Layout::Sharded { .. });
        Self { servers: servers.clone(), template, on_each, lock }
    }

    /// For a database that nobody else can reach: a lock that is there was left behind by somebody who was killed.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.lock.alone = true;
        self
    }

    /// Waits this long for another migration.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.lock.patience = patience;
        self
    }

    /// Every migration that is known here or applied there, by number; on several servers the state that needs most attention.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        let mut worst = BTreeMap::<u32, MigrationStatus>::new();
        for runner in self.runners() {
            for status in runner.settled(runner.status().await)? {
                let known = worst.entry(status.version).or_insert_with(|| status.clone());
                if status.state > known.state {
                    *known = status;
                }
            }
        }
        Ok(worst.into_values().collect())
    }

    /// Number of migrations that are not applied, on the server that lacks most.
    ///
    /// # Errors
    /// When what was applied is not what this version knows, or ClickHouse cannot be asked.
    pub async fn pending(&self) -> Result<usize, StoreError> {
        let mut most = 0;
        for runner in self.runners() {
            most = most.max(runner.settled(runner.pending().await)?);
        }
        Ok(most)
    }

    /// Applies what is not applied. Gives the numbers that were. Waits for another migration, and does what that one left.
    ///
    /// # Errors
    /// When somebody else goes on migrating, when what was applied is not what this version knows, or when a statement fails.
    pub async fn up(&self) -> Result<Vec<u32>, StoreError> {
        let mut done = BTreeSet::new();
        for runner in self.runners() {
            done.extend(runner.settled(runner.up().await)?);
        }
        Ok(done.into_iter().collect())
    }

    /// Undoes the migrations above `to`, newest first; without `to`, the newest one. Gives the numbers that were undone.
    ///
    /// # Errors
    /// As [`Migrator::up`]; also when there is no migration `to` (0 undoes all).
    pub async fn down(&self, to: Option<u32>) -> Result<Vec<u32>, StoreError> {
        if let Some(version) = to.filter(|&to| to > 0 && ALL.iter().all(|m| m.version != to)) {
            return Err(StoreError::NoSuchMigration { version });
        }
        let mut undone = BTreeSet::new();
        for runner in self.runners() {
            undone.extend(runner.settled(runner.down(to).await)?);
        }
        Ok(undone.into_iter().rev().collect())
    }

    /// Keeps the schema as it is: no migration runs while the leases are held, one for each log.
    ///
    /// # Errors
    /// When somebody else holds one, or ClickHouse cannot be asked.
    pub async fn lock(&self) -> Result<Vec<Lease>, StoreError> {
        let mut leases = Vec::new();
        for runner in self.runners() {
            leases.push(runner.settled(runner.lock().await)?);
        }
        Ok(leases)
    }

    /// One for each log.
    fn runners(&self) -> Vec<Runner<'_>> {
        let choices = if self.on_each { self.servers.all() } else { vec![self.servers.choose()] };
        let runner =
            |choice| Runner { choice, template: &self.template, migrations: ALL, lock: &self.lock };
        choices.into_iter().map(runner).collect()
    }
}
