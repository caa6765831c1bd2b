//! Windows of the past out of `balancer_stats`: what a collector that has just started knows of the time before, so that a change that was being judged goes on being judged.
//!
//! Each pool is read when it is first seen, and again when it has a balancer that it had not then: agents come back one after the other. What agents reported counts in the window in which they measured it; a window of which less than half was reported (the
//! collector was away) is left out. Where a balancer measures the latency of all its requests together, that of the past stays unknown, since rows have it for each backend: two
//! measures are not held against each other. How busy backends were is what agents of balancers have told: where only the collector knew it (hosts), capacities of the past stay unknown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_util::sync::CancellationToken;

use super::kept::{MOST, MemberWindow, PoolWindow};
use super::pool::{Member, Pool};
use super::shadow::{PoolEstimate, workers};
use super::watch::PoolWatch;
use crate::store::{BalancerWindow, Store, StoreError};

/// Rows of one read, below what the store gives at most.
const MOST_ROWS: i64 = 90_000;
/// Utilisation below which a capacity is noise.
const LEAST_UTILIZATION: f64 = 0.02;

/// What was before.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// By balancer.
    pub(super) members: BTreeMap<String, Vec<MemberWindow>>,
    /// Of the pool.
    pub(super) pool: Vec<PoolWindow>,
}

/// Reads the past of each pool that comes, until `ending`.
pub async fn run(pools: PoolWatch, store: Store, ending: CancellationToken) {
    let mut windows = pools.subscribe();
    let mut done: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            changed = windows.changed() => if changed.is_err() { return },
        }
        let all = pools.all();
        done.retain(|line, _| all.iter().any(|estimate| estimate.line == *line));
        for estimate in all {
            let members: BTreeSet<String> = estimate.pool.members.iter().map(Member::id).collect();
            if done.get(&estimate.line).is_some_and(|known| members.is_subset(known)) {
                continue;
            }
            match read(&pools, &store, &estimate).await {
                Ok(()) => done.entry(estimate.line).or_default().extend(members),
                // Tried again after the next window.
                Err(error) => {
                    tracing::warn!(pool = estimate.pool.name, %error, "the past of a pool was not read");
                    break;
                }
            }
        }
    }
}

/// Reads the past of a pool.
///
/// # Errors
/// When the store cannot be asked.
pub async fn read(pools: &PoolWatch, store: &Store, of: &PoolEstimate) -> Result<(), StoreError> {
    let width_ms = u32::try_from(of.end_ms - of.start_ms).unwrap_or(u32::MAX).max(1);
    let placements = of.pool.backends.iter().map(|backend| backend.placements.len() as i64);
    let windows = (MOST_ROWS / placements.sum::<i64>().max(1)).min(MOST as i64);
    let from_ms = of.start_ms - windows * i64::from(width_ms);
    let rows = store.balancer_windows(&of.pool.group, (from_ms, of.start_ms), width_ms).await?;
    pools.recall(of, past(&of.pool, &rows, width_ms));
    Ok(())
}

/// Rows as windows. Rows of balancers and backends that the pool does not have are left out.
fn past(pool: &Pool, rows: &[BalancerWindow], width_ms: u32) -> Past {
    let mut places: HashMap<(&str, &str, &str, &str), (usize, &str)> = HashMap::new();
    for backend in &pool.backends {
        for placement in &backend.placements {
            let member = &pool.members[placement.member];
            let (kind, name) = (&*member.target.kind, &*member.target.name);
            let key = (member.node.as_str(), kind, name, &*placement.server.name);
            places.insert(key, (placement.member, backend.id.as_str()));
        }
    }
    let mut windows: BTreeMap<i64, Vec<(usize, &str, &BalancerWindow)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.covered_ms * 2 >= u64::from(width_ms)) {
        let key = (&*row.node, &*row.kind, &*row.balancer, &*row.backend);
        if let Some((member, backend)) = places.get(&key) {
            windows.entry(row.window_ms).or_default().push((*member, *backend, row));
        }
    }
    let mut past = Past::default();
    for (start_ms, rows) in windows {
        for (place, member) in pool.members.iter().enumerate() {
            let own = rows.iter().filter(|(member, ..)| *member == place).map(|(.., row)| *row);
            let own: Vec<&BalancerWindow> = own.collect();
            if !own.is_empty() {
                let mut window = of_member(start_ms, &own);
                if member.latency.is_some() {
                    (window.latency_ms, window.latency_p99_ms) = (None, None);
                }
                past.members.entry(member.id()).or_default().push(window);
            }
        }
        past.pool.push(of_pool(start_ms, &rows));
    }
    past
}

