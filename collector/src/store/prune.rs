//! Series whose samples have all expired are forgotten, once a day: processes come and go, and each makes series of its own.
//!
//! A series that a stream has asked for since this collector started stays, because that stream goes on using its id. The rows are deleted up to
//! the moment before the catalog forgot them, so the row of a series that comes back at once is kept.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Store;
use super::catalog::{Catalog, SeriesId};
use super::error::StoreError;

/// From the start to the first time: the start itself is to be short.
const FIRST_AFTER: Duration = Duration::from_mins(5);
const PERIOD: Duration = Duration::from_hours(24);
/// Ids in one statement.
const CHUNK: usize = 10_000;

/// Prunes once a day until `shutdown`. A failure is logged and tried again the next day.
pub(super) async fn daily(
    store: Store,
    catalog: std::sync::Weak<Catalog>,
    shutdown: CancellationToken,
) {
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + FIRST_AFTER, PERIOD);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let Some(catalog) = catalog.upgrade() else { return };
        match once(&store, &catalog).await {
            Ok(0) => {}
            Ok(series) => tracing::info!(series, "forgot series without samples"),
            Err(error) => tracing::warn!(%error, "cannot forget series without samples"),
        }
    }
}

/// Forgets series that are older than a day, have no sample and are not in use. Gives their number.
pub(super) async fn once(store: &Store, catalog: &Catalog) -> Result<usize, StoreError> {
    let client = store.client();
    let before: i64 = client.query("SELECT toUnixTimestamp64Micro(now64(6))").fetch_one().await?;
    let dead: Vec<u64> = client
        .query(
            "SELECT series_id FROM series FINAL WHERE first_seen < now() - INTERVAL 1 DAY \
             AND series_id NOT IN (SELECT DISTINCT series_id FROM performance_metrics)",
        )
        .with_setting("final", "0")
        .fetch_all()
        .await?;
    let dead: Vec<_> = dead.into_iter().map(SeriesId::from).collect();
    let gone = catalog.remove_unused(&dead);
    for chunk in gone.chunks(CHUNK) {
        let ids: Vec<_> = chunk.iter().map(|id| id.get().to_string()).collect();
        let delete = "DELETE FROM {database}.series{local}{on_cluster} WHERE series_id IN";
        let sql = format!(
            "{delete} ({}) AND written_at < fromUnixTimestamp64Micro({before})",
            ids.join(", ")
        );
        store.schema.run(&sql).await?;
    }
    Ok(gone.len())
}
