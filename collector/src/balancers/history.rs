//! What a pool was: windows of `balancer_stats`, summed over its balancers, in columns for charts.
//!
//! Utilisation is what it is [now](super::load), of a window instead of the newest report: a backend's own word, else the larger of requests under way over their
//! limit and the CPU of its host. The means of a window come first and their ratio after, so that it is not that of a moment.

use std::collections::{BTreeMap, HashMap};

use flyball_proto::steering::UtilizationSource;
use serde::Serialize;
use utoipa::ToSchema;

use super::load::larger;
use super::past::{self, Asked, Told};
use super::pool::Pool;
use crate::live::Live;
use crate::query::{Querier, QueryError};
use crate::store::{BalancerWindow, Store};

/// Points of a chart, about.
const POINTS: i64 = 180;
/// The shortest window, milliseconds: reports come each second, and some windows of less would be empty.
const LEAST_STEP_MS: i64 = 5_000;

/// What a pool was, in windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = PoolHistory)]
pub struct History {
    /// Length of a window, milliseconds.
    pub step_ms: i64,
    /// Starts of the windows in which anything was reported, milliseconds since the Unix epoch.
    pub times_ms: Vec<i64>,
    /// By the backend's id.
    pub backends: Vec<BackendHistory>,
}

/// What a backend was: a value for each of the times; null where nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct BackendHistory {
    /// Its id in the pool.
    pub id: String,
    /// Requests per second over all balancers.
    pub requests_per_second: Vec<Option<f64>>,
    /// Failed requests as a share of all.
    pub error_ratio: Vec<Option<f64>>,
    /// Mean latency, weighted by requests.
    pub latency_ms: Vec<Option<f64>>,
    /// Share of the pool's requests.
    pub share: Vec<Option<f64>>,
    /// Share that the weights in force asked for, balancers weighted by their requests.
    pub weight_share: Vec<Option<f64>>,
    /// Utilisation: the backend's own word, else the larger of requests under way over their limit and the CPU of its host.
    pub utilization: Vec<Option<f64>>,
    /// Where that is known from: `orca`, `limit` or `host`.
    pub utilization_source: Vec<Option<&'static str>>,
}

/// Reads the history of a pool.
///
/// # Errors
/// When the store cannot be asked.
pub async fn read(
    (store, querier, live): (&Store, &Querier, &Live),
    pool: &Pool,
    (from_ms, to_ms): (i64, i64),
) -> Result<History, QueryError> {
    let step_ms = ((to_ms - from_ms) / POINTS).max(LEAST_STEP_MS) / 1_000 * 1_000;
    let width_ms = u32::try_from(step_ms).unwrap_or(u32::MAX);
    let range_ms = (from_ms, to_ms);
    let rows = store.balancer_windows(&pool.group, range_ms, width_ms);
    let told = past::read(Asked { querier, live, range_ms, step_ms }, pool);
    let (rows, told) = tokio::join!(rows, told);
    Ok(history(pool, &rows?, &told?, step_ms))
}

/// Sums of one backend in one window.
#[derive(Debug, Default)]
struct Cell {
    per_second: f64,
    requests: u64,
    errors: u64,
    latency_sum_ms: f64,
    latency_requests: u64,
    used: Used,
    weight_share: f64,
}

/// How busy a backend was as its balancers tell, in one window.
#[derive(Debug)]
struct Used {
    under_way: f64,
    /// `None`: one of the balancers has none, or does not tell what is under way.
    limit: Option<f64>,
    /// The largest that was told, by its source.
    told: [Option<f64>; 3],
}

impl Default for Used {
    fn default() -> Self {
        Self { under_way: 0.0, limit: Some(0.0), told: [None; 3] }
    }
}

impl Used {
    fn add(&mut self, row: &BalancerWindow) {
        let little = || {
            let per_ms = (row.covered_ms > 0).then(|| row.requests as f64 / row.covered_ms as f64);
            let latency_ms = (row.latency_requests > 0)
                .then(|| row.latency_sum_ms / row.latency_requests as f64);
            per_ms.zip(latency_ms).map(|(per_ms, latency_ms)| per_ms * latency_ms)
        };
        let under_way =
            row.in_flight.or_else(little).or_else(|| (row.requests == 0).then_some(0.0));
        self.under_way += under_way.unwrap_or(0.0);
        let limit = row.limit.filter(|limit| *limit > 0 && under_way.is_some());
        self.limit = self.limit.zip(limit).map(|(sum, limit)| sum + f64::from(limit));
        if let Some(share) = row.utilization.filter(|share| share.is_finite()) {
            let told = &mut self.told[source(&row.utilization_source) as usize];
            *told = Some(told.map_or(share, |known: f64| known.max(share)));
        }
    }

    /// By the same rule as of now.
    fn best(&self, word: Option<f64>, host: Option<f64>) -> Option<(f64, UtilizationSource)> {
        let told = |source: UtilizationSource| self.told[source as usize];
        if let Some(word) = word.or_else(|| told(UtilizationSource::Orca)) {
            return Some((word.clamp(0.0, 1.0), UtilizationSource::Orca));
        }
        let over = self.limit.filter(|limit| *limit > 0.0).map(|limit| self.under_way / limit);
        let limit = over.or_else(|| told(UtilizationSource::Limit));
        let host = host.or_else(|| told(UtilizationSource::Host));
        larger(limit.map(|share| share.clamp(0.0, 1.0)), host)
    }
}

