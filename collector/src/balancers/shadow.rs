//! The law of weights in shadow: what weights a pool should have, computed in each window whether anybody sets them or not.
//!
//! Pure: pools of a window in, estimates out. Deterministic: the same windows give the same estimates, in whatever order pools come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flyball_model::balance::envelope::Verdict;
use flyball_model::balance::law::{self, BackendWindow, Law, LawOutcome, PoolState, quantise};
use flyball_proto::steering::BackendState;

use super::kept::PoolWindow;
use super::pool::{Backend, Placement, Pool};

/// A pool that was not seen for so long is forgotten, milliseconds.
const FORGET_MS: i64 = 15 * 60_000;
/// A push that no balancer shows after so many windows is not in force.
const UNREAD_WINDOWS: u8 = 2;
/// Requests under way that a backend works on at once are told from its utilisation; no more than this.
const MOST_WORKERS: f64 = 1_000.0;

/// What is known of a pool at the end of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolEstimate {
    /// Stays the same while the pool's name may change.
    pub line: u64,
    /// Where the window begins, epoch milliseconds.
    pub start_ms: i64,
    /// Where it ends.
    pub end_ms: i64,
    /// The pool with the counts of the window.
    pub pool: Pool,
    /// What the law was given.
    pub windows: Vec<BackendWindow>,
    /// What it says.
    pub outcome: LawOutcome,
    /// What it keeps, after the window.
    pub state: PoolState,
    /// Wanted weights by backend, 1 to 256, the largest 256.
    pub wanted: BTreeMap<String, u16>,
    /// Requests per second that each backend could do, of the last window that told.
    pub capacities: BTreeMap<String, f64>,
    /// Requests that each works on at the same time, as far as can be told: in-flight over utilisation.
    pub workers: BTreeMap<String, u32>,
    /// Backends that no balancer gives requests because a check says so.
    pub unhealthy: BTreeSet<String>,
    /// Windows since the start in which at least half of the pool was measured.
    pub valid_windows: u32,
    /// Whether the pool can be relied on in this window: why not, in words.
    pub invalid: Option<String>,
}

/// All pools.
#[derive(Debug)]
pub struct Shadow {
    settings: law::Settings,
    /// By [line](super::lines).
    pools: BTreeMap<u64, Kept>,
}

/// What is kept of one.
#[derive(Debug)]
struct Kept {
    state: PoolState,
    /// Weights in force by balancer and backend: the law begins anew from them only when one changes.
    in_force: Vec<(String, String, u32, bool)>,
    /// Windows until a push that no balancer shows counts for nothing; 0: there is none.
    unread: u8,
    /// Backends that were given requests.
    ready: BTreeSet<String>,
    seen_ms: i64,
}

impl Shadow {
    /// With these constants.
    pub fn new(settings: law::Settings) -> Self {
        Self { settings, pools: BTreeMap::new() }
    }

    /// The length of a window, milliseconds.
    pub const fn window_ms(&self) -> u64 {
        self.settings.window_ms
    }

    /// Ends a window that began at `start_ms`.
    pub fn close(&mut self, pools: Vec<(u64, Pool)>, start_ms: i64) -> Vec<Arc<PoolEstimate>> {
        let end_ms = start_ms.saturating_add_unsigned(self.settings.window_ms);
        let one = |(line, pool)| Arc::new(self.one(line, pool, (start_ms, end_ms)));
        let estimates = pools.into_iter().map(one).collect();
        self.pools.retain(|_, kept| end_ms.saturating_sub(kept.seen_ms) < FORGET_MS);
        estimates
    }

    /// Takes over what became of an estimate's weights: see [`PoolState::settle`].
    pub fn settle(&mut self, line: u64, verdict: &Verdict, now_ms: i64) {
        if let Some(kept) = self.pools.get_mut(&line) {
            kept.state.settle(verdict, now_ms);
            if verdict.weights.is_some() {
                kept.unread = UNREAD_WINDOWS;
            }
        }
    }

