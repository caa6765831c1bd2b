//! Drains a backend that fails what it is given, or is much slower than the others; and gives it requests again when its time is over.
//!
//! Whether to is for the [ejection rules](flyball_model::balance::eject): evidence of two balancers at least, 20 % of capacity at most, 30 s times the number of times. A
//! backend is much slower when its mean latency is [`SLOWER`] times the median of the others, at two balancers too: then all of its requests count as failed. What is left must
//! be able to take its requests.

use std::collections::{BTreeMap, BTreeSet};

use flyball_model::balance::eject::{self, Ejection, Evidence as Seen, Record, Sight, decide};
use flyball_model::rollout::{Candidate, RolloutState, State, TargetId};
use flyball_proto::steering::BackendState;
use serde_json::json;

use super::predict::predict;
use super::view::{PoolView, Wanted};
use super::{Advisor, PoolDraft};
use crate::balancers::in_force;
use crate::suggest::Context;
use crate::suggest::draft::{Details, Evidence, Risk, RiskLevel, percent};
use crate::suggest::estimate::Estimate;

/// Metric of its predictions.
pub const ERROR_RATIO: &str = "balancer.error_ratio";
const KIND: &str = "balancer.drain";
/// Times the median latency of the others from which on a backend is much slower.
pub const SLOWER: f64 = 4.0;
/// Utilisation that the others may come to.
const MOST_BUSY: f64 = 0.85;
/// Half-width of the intervals in standard deviations.
const HALF_WIDTH_SD: f64 = 1.645;
/// No share of failures is known better.
const LEAST_ERROR: f64 = 0.001;

/// See the module.
#[derive(Debug)]
pub struct Drain;

impl Advisor for Drain {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn advise(
        &self,
        view: &PoolView,
        context: &Context<'_>,
        state: &State,
    ) -> Result<Vec<PoolDraft>, String> {
        view.usable(context.now_ms)?;
        let (may, barred) = view.steerable("state:");
        if may.is_empty() {
            return Err(barred.join("; "));
        }
        let slow = slow(view);
        let settings = eject::Settings::default();
        let decision =
            decide(&settings, &mut out(view, context.now_ms), &seen(view, &slow), context.now_ms);
        let mut drafts = Vec::new();
        let mut why: Vec<String> = Vec::new();
        for ejection in &decision.eject {
            match drain(view, context, (ejection, slow.contains(&ejection.id)), &may) {
                Ok(draft) => drafts.push(draft),
                Err(reason) => why.push(format!("{}: {reason}", ejection.id)),
            }
        }
        drafts.extend(back(view, context, state, &may, &settings));
        if drafts.is_empty() {
            why.extend(decision.kept.iter().map(|(id, kept)| format!("{id} {kept}")));
            let none = "no backend fails more than others, or is much slower";
            return Err(if why.is_empty() { none.to_owned() } else { why.join("; ") });
        }
        Ok(drafts)
    }
}

/// Ejections that last: what is drained at every balancer is out.
fn out(view: &PoolView, now_ms: i64) -> eject::State {
    let is_out = |state| matches!(state, BackendState::Drain | BackendState::Maint);
    let some = view.estimate.pool.backends.iter().filter(|backend| is_out(backend.state));
    let record = Record { ejections: 1, until_ms: Some(now_ms + 1), since_ms: now_ms };
    eject::State { records: some.map(|backend| (backend.id.clone(), record)).collect() }
}

/// Backends that are much slower than the median of the others.
fn slow(view: &PoolView) -> BTreeSet<String> {
    let all: Vec<(&str, f64)> = view
        .estimate
        .pool
        .backends
        .iter()
        .filter_map(|backend| Some((backend.id.as_str(), backend.latency_ms?)))
        .collect();
    let is_slow = |&&(id, latency_ms): &&(&str, f64)| {
        let mut others: Vec<f64> =
            all.iter().filter(|(other, _)| *other != id).map(|(_, ms)| *ms).collect();
        others.sort_by(f64::total_cmp);
        others.get(others.len() / 2).is_some_and(|median| latency_ms > SLOWER * median)
    };
    all.iter().filter(is_slow).map(|(id, _)| (*id).to_owned()).collect()
}

