//! The HTTP client that everything in the collector talks to ClickHouse through.
//!
//! Every query runs with `final = 1`: the tables are ReplacingMergeTree, and this makes each read free of duplicates, so no query can forget it.
//! Merging across partitions is off, because a row's partition follows from its sort key.

use std::time::Duration;

use clickhouse::{Client, Compression};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::config::{ClickHouseSettings, Layout, Secret};
use super::error::StoreError;
use super::migrate::DATABASE;
use super::schema::Schema;
use super::servers::Servers;
use super::within;

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

/// The servers of the configuration.
///
/// # Errors
/// When there is no URL or the password file cannot be read.
pub fn configured_endpoints(settings: &ClickHouseSettings) -> Result<Vec<Endpoint>, StoreError> {
    if settings.url.is_empty() {
        return Err(StoreError::Config { key: "url", reason: "is needed here".to_owned() });
    }
    let password = settings.resolved_password()?;
    let endpoint = |url: &String| Endpoint {
        url: url.clone(),
        user: settings.user.clone(),
        password: password.clone(),
    };
    Ok(settings.url.iter().map(endpoint).collect())
}

/// Clients of the servers, to work in the database of the settings. A server stops a query after the configured time.
pub(super) fn servers(endpoints: &[Endpoint], settings: &ClickHouseSettings) -> Servers {
    let client = |endpoint: &Endpoint| {
        let client = endpoint.bare_client().with_database(&settings.database);
        let client = settings
            .query_settings()
            .into_iter()
            .fold(client, |client, (name, value)| client.with_setting(name, value));
        (endpoint.url.clone(), client)
    };
    Servers::new(endpoints.iter().map(client).collect(), rand::random_range(0..endpoints.len()))
}

/// Creates the database where it is missing. `ON CLUSTER` only then: it waits for every server of the cluster, and a collector must start while a replica is away.
pub(super) async fn create_database(
    endpoints: &[Endpoint],
    settings: &ClickHouseSettings,
) -> Result<(), StoreError> {
    let bare = endpoints.iter().map(|endpoint| (endpoint.url.clone(), endpoint.bare_client()));
    let servers = Servers::new(bare.collect(), 0);
    let (sql, timeout) =
        ("SELECT count() FROM system.databases WHERE name = ?", settings.timeout());
    let exists = |client: Client| async move {
        let query = client.query(sql).bind(&settings.database);
        Ok(within(timeout, async { query.fetch_one::<u64>().await }).await? == 1)
    };
    let mut everywhere = true;
    if let Layout::Sharded { .. } = settings.layout() {
        for server in servers.all() {
            everywhere &= exists(server.client).await?;
        }
    } else {
        everywhere = servers.ask(exists).await?;
    }
    if everywhere {
        return Ok(());
    }
    Schema::new(&servers, settings).run(DATABASE).await
}

impl Endpoint {
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
