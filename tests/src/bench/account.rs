//! What a collector shows of one agent's samples while a benchmark runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::http::Api;
use crate::wait::until;

/// The account of `node`: produced, stored, in flight, shed, gap.
///
/// # Errors
/// When the collector does not answer or the agent has not reported.
pub(super) async fn of(api: &Api, node: &str) -> Result<serde_json::Value> {
    let status = api.json("/api/performance/status").await?;
    let nodes = status["nodes"].as_array().context("status has nodes")?;
    let found = nodes.iter().find(|known| known["node"] == node).context("the node is known")?;
    ensure!(!found["accounting"].is_null(), "no report yet");
    Ok(found["accounting"].clone())
}

/// Waits until `node` has reported that nothing waits but what was just taken, and nothing was given up. Gives the samples produced.
///
/// # Errors
/// When that is not so within `limit`.
pub(super) async fn settled(api: &Api, node: &str, limit: Duration) -> Result<u64> {
    until("the backlog to be stored", limit, || async {
        let account = of(api, node).await?;
        let count = |name: &str| account[name].as_u64().with_context(|| name.to_owned());
        let shed = account["shed"].as_object().context("shed")?;
        ensure!(shed.values().all(|samples| samples == 0), "given up: {account}");
        ensure!(account["gap"] == 0, "a gap: {account}");
        // A few seconds of live frames are always on their way.
        let waits = count("backlog_segments")? > 0 || count("in_flight")? > 5_000;
        ensure!(!waits, "still waiting: {account}");
        count("produced")
    })
    .await
}