/// What each balancer saw of each backend.
fn seen(view: &PoolView, slow: &BTreeSet<String>) -> Vec<Seen> {
    let pool = &view.estimate.pool;
    let one = |backend: &crate::balancers::pool::Backend| {
        let fresh = backend.placements.iter().filter(|one| pool.members[one.member].is_fresh());
        let sights = fresh.map(|placement| {
            let server = &placement.server;
            let errors = if slow.contains(&backend.id) { server.requests } else { server.errors };
            Sight {
                balancer: pool.members[placement.member].id(),
                requests: server.requests,
                errors,
            }
        });
        Seen {
            id: backend.id.clone(),
            capacity_per_second: view.estimate.capacities.get(&backend.id).copied(),
            sights: sights.collect(),
        }
    };
    pool.backends.iter().map(one).collect()
}

fn drain(
    view: &PoolView,
    context: &Context<'_>,
    (ejection, is_slow): (&Ejection, bool),
    may: &[usize],
) -> Result<PoolDraft, String> {
    let others: BTreeMap<String, f64> = (view.estimate.pool.backends.iter())
        .filter(|one| one.id != ejection.id && one.state == BackendState::Ready)
        .filter_map(|one| Some((one.id.clone(), one.share?)))
        .collect();
    let effect = predict(view, &others)?;
    let busiest = effect.worst.1;
    if busiest > MOST_BUSY {
        let (busiest, most) = (percent(busiest), percent(MOST_BUSY));
        return Err(format!(
            "without it the busiest of the others would be {busiest} in use, {most} may be"
        ));
    }
    let members = members(view, may, &ejection.id, "drain");
    if members.is_empty() {
        return Err("no balancer that may be set gives it requests".to_owned());
    }
    let (id, balancers) = (&ejection.id, ejection.balancers);
    let what = if is_slow {
        format!("is more than {SLOWER:.0} times slower than others")
    } else {
        format!("fails {} of its requests", percent(ejection.error_ratio))
    };
    let mut draft = draft(view, context, id, members);
    draft.title = format!("Drain {id} of {}: it {what}", view.estimate.pool.name);
    draft.risk = Risk::low("requests under way end, and the backend is not touched")
        .and(RiskLevel::Medium, format!("the busiest of the others comes to {}", percent(busiest)));
    draft.evidence.push(one(view, "balancers that see it", balancers as f64, "balancers"));
    draft.inputs = json!({ "ejection": ejection.to_string(), "for_ms": ejection.for_ms, "slow": is_slow, "busiest_after": busiest });
    Ok(draft)
}

/// Backends that Flyball has drained and whose time is over.
fn back(
    view: &PoolView,
    context: &Context<'_>,
    state: &State,
    may: &[usize],
    settings: &eject::Settings,
) -> Vec<PoolDraft> {
    let mut drafts = Vec::new();
    for backend in &view.estimate.pool.backends {
        let own: Vec<(usize, Vec<i64>)> = (may.iter())
            .filter_map(|&place| Some((place, drained(view, state, (place, &backend.id))?)))
            .collect();
        let ended: BTreeSet<i64> = own.iter().flat_map(|(_, ended)| ended).copied().collect();
        let Some(last_ms) = ended.iter().max() else { continue };
        let times = ended.len() as u64;
        let for_ms = settings.base_ms.saturating_mul(times).min(settings.cap_ms);
        if context.now_ms < last_ms.saturating_add_unsigned(for_ms) {
            continue;
        }
        let may: Vec<usize> = own.iter().map(|(place, _)| *place).collect();
        let members = members(view, &may, &backend.id, "ready");
        if members.is_empty() {
            continue;
        }
        let id = &backend.id;
        let mut draft = draft(view, context, id, members);
        draft.title = format!("Give {id} of {} requests again", view.estimate.pool.name);
        draft.risk = Risk::low("what still fails is drained again, for longer each time");
        draft.inputs = json!({ "drained_for_ms": context.now_ms - last_ms, "times": times });
        drafts.push(draft);
    }
    drafts
}