    /// What the law wants was not let through: see [`PoolState::held`].
    pub fn held(&mut self, line: u64) {
        if let Some(kept) = self.pools.get_mut(&line) {
            kept.state.held();
        }
    }

    fn one(&mut self, line: u64, pool: Pool, (start_ms, end_ms): (i64, i64)) -> PoolEstimate {
        let in_force = in_force(&pool);
        let shares = shares(&pool);
        let is_first = !self.pools.contains_key(&line);
        let pairs = || shares.iter().map(|(id, weight)| (id.as_str(), *weight));
        let kept = self.pools.entry(line).or_insert_with(|| Kept {
            state: PoolState::new(pairs(), end_ms),
            in_force: in_force.clone(),
            unread: 0,
            ready: BTreeSet::new(),
            seen_ms: end_ms,
        });
        kept.seen_ms = end_ms;
        let windows: Vec<BackendWindow> = pool
            .backends
            .iter()
            .filter(|backend| !is_out(backend))
            .map(|backend| {
                let is_new = !is_first && comes(backend, &kept.ready);
                window(backend, is_new, self.settings.window_ms)
            })
            .collect();
        kept.ready = ids(&pool, |state| state == BackendState::Ready);
        let is_overdue = kept.unread == 1;
        kept.unread = kept.unread.saturating_sub(1);
        if kept.in_force != in_force || is_overdue {
            kept.state.in_force(pairs());
            (kept.in_force, kept.unread) = (in_force, 0);
        }
        let outcome = Law::step(&self.settings, &mut kept.state, &windows, end_ms);
        let wanted = outcome.backends.iter().map(|one| (one.id.clone(), one.weight)).collect();
        let known = &kept.state.backends;
        let capacity =
            |one: &BackendWindow| Some((one.id.clone(), known.get(&one.id)?.capacity_per_second?));
        let workers = |backend: &Backend| Some((backend.id.clone(), workers_of(backend)?));
        PoolEstimate {
            line,
            start_ms,
            end_ms,
            capacities: windows.iter().filter_map(capacity).collect(),
            workers: pool.backends.iter().filter_map(workers).collect(),
            unhealthy: ids(&pool, is_unhealthy),
            valid_windows: kept.state.valid_windows,
            invalid: invalid(&pool, &outcome),
            state: kept.state.clone(),
            pool,
            windows,
            outcome,
            wanted,
        }
    }
}

impl PoolEstimate {
    fn of_each(&self, of: impl Fn(&Backend) -> Option<f64>) -> BTreeMap<String, f64> {
        let all = self.pool.backends.iter();
        all.filter_map(|backend| Some((backend.id.clone(), of(backend)?))).collect()
    }

    /// As it is kept for the judge.
    pub(super) fn past(&self) -> PoolWindow {
        PoolWindow {
            start_ms: self.start_ms,
            requests_per_second: self.pool.requests_per_second,
            shares: self.of_each(|backend| backend.share),
            latencies_ms: self.of_each(|backend| backend.latency_ms),
            capacities: self.capacities.clone(),
            workers: self.workers.clone(),
        }
    }
}

/// Taken out on purpose: not in the pool at present.
fn is_out(backend: &Backend) -> bool {
    matches!(backend.state, BackendState::Drain | BackendState::Maint)
}

fn is_unhealthy(state: BackendState) -> bool {
    matches!(state, BackendState::Down | BackendState::Ejected)
}

fn ids(pool: &Pool, is_it: impl Fn(BackendState) -> bool) -> BTreeSet<String> {
    let some = pool.backends.iter().filter(|backend| is_it(backend.state));
    some.map(|backend| backend.id.clone()).collect()
}

/// As the law takes it: with the counts of a whole window. Reports do not end with windows, so that now and then one more or less is in it.
fn window(backend: &Backend, is_new: bool, window_ms: u64) -> BackendWindow {
    let whole = backend.requests_per_second * window_ms as f64 / 1_000.0;
    let scale = whole / backend.requests.max(1) as f64;
    let scaled = |count: u64| (count as f64 * scale).round() as u64;
    BackendWindow {
        id: backend.id.clone(),
        requests: scaled(backend.requests),
        errors: scaled(backend.errors),
        utilization: backend.utilization.map(|(share, _)| share),
        latency_ms: backend.latency_ms,
        in_flight: backend.in_flight,
        age_ms: backend.age_ms,
        is_new,
    }
}

