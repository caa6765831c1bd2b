//! What the past says of a backend, the limit that follows, and whether agents would take its parts now.

use flyball_model::balance::limits::{Flow, Limit, Settings, least_above, limit, split};
use flyball_proto::steering::{BackendServer, BackendState};

use super::super::view::PoolView;
use super::By;
use crate::balancers::kept::PoolWindow;
use crate::balancers::pool::{Backend, Member, Placement};

/// Windows of the past without which it is not known what a quiet one is.
const LEAST_PAST: usize = 60;
/// Requests of a window below which its mean latency is chance: it is off by a seventh then.
const LEAST_REQUESTS: f64 = 50.0;
/// Of the windows the one that so many parts in ten are slower than.
const QUIET: usize = 10;
/// Times the quiet latency from which on requests queue.
const QUEUES: f64 = 1.5;
/// Windows in which requests have queued: fewer are chance, or a single stall.
const LEAST_QUEUED: usize = 6;
/// Of a hundred windows so many have no higher rate than the peak.
const PEAK: usize = 99;
/// Times the wanted limit from which on one in force is none.
const FAR_ABOVE: f64 = 4.0;

/// A backend and the limit that it would have.
#[derive(Debug)]
pub(super) struct Outlook<'a> {
    pub(super) backend: &'a Backend,
    pub(super) past: Past,
    /// What each balancer has under way, in the order of the backend's placements.
    flows: Vec<Flow>,
    /// Parts in the same order.
    pub(super) limit: Limit,
    /// The limits of its servers that are in force, in words, where they are near what is wanted.
    pub(super) near: Option<String>,
}

/// What the past says of a backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Past {
    /// Windows in which it had requests enough.
    pub(super) windows: usize,
    /// Windows of them in which requests queued.
    pub(super) queued: usize,
    /// Mean latency of a quiet window.
    pub(super) quiet_ms: f64,
    /// Requests per second at its peak.
    pub(super) peak_per_second: f64,
}

impl<'a> Outlook<'a> {
    /// Of a backend that is given requests.
    ///
    /// # Errors
    /// What is not known of it, in words.
    pub(super) fn of(view: &PoolView, backend: &'a Backend, by: &[By]) -> Result<Self, String> {
        if backend.state != BackendState::Ready {
            return Err(format!("it is {}", backend.state.as_str()));
        }
        let past = past(view, backend)?;
        let flows = flows(view, backend)?;
        let total = limit(&Settings::default(), past.peak_per_second, past.quiet_ms);
        let total = total.ok_or("it had no requests")?;
        let limit = split(&Settings::default(), total, &flows);
        let mut outlook = Self { backend, past, flows, limit, near: None };
        outlook.near = outlook.near(by).map(|near| format!("{}: {near}", backend.id));
        Ok(outlook)
    }

    /// Whether requests have queued within it, and its limit may be set now or need not be.
    ///
    /// # Errors
    /// Why not, with the figures.
    pub(super) fn is_due(&self, by: &[By]) -> Result<(), String> {
        let Past { windows, queued, quiet_ms, .. } = self.past;
        if queued < LEAST_QUEUED {
            return Err(format!(
                "requests have not queued within it: {queued} of {windows} windows took {QUEUES} times the {quiet_ms:.1} ms of quiet ones, {LEAST_QUEUED} would show it"
            ));
        }
        if self.near.is_some() { Ok(()) } else { self.has_room(by) }
    }

    /// Placements at balancers with limits for each server, with their parts.
    pub(super) fn servers(&self, by: &[By]) -> impl Iterator<Item = (&'a Placement, &Flow, u32)> {
        let all = self.backend.placements.iter().zip(&self.flows).zip(&self.limit.parts);
        let own = all.filter(move |((placement, _), _)| by[placement.member] == By::Servers);
        own.map(|((placement, flow), (_, part))| (placement, flow, *part))
    }

    fn near(&self, by: &[By]) -> Option<String> {
        let (mut limit, mut wanted) = (0, 0);
        for (placement, _, part) in self.servers(by) {
            limit += u64::from(placement.server.limit.filter(|limit| *limit > 0)?);
            wanted += u64::from(part);
        }
        near(limit, wanted)
    }

