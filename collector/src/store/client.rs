//! The HTTP client that everything in the collector talks to ClickHouse through.
//!
//! Every query runs with `final = 1`: the tables are ReplacingMergeTree, and this makes each read free of duplicates, so no query can forget it.
//! Merging across partitions is off, because a row's partition follows from its sort key.

use std::time::Duration;

use clickhouse::{Client, Compression};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::config::Secret;

/// Shorter than the 10 s that ClickHouse keeps an idle connection for: a connection that it may be closing is not used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server is and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://HOST:PORT`
    pub url: String,
    /// User.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

impl Endpoint {
    /// A client for this server that works in `database` and lets the server stop a query after `timeout`.
    pub fn client(&self, database: &str, timeout: Duration) -> Client {
        let seconds = timeout.as_secs().max(1).to_string();
        self.bare_client()
            .with_database(database)
            .with_setting("max_execution_time", seconds)
            .with_setting("final", "1")
            .with_setting("do_not_merge_across_partitions_select_final", "1")
    }

    /// A client without a database, for creating it.
    pub(super) fn bare_client(&self) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(Duration::from_mins(1)));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Client::with_http_client(http)
            .with_url(&self.url)
            .with_user(&self.user)
            .with_password(self.password.expose())
            .with_compression(Compression::Lz4)
    }
}