/// Rows in columns, with what was `told` of each backend besides. Rows of balancers and backends that the pool does not have are left out.
pub fn history(pool: &Pool, rows: &[BalancerWindow], told: &[Told], step_ms: i64) -> History {
    let mut places: HashMap<(&str, &str, &str, &str), usize> = HashMap::new();
    for (index, backend) in pool.backends.iter().enumerate() {
        for placement in &backend.placements {
            let member = &pool.members[placement.member];
            let (kind, name) = (&*member.target.kind, &*member.target.name);
            places.insert((member.node.as_str(), kind, name, &placement.server.name), index);
        }
    }
    let mut windows: BTreeMap<i64, Vec<(usize, &BalancerWindow)>> = BTreeMap::new();
    for row in rows {
        if let Some(backend) = places.get(&(&*row.node, &*row.kind, &*row.balancer, &*row.backend))
        {
            windows.entry(row.window_ms).or_default().push((*backend, row));
        }
    }
    let empty = |id: &String| BackendHistory { id: id.clone(), ..BackendHistory::default() };
    let mut backends: Vec<_> = pool.backends.iter().map(|backend| empty(&backend.id)).collect();
    let nothing = Told::default();
    for (start_ms, rows) in &windows {
        let cells = cells(rows, pool.backends.len());
        let all: f64 = cells.iter().flatten().map(|cell| cell.per_second).sum();
        for (index, (backend, cell)) in backends.iter_mut().zip(&cells).enumerate() {
            backend.push(cell.as_ref(), all);
            let told = told.get(index).unwrap_or(&nothing);
            let (word, host) = (told.words.get(start_ms), told.hosts.get(start_ms));
            let used = cell.as_ref().and_then(|cell| cell.used.best(word.copied(), host.copied()));
            backend.utilization.push(used.map(|(share, _)| share));
            backend.utilization_source.push(used.map(|(_, source)| source.as_str()));
        }
    }
    History { step_ms, times_ms: windows.into_keys().collect(), backends }
}

/// The sums of one window, by backend.
fn cells(rows: &[(usize, &BalancerWindow)], backends: usize) -> Vec<Option<Cell>> {
    // Of each balancer the sum of its weights and of its requests.
    let mut balancers: BTreeMap<(&str, &str, &str), (f64, f64)> = BTreeMap::new();
    for (_, row) in rows {
        let sums = balancers.entry((&row.node, &row.kind, &row.balancer)).or_default();
        sums.0 += weight(row);
        sums.1 += row.requests as f64;
    }
    let is_idle = balancers.values().all(|(_, requests)| *requests <= 0.0);
    let traffic = |requests: f64| if is_idle { 1.0 } else { requests };
    let weighted = balancers.values().filter(|(weights, _)| *weights > 0.0);
    let total: f64 = weighted.map(|(_, requests)| traffic(*requests)).sum();
    let mut cells: Vec<Option<Cell>> = (0..backends).map(|_| None).collect();
    for (backend, row) in rows {
        let cell = cells[*backend].get_or_insert_default();
        if row.covered_ms > 0 {
            cell.per_second += row.requests as f64 * 1_000.0 / row.covered_ms as f64;
        }
        cell.requests += row.requests;
        cell.errors += row.errors;
        cell.latency_sum_ms += row.latency_sum_ms;
        cell.latency_requests += row.latency_requests;
        cell.used.add(row);
        let (weights, requests) = balancers[&(&*row.node, &*row.kind, &*row.balancer)];
        if weights > 0.0 && total > 0.0 {
            cell.weight_share += traffic(requests) / total * weight(row) / weights;
        }
    }
    cells
}

fn source(text: &str) -> UtilizationSource {
    let mut all = [UtilizationSource::Limit, UtilizationSource::Host].into_iter();
    all.find(|source| source.as_str() == text).unwrap_or(UtilizationSource::Orca)
}

/// The weight of a backend that is given requests.
fn weight(row: &BalancerWindow) -> f64 {
    if row.state == "ready" { f64::from(row.weight) } else { 0.0 }
}

impl BackendHistory {
    fn push(&mut self, cell: Option<&Cell>, all_per_second: f64) {
        let ratio = |part: f64, of: f64| (of > 0.0).then(|| part / of);
        self.requests_per_second.push(cell.map(|cell| cell.per_second));
        self.error_ratio
            .push(cell.and_then(|cell| ratio(cell.errors as f64, cell.requests as f64)));
        let latency = |cell: &Cell| ratio(cell.latency_sum_ms, cell.latency_requests as f64);
        self.latency_ms.push(cell.and_then(latency));
        self.share.push(cell.and_then(|cell| ratio(cell.per_second, all_per_second)));
        self.weight_share.push(cell.map(|cell| cell.weight_share));
    }
}

#[cfg(test)]
mod tests;
