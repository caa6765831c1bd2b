//! Reads of `cache_stats`: what a cache's traffic was, over all and by windows.
//!
//! Counters begin anew when a cache does, which its `started_at` shows; what lies across a start is not
//! known and is left out.

use clickhouse::Row;
use serde::Deserialize;

use super::error::StoreError;
use super::{Store, within};

/// Most rows that one read gives: 100 caches over two hours in windows of ten seconds.
const MOST_ROWS: u64 = 100_000;

/// Traffic of a cache over a time without a restart.
#[derive(Debug, Clone, PartialEq, Row, Deserialize)]
pub struct CacheTraffic {
    /// Its node.
    pub node: String,
    /// Its name.
    pub cache: String,
    /// The first tick, epoch milliseconds.
    pub from_ms: i64,
    /// The last one.
    pub to_ms: i64,
    /// Requests that were answered between them.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
    /// Connected clients on average.
    pub clients: f64,
}

/// Memory in use and resident memory of a cache since its last start: the sums of a line through them.
#[derive(Debug, Clone, PartialEq, Row, Deserialize)]
pub struct CacheMemory {
    /// Its node.
    pub node: String,
    /// Its name.
    pub cache: String,
    /// The first tick, epoch milliseconds.
    pub from_ms: i64,
    /// The last one.
    pub to_ms: i64,
    /// Ticks with both.
    pub rows: u64,
    /// Mean of the memory in use, bytes.
    pub used_mean: f64,
    /// Mean of the resident memory, bytes.
    pub resident_mean: f64,
    /// Variance of the memory in use.
    pub used_variance: f64,
    /// Variance of the resident memory.
    pub resident_variance: f64,
    /// Covariance of both.
    pub covariance: f64,
}

/// Since when there are rows of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct CacheSince {
    /// Its node.
    pub node: String,
    /// Its name.
    pub cache: String,
    /// The oldest of those that were looked at, epoch milliseconds.
    pub since_ms: i64,
}

/// The last tick of a cache in a window.
#[derive(Debug, Clone, PartialEq, Row, Deserialize)]
pub struct CacheTick {
    /// Its node.
    pub node: String,
    /// Its name.
    pub cache: String,
    /// Start of the window, epoch milliseconds.
    pub window_ms: i64,
    /// When its counters began, epoch milliseconds.
    pub started_ms: i64,
    /// Requests that were answered since.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
    /// Resident memory of the process, bytes.
    pub resident_bytes: u64,
    /// Memory in use as the server counts it against its limit.
    pub used_bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Keys given up for room since the counters began.
    pub evictions: u64,
}

/// What is in force at a cache, of its newest row.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct CacheNow {
    /// Limit of its memory; 0: none.
    pub max_bytes: u64,
    /// What is evicted when it is full; empty: not known.
    pub eviction_policy: String,
    /// Memory in use.
    pub used_bytes: u64,
}

