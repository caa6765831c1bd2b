//! Tells readers of events when an agent has told how a cache is.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::watch::Steering;
use crate::live::{Change, Live};
use crate::suggest::view::target_id;

/// Shortest time between two looks: reports of many caches come together.
const PERIOD: Duration = Duration::from_secs(1);

/// Tells until `ending`.
pub async fn run(steering: Steering, live: Live, ending: CancellationToken) {
    let mut changes = steering.caches().changes();
    let mut told = std::time::Instant::now();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = ending.cancelled() => return,
        }
        let before = std::mem::replace(&mut told, Instant::now().into_std());
        for cache in steering.caches().all().into_iter().filter(|cache| cache.received >= before) {
            let of = &cache.report.target;
            let id = target_id(cache.node.as_str(), &of.kind, &of.name);
            let body = json!({
                "id": id, "node": cache.node.as_str(), "kind": of.kind, "name": of.name,
                "measured_at_ms": cache.report.measured_at_ms,
            });
            live.change(Change::Cache, body);
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            () = ending.cancelled() => return,
        }
    }
}
