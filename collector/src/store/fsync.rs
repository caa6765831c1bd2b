//! Whether an insert waits until its part is on the disk: `clickhouse.fsync`, applied to the tables at each start.
//!
//! With it an acknowledged sample survives a power cut. Without it the part lies in the kernel's memory for some seconds (30 by default): a crash of the kernel
//! or of the power loses what was acknowledged in that time, a process that is killed loses nothing. The log of decisions and the marks of late samples are always
//! synced: few rows, and nobody sends them again. What it costs: docs/adr/007-ingest-throughput.md.

use super::config::ClickHouseSettings;
use super::error::StoreError;
use super::schema::Schema;
use super::setting_of;

/// Tables of measurements.
const TABLES: [&str; 7] = [
    "series",
    "performance_metrics",
    "cache_stats",
    "balancer_stats",
    "rollup_10s",
    "rollup_1m",
    "rollup_1h",
];
const SETTINGS: [&str; 2] = ["fsync_after_insert", "fsync_part_directory"];

/// Brings the tables in line with the configuration. Gives those that changed.
pub(super) async fn apply(
    schema: &Schema,
    settings: &ClickHouseSettings,
) -> Result<Vec<&'static str>, StoreError> {
    let wanted = u8::from(settings.fsync);
    let mut changed = Vec::new();
    for table in TABLES {
        if schema.engines(table).await?.iter().all(|engine| is_in_force(engine, settings.fsync)) {
            continue;
        }
        let values = SETTINGS.map(|name| format!("{name} = {wanted}")).join(", ");
        let alter = "ALTER TABLE {database}.";
        schema
            .run(&format!("{alter}{table}{{local}}{{on_cluster}} MODIFY SETTING {values}"))
            .await?;
        changed.push(table);
    }
    if !changed.is_empty() {
        tracing::info!(
            fsync = settings.fsync,
            ?changed,
            "changed whether inserts wait for the disk"
        );
    }
    if !settings.fsync {
        tracing::warn!("clickhouse.fsync is off: a power cut loses samples that were acknowledged");
    }
    Ok(changed)
}

fn is_in_force(engine: &str, fsync: bool) -> bool {
    // Off is also the server's default.
    let is_on = |name| matches!(setting_of(engine, name), Some("1" | "true"));
    SETTINGS.into_iter().all(|name| is_on(name) == fsync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_settings_must_be_in_force() {
        let engine = |settings: &str| format!("ReplacingMergeTree ORDER BY id SETTINGS {settings}");
        let both = engine("fsync_after_insert = 1, fsync_part_directory = true");
        assert!(is_in_force(&both, true) && !is_in_force(&both, false));
        let one = engine("fsync_after_insert = 1, fsync_part_directory = 0");
        assert!(!is_in_force(&one, true) && !is_in_force(&one, false));
        let none = engine("index_granularity = 8192");
        assert!(!is_in_force(&none, true) && is_in_force(&none, false));
    }
}
