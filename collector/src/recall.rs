//! What the store remembers of nodes when the collector starts: their names, and when each was last heard of.
//!
//! One series stands for each node. Its newest time within the last hour is a read of one or two granules, because the table is ordered by
//! (series, time); only nodes that were silent for longer are looked up over all days.

use std::collections::HashMap;
use std::sync::Arc;

use flyball_proto::series::NodeName;

use crate::store::catalog::Selector;
use crate::store::{Catalog, Store, StoreError};

/// Metrics that agents send with every frame, one of which stands for the node.
const PULSES: [&str; 3] = ["flyball.agent.memory.usage", "system.uptime", "system.memory.limit"];
/// Nodes that were heard of within this time are found cheaply.
const RECENT_SECONDS: u32 = 3_600;

/// All nodes of the catalog and when each was last heard of, in milliseconds since the Unix epoch.
///
/// # Errors
/// When ClickHouse cannot be asked.
pub(crate) async fn nodes(
    store: &Store,
    catalog: &Catalog,
) -> Result<Vec<(NodeName, Option<i64>)>, StoreError> {
    let pulses = pulses(catalog);
    let mut seen = newest(store, pulses.values(), "AND ts >= now64(3) - ?", RECENT_SECONDS).await?;
    let silent: Vec<_> = pulses.values().filter(|id| !seen.contains_key(id)).collect();
    if !silent.is_empty() {
        seen.extend(newest(store, silent, "AND ? > 0", 1).await?);
    }
    let node = |name: Arc<str>| {
        let last_seen_ms = pulses.get(&name).and_then(|id| seen.get(id)).copied();
        Some((NodeName::new(&name).ok()?, last_seen_ms))
    };
    Ok(catalog.nodes().into_iter().filter_map(node).collect())
}

/// The series that stands for each node that has one.
fn pulses(catalog: &Catalog) -> HashMap<Arc<str>, u64> {
    let mut pulses = HashMap::new();
    for metric in PULSES {
        let selector = Selector { metric, ..Selector::default() };
        // A metric that nobody has sent yet is no error here.
        let Ok(selection) = catalog.select(&selector) else { continue };
        for series in selection.series {
            pulses.entry(series.node).or_insert(series.id.get());
        }
    }
    pulses
}

async fn newest<'a>(
    store: &Store,
    ids: impl IntoIterator<Item = &'a u64>,
    condition: &str,
    parameter: u32,
) -> Result<HashMap<u64, i64>, StoreError> {
    let ids: Vec<u64> = ids.into_iter().copied().collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT series_id, toUnixTimestamp64Milli(max(ts)) FROM performance_metrics \
         WHERE series_id IN ? {condition} GROUP BY series_id"
    );
    let query = store.client().query(&sql).bind(ids).bind(parameter);
    Ok(query.fetch_all::<(u64, i64)>().await?.into_iter().collect())
}