impl Store {
    /// The newest row of a cache since a time, if there is one.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn cache_now(
        &self,
        (node, cache): (&str, &str),
        from_ms: i64,
    ) -> Result<Option<CacheNow>, StoreError> {
        let sql = "SELECT max_bytes, eviction_policy, used_bytes FROM cache_stats \
            WHERE node = ? AND cache = ? AND ts >= fromUnixTimestamp64Milli(?) \
            ORDER BY ts DESC LIMIT 1";
        let timeout = self.settings.timeout();
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(node).bind(cache).bind(from_ms);
            within(timeout, async { query.fetch_optional().await }).await
        };
        self.servers.ask(ask).await
    }

    /// Traffic of all caches from one time to another, by node and name. Those that restarted are left out.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn cache_traffic(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<CacheTraffic>, StoreError> {
        let sql = "SELECT node, cache, toUnixTimestamp64Milli(min(ts)) AS from_ms, \
            toUnixTimestamp64Milli(max(ts)) AS to_ms, toUInt64(max(hits) - min(hits)) AS hits, \
            toUInt64(max(misses) - min(misses)) AS misses, avg(clients) AS clients FROM cache_stats \
            WHERE ts >= fromUnixTimestamp64Milli(?) AND ts <= fromUnixTimestamp64Milli(?) \
            GROUP BY node, cache HAVING uniqExact(started_at) = 1 AND from_ms < to_ms \
            ORDER BY node, cache LIMIT ?";
        let timeout = self.settings.timeout();
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(from_ms).bind(to_ms).bind(MOST_ROWS);
            within(timeout, async { query.fetch_all().await }).await
        };
        self.servers.ask(ask).await
    }

    /// Memory of all caches with a limit from one time to another, by node and name, of each since it last
    /// started. One hundred caches that are sampled each second for a day are 8.6 million rows.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn cache_memory(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<CacheMemory>, StoreError> {
        let sql = "SELECT node, cache, toUnixTimestamp64Milli(min(ts)) AS from_ms, \
            toUnixTimestamp64Milli(max(ts)) AS to_ms, count() AS rows, \
            avg(used_bytes) AS used_mean, avg(resident_bytes) AS resident_mean, \
            varPopStable(used_bytes) AS used_variance, \
            varPopStable(resident_bytes) AS resident_variance, \
            covarPopStable(used_bytes, resident_bytes) AS covariance FROM cache_stats \
            WHERE ts >= fromUnixTimestamp64Milli(?) AND ts <= fromUnixTimestamp64Milli(?) \
            AND max_bytes > 0 AND used_bytes > 0 AND resident_bytes > 0 \
            GROUP BY node, cache, started_at ORDER BY node, cache, started_at DESC \
            LIMIT 1 BY node, cache LIMIT ?";
        let timeout = self.settings.timeout();
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(from_ms).bind(to_ms).bind(MOST_ROWS);
            within(timeout, async { query.fetch_all().await }).await
        };
        self.servers.ask(ask).await
    }

    /// Since when there are rows of all caches, looking no further back than `from_ms`.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn caches_since(&self, from_ms: i64) -> Result<Vec<CacheSince>, StoreError> {
        let sql = "SELECT node, cache, toUnixTimestamp64Milli(min(ts)) AS since_ms FROM cache_stats \
            WHERE ts >= fromUnixTimestamp64Milli(?) GROUP BY node, cache LIMIT ?";
        let timeout = self.settings.timeout();
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(from_ms).bind(MOST_ROWS);
            within(timeout, async { query.fetch_all().await }).await
        };
        self.servers.ask(ask).await
    }

    /// The last tick in each window of `width_ms` of one cache, by time.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn cache_ticks(
        &self,
        (node, cache): (&str, &str),
        (from_ms, to_ms): (i64, i64),
        width_ms: u32,
    ) -> Result<Vec<CacheTick>, StoreError> {
        let sql = "SELECT node, cache, intDiv(toUnixTimestamp64Milli(ts), ?) * ? AS window_ms, \
            toUnixTimestamp64Milli(argMax(started_at, ts)) AS started_ms, \
            argMax(hits, ts) AS hits, argMax(misses, ts) AS misses, \
            argMax(resident_bytes, ts) AS resident_bytes, argMax(used_bytes, ts) AS used_bytes, \
            argMax(keys, ts) AS keys, argMax(evictions, ts) AS evictions FROM cache_stats \
            WHERE node = ? AND cache = ? AND ts >= fromUnixTimestamp64Milli(?) \
            AND ts < fromUnixTimestamp64Milli(?) \
            GROUP BY node, cache, window_ms ORDER BY window_ms LIMIT ?";
        let (timeout, width) = (self.settings.timeout(), i64::from(width_ms.max(1)));
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(width).bind(width).bind(node).bind(cache);
            let query = query.bind(from_ms).bind(to_ms).bind(MOST_ROWS);
            within(timeout, async { query.fetch_all().await }).await
        };
        self.servers.ask(ask).await
    }
}
