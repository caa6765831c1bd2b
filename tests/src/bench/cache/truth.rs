//! What servers of other sizes and with the other policy do.

use anyhow::{Context as _, Result};
use flyball_agent::cache::hash::KeyHasher;
use flyball_model::emulate::Policy;
use tokio::time::sleep;

use super::present::{instance, start, watch};
use super::record::{Found, Served};
use super::scenario::Scenario;
use crate::load::cache::{Tally, drive};

const DRAWS_PER_SECOND: f64 = 50.0;

/// All of them at once, from empty.
pub(super) async fn find(scenario: &Scenario) -> Result<Found> {
    let bytes = scenario.bytes;
    let (half, same, twice, lfu) = tokio::try_join!(
        serve(scenario, bytes / 2, Policy::AllkeysLru),
        serve(scenario, bytes, Policy::AllkeysLru),
        serve(scenario, 2 * bytes, Policy::AllkeysLru),
        serve(scenario, bytes, Policy::AllkeysLfu),
    )?;
    Ok(Found { scenario: String::new(), half, same, twice, lfu })
}

/// What it does in the time that counts.
async fn serve(scenario: &Scenario, bytes: u64, policy: Policy) -> Result<Served> {
    let dir = crate::bench::temporary()?;
    let redis = start(dir.path(), bytes, policy).await?;
    let port = crate::redis::port(&redis.url())?;
    let (times, load, tally) = (scenario.times, scenario.other_load(), Tally::default());
    // The agent is there too: what the server spends on its commands and its connections
    // belongs to the truth.
    let watching = tokio::task::spawn_blocking({
        let (instance, lease) = (instance(&redis, dir.path())?, dir.path().join("events"));
        move || watch(instance, KeyHasher::new(0), lease, times.serve, DRAWS_PER_SECOND)
    });
    let counting = async {
        sleep(times.serve.saturating_sub(times.count)).await;
        tally.get()
    };
    let (driven, before) = tokio::join!(drive(port, &load, times.serve, &tally), counting);
    driven?;
    let (watch, _) = watching.await??;
    let present = watch.present().context("nothing was watched")?;
    Ok(Served {
        hit_ratio: tally.hit_ratio_since(before),
        keys: present.keys,
        used_bytes: present.used_bytes,
        pace: tally.pace(),
    })
}
