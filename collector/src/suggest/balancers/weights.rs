//! Weights of a pool's backends in proportion to what they can do: law R in shadow, brought to rest, through the safety envelope.
//!
//! Suggested when the busiest backend is worth relieving and would be relieved: both by numbers that are measured, not by the model. What is wanted in full may be too
//! much at once; then a part of the way is suggested, and the rest follows under standing control, or with the next suggestion.
//!
//! Nothing is suggested where weights are no help, and the reason is told:
//! - under an algorithm that ignores them, or that counts requests under way (`leastconn`): there each balancer sees the queues, or, where there are too many balancers for
//!   that, weights do not count either since all backends look idle;
//! - where too few requests measure nothing, backends are of one class, or nothing is busy;
//! - where the law has not come to rest.

use std::collections::BTreeMap;

use flyball_model::balance::envelope::{self, Facts, guard};
use flyball_model::balance::law::{BackendOutcome, Push, shares};
use flyball_model::balance::queueing::{self, Algorithm, Load, Server, ideal_shares};
use flyball_model::rollout::{Candidate, Change, State};
use flyball_proto::steering::{BackendState, WeightMeaning};
use serde_json::json;

use super::predict::{Effect, predict};
use super::view::{PoolView, Wanted};
use super::{Advisor, PoolDraft};
use crate::balancers::settings::Objective;
use crate::suggest::Context;
use crate::suggest::draft::{Evidence, Risk, RiskLevel, percent};

/// Metric of its predictions.
pub const LATENCY: &str = "balancer.latency_ms";
const KIND: &str = "balancer.weights";
/// Valid windows of the law before anything is suggested.
const LEAST_WINDOWS: u32 = 6;
/// By how much of the pool's mean the busiest backend has to be relieved.
const LEAST_RELIEF: f64 = 0.05;
/// Share of the mean latency that has to be gained where that is the objective.
const LEAST_FASTER: f64 = 0.05;
/// Utilisation of the busiest backend below which nobody would feel it.
const LEAST_BUSY: f64 = 0.3;
/// A backend whose wanted weight still moves by more in a window is not at rest; a logarithm.
const AT_REST: f64 = 0.2;
/// Traffic that one suggestion may move: with one balancer all of it moves at once, else half of it at most.
const SHIFT: [f64; 2] = [0.2, 0.4];
/// Backends that evidence shows.
const SHOWN: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Weights;

impl Advisor for Weights {
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
        let (may, barred) = view.steerable("weight:");
        let (may, senseless) = sensible(view, may);
        if may.is_empty() {
            let mut why = senseless;
            why.extend(barred);
            return Err(why.join("; "));
        }
        measured(view)?;
        let weights = let_through(view)?;
        let effect = effect(view, &may, &weights)?;
        worth(view, &effect)?;
        let members: Vec<Candidate> =
            may.iter().filter_map(|&place| member(view, place, &weights)).collect();
        if members.is_empty() {
            return Err("the wanted weights are in force".to_owned());
        }
        let left_out: Vec<String> = senseless.into_iter().chain(barred).collect();
        Ok(vec![draft(view, context, &effect, (members, left_out))])
    }
}

/// Balancers at which weights mean something, and why they do not at the others.
fn sensible(view: &PoolView, may: Vec<usize>) -> (Vec<usize>, Vec<String>) {
    let (mut sensible, mut why) = (Vec::new(), Vec::new());
    for place in may {
        let member = &view.estimate.pool.members[place];
        match member.weights {
            WeightMeaning::Exact | WeightMeaning::Draw => sensible.push(place),
            WeightMeaning::WhenBusy => why.push(counts_requests(view, place)),
            WeightMeaning::DrainOnly | WeightMeaning::None => {
                let (id, algorithm, note) = (member.id(), &member.algorithm, &member.weights_note);
                let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
                why.push(format!("weights mean nothing under {algorithm} of {id}{note}"));
            }
        }
    }
    (sensible, why)
}

