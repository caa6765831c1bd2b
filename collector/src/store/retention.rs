//! How long rows are kept: the tables' TTL follows the configuration at each start.
//!
//! Whole parts are dropped when their youngest row is too old (`ttl_only_drop_parts`); nothing is rewritten for it. Because partitions are days,
//! a day goes at most one day late.

use clickhouse::Client;

use super::config::ClickHouseSettings;
use super::error::StoreError;
use super::migrate::Template;

/// Applies the configured retention to every table where another one is in force. Gives the tables that changed.
pub(super) async fn apply(
    client: &Client,
    settings: &ClickHouseSettings,
) -> Result<Vec<&'static str>, StoreError> {
    let tables = [
        ("performance_metrics", "ts", settings.retention_days),
        ("cache_stats", "ts", settings.retention_days),
        ("optimization_logs", "at", settings.decisions_retention_days),
    ];
    let template = Template::new(settings);
    let mut changed = Vec::new();
    for (table, time, days) in tables {
        let ttl = format!("toDateTime({time}) + toIntervalDay({days})");
        let name = template.fill(&format!("{table}{{local}}"));
        let in_force: String = client
            .query("SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = ?")
            .bind(&name)
            .fetch_one()
            .await?;
        if in_force.contains(&format!("TTL {ttl} SETTINGS")) {
            continue;
        }
        let sql = template
            .fill(&format!("ALTER TABLE {{database}}.{name}{{on_cluster}} MODIFY TTL {ttl}"));
        client.query_raw(&sql).execute().await?;
        tracing::info!(table, days, "changed the retention");
        changed.push(table);
    }
    Ok(changed)
}
