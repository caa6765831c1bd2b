//! The agents' accounts as collectors show them: produced = stored + in flight + shed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::world::World;
use crate::wait::until;

/// Agents report every 10 s and after each connection; one that waits long between attempts to connect takes longest.
const REPORTED: Duration = Duration::from_mins(1);

/// What a collector shows of one agent's samples: `accounting` in the status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Accounting {
    /// When the collector got it.
    pub reported_ms: i64,
    /// Encoded into frames.
    pub produced: u64,
    /// Acknowledged.
    pub stored: u64,
    /// Not acknowledged yet.
    pub in_flight: u64,
    /// Given up, by reason.
    pub shed: BTreeMap<String, u64>,
    /// What is missing in the sum.
    pub gap: i64,
    /// Damaged segments.
    pub corrupt_segments: u64,
    /// Steps of the clock.
    pub clock_steps: ClockSteps,
}

/// Steps of a clock that the agent noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ClockSteps {
    /// Ahead.
    pub forward: u64,
    /// Back.
    pub backward: u64,
}

/// The accounts of all nodes, each reported after now and without a gap.
///
/// # Errors
/// When one does not come in time, or does not add up.
pub async fn all(world: &World) -> Result<Vec<Accounting>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut accounts = Vec::new();
    for side in &world.nodes {
        let what = format!("the account of {}", side.node);
        let account = until(&what, REPORTED, || async {
            let account = newest(world, &side.node).await?;
            ensure!(account.reported_ms > now.as_millis() as i64, "none yet: {account:?}");
            Ok(account)
        })
        .await?;
        let shed: u64 = account.shed.values().sum();
        let sum = account.stored + account.in_flight + shed;
        ensure!(account.gap == 0 && account.produced == sum, "{}: {account:?}", side.node);
        accounts.push(account);
    }
    Ok(accounts)
}

/// The newest account of a node that any collector has.
async fn newest(world: &World, node: &str) -> Result<Accounting> {
    let mut accounts = Vec::new();
    for collector in &world.sides {
        let status = collector.api.json("/api/performance/status").await?;
        let nodes = status["nodes"].as_array().context("status has nodes")?;
        for known in nodes.iter().filter(|n| n["node"] == node && !n["accounting"].is_null()) {
            accounts.push(serde_json::from_value::<Accounting>(known["accounting"].clone())?);
        }
    }
    accounts.into_iter().max_by_key(|a| a.reported_ms).context("no collector has one")
}