/// Why weights are no help where requests under way decide.
fn counts_requests(view: &PoolView, place: usize) -> String {
    let member = &view.estimate.pool.members[place];
    let (id, algorithm) = (member.id(), &member.algorithm);
    let ids: Vec<&String> = view.estimate.capacities.keys().collect();
    let capacities: Vec<f64> = view.estimate.capacities.values().copied().collect();
    let servers: Vec<Server> = (ids.iter().zip(ideal_shares(&capacities)).zip(&capacities))
        .map(|((id, share), capacity)| Server {
            capacity_per_second: *capacity,
            workers: view.estimate.workers.get(*id).copied().unwrap_or(1),
            share,
        })
        .collect();
    let balancers = u32::try_from(view.estimate.pool.members.len()).unwrap_or(1).max(1);
    let load = Load {
        requests_per_second: view.estimate.pool.requests_per_second,
        balancers,
        algorithm: Algorithm::LeastConnections,
    };
    let words = match queueing::advise(&servers, &load) {
        Ok(advice) if advice.better == queueing::Better::Weights => format!(
            "weights count under {algorithm} only while backends are busy, which {balancers} balancers hardly see; with roundrobin or random: {}",
            advice.words
        ),
        Ok(advice) => advice.words,
        Err(_) => format!("{algorithm} sees requests under way itself"),
    };
    format!("{id}: {words}")
}

/// Whether the law has seen enough.
fn measured(view: &PoolView) -> Result<(), String> {
    let estimate = &view.estimate;
    let held: Vec<String> = (estimate.outcome.backends.iter())
        .filter(|one| !one.valid())
        .map(ToString::to_string)
        .collect();
    if !held.is_empty() {
        return Err(format!("not all backends were measured: {}", held.join("; ")));
    }
    if estimate.outcome.backends.len() < 2 {
        return Err("it has one backend only".to_owned());
    }
    let windows = estimate.valid_windows;
    if windows < LEAST_WINDOWS {
        return Err(format!("{windows} windows were measured, {LEAST_WINDOWS} are needed"));
    }
    let moves = |one: &&BackendOutcome| one.step.abs() > AT_REST;
    match estimate.outcome.backends.iter().find(moves) {
        Some(one) => Err(format!("its wanted weights still move: {one}")),
        None => Ok(()),
    }
}

/// What the safety envelope lets through of the wanted weights.
fn let_through(view: &PoolView) -> Result<BTreeMap<String, u16>, String> {
    let estimate = &view.estimate;
    let alone = usize::from(estimate.pool.members.len() > 1);
    let settings = envelope::Settings { shift: SHIFT[alone], ..envelope::Settings::default() };
    let facts = Facts {
        requests_per_second: estimate.pool.requests_per_second,
        unhealthy: estimate.unhealthy.clone(),
        bands: BTreeMap::new(),
    };
    if estimate.outcome.push == Push::Unmoved {
        let least = estimate.outcome.backends.iter().filter_map(|one| one.capacity_per_second);
        let most = least.clone().fold(0.0, f64::max);
        let ratio = most / least.fold(f64::INFINITY, f64::min);
        let words = "the weights in force are as they should be";
        return Err(if ratio < 1.1 {
            format!(
                "its backends are of one class, capacities differ by {}; {words}",
                percent(ratio - 1.0)
            )
        } else {
            words.to_owned()
        });
    }
    let verdict = guard(&settings, &estimate.state, &estimate.outcome, &facts);
    verdict.weights.ok_or_else(|| {
        let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
        reasons.join("; ")
    })
}

/// What comes of it: balancers that are not changed go on with their weights.
fn effect(
    view: &PoolView,
    may: &[usize],
    weights: &BTreeMap<String, u16>,
) -> Result<Effect, String> {
    let all: f64 = (0..view.estimate.pool.members.len()).map(|place| view.traffic(place)).sum();
    let changed: f64 = may.iter().map(|&place| view.traffic(place)).sum();
    let part = if all > 0.0 { changed / all } else { 1.0 };
    let new = shares(weights.values().copied());
    let with = |(id, new): (&String, f64)| {
        let now = view.estimate.pool.backend(id).and_then(|one| one.share).unwrap_or(0.0);
        (id.clone(), part * new + (1.0 - part) * now)
    };
    predict(view, &weights.keys().zip(new).map(with).collect())
}

/// Whether it is worth anybody's time.
fn worth(view: &PoolView, effect: &Effect) -> Result<(), String> {
    let (before, after) = effect.worst;
    if before < LEAST_BUSY {
        return Err(format!(
            "nothing is busy: {} of the busiest backend are in use, other weights would not be felt",
            percent(before)
        ));
    }
    if view.objective == Objective::Latency {
        let faster = 1.0 - effect.latency_after_ms.value / effect.latency_ms;
        if faster < LEAST_FASTER {
            return Err(format!("it would be faster by {} only", percent(faster.max(0.0))));
        }
        return Ok(());
    }
    let (now, then) = effect.max_over_mean;
    if now - then < LEAST_RELIEF {
        return Err(format!(
            "the busiest backend has {now:.2} times the mean utilisation, and {then:.2} times it with the wanted weights: that is not worth a change"
        ));
    }
    debug_assert!(after <= before, "relieved");
    Ok(())
}