fn of_member(start_ms: i64, rows: &[&BalancerWindow]) -> MemberWindow {
    let latency_requests: u64 = rows.iter().map(|row| row.latency_requests).sum();
    let latency_sum_ms: f64 = rows.iter().map(|row| row.latency_sum_ms).sum();
    let waiting = rows.iter().filter(|row| row.queue > 0);
    MemberWindow {
        start_ms,
        requests: rows.iter().map(|row| row.requests).sum(),
        errors: rows.iter().map(|row| row.errors).sum(),
        latency_ms: (latency_requests > 0).then(|| latency_sum_ms / latency_requests as f64),
        latency_p99_ms: rows.iter().filter_map(|row| row.latency_p99_ms).reduce(f64::max),
        queues: waiting.map(|row| (row.backend.clone(), row.queue)).collect(),
        weights: rows.iter().map(|row| (row.backend.clone(), row.weight)).collect(),
    }
}

/// Sums of one backend.
#[derive(Debug, Default)]
struct Sum {
    per_second: f64,
    requests: u64,
    errors: u64,
    latency_sum_ms: f64,
    latency_requests: u64,
    used: Vec<f64>,
}

fn of_pool(start_ms: i64, rows: &[(usize, &str, &BalancerWindow)]) -> PoolWindow {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for (_, backend, row) in rows {
        let sum = sums.entry(*backend).or_default();
        sum.per_second += row.requests as f64 * 1_000.0 / row.covered_ms.max(1) as f64;
        sum.requests += row.requests;
        sum.errors += row.errors;
        sum.latency_sum_ms += row.latency_sum_ms;
        sum.latency_requests += row.latency_requests;
        sum.used.extend(row.utilization);
    }
    let requests_per_second: f64 = sums.values().map(|sum| sum.per_second).sum();
    let of_each = |of: &dyn Fn(&Sum) -> Option<f64>| {
        let all = sums.iter().filter_map(|(id, sum)| Some(((*id).to_owned(), of(sum)?)));
        all.collect::<BTreeMap<String, f64>>()
    };
    let share =
        |sum: &Sum| (requests_per_second > 0.0).then(|| sum.per_second / requests_per_second);
    let workers = sums.iter().filter_map(|(id, sum)| {
        let little = sum.latency_ms().map(|latency_ms| sum.per_second * latency_ms / 1_000.0);
        Some(((*id).to_owned(), workers(sum.used()?, little?)?))
    });
    PoolWindow {
        start_ms,
        requests_per_second,
        shares: of_each(&share),
        latencies_ms: of_each(&Sum::latency_ms),
        capacities: of_each(&Sum::capacity),
        workers: workers.collect(),
    }
}

impl Sum {
    fn latency_ms(&self) -> Option<f64> {
        (self.latency_requests > 0).then(|| self.latency_sum_ms / self.latency_requests as f64)
    }

    fn used(&self) -> Option<f64> {
        let used = self.used.iter().sum::<f64>() / self.used.len() as f64;
        (used.is_finite() && used > 0.0).then_some(used)
    }

    /// Requests per second at full use, errors counted against it as the law does.
    fn capacity(&self) -> Option<f64> {
        let errors = self.errors as f64 / self.requests.max(1) as f64;
        let capacity = self.per_second / (self.used()?.max(LEAST_UTILIZATION) + errors);
        (capacity > 0.0).then_some(capacity)
    }
}