/// Weights as read back.
fn in_force(pool: &Pool) -> Vec<(String, String, u32, bool)> {
    let placements = pool.backends.iter().flat_map(|backend| {
        backend.placements.iter().map(|placement| {
            let server = &placement.server;
            let is_ready = server.state == BackendState::Ready;
            (pool.members[placement.member].id(), backend.id.clone(), server.weight, is_ready)
        })
    });
    placements.collect()
}

/// True when it is given requests and was not before: while it is away no slow start runs out.
fn comes(backend: &Backend, ready: &BTreeSet<String>) -> bool {
    backend.state == BackendState::Ready && !ready.contains(&backend.id)
}

/// Weights in force of the pool as a whole, the largest 256: of each backend the mean over the balancers that give it requests, over all of them where none does. What one
/// balancer holds to be down has no other weight for that.
fn shares(pool: &Pool) -> Vec<(String, u16)> {
    let mut largest = vec![0_u32; pool.members.len()];
    for placement in pool.backends.iter().flat_map(|backend| &backend.placements) {
        let largest = &mut largest[placement.member];
        *largest = (*largest).max(placement.server.weight);
    }
    let weight = |backend: &Backend| {
        let mean = |serves: bool| {
            let some = backend.placements.iter().filter(|placement| {
                let is_ready = placement.server.state == BackendState::Ready;
                largest[placement.member] > 0
                    && (!serves || (is_ready && pool.members[placement.member].is_fresh()))
            });
            let of =
                |one: &Placement| f64::from(one.server.weight) / f64::from(largest[one.member]);
            let all: Vec<f64> = some.map(of).collect();
            (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
        };
        mean(true).or_else(|| mean(false)).unwrap_or(0.0)
    };
    let weights: Vec<f64> = pool.backends.iter().map(weight).collect();
    let ids = pool.backends.iter().map(|backend| backend.id.clone());
    ids.zip(quantise(&weights)).collect()
}

fn workers_of(backend: &Backend) -> Option<u32> {
    let (used, _) = backend.utilization?;
    let little = backend.latency_ms.map(|ms| backend.requests_per_second * ms / 1_000.0);
    workers(used, little.or(backend.in_flight)?)
}

/// Requests that a backend works on at once when all of it is in use, from the share that is and the requests under way.
pub(super) fn workers(used: f64, under_way: f64) -> Option<u32> {
    let workers = (under_way / used).round();
    (used > 0.02 && workers.is_finite()).then(|| workers.clamp(1.0, MOST_WORKERS) as u32)
}

fn invalid(pool: &Pool, outcome: &LawOutcome) -> Option<String> {
    let fresh = pool.members.iter().filter(|member| member.is_fresh()).count();
    if fresh * 2 < pool.members.len() || fresh == 0 {
        let missing = pool.missing().next()?;
        let why = missing.missing.as_deref().unwrap_or_default();
        let (lost, all) = (pool.members.len() - fresh, pool.members.len());
        return Some(format!("{lost} of its {all} balancers do not count: {} {why}", missing.id()));
    }
    let of = outcome.backends.len();
    if outcome.valid * 2 < of || of == 0 {
        let held = outcome.backends.iter().find(|one| !one.valid());
        let why = held.map_or_else(
            || "it has no backends".to_owned(),
            |one| match one.rule {
                law::Rule::Held(hold) | law::Rule::Expired(hold) => format!("{}: {hold}", one.id),
                _ => one.id.clone(),
            },
        );
        let valid = outcome.valid;
        return Some(format!("{valid} of its {of} backends were measured in the window; {why}"));
    }
    None
}

#[cfg(test)]
mod tests;
