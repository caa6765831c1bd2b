//! How long rows are kept: the tables' TTL follows the configuration at each start.
//!
//! Whole parts are dropped when their youngest row is too old (`ttl_only_drop_parts`); nothing is rewritten for it. A partition goes as a whole:
//! samples at most an hour late, other tables a day, rollups of an hour a month, and decisions when the last of ten thousand may go.

use super::config::ClickHouseSettings;
use super::error::StoreError;
use super::schema::Schema;

/// Applies the configured retention to every table where another one is in force on some server. Gives the tables that changed.
pub(super) async fn apply(
    schema: &Schema,
    settings: &ClickHouseSettings,
) -> Result<Vec<&'static str>, StoreError> {
    let tables = [
        ("performance_metrics", "ts", settings.retention_days),
        ("cache_stats", "ts", settings.retention_days),
        ("balancer_stats", "ts", settings.retention_days),
        ("optimization_logs", "at", settings.decisions_retention_days),
        ("rollup_10s", "ts", settings.rollup_days()[0]),
        ("rollup_1m", "ts", settings.rollup_days()[1]),
        ("rollup_1h", "ts", settings.rollup_days()[2]),
    ];
    let mut changed = Vec::new();
    for (table, time, days) in tables {
        let ttl = format!("toDateTime({time}) + toIntervalDay({days})");
        let in_force = schema.engines(table).await?;
        if in_force.iter().all(|engine| engine.contains(&format!("TTL {ttl} SETTINGS"))) {
            continue;
        }
        let alter = "ALTER TABLE {database}.";
        schema.run(&format!("{alter}{table}{{local}}{{on_cluster}} MODIFY TTL {ttl}")).await?;
        tracing::info!(table, days, "changed the retention");
        changed.push(table);
    }
    Ok(changed)
}
