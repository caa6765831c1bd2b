//! Rollups: whole closed buckets of 10 s, 1 min and 1 h, computed again from what is stored and never added to, so that a resend counts once and a late sample counts.
//!
//! [`Roller`] computes ten minutes of all series when the server's clock is a minute past their end, and again for the nodes of
//! [late marks](crate::store::LateMark), which the ingest path writes before it acknowledges a late sample. Of several collectors one computes at a time ([`state`]).
//! Queries take a tier up to where it is complete and the samples beyond ([`RollupProgress`]). docs/adr/008-rollups.md has the figures.

mod late;
mod metrics;
mod progress;
mod roller;
mod settings;
mod sql;
mod state;
mod tier;

use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::metrics::RollupMetrics;
pub use self::progress::{Progress, RollupProgress};
pub use self::roller::{Roller, Step};
pub use self::settings::RollupSettings;
pub use self::tier::{RollupTier, SPAN_MS, SPARSE_SCALE};

/// Time between two looks when there is nothing to do.
const POLL: Duration = Duration::from_secs(10);
/// Longest pause after a step: steps take at most half of the time, so that inserts and queries go first.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest that giving the lease back may take.
const RELEASE: Duration = Duration::from_millis(500);

/// Computes rollups until `ending`. When ClickHouse cannot be asked it waits, longer each time, and says so once.
pub async fn run(mut roller: Roller, ending: CancellationToken) {
    let mut backoff =
        Backoff::new(Duration::from_secs(1), Duration::from_mins(1)).expect("0 < floor <= cap");
    let mut failed_since: Option<Instant> = None;
    loop {
        let started = Instant::now();
        let step = tokio::select! {
            biased;
            () = ending.cancelled() => break,
            step = roller.step() => step,
        };
        let pause = match step {
            Ok(step) => {
                if let Some(since) = failed_since.take() {
                    let outage_ms = since.elapsed().as_millis() as u64;
                    tracing::info!(outage_ms, "rollups are computed again");
                }
                backoff.reset();
                if step == Step::Worked { started.elapsed().min(MAX_PAUSE) } else { POLL }
            }
            Err(error) => {
                if failed_since.is_none() {
                    failed_since = Some(started);
                    tracing::warn!(%error, "rollups cannot be computed, samples are read instead");
                }
                backoff.next_delay(rand::random())
            }
        };
        tokio::select! {
            () = ending.cancelled() => break,
            () = sleep(pause) => {}
        }
    }
    // Another collector need not wait for the end of the lease.
    if !matches!(timeout(RELEASE, roller.release()).await, Ok(Ok(()))) {
        tracing::debug!("the lease on rollups ends by itself");
    }
}
