//! Forgets series whose samples have all expired, and keeps the catalog and the table of series alike: processes come and go, and each makes series of its own.
//!
//! Once an hour, whoever else works on the same database:
//!
//! 1. Rows that are missing of series that streams here use are written again. Whatever deleted them (another collector that did not know of the use, a person),
//!    a series in use has its row back within the hour.
//! 2. Series that nobody uses here and whose rows are missing were forgotten by another collector: they are forgotten here.
//! 3. Series whose rows were never written, because their stream ended before, are forgotten when nobody uses them for a whole pass.
//!
//! Once a day: series that no stream here uses, that are older than a day and have neither a sample nor a rollup are forgotten, in memory and in the table.
//! Rows are deleted up to the moment before the catalog forgot them, so the row of a series that comes back at once is kept.
//!
//! The samples of a series are asked for through the coarsest rollup first, which is small; only what is not found there is looked for in the finer tables.

use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use flyball_proto::series::NodeName;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::Store;
use super::catalog::{Catalog, SeriesId};
use super::error::StoreError;
use super::rows::SeriesRow;

/// From the start to the first time: the start itself is to be short.
const FIRST_AFTER: Duration = Duration::from_mins(5);
const PERIOD: Duration = Duration::from_hours(1);
/// Passes from one in which series without samples are looked for to the next.
const PASSES_OF_A_DAY: u64 = 24;
/// Ids in one statement.
const CHUNK: usize = 10_000;
/// Tables that hold samples of a series, the smallest first.
const SAMPLES: [&str; 4] = ["rollup_1h", "rollup_1m", "rollup_10s", "performance_metrics"];

/// Works until `shutdown`. A failure is logged and the work tried again at its next time.
pub(super) async fn run(store: Store, catalog: Weak<Catalog>, shutdown: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + FIRST_AFTER, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut limbo = Vec::new();
    for pass in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let Some(catalog) = catalog.upgrade() else { return };
        let result = async {
            let mut done = reconcile(&store, &catalog, &mut limbo).await?;
            if pass % PASSES_OF_A_DAY == 0 {
                done.pruned = prune(&store, &catalog).await?;
            }
            Ok::<_, StoreError>(done)
        };
        match result.await {
            Ok(Done { restored: 0, forgotten: 0, pruned: 0 }) => {}
            Ok(Done { restored, forgotten, pruned }) => {
                tracing::info!(
                    restored,
                    forgotten,
                    pruned,
                    "catalog and table of series are alike"
                );
            }
            Err(error) => tracing::warn!(%error, "cannot forget series without samples"),
        }
    }
}

/// What was done, in series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Rows that were written again.
    pub(super) restored: usize,
    /// Forgotten here because their rows are gone or were never there.
    pub(super) forgotten: usize,
    /// Forgotten here and in the table because they have no sample.
    pub(super) pruned: usize,
}

/// The hourly work of the module. `limbo` is what was neither written nor in use at the last time.
pub(super) async fn reconcile(
    store: &Store,
    catalog: &Catalog,
    limbo: &mut Vec<SeriesId>,
) -> Result<Done, StoreError> {
    // Taken before the table is read: what is written by then is in it.
    let (used, unused) = (catalog.written_ids(true), catalog.written_ids(false));
    let client = store.client();
    let query = client.query("SELECT DISTINCT series_id FROM series").with_setting("final", "0");
    let mut stored: Vec<u64> = query.fetch_all().await?;
    stored.sort_unstable();
    let missing = |ids: Vec<SeriesId>| -> Vec<SeriesId> {
        ids.into_iter().filter(|id| stored.binary_search(&id.get()).is_err()).collect()
    };
    let lost = missing(used);
    for chunk in lost.chunks(CHUNK) {
        let rows: Vec<_> = chunk.iter().filter_map(|&id| row(catalog, id)).collect();
        store.insert_series(&rows, &format!("restored:{:032x}", rand::random::<u128>())).await?;
    }
    let mut gone = missing(unused);
    let last_limbo = std::mem::replace(limbo, catalog.unwritten_ids());
    gone.extend(limbo.iter().filter(|id| last_limbo.binary_search(id).is_ok()));
    let forgotten = catalog.remove_unused(&gone).len();
    Ok(Done { restored: lost.len(), forgotten, pruned: 0 })
}

/// Forgets series that are older than a day, have no sample and are not in use here. Gives their number.
pub(super) async fn prune(store: &Store, catalog: &Catalog) -> Result<usize, StoreError> {
    let client = store.client();
    let before: i64 = client.query("SELECT toUnixTimestamp64Micro(now64(6))").fetch_one().await?;
    let tables = existing(store).await?;
    let mut pruned = 0;
    for chunk in catalog.written_ids(false).chunks(CHUNK) {
        let mut dead: Vec<u64> = client
            .query("SELECT series_id FROM series WHERE series_id IN ? AND first_seen < now() - INTERVAL 1 DAY")
            .bind(chunk.iter().map(|id| id.get()).collect::<Vec<_>>())
            .fetch_all()
            .await?;
        for table in &tables {
            if dead.is_empty() {
                break;
            }
            let sql = format!("SELECT DISTINCT series_id FROM {table} WHERE series_id IN ?");
            let query = client.query(&sql).bind(&dead).with_setting("final", "0");
            let alive: HashSet<u64> = query.fetch_all().await?.into_iter().collect();
            dead.retain(|id| !alive.contains(id));
        }
        let dead: Vec<_> = dead.into_iter().map(SeriesId::from).collect();
        let gone = catalog.remove_unused(&dead);
        delete(store, &gone, before).await?;
        pruned += gone.len();
    }
    Ok(pruned)
}

async fn delete(store: &Store, gone: &[SeriesId], before_us: i64) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = gone.iter().map(|id| id.get().to_string()).collect();
    let delete = "DELETE FROM {database}.series{local}{on_cluster} WHERE series_id IN";
    let sql = format!(
        "{delete} ({}) AND written_at < fromUnixTimestamp64Micro({before_us})",
        ids.join(", ")
    );
    store.schema.run(&sql).await
}

/// Those of the tables with samples that there are.
async fn existing(store: &Store) -> Result<Vec<&'static str>, StoreError> {
    let sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN ?";
    let names: Vec<String> = store.client().query(sql).bind(SAMPLES.as_slice()).fetch_all().await?;
    Ok(SAMPLES.into_iter().filter(|table| names.iter().any(|name| name == table)).collect())
}

fn row(catalog: &Catalog, id: SeriesId) -> Option<SeriesRow> {
    let (node, series) = catalog.describe(id)?;
    Some(SeriesRow::new(id, &NodeName::new(&node).ok()?, &series, crate::live::now_ms()))
}
