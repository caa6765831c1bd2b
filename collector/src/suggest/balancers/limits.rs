//! Limits of requests under way at a backend, split over its balancers.
//!
//! Only where they are missed: a backend without a limit, or with one far above what it can do, that is slower now than when it is not busy, so that requests queue within
//! it where no balancer can send them elsewhere. The limit is [Little's law with room](flyball_model::balance::limits) with the latency of quiet windows; all balancers
//! must be such as may be set, since a limit of a part of them bounds nothing. It promises no lower latency: what would have waited in the backend waits at the balancer,
//! or goes to another backend.

use flyball_model::balance::limits::{Flow, Settings, limit, split};
use flyball_model::rollout::{Candidate, State};
use flyball_proto::steering::{BackendServer, BackendState};
use serde_json::json;

use super::predict::latency;
use super::view::{PoolView, Wanted};
use super::{Advisor, PoolDraft};
use crate::balancers::pool::{Backend, Member, Placement};
use crate::suggest::Context;
use crate::suggest::draft::{Evidence, Risk, RiskLevel};
use crate::suggest::estimate::Estimate;

const KIND: &str = "balancer.limits";
/// Windows of the past without which it is not known what a quiet one is.
const LEAST_PAST: usize = 60;
/// Of the windows the one that so many parts in ten are slower than.
const QUIET: usize = 10;
/// Times the quiet latency from which on requests queue.
const QUEUES: f64 = 1.5;
/// Times the wanted limit from which on one in force is none.
const FAR_ABOVE: f64 = 4.0;
/// What is promised stays within this share.
const STAYS: f64 = 0.1;

/// See the module.
#[derive(Debug)]
pub struct Limits;

impl Advisor for Limits {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn advise(
        &self,
        view: &PoolView,
        context: &Context<'_>,
        _: &State,
    ) -> Result<Vec<PoolDraft>, String> {
        view.usable(context.now_ms)?;
        let (may, barred) = view.steerable("maxconn:");
        if !barred.is_empty() {
            return Err(format!("a limit must be set at all balancers: {}", barred.join("; ")));
        }
        let mut why = Vec::new();
        let mut wanted = Vec::new();
        for backend in &view.estimate.pool.backends {
            match needed(view, backend) {
                Ok(total) => wanted.push((backend, total)),
                Err(reason) => why.push(format!("{}: {reason}", backend.id)),
            }
        }
        let members: Vec<Candidate> =
            may.iter().filter_map(|&place| member(view, place, &wanted)).collect();
        if members.is_empty() {
            return Err(why.join("; "));
        }
        let latency_ms = latency(view).ok_or("its latency is not known")?;
        Ok(vec![draft(view, context, &wanted, (members, latency_ms))])
    }
}

/// The limit that a backend needs.
fn needed(view: &PoolView, backend: &Backend) -> Result<u32, String> {
    if backend.state != BackendState::Ready {
        return Err(format!("it is {}", backend.state.as_str()));
    }
    let mut past: Vec<f64> = (view.past.iter())
        .filter_map(|window| window.latencies_ms.get(&backend.id).copied())
        .collect();
    if past.len() < LEAST_PAST {
        let known = past.len();
        return Err(format!("{known} windows of its past are known, {LEAST_PAST} are needed"));
    }
    past.sort_by(f64::total_cmp);
    let quiet_ms = past[past.len() / QUIET];
    let now_ms = backend.latency_ms.ok_or("its latency is not known")?;
    if now_ms < QUEUES * quiet_ms {
        return Err(format!(
            "nothing queues within it: {now_ms:.1} ms now, {quiet_ms:.1} ms in quiet windows"
        ));
    }
    let members = &view.estimate.pool.members;
    let is_unknown = |one: &&Placement| under_way(&members[one.member], &one.server).is_none();
    if let Some(unknown) = backend.placements.iter().find(is_unknown) {
        let balancer = members[unknown.member].id();
        return Err(format!("what {balancer} has under way there is not known"));
    }
    let total = limit(&Settings::default(), backend.requests_per_second, quiet_ms);
    let total = total.ok_or("it had no requests")?;
    match backend.limit.filter(|limit| *limit > 0) {
        Some(limit) if f64::from(limit) < FAR_ABOVE * f64::from(total) => {
            Err(format!("its limit of {limit} is near the {total} that it needs"))
        }
        _ => Ok(total),
    }
}

/// Requests under way at a backend, on average: as counted, or else by Little's law; `None` where neither is known.
pub(super) fn under_way(of: &Member, server: &BackendServer) -> Option<f64> {
    let little = |latency_ms: f64| {
        let per_second = server.requests as f64 * 1_000.0 / f64::from(of.window_ms.max(1));
        per_second * latency_ms / 1_000.0
    };
    let known = server.in_flight.or_else(|| server.latency_ms.map(little));
    known.or((server.requests == 0).then_some(0.0))
}

fn member(view: &PoolView, place: usize, wanted: &[(&Backend, u32)]) -> Option<Candidate> {
    let (group, members) = (&view.estimate.pool.group, &view.estimate.pool.members);
    let own = members.get(place)?.id();
    let changes = wanted.iter().filter_map(|(backend, total)| {
        let flows: Vec<Flow> = (backend.placements.iter())
            .filter_map(|placement| {
                let of = &members[placement.member];
                Some(Flow { balancer: of.id(), under_way: under_way(of, &placement.server)? })
            })
            .collect();
        let parts = split(&Settings::default(), *total, &flows).parts;
        let (_, part) = parts.into_iter().find(|(balancer, _)| *balancer == own)?;
        let server = &backend.placements.iter().find(|one| one.member == place)?.server;
        let from = server.limit.unwrap_or(0).to_string();
        let parameter = format!("maxconn:{group}/{}", server.name);
        view.change(place, &parameter, &from, &Wanted::Number(u64::from(part)))
    });
    view.candidate(place, changes.collect())
}

fn draft(
    view: &PoolView,
    context: &Context<'_>,
    wanted: &[(&Backend, u32)],
    (members, latency_ms): (Vec<Candidate>, f64),
) -> PoolDraft {
    let estimate = &view.estimate;
    let window_ms = estimate.end_ms - estimate.start_ms;
    let query = format!("GET /api/performance/balancers (pools, name {})", estimate.pool.name);
    let evidence = wanted.iter().map(|(backend, total)| {
        let name = format!("{} requests under way at most", backend.id);
        Evidence::over(&name, f64::from(*total), "requests", window_ms, query.clone())
    });
    let widened_by = context.widening(KIND, &view.target());
    let (low, high) = (latency_ms * (1.0 - STAYS), latency_ms * (1.0 + STAYS));
    let after = Estimate { value: latency_ms, low, high };
    let (backends, balancers) = (wanted.len(), members.len());
    PoolDraft {
        kind: KIND,
        title: format!(
            "Limit requests under way at {backends} backends of {}, split over {balancers} balancers",
            estimate.pool.name
        ),
        members,
        metric: super::weights::LATENCY,
        unit: "ms",
        before: latency_ms,
        after: after.widened(widened_by).within(0.0, f64::MAX),
        widened_by,
        evidence: evidence.collect(),
        risk: Risk::low("limits are read back, and the old ones come back at once").and(
            RiskLevel::Medium,
            "where all backends are at their limits requests wait at the balancer",
        ),
        undo: "Set the limits of each balancer back to what they were.".to_owned(),
        inputs: json!({
            "limits": wanted.iter().map(|(one, total)| json!([one.id, total])).collect::<Vec<_>>(),
        }),
    }
}
