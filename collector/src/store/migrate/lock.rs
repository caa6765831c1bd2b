//! One migration at a time, with nothing but DDL: it works on the embedded engine, which has no Keeper.
//!
//! `CREATE TABLE` fails when the table exists, and is atomic: a compare-and-swap. The lock of generation N is the table `migration_lock_N`; its
//! comment names the holder, a random token and the end of the lease by the server's clock. To take a free lock is to create generation 1; to take
//! over an expired one is to create the next generation, which only one of many can. The highest generation holds.
//!
//! The lease is short, so that a holder that was killed is in nobody's way for long, and a task of the holder's renews it while statements run, however
//! long they take. Before each statement the holder looks whether its token still is in the highest generation: a runner that was suspended past its lease
//! stops there. Statements are idempotent besides, so that the one in flight at that moment does no harm.

use std::time::Duration;

use clickhouse::Client;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::store::config::Secret;
use crate::store::error::StoreError;
use crate::store::within;

/// How long a holder that was killed blocks the next one.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// Several times within a lease, so that one failure or one slow answer loses nothing.
const RENEW_PERIOD: Duration = Duration::from_secs(3);
/// Time between two looks at a lock that somebody else holds.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
const PREFIX: &str = "migration_lock_";
const TABLE_ALREADY_EXISTS: u16 = 57;

/// The lock on the schema of one place, held and renewed until [`Lease::release`]. Dropped without it, it ends by itself.
#[derive(Debug)]
pub struct Lease {
    lock: Lock,
    renewal: JoinHandle<()>,
}

/// A lock that was taken.
#[derive(Debug, Clone)]
struct Lock {
    client: Client,
    on_cluster: String,
    generation: u32,
    holder: String,
    token: Secret,
}

/// How a lock is asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// ` ON CLUSTER name`, or nothing.
    pub(super) on_cluster: String,
    /// Tells an operator who it is.
    pub(super) holder: String,
    /// How long to wait for another holder.
    pub(super) patience: Duration,
    /// Nobody else can be there: a lock that is was left behind.
    pub(super) alone: bool,
}

/// A lock as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    generation: u32,
    holder: String,
    token: String,
    expired: bool,
}