/// When Flyball has drained a backend at a balancer by itself, each time, where the last time is in force and still wanted; `None` where a person has drained it, or nobody has.
fn drained(view: &PoolView, state: &State, (place, id): (usize, &str)) -> Option<Vec<i64>> {
    let pool = &view.estimate.pool;
    let mut own = view.placements(place).filter(|(backend, _)| backend.id == id);
    let (_, placement) = own.find(|(_, one)| one.server.state == BackendState::Drain)?;
    let target = TargetId(pool.members.get(place)?.id());
    let parameter = format!("state:{}/{}", pool.group, placement.server.name);
    let wanted = state.target(&target)?.standing.as_ref()?.values.get(&parameter)?;
    let promoted = state.rollouts().filter(|rollout| rollout.state == RolloutState::Promoted);
    let set = promoted.filter_map(|rollout| {
        let place = rollout.place(&target)?;
        let to = rollout.plan.members.get(place)?.last().get(&parameter)?;
        let proposal = state.suggestion(&rollout.suggestion).map(|found| &found.proposal);
        let details = proposal.and_then(Details::of);
        let is_own = details.is_none_or(|details| details.proposed_by.is_empty());
        Some((rollout.ended_at_ms?, rollout.kind == KIND && to == "drain" && is_own))
    });
    let set: Vec<(i64, bool)> = set.collect();
    let (_, is_last_own) = set.iter().max_by_key(|(ended_ms, _)| *ended_ms)?;
    let ended = set.iter().filter(|(_, is_own)| *is_own).map(|(ended_ms, _)| *ended_ms);
    (wanted == "drain" && *is_last_own).then(|| ended.collect())
}

/// Balancers at which a backend gets another state.
fn members(view: &PoolView, may: &[usize], id: &str, to: &str) -> Vec<Candidate> {
    let group = &view.estimate.pool.group;
    let member = |&place: &usize| {
        let changes = view.placements(place).filter(|(backend, _)| backend.id == id);
        let changes = changes.filter_map(|(_, placement)| {
            let server = &placement.server;
            let parameter = format!("state:{group}/{}", server.name);
            let from = in_force::state(server.state);
            // What a person has taken out stays out.
            let is_free = server.state != BackendState::Maint;
            is_free.then(|| view.change(place, &parameter, from, &Wanted::Word(to)))?
        });
        view.candidate(place, changes.collect())
    };
    may.iter().filter_map(member).collect()
}

/// With what all have in common.
fn draft(view: &PoolView, context: &Context<'_>, id: &str, members: Vec<Candidate>) -> PoolDraft {
    let pool = &view.estimate.pool;
    let sum = |is_it: &dyn Fn(&str) -> bool| {
        let some = pool.backends.iter().filter(|one| is_it(&one.id));
        some.fold((0, 0), |(requests, errors), one| {
            (requests + one.requests, errors + one.errors.min(one.requests))
        })
    };
    let ratio = |(requests, errors): (u64, u64)| errors as f64 / requests.max(1) as f64;
    let (all, others) = (sum(&|_| true), sum(&|one| one != id));
    let value = ratio(others);
    let half = HALF_WIDTH_SD * (value * (1.0 - value) / others.0.max(1) as f64).sqrt();
    let half = half + LEAST_ERROR;
    let widened_by = context.widening(KIND, &view.target());
    let after = Estimate { value, low: value - half, high: value + half };
    let own = pool.backend(id);
    let mut evidence = vec![
        one(view, ERROR_RATIO, ratio(all), "ratio"),
        one(view, "failures of the others", value, "ratio"),
    ];
    if let Some(own) = own {
        let failing = own.error_ratio().unwrap_or(0.0);
        evidence.push(one(view, &format!("{id} failures"), failing, "ratio"));
        evidence.push(one(view, &format!("{id} requests"), own.requests_per_second, "1/s"));
        evidence.extend(own.latency_ms.map(|ms| one(view, &format!("{id} latency"), ms, "ms")));
    }
    PoolDraft {
        kind: KIND,
        title: String::new(),
        members,
        metric: ERROR_RATIO,
        unit: "ratio",
        before: ratio(all),
        after: after.widened(widened_by).within(0.0, 1.0),
        widened_by,
        evidence,
        risk: Risk::low(""),
        undo: format!("Set the state of {id} at each balancer back to what it was."),
        inputs: json!({}),
    }
}

fn one(view: &PoolView, name: &str, value: f64, unit: &str) -> Evidence {
    let estimate = &view.estimate;
    let query = format!("GET /api/performance/balancers (pools, name {})", estimate.pool.name);
    Evidence::over(name, value, unit, estimate.end_ms - estimate.start_ms, query)
}