/// One balancer's new weights.
fn member(view: &PoolView, place: usize, weights: &BTreeMap<String, u16>) -> Option<Candidate> {
    let group = &view.estimate.pool.group;
    let changes = view.placements(place).filter_map(|(backend, placement)| {
        let server = &placement.server;
        let weight = weights.get(&backend.id)?;
        if server.state == BackendState::Maint || server.weight == 0 {
            return None;
        }
        let parameter = format!("weight:{group}/{}", server.name);
        let wanted = Wanted::Weight(u64::from(*weight));
        view.setting(place, &parameter, &server.weight.to_string(), &wanted)
    });
    // Also those that stay as they are: else control could not move them later.
    let changes: Vec<Change> = changes.collect();
    let is_new = changes.iter().any(|change| change.from != change.to);
    view.candidate(place, changes).filter(|_| is_new)
}

fn draft(
    view: &PoolView,
    context: &Context<'_>,
    effect: &Effect,
    (members, left_out): (Vec<Candidate>, Vec<String>),
) -> PoolDraft {
    let target = view.target();
    let widened_by = context.widening(KIND, &target);
    let (now, then) = effect.max_over_mean;
    let (worst, worst_after) = effect.worst;
    let balancers = members.len();
    let of =
        if balancers == 1 { "its balancer".to_owned() } else { format!("{balancers} balancers") };
    let mut risk = Risk::low("weights are read back, and the old ones come back at once");
    if balancers == 1 {
        let reason = "there is no other balancer to compare it with";
        risk = risk.and(RiskLevel::Medium, reason);
    }
    for one in left_out {
        risk.reasons.push(format!("left out: {one}"));
    }
    PoolDraft {
        kind: KIND,
        title: format!(
            "New weights for {} at {of}: the busiest backend from {} to {} in use",
            view.estimate.pool.name,
            percent(worst),
            percent(worst_after)
        ),
        members,
        metric: LATENCY,
        unit: "ms",
        before: effect.latency_ms,
        after: effect.latency_after_ms.widened(widened_by).within(0.0, f64::MAX),
        widened_by,
        evidence: evidence(view, effect),
        risk,
        undo: "Set the weights of each balancer back to what they were.".to_owned(),
        inputs: json!({
            "max_over_mean_before": now, "max_over_mean_after": then,
            "worst_before": worst, "worst_after": worst_after,
            "p99_model_before_ms": effect.p99_ms.0, "p99_model_after_ms": effect.p99_ms.1,
            "law": view.estimate.outcome.explain(),
        }),
    }
}

fn evidence(view: &PoolView, effect: &Effect) -> Vec<Evidence> {
    let estimate = &view.estimate;
    let window_ms = estimate.end_ms - estimate.start_ms;
    let query = format!("GET /api/performance/balancers (pools, name {})", estimate.pool.name);
    let one = |name: String, value: f64, unit: &str| {
        Evidence::over(&name, value, unit, window_ms, query.clone())
    };
    let mut all = vec![
        one(LATENCY.to_owned(), effect.latency_ms, "ms"),
        one("busiest backend over the mean".to_owned(), effect.max_over_mean.0, "ratio"),
        one("the same, predicted".to_owned(), effect.max_over_mean.1, "ratio"),
        one("p99 of the queueing model, predicted".to_owned(), effect.p99_ms.1, "ms"),
        one("valid windows".to_owned(), f64::from(estimate.valid_windows), "windows"),
    ];
    all.extend(
        effect.p99_ms.0.map(|p99| one("p99 of the queueing model, now".to_owned(), p99, "ms")),
    );
    for backend in estimate.outcome.backends.iter().take(SHOWN) {
        let id = &backend.id;
        all.push(one(format!("{id} requests"), backend.requests_per_second, "1/s"));
        all.extend(backend.utilization.map(|used| one(format!("{id} utilisation"), used, "ratio")));
        let capacity = estimate.capacities.get(id);
        all.extend(capacity.map(|capacity| one(format!("{id} capacity"), *capacity, "1/s")));
        all.push(one(format!("{id} wanted weight"), f64::from(backend.weight), "256ths"));
    }
    all
}
