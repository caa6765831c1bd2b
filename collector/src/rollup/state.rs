//! Who computes rollups and how far they are: one row in ClickHouse, written again with the next sequence number by whoever holds the lease.
//!
//! ClickHouse has no compare-and-swap over rows, so two collectors may believe for a moment that they hold the lease: each reads the row back after it has written it,
//! and again before it writes the next time, and the one that finds the other there stops. What both computed meanwhile is the same, and neither loses a
//! late mark, since a mark is taken back only by whoever computed after having read it.

use std::time::{Duration, Instant};

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use crate::store::{Servers, StoreError};

/// Longest time without a sign of life after which another collector takes over.
pub(super) const LEASE_MS: i64 = 60_000;
/// Time after which a lease is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(15);
/// Versions that one step may use at most.
const VERSIONS_OF_A_STEP: u64 = 1_000_000;

/// The row, with times in milliseconds since the Unix epoch by the server's clock.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) name: String,
    pub(super) sequence: u64,
    pub(super) holder: String,
    pub(super) lease_until: i64,
    pub(super) fine_until: i64,
    pub(super) hours_until: i64,
    pub(super) version: u64,
}

/// The row and the server's time when it was read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) now_ms: i64,
    pub(super) state: Option<State>,
}

/// The lease, held: the row as it was last written.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) state: State,
    written_at: Instant,
}

/// Why a step ends before it is done.
#[derive(Debug)]
pub(super) enum Halt {
    /// Another collector holds the lease.
    Lost,
    /// ClickHouse.
    Store(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Reads the row.
pub(super) async fn read(servers: &Servers) -> Result<Seen, StoreError> {
    let now = |client: Client| async move {
        let query = client.query("SELECT toUnixTimestamp64Milli(now64(3))");
        Ok(query.fetch_one::<i64>().await?)
    };
    let row = |client: Client| async move {
        let query = client.query("SELECT ?fields FROM rollup_state WHERE name = 'roller'");
        Ok(query.fetch_optional::<State>().await?)
    };
    // The time first: a lease looks older than it is, never younger.
    let now_ms = servers.ask(now).await?;
    Ok(Seen { now_ms, state: servers.ask(row).await? })
}

impl Seen {
    /// Whether `holder` may compute now.
    pub(super) fn is_free_for(&self, holder: &str) -> bool {
        self.state
            .as_ref()
            .is_none_or(|state| state.holder == holder || state.lease_until < self.now_ms)
    }
}

impl Held {
    /// Takes the lease, or goes on holding it. `first_ms` is where rollups begin when there are none. `None` when another one was faster.
    pub(super) async fn take(
        servers: &Servers,
        seen: Seen,
        holder: &str,
        first_ms: i64,
    ) -> Result<Option<Self>, StoreError> {
        let now_version = (seen.now_ms * 1_000).cast_unsigned();
        let last = seen.state.unwrap_or_else(|| State {
            name: "roller".to_owned(),
            sequence: 0,
            holder: String::new(),
            lease_until: 0,
            fine_until: first_ms,
            hours_until: first_ms,
            version: 0,
        });
        // Above all versions before, also when the server's clock was set back.
        let version = now_version.max(last.version + VERSIONS_OF_A_STEP);
        let state = State { holder: holder.to_owned(), version, ..last };
        let mut held = Self { state, written_at: Instant::now() };
        held.write(servers, seen.now_ms).await?;
        let back = read(servers).await?.state;
        Ok(back.is_some_and(|state| state.holder == holder).then_some(held))
    }

    /// The next version for the rows of a statement.
    pub(super) fn next_version(&mut self) -> u64 {
        self.state.version += 1;
        self.state.version
    }

    /// Makes sure that the lease is still held when it was written some time ago.
    pub(super) async fn keep(&mut self, servers: &Servers) -> Result<(), Halt> {
        if self.written_at.elapsed() < RENEW_AFTER { Ok(()) } else { self.save(servers).await }
    }

    /// Writes the row, unless another collector has taken over.
    pub(super) async fn save(&mut self, servers: &Servers) -> Result<(), Halt> {
        let seen = read(servers).await?;
        if seen.state.is_none_or(|state| state.holder != self.state.holder) {
            return Err(Halt::Lost);
        }
        Ok(self.write(servers, seen.now_ms).await?)
    }

    /// Lets another collector take over at once.
    pub(super) async fn release(mut self, servers: &Servers) -> Result<(), Halt> {
        let seen = read(servers).await?;
        if seen.state.is_none_or(|state| state.holder != self.state.holder) {
            return Ok(());
        }
        Ok(self.write(servers, seen.now_ms - LEASE_MS - 1).await?)
    }

    async fn write(&mut self, servers: &Servers, now_ms: i64) -> Result<(), StoreError> {
        self.state.sequence += 1;
        self.state.lease_until = now_ms + LEASE_MS;
        let row = &self.state;
        let insert = |client: Client| async move {
            let mut insert = client.insert::<State>("rollup_state").await?;
            insert.write(row).await?;
            Ok(insert.end().await?)
        };
        servers.ask(insert).await?;
        self.written_at = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_free_for_its_holder_and_when_it_is_over() {
        let state = State {
            name: "roller".into(),
            sequence: 1,
            holder: "a".into(),
            lease_until: 100,
            fine_until: 0,
            hours_until: 0,
            version: 1,
        };
        let seen = |now_ms| Seen { now_ms, state: Some(state.clone()) };
        assert!(seen(50).is_free_for("a") && !seen(50).is_free_for("b"));
        assert!(!seen(100).is_free_for("b") && seen(101).is_free_for("b"));
        assert!(Seen { now_ms: 0, state: None }.is_free_for("b"));
    }
}
