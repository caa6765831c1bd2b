//! Windows of the past: what each balancer of a pool had, and what the pool could do. For the judge.
//!
//! In memory, some 80 minutes of windows of five seconds. After a restart they are read [back](super::recall).

use std::collections::{BTreeMap, VecDeque};

use super::pool::Pool;
use super::recall::Past;

/// Windows that are kept.
pub(super) const MOST: usize = 1_000;

/// What one balancer had in a window, over all backends of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberWindow {
    /// Where it begins, epoch milliseconds, a multiple of its length.
    pub start_ms: i64,
    /// Requests that were answered or have failed.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Mean latency: of all requests where the balancer measures it so, else that of its backends, weighted by requests.
    pub latency_ms: Option<f64>,
    /// The p99 of all requests where the balancer measures it so, else the largest of a backend.
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
    /// By balancer and group: a pool may come to be called otherwise.
    members: BTreeMap<(String, String), VecDeque<MemberWindow>>,
    /// By [line](super::lines).
    pools: BTreeMap<u64, VecDeque<PoolWindow>>,
    /// Where the first window of each begins that was not recalled.
    since: BTreeMap<u64, i64>,
}

impl History {
    /// Takes what a pool's balancers had in a window.
    pub(super) fn take(&mut self, pool: &Pool, line: u64, window: PoolWindow) {
        let start_ms = window.start_ms;
        for (place, member) in pool.members.iter().enumerate().filter(|(_, one)| one.is_fresh()) {
            let key = (member.id(), pool.group.clone());
            push(self.members.entry(key).or_default(), of(pool, place, start_ms));
        }
        self.since.entry(line).or_insert(start_ms);
        push(self.pools.entry(line).or_default(), window);
    }

    /// Takes what was before the windows that are known. What was recalled of the pool before is replaced: it was of fewer balancers.
    pub(super) fn recall(&mut self, pool: &Pool, line: u64, past: Past) {
        for (member, windows) in past.members {
            let all = self.members.entry((member, pool.group.clone())).or_default();
            before(all, windows, |window| window.start_ms);
        }
        let since_ms = self.since.get(&line).copied().unwrap_or(i64::MAX);
        let all = self.pools.entry(line).or_default();
        all.retain(|window| window.start_ms >= since_ms);
        before(all, past.pool, |window| window.start_ms);
    }

    /// Forgets what is older than all that may be asked for.
    pub(super) fn sweep(&mut self, before_ms: i64) {
        self.members.retain(|_, all| all.back().is_some_and(|last| last.start_ms >= before_ms));
        self.pools.retain(|_, all| all.back().is_some_and(|last| last.start_ms >= before_ms));
        self.since.retain(|line, _| self.pools.contains_key(line));
    }

    /// Windows of a balancer's group from `from_ms` on, by time: of the one that a parameter `weight:GROUP/BACKEND` or the like is about.
    pub(super) fn member(&self, id: &str, parameter: &str, from_ms: i64) -> Vec<MemberWindow> {
        let Some((_, place)) = parameter.split_once(':') else { return Vec::new() };
        let own = self.members.range((id.to_owned(), String::new())..);
        let own = own.take_while(|((member, _), _)| member == id);
        let own = own.filter(|((_, group), _)| is_of(group, place));
        let all = own.max_by_key(|((_, group), _)| group.len()).map(|(_, all)| all);
        let all = all.into_iter().flatten();
        all.filter(|window| window.start_ms >= from_ms).cloned().collect()
    }

    /// Windows of a pool from `from_ms` on, by time.
    pub(super) fn pool(&self, line: u64, from_ms: i64) -> Vec<PoolWindow> {
        let all = self.pools.get(&line).into_iter().flatten();
        all.filter(|window| window.start_ms >= from_ms).cloned().collect()
    }
}