    /// Whether agents would take each part of such placements now; else to wait, with the figures of the first where they would not.
    fn has_room(&self, by: &[By]) -> Result<(), String> {
        let is_tight = |(_, flow, part): &(&Placement, &Flow, u32)| {
            u64::from(*part) < least_above(flow.under_way)
        };
        let Some((_, Flow { balancer, under_way }, part)) = self.servers(by).find(is_tight) else {
            return Ok(());
        };
        let (tight, all) = (self.servers(by).filter(is_tight).count(), self.servers(by).count());
        let (total, least) = (self.limit.total, least_above(*under_way));
        Err(format!(
            "wait until less is under way: of a limit of {total} the part of {balancer} is {part}, where {under_way:.1} are under way and {least} is the least that its agent takes; so it is at {tight} of {all} balancers"
        ))
    }

    /// What the balancer at this place has of the backend: under way now, under way at the peak when nothing waits, and its part of the limit. `None`: it does not have the backend.
    pub(super) fn of_member(&self, place: usize) -> Option<(f64, f64, u32)> {
        let Past { quiet_ms, peak_per_second, .. } = self.past;
        let base = peak_per_second * quiet_ms / 1_000.0;
        let sum: f64 = self.flows.iter().map(|flow| flow.under_way).sum();
        let all = self.backend.placements.iter().zip(&self.flows).zip(&self.limit.parts);
        let own = all.filter(|((placement, _), _)| placement.member == place);
        own.map(|((_, flow), (_, part))| {
            let even = 1.0 / self.flows.len() as f64;
            let share = if sum > 0.0 { flow.under_way / sum } else { even };
            (flow.under_way, share * base, *part)
        })
        .reduce(|a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    }
}

/// A limit in force in words, where it is near the wanted one; 0 is none of either.
pub(super) fn near(limit: u64, wanted: u64) -> Option<String> {
    let is_near = limit > 0 && wanted > 0 && (limit as f64) < FAR_ABOVE * wanted as f64;
    is_near.then(|| format!("its limit of {limit} is near the {wanted} that it needs"))
}

/// What the past says, where it says enough.
fn past(view: &PoolView, backend: &Backend) -> Result<Past, String> {
    let estimate = &view.estimate;
    let window_s = (estimate.end_ms - estimate.start_ms) as f64 / 1_000.0;
    let share = |window: &PoolWindow| window.shares.get(&backend.id).copied();
    let requests =
        |window: &PoolWindow| share(window).unwrap_or(0.0) * window.requests_per_second * window_s;
    let mut latencies: Vec<f64> = (view.past.iter())
        .filter(|window| requests(window) >= LEAST_REQUESTS)
        .filter_map(|window| window.latencies_ms.get(&backend.id).copied())
        .collect();
    // With the share of now where that is larger: weights may have changed since.
    let now = backend.share.unwrap_or(0.0);
    let mut rates: Vec<f64> = (view.past.iter())
        .filter_map(|window| Some(share(window)?.max(now) * window.requests_per_second))
        .collect();
    let windows = latencies.len();
    if windows < LEAST_PAST {
        return Err(format!(
            "{windows} windows of its past with {LEAST_REQUESTS} requests are known, {LEAST_PAST} are needed"
        ));
    }
    latencies.sort_by(f64::total_cmp);
    rates.sort_by(f64::total_cmp);
    let quiet_ms = latencies[windows / QUIET];
    let queued = latencies.iter().filter(|latency| **latency >= QUEUES * quiet_ms).count();
    let peak_per_second = rates[(rates.len() * PEAK / 100).min(rates.len() - 1)];
    let peak_per_second = peak_per_second.max(backend.requests_per_second);
    Ok(Past { windows, queued, quiet_ms, peak_per_second })
}

/// What each balancer has under way at a backend, in the order of its placements.
fn flows(view: &PoolView, backend: &Backend) -> Result<Vec<Flow>, String> {
    let flow = |placement: &Placement| {
        let of = &view.estimate.pool.members[placement.member];
        let balancer = of.id();
        match under_way(of, &placement.server) {
            Some(under_way) => Ok(Flow { balancer, under_way }),
            None => Err(format!("what {balancer} has under way there is not known")),
        }
    };
    backend.placements.iter().map(flow).collect()
}

/// Requests under way at a backend, on average: as counted, or else by Little's law; `None` where neither is known, and where nothing was measured at all.
pub(in super::super) fn under_way(of: &Member, server: &BackendServer) -> Option<f64> {
    if server.in_flight.is_some() || of.window_ms == 0 {
        return server.in_flight;
    }
    let per_second = server.requests as f64 * 1_000.0 / f64::from(of.window_ms);
    let little = server.latency_ms.map(|latency_ms| per_second * latency_ms / 1_000.0);
    little.or((server.requests == 0).then_some(0.0))
}
