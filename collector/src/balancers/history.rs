//! Windows of the past: what each balancer of a pool had, and what the pool could do. For the judge.
//!
//! In memory only, an hour of windows of five seconds: after a restart a change waits until there is enough again.

use std::collections::{BTreeMap, VecDeque};

use super::pool::Pool;

/// Windows that are kept.
const MOST: usize = 1_000;

/// What one balancer had in a window, over all backends of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberWindow {
    /// Where it begins, epoch milliseconds, a multiple of its length.
    pub start_ms: i64,
    /// Requests that were answered or have failed.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Mean latency, weighted by requests.
    pub latency_ms: Option<f64>,
    /// The largest p99 of a backend.
    pub latency_p99_ms: Option<f64>,
    /// Requests that waited for a backend at the window's end, by its name at the balancer; only where some did.
    pub queues: BTreeMap<String, u32>,
    /// Weights in force at the window's end, by the backend's name at the balancer.
    pub weights: BTreeMap<String, u32>,
}

/// What a pool could do in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolWindow {
    /// Where it begins, epoch milliseconds.
    pub start_ms: i64,
    /// Requests per second of all its balancers.
    pub requests_per_second: f64,
    /// Share of the requests that each backend had.
    pub shares: BTreeMap<String, f64>,
    /// Mean latency of each, milliseconds.
    pub latencies_ms: BTreeMap<String, f64>,
    /// Requests per second that each backend could do, as believed then.
    pub capacities: BTreeMap<String, f64>,
    /// Requests that each works on at the same time, as far as can be told.
    pub workers: BTreeMap<String, u32>,
}

/// Of all pools.
#[derive(Debug, Default)]
pub(super) struct History {
    members: BTreeMap<(String, String), VecDeque<MemberWindow>>,
    pools: BTreeMap<String, VecDeque<PoolWindow>>,
}

impl History {
    /// Takes what a pool's balancers had in a window.
    pub(super) fn take(&mut self, pool: &Pool, window: PoolWindow) {
        let start_ms = window.start_ms;
        for (place, member) in pool.members.iter().enumerate().filter(|(_, one)| one.is_fresh()) {
            let key = (pool.name.clone(), member.id());
            push(self.members.entry(key).or_default(), of(pool, place, start_ms));
        }
        push(self.pools.entry(pool.name.clone()).or_default(), window);
    }

    /// Forgets what is older than all that may be asked for.
    pub(super) fn sweep(&mut self, before_ms: i64) {
        self.members.retain(|_, all| all.back().is_some_and(|last| last.start_ms >= before_ms));
        self.pools.retain(|_, all| all.back().is_some_and(|last| last.start_ms >= before_ms));
    }

    /// Windows of a balancer from `from_ms` on, by time.
    pub(super) fn member(&self, pool: &str, id: &str, from_ms: i64) -> Vec<MemberWindow> {
        let all = self.members.get(&(pool.to_owned(), id.to_owned()));
        let all = all.into_iter().flatten();
        all.filter(|window| window.start_ms >= from_ms).cloned().collect()
    }

    /// Windows of a pool from `from_ms` on, by time.
    pub(super) fn pool(&self, pool: &str, from_ms: i64) -> Vec<PoolWindow> {
        let all = self.pools.get(pool).into_iter().flatten();
        all.filter(|window| window.start_ms >= from_ms).cloned().collect()
    }
}

fn push<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() == MOST {
        all.pop_front();
    }
    all.push_back(one);
}

fn of(pool: &Pool, place: usize, start_ms: i64) -> MemberWindow {
    let mut window = MemberWindow {
        start_ms,
        requests: 0,
        errors: 0,
        latency_ms: None,
        latency_p99_ms: None,
        queues: BTreeMap::new(),
        weights: BTreeMap::new(),
    };
    let (mut sum, mut weight) = (0.0, 0.0);
    for backend in &pool.backends {
        let own = backend.placements.iter().filter(|placement| placement.member == place);
        for server in own.map(|placement| &placement.server) {
            window.requests = window.requests.saturating_add(server.requests);
            window.errors = window.errors.saturating_add(server.errors);
            if let Some(latency_ms) = server.latency_ms.filter(|latency| latency.is_finite()) {
                sum += latency_ms * server.requests as f64;
                weight += server.requests as f64;
            }
            let p99_ms = window.latency_p99_ms.into_iter().chain(server.latency_p99_ms);
            window.latency_p99_ms = p99_ms.reduce(f64::max);
            if server.queue > 0 {
                window.queues.insert(server.name.clone(), server.queue);
            }
            window.weights.insert(server.name.clone(), server.weight);
        }
    }
    window.latency_ms = (weight > 0.0).then(|| sum / weight);
    window
}