/// Whether what a parameter is about, `GROUP/BACKEND` or `GROUP`, is of a group. Of groups of which one begins like the other it is of the longest.
pub(super) fn is_of(group: &str, place: &str) -> bool {
    let rest = place.strip_prefix(group);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Puts older windows before the known ones, as far as there is room.
fn before<T>(all: &mut VecDeque<T>, older: Vec<T>, start_ms: impl Fn(&T) -> i64) {
    let first_ms = all.front().map_or(i64::MAX, &start_ms);
    let older = older.into_iter().rev().filter(|one| start_ms(one) < first_ms);
    for one in older.take(MOST.saturating_sub(all.len())).collect::<Vec<_>>() {
        all.push_front(one);
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
    if let Some(latency) = pool.members[place].latency.filter(|_| window.requests > 0) {
        (window.latency_ms, window.latency_p99_ms) = (Some(latency.mean_ms), Some(latency.p99_ms));
    }
    window
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flyball_proto::series::NodeName;
    use flyball_proto::steering::{
        BackendGroup, BackendServer, BalancerReport, BalancerState, Latency, Target, WeightMeaning,
    };

    use super::super::pool::{Inputs, Known, pools};
    use super::*;

    fn pool(latency: Option<Latency>, requests: [u64; 2]) -> Pool {
        let server = |number: usize| BackendServer {
            requests: requests[number],
            latency_ms: (number == 0).then_some(20.0),
            latency_p99_ms: (number == 0).then_some(70.0),
            ..BackendServer::new(format!("b{number}"), format!("10.0.0.{number}:80"), 1)
        };
        let mut report =
            BalancerReport::new(Target::new("envoy", "edge"), BalancerState::Up, 1_000);
        report.window_ms = 1_000;
        report.groups = vec![BackendGroup {
            name: "web".to_owned(),
            algorithm: "round_robin".to_owned(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            limit: None,
            latency,
            backends: vec![server(0), server(1)],
        }];
        let report = Arc::new(report);
        let known = Known {
            node: NodeName::new("lb").unwrap(),
            machine: "m".to_owned(),
            whole: Some(Arc::clone(&report)),
            report,
            age_ms: 0,
        };
        pools(&Inputs { balancers: &[known], words: &[], hosts: &[] }).remove(0)
    }

    fn window(latency: Option<Latency>, requests: [u64; 2]) -> MemberWindow {
        of(&pool(latency, requests), 0, 5_000)
    }

    fn of_pool(start_ms: i64, requests_per_second: f64) -> PoolWindow {
        PoolWindow {
            start_ms,
            requests_per_second,
            shares: BTreeMap::new(),
            latencies_ms: BTreeMap::new(),
            capacities: BTreeMap::new(),
            workers: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_recalled_again_takes_the_place_of_what_was_recalled_of_fewer_balancers() {
        let (mut history, pool) = (History::default(), pool(None, [1, 1]));
        history.take(&pool, 7, of_pool(20_000, 3.0));
        let past = |rates: &[f64]| {
            let windows = rates.iter().enumerate();
            let windows = windows.map(|(at, rate)| of_pool(10_000 + at as i64 * 5_000, *rate));
            Past { pool: windows.collect(), ..Past::default() }
        };
        history.recall(&pool, 7, past(&[1.0, 1.0]));
        history.recall(&pool, 7, past(&[2.0, 2.0, 9.0]));
        let rates: Vec<f64> = history.pool(7, 0).iter().map(|w| w.requests_per_second).collect();
        assert_eq!(rates, [2.0, 2.0, 3.0], "what was measured stays");
    }

    #[test]
    fn latency_is_that_of_the_whole_group_where_it_is_measured_so() {
        let latency = |window: MemberWindow| (window.latency_ms, window.latency_p99_ms);
        assert_eq!(latency(window(None, [30, 10])), (Some(20.0), Some(70.0)), "of one backend");
        let whole = Some(Latency { mean_ms: 35.0, p50_ms: 30.0, p99_ms: 90.0 });
        assert_eq!(latency(window(whole, [30, 10])), (Some(35.0), Some(90.0)));
        assert_eq!(latency(window(whole, [0, 0])), (None, Some(70.0)), "that of a time before");
    }
}
