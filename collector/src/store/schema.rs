//! Statements about tables, run wherever the layout has them: on the one server, `ON CLUSTER`, or on each shard's server in turn.
//!
//! The last way is for clusters without Keeper, where `ON CLUSTER` does not exist. A statement that failed half way has run on some of the servers:
//! all of them are idempotent and are simply run again.

use super::config::{ClickHouseSettings, Layout};
use super::error::StoreError;
use super::migrate::Template;
use super::servers::Servers;

/// The tables of one database, wherever they are.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    servers: Servers,
    template: Template,
    cluster: Option<String>,
    on_each: bool,
}

impl Schema {
    pub(super) fn new(servers: &Servers, settings: &ClickHouseSettings) -> Self {
        let layout = settings.layout();
        Self {
            servers: servers.clone(),
            template: Template::new(settings),
            cluster: layout.cluster().map(str::to_owned),
            on_each: matches!(layout, Layout::Sharded { .. }),
        }
    }

    /// Runs a statement with the placeholders of migrations, `{on_cluster}` among them. It must be idempotent.
    pub(super) async fn run(&self, statement: &str) -> Result<(), StoreError> {
        let sql = self.template.fill(statement);
        if self.on_each {
            for choice in self.servers.all() {
                let result =
                    choice.client.query_raw(&sql).execute().await.map_err(StoreError::from);
                choice.settle(&result);
                result?;
            }
            return Ok(());
        }
        let sql = sql.as_str();
        let run =
            |client: clickhouse::Client| async move { Ok(client.query_raw(sql).execute().await?) };
        self.servers.ask(run).await
    }

    /// The name of a table that holds rows itself.
    pub(super) fn local(&self, table: &str) -> String {
        self.template.fill(&format!("{table}{{local}}"))
    }

    /// The engine clause of a table that holds rows itself, on every server that can be reached.
    pub(super) async fn engines(&self, table: &str) -> Result<Vec<String>, StoreError> {
        let source = match &self.cluster {
            None => "system.tables".to_owned(),
            Some(cluster) => format!("clusterAllReplicas({cluster}, system.tables)"),
        };
        let sql =
            format!("SELECT DISTINCT engine_full FROM {source} WHERE database = ? AND name = ?");
        let (sql, database) = (sql.as_str(), self.template.fill("{database}"));
        let (database, name) = (database.as_str(), self.local(table));
        let name = name.as_str();
        let ask = |client: clickhouse::Client| async move {
            let query = client.query(sql).bind(database).bind(name);
            // A replica that is away follows when it is back; its shard may have others.
            Ok(query.with_setting("skip_unavailable_shards", "1").fetch_all().await?)
        };
        self.servers.ask(ask).await
    }
}
