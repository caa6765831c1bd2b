//! What the store remembers of nodes: their names, and when each was last heard of. Asked when the collector starts, and from then on for the nodes whose
//! agents are connected to another collector on the same database.
//!
//! One series stands for each node. Its newest time within the last hour is a read of one or two granules, because the table is ordered by
//! (series, time); only nodes that were silent for longer are looked up over all days.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flyball_proto::series::NodeName;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::live::{Live, Recalled, now_ms, says_status};
use crate::store::catalog::Selector;
use crate::store::{Catalog, Store, StoreError};

/// Metrics that agents send with every frame, one of which stands for the node.
const PULSES: [&str; 3] = ["flyball.agent.memory.usage", "system.uptime", "system.memory.limit"];
/// Nodes that were heard of within this time are found cheaply.
const RECENT_SECONDS: u32 = 3_600;

/// Time between two looks at nodes that are not connected here.
const FOLLOW: Duration = Duration::from_secs(10);
/// A node whose newest sample is younger than this reports to another collector.
const ELSEWHERE: Duration = Duration::from_secs(30);

/// Age of the samples that the status of a node elsewhere is computed from, in seconds.
const VALUES_SECONDS: u32 = 60;
/// Most series in one query.
const MAX_IDS: usize = 20_000;

/// Tells `live` of nodes whose samples others store, until `shutdown`. What they are is in the catalog, which takes over series of others.
pub(crate) async fn follow(
    store: Store,
    catalog: Arc<Catalog>,
    live: Live,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(FOLLOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = look(&store, &catalog, &live).await {
            tracing::debug!(%error, "cannot look for nodes of other collectors");
        }
    }
}

/// One look: new nodes are seeded, and those that are not connected here are told when they were last heard of.
async fn look(store: &Store, catalog: &Catalog, live: &Live) -> Result<(), StoreError> {
    let names = catalog.nodes().into_iter().filter_map(|name| NodeName::new(&name).ok());
    let unknown: Vec<_> = names.filter(|name| !live.knows(name)).collect();
    live.seed(unknown.into_iter().map(|name| (name, None)));
    let absent = live.absent();
    if absent.is_empty() {
        return Ok(());
    }
    let pulses = pulses(catalog);
    let ids = absent.iter().filter_map(|name| pulses.get(name.as_str()));
    let recent = ELSEWHERE.as_secs() as u32;
    let seen = newest(store, ids, "AND ts >= now64(3) - ?", recent).await?;
    let oldest_ms = now_ms() - ELSEWHERE.as_millis() as i64;
    let newest_of = |name: &NodeName| {
        let newest_ms = pulses.get(name.as_str()).and_then(|id| seen.get(id)).copied();
        newest_ms.filter(|&newest_ms| newest_ms >= oldest_ms)
    };
    let elsewhere: Vec<_> = absent.into_iter().filter(|name| newest_of(name).is_some()).collect();
    let values = status_values(store, catalog, &elsewhere).await?;
    for name in &elsewhere {
        if let Some(values) = values.get(name.as_str()) {
            live.recalled(name, values, ELSEWHERE);
        }
        if let Some(newest_ms) = newest_of(name) {
            live.heard(name, newest_ms, ELSEWHERE);
        }
    }
    Ok(())
}

/// The last samples of the series that the status of nodes is computed from, by node.
async fn status_values(
    store: &Store,
    catalog: &Catalog,
    nodes: &[NodeName],
) -> Result<HashMap<Arc<str>, Vec<Recalled>>, StoreError> {
    let names: Vec<String> = nodes.iter().map(|name| name.as_str().to_owned()).collect();
    let mut series = HashMap::new();
    for metric in Live::STATUS_METRICS {
        // A metric or a node that nobody has sent yet is no error here.
        let selector = Selector { metric, nodes: &names, ..Selector::default() };
        let Ok(selection) = catalog.select(&selector) else { continue };
        for selected in selection.series {
            let described = catalog.describe(selected.id);
            let wanted = described.filter(|(_, series)| says_status(series));
            series.extend(wanted.map(|described| (selected.id.get(), described)));
        }
    }
    let mut samples: HashMap<u64, Vec<(i64, i64)>> = HashMap::new();
    let ids: Vec<u64> = series.keys().copied().collect();
    for ids in ids.chunks(MAX_IDS) {
        let sql = "SELECT series_id, toUnixTimestamp64Milli(ts) AS t, raw, scale FROM performance_metrics \
             WHERE series_id IN ? AND ts >= now64(3) - ? ORDER BY series_id, ts DESC LIMIT 2 BY series_id";
        let query = store.client().query(sql).bind(ids).bind(VALUES_SECONDS);
        for (id, ts_ms, raw, scale) in query.fetch_all::<(u64, i64, i64, i8)>().await? {
            let is_alike = series.get(&id).is_some_and(|(_, s)| s.scale.code() == scale);
            if is_alike {
                samples.entry(id).or_default().insert(0, (ts_ms, raw));
            }
        }
    }
    let mut of_nodes: HashMap<Arc<str>, Vec<Recalled>> = HashMap::new();
    for (id, (node, series)) in series {
        if let Some(samples) = samples.remove(&id) {
            of_nodes.entry(node).or_default().push((Arc::new(series), samples));
        }
    }
    Ok(of_nodes)
}

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