impl Lease {
    /// Takes the lock, waiting for another holder with patience.
    pub(super) async fn acquire(client: &Client, request: &Request) -> Result<Self, StoreError> {
        let deadline = Instant::now() + request.patience;
        let mut looks = interval(LOOK_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = false;
        loop {
            looks.tick().await;
            match Lock::take(client, request).await {
                Ok(lock) => return Ok(Self::new(lock)),
                Err(StoreError::MigrationLocked { holder }) if Instant::now() < deadline => {
                    if !waiting {
                        tracing::info!(holder, "waiting for another migration");
                    }
                    waiting = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn new(lock: Lock) -> Self {
        let renewed = lock.clone();
        let renewal = tokio::spawn(async move {
            let mut ticks = interval(RENEW_PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match renewed.renew().await {
                    Ok(()) => {}
                    Err(StoreError::MigrationLocked { .. }) => return,
                    Err(error) => tracing::warn!(%error, "cannot renew the migration lock"),
                }
            }
        });
        Self { lock, renewal }
    }

    /// Makes sure that the lock is still held, and holds it for another lease.
    ///
    /// # Errors
    /// When somebody else has taken it over, or ClickHouse cannot be asked.
    pub async fn renew(&self) -> Result<(), StoreError> {
        self.lock.renew().await
    }

    /// Gives the lock back, and removes those that it took over. Does nothing when somebody else has taken it over.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn release(mut self) -> Result<(), StoreError> {
        // A renewal in flight would find its table gone.
        self.renewal.abort();
        let _ = (&mut self.renewal).await;
        self.lock.drop_tables().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Lock {
    async fn take(client: &Client, request: &Request) -> Result<Self, StoreError> {
        let generation = match newest(client).await? {
            Some(seen) if !seen.expired && !request.alone => {
                return Err(StoreError::MigrationLocked { holder: seen.holder });
            }
            Some(seen) => {
                tracing::warn!(holder = seen.holder, "taking over a migration lock");
                seen.generation + 1
            }
            None => 1,
        };
        let lock = Self {
            client: client.clone(),
            on_cluster: request.on_cluster.clone(),
            generation,
            holder: request.holder.replace(['\'', '\\', '|'], " "),
            token: Secret::new(format!("{:016x}", rand::random::<u64>())),
        };
        let sql = format!(
            "CREATE TABLE {PREFIX}{generation}{} (nothing UInt8) ENGINE = Null COMMENT '{}'",
            lock.on_cluster,
            lock.comment(now_s(client).await?)
        );
        match client.query_raw(&sql).execute().await.map_err(StoreError::from) {
            Ok(()) => Ok(lock),
            Err(error) if error.code() == Some(TABLE_ALREADY_EXISTS) => {
                let holder = newest(client).await?.map_or_else(String::new, |seen| seen.holder);
                Err(StoreError::MigrationLocked { holder })
            }
            Err(error) => Err(error),
        }
    }

    async fn renew(&self) -> Result<(), StoreError> {
        match newest(&self.client).await? {
            Some(seen) if seen.token == self.token.expose() => {}
            other => {
                let holder = other.map_or_else(|| "somebody else".to_owned(), |seen| seen.holder);
                return Err(StoreError::MigrationLocked { holder });
            }
        }
        let comment = self.comment(now_s(&self.client).await?);
        let sql = format!(
            "ALTER TABLE {PREFIX}{}{} MODIFY COMMENT '{comment}'",
            self.generation, self.on_cluster
        );
        Ok(self.client.query_raw(&sql).execute().await?)
    }

    async fn drop_tables(&self) -> Result<(), StoreError> {
        let held = newest(&self.client).await?;
        if held.is_none_or(|seen| seen.token != self.token.expose()) {
            return Ok(());
        }
        // Oldest first: at every moment the newest one that is left is ours.
        for generation in 1..=self.generation {
            let sql = format!("DROP TABLE IF EXISTS {PREFIX}{generation}{} SYNC", self.on_cluster);
            self.client.query_raw(&sql).execute().await?;
        }
        Ok(())
    }

    fn comment(&self, now_s: u64) -> String {
        format!("{}|{}|{}", self.holder, self.token.expose(), now_s + LEASE.as_secs())
    }
}

async fn now_s(client: &Client) -> Result<u64, StoreError> {
    let query = client.query("SELECT toUInt64(toUnixTimestamp(now()))");
    within(LEASE, async { query.fetch_one().await }).await
}

/// The lock of the highest generation, held or expired.
async fn newest(client: &Client) -> Result<Option<Seen>, StoreError> {
    let now_s = now_s(client).await?;
    let sql = "SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND startsWith(name, ?)";
    let query = client.query(sql).bind(PREFIX);
    let rows = within(LEASE, async { query.fetch_all::<(String, String)>().await }).await?;
    let seen = rows.iter().filter_map(|(name, comment)| parse(name, comment, now_s));
    Ok(seen.max_by_key(|seen| seen.generation))
}

fn parse(name: &str, comment: &str, now_s: u64) -> Option<Seen> {
    let generation = name.strip_prefix(PREFIX)?.parse().ok()?;
    let mut parts = comment.split('|').map(str::to_owned);
    let holder = parts.next()?;
    let token = parts.next().unwrap_or_default();
    let until_s: u64 = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    Some(Seen { generation, holder, token, expired: until_s < now_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_tells_holder_token_and_end() {
        let seen = parse("migration_lock_12", "host a, pid 7|0f|100", 100).unwrap();
        assert_eq!((seen.generation, &*seen.holder, &*seen.token), (12, "host a, pid 7", "0f"));
        assert!(!seen.expired);
        assert!(parse("migration_lock_12", "host a|0f|100", 101).unwrap().expired);
        assert!(parse("migration_lock_12", "", 1).unwrap().expired);
        assert_eq!(parse("migration_lock_x", "a|b|1", 0), None);
    }
}
