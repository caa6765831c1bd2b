//! Takes over series that other collectors on the same database have written, so that each of them answers for all.
//!
//! Every [`PERIOD`] it asks for rows that were written since the last look, less [`overlap`]: a row's time is taken when its insert begins, and it shows
//! when the insert has ended. The first question brings ids and descriptions only, one in a few bytes; rows are fetched for what is not known here, which
//! with one collector is nothing. What was forgotten elsewhere is found by [`super::prune`].

use std::sync::Weak;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Store;
use super::catalog::Catalog;
use super::error::StoreError;
use super::rows::SeriesRow;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(10);
/// How far the first look goes back: the catalog was loaded before it.
const FIRST_OVERLAP: Duration = Duration::from_mins(10);
/// Ids in one question.
const CHUNK: usize = 10_000;

/// Looks until `shutdown`.
pub(super) async fn run(
    store: Store,
    catalog: Weak<Catalog>,
    learned: Counter,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut since_us, mut is_failing) = (None, false);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let Some(catalog) = catalog.upgrade() else { return };
        match look(&store, &catalog, since_us).await {
            Ok(look) => {
                since_us = Some(look.until_us);
                learned.inc_by(look.learned);
                is_failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "cannot look for series of other collectors");
                }
            }
        }
    }
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Where the next one begins, microseconds since the Unix epoch by the server's clock.
    pub(super) until_us: i64,
    /// Series that were not known or had another description.
    pub(super) learned: u64,
}

/// Takes over what was written since `since_us`; without it, since a while ago.
pub(super) async fn look(
    store: &Store,
    catalog: &Catalog,
    since_us: Option<i64>,
) -> Result<Look, StoreError> {
    let client = store.client();
    let now_us: i64 = client.query("SELECT toUnixTimestamp64Micro(now64(6))").fetch_one().await?;
    let overlap = if since_us.is_some() { overlap(store) } else { FIRST_OVERLAP };
    let from_us = since_us.unwrap_or(now_us) - overlap.as_micros() as i64;
    // The newest row of an id comes last and stays. Rows of one id are few: merging them here costs more than reading them.
    let sql = "SELECT series_id, unit, CAST(kind AS Int8), scale FROM series \
               WHERE written_at > fromUnixTimestamp64Micro(?)";
    let written: Vec<(u64, String, i8, i8)> =
        client.query(sql).bind(from_us).with_setting("final", "0").fetch_all().await?;
    let mut unknown: Vec<u64> = written
        .into_iter()
        .filter(|(id, unit, kind, scale)| !catalog.knows((*id).into(), unit, *kind, *scale))
        .map(|(id, ..)| id)
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    let mut learned = 0;
    for chunk in unknown.chunks(CHUNK) {
        let query = client.query("SELECT ?fields FROM series WHERE series_id IN ?").bind(chunk);
        for row in query.fetch_all::<SeriesRow>().await? {
            learned += u64::from(catalog.load(row));
        }
    }
    Ok(Look { until_us: now_us, learned })
}

/// Longest time from the beginning of an insert to its end, and a margin for clocks of several servers.
fn overlap(store: &Store) -> Duration {
    store.settings.timeout() + Duration::from_secs(10)
}
