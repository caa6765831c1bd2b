//! One window of one pool: what the law wants, through the envelope, as weights of each balancer. Pure.

use std::collections::{BTreeMap, BTreeSet};

use flyball_model::balance::envelope::{self, Band, Facts, Reason, Verdict, guard};
use flyball_model::balance::law;
use flyball_model::rollout::{Control, Controlled, Push, TargetId, Values, part_of_the_way, shift};
use flyball_proto::steering::BackendState;
use serde_json::{Value, json};

use crate::balancers::pool::Placement;
use crate::balancers::shadow::PoolEstimate;

/// Largest weight that is ever computed.
const MOST: u64 = 256;
/// Weights are whole numbers, so a push moves a little more than was aimed at.
const ROUNDING: f64 = 0.01;
/// A share of a balancer's requests may differ by so much from what the envelope allowed.
const DISTORTION: f64 = 0.03;

/// Weights of a pool by backend, 1 to 256.
pub(super) type Weights = BTreeMap<String, u16>;

/// What follows from a window.
pub(super) enum Step {
    /// Nothing is pushed.
    Wait {
        /// Why, in one word.
        kind: &'static str,
        /// Why, in words.
        why: String,
        /// Whether something was held back that the law wants.
        is_restrained: bool,
    },
    /// Control must not go on by itself.
    Panic {
        /// Why, in words.
        reason: String,
        /// The numbers.
        inputs: Value,
    },
    /// These weights.
    Push(Box<Pushing>),
}

/// A push with what is to be remembered of it.
pub(super) struct Pushing {
    /// What is to be pushed.
    pub(super) push: Push,
    /// The envelope's word, for the law; `None` when balancers only get what the others have.
    pub(super) verdict: Option<Verdict>,
    /// What all are to have.
    pub(super) aim: Weights,
    /// Balancers that do not get it.
    pub(super) left_out: Vec<LeftOut>,
}

/// A balancer that does not get what the others get.
#[derive(Debug)]
pub(super) struct LeftOut {
    /// Why, in one word.
    pub(super) kind: &'static str,
    /// Which and why, in words.
    pub(super) why: String,
}

/// See the module. `aim` is what was pushed last, if it is known: balancers that were left out get it when the law is at rest.
pub(super) fn step(
    control: &Control,
    estimate: &PoolEstimate,
    heard: Vec<TargetId>,
    aim: Option<&Weights>,
) -> Step {
    let wait = |kind, why| Step::Wait { kind, why, is_restrained: true };
    let members = control.standing().count();
    if let Some(why) = &estimate.invalid {
        return wait("invalid", why.clone());
    }
    // Who is connected and reports: what others see is not known.
    let heard: BTreeSet<TargetId> =
        heard.into_iter().filter(|target| is_fresh(target, estimate)).collect();
    if !is_majority(heard.len(), members) {
        let why = format!("{} of {members} balancers are heard, which is no majority", heard.len());
        return wait("minority", why);
    }
    let largest = control.envelope.largest_shift;
    let settings = envelope::Settings {
        shift: (largest - ROUNDING).max(largest / 2.0),
        ..envelope::Settings::default()
    };
    let facts = Facts {
        requests_per_second: estimate.pool.requests_per_second,
        unhealthy: estimate.unhealthy.clone(),
        bands: bands(control, estimate),
    };
    let verdict = guard(&settings, &estimate.state, &estimate.outcome, &facts);
    let words: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
    let inputs = inputs(estimate, &verdict, &words);
    let draft = |reason| Push {
        rollout: control.rollout.clone(),
        values: BTreeMap::new(),
        window_ms: estimate.end_ms,
        heard: heard.clone(),
        beside: BTreeMap::new(),
        reason,
        inputs: inputs.clone(),
    };
    if let Some(weights) = verdict.weights.clone() {
        let push = draft(reason(estimate, &words));
        return pushed(control, estimate, push, (weights, Some(verdict)));
    }
    let at_rest = matches!(
        verdict.reasons.last(),
        Some(Reason::Law(law::Push::Unmoved) | Reason::NothingLeft)
    ) && estimate.state.valid_windows >= settings.warm_up_windows;
    if let Some(aim) = aim.filter(|_| at_rest)
        && control.standing().any(|member| is_behind(member, estimate, aim))
    {
        let push = draft("balancers that were left out get the weights of the others".to_owned());
        return pushed(control, estimate, push, (aim.clone(), None));
    }
    held(&verdict, words.join("; "), inputs)
}

/// The push of these weights to all balancers; of what was pushed before only to those that are behind.
fn pushed(
    control: &Control,
    estimate: &PoolEstimate,
    mut push: Push,
    (aim, verdict): (Weights, Option<Verdict>),
) -> Step {
    let mut left_out = Vec::new();
    for member in control.standing() {
        if verdict.is_none() && !is_behind(member, estimate, &aim) {
            continue;
        }
        let beside = beside(member, estimate);
        match of_member(member, (control, &beside), estimate, &aim) {
            Ok(own) => {
                push.values.insert(member.target.id.clone(), own);
                push.beside.insert(member.target.id.clone(), beside);
            }
            Err(one) => left_out.push(one),
        }
    }
    if push.values.is_empty() {
        let kind = left_out.first().map_or("same", |one| one.kind);
        let why: Vec<String> = left_out.into_iter().map(|one| one.why).collect();
        return Step::Wait { kind, why: why.join("; "), is_restrained: verdict.is_some() };
    }
    Step::Push(Box::new(Pushing { push, verdict, aim, left_out }))
}

fn is_fresh(target: &TargetId, estimate: &PoolEstimate) -> bool {
    estimate.pool.members.iter().any(|member| member.is_fresh() && member.id() == target.0)
}

/// Whether a balancer shares its requests otherwise than it would with these weights.
fn is_behind(member: &Controlled, estimate: &PoolEstimate, aim: &Weights) -> bool {
    is_fresh(&member.target.id, estimate) && off(member, estimate, aim, &Values::new()) > DISTORTION
}

/// Whether so many are more than half of all.
const fn is_majority(heard: usize, members: usize) -> bool {
    heard * 2 > members
}

fn held(verdict: &Verdict, why: String, inputs: Value) -> Step {
    let kind = match verdict.reasons.last() {
        Some(Reason::Panic { .. }) => return Step::Panic { reason: why, inputs },
        Some(Reason::WarmUp { .. }) => "warm_up",
        Some(Reason::Utilization { .. }) => "utilization",
        _ => "unmoved",
    };
    Step::Wait { kind, why, is_restrained: verdict.restrained() }
}

/// Placements of a balancer under control, with the backend's id and its parameter.
fn placements<'a>(
    member: &'a Controlled,
    estimate: &'a PoolEstimate,
) -> impl Iterator<Item = (&'a str, String, &'a Placement)> {
    let pool = &estimate.pool;
    pool.backends.iter().flat_map(move |backend| {
        let own = backend.placements.iter().filter(move |placement| {
            pool.members.get(placement.member).is_some_and(|of| of.id() == member.target.id.0)
        });
        own.map(move |placement| {
            let parameter = format!("weight:{}/{}", pool.group, placement.server.name);
            (backend.id.as_str(), parameter, placement)
        })
    })
}

/// The confirmed bounds, on the scale of the law.
fn bands(control: &Control, estimate: &PoolEstimate) -> BTreeMap<String, Band> {
    let mut bands: BTreeMap<String, Band> = BTreeMap::new();
    for member in control.standing() {
        for (id, parameter, _) in placements(member, estimate) {
            let Some((least, most)) = control.envelope.bounds.get(&parameter) else { continue };
            let weight = |bound: u64| bound.clamp(1, MOST) as u16;
            let band = bands.entry(id.to_owned());
            let band = band.or_insert(Band { least: 1, most: MOST as u16 });
            band.least = band.least.max(weight(*least));
            band.most = band.most.min(weight(*most));
        }
    }
    bands
}

/// Weights in force of a balancer's backends that have requests and are not under control.
fn beside(member: &Controlled, estimate: &PoolEstimate) -> Values {
    let others = serving(member, estimate).filter(|(_, name, _)| !member.values.contains_key(name));
    others.map(|(_, name, placement)| (name, placement.server.weight.to_string())).collect()
}

/// What a balancer gets: as far towards the wanted weights as one push may go there.
fn of_member(
    member: &Controlled,
    (control, beside): (&Control, &Values),
    estimate: &PoolEstimate,
    weights: &Weights,
) -> Result<Values, LeftOut> {
    let wanted = wanted(member, control, estimate, weights);
    let by = off(member, estimate, weights, &wanted);
    if by > DISTORTION {
        let why = format!(
            "{} would share its requests otherwise than is wanted, by up to {:.0} %: a backend is not under control, or a bound is reached",
            member.target.id,
            by * 100.0
        );
        return Err(LeftOut { kind: "distorted", why });
    }
    let mut in_force: Values = serving(member, estimate)
        .map(|(_, name, placement)| (name, placement.server.weight.to_string()))
        .collect();
    if !is_fresh(&member.target.id, estimate) {
        // Who is not heard gets the newest weights when it is back.
        in_force.clear();
    }
    let largest = control.envelope.largest_shift;
    let may = |values: &Values| {
        member.shift(values, beside) <= largest && shift(&in_force, values) <= largest
    };
    part_of_the_way(&member.values, &wanted, may).ok_or_else(|| {
        let (moved, id) = (shift(&in_force, &wanted).max(member.shift(&wanted, beside)), &member.target.id);
        let why = format!(
            "{:.0} % of the traffic of {id} would move, {:.0} % may at once, and there is no smaller step",
            moved * 100.0,
            largest * 100.0
        );
        LeftOut { kind: "shift", why }
    })
}

/// Placements of a balancer that are given requests.
fn serving<'a>(
    member: &'a Controlled,
    estimate: &'a PoolEstimate,
) -> impl Iterator<Item = (&'a str, String, &'a Placement)> {
    placements(member, estimate)
        .filter(|(_, _, placement)| placement.server.state == BackendState::Ready)
}

/// Weights of one balancer. Where it has a backend whose weight is not under control, the others keep their ratio to that one.
fn wanted(
    member: &Controlled,
    control: &Control,
    estimate: &PoolEstimate,
    weights: &Weights,
) -> Values {
    let all: Vec<_> = placements(member, estimate).collect();
    if all.is_empty() {
        return by_name(member, control, estimate, weights);
    }
    let fixed = serving(member, estimate).find_map(|(id, parameter, placement)| {
        let weight = weights.get(id).filter(|_| !member.values.contains_key(&parameter))?;
        let in_force = placement.server.weight;
        (in_force > 0).then(|| f64::from(in_force) / f64::from(*weight))
    });
    let scale = fixed.unwrap_or(1.0);
    let own = all.into_iter().filter_map(|(id, parameter, _)| {
        let (least, most) = *control.envelope.bounds.get(&parameter)?;
        let weight = (f64::from(*weights.get(id)?) * scale).round() as u64;
        let weight = weight.max(1).clamp(least.min(most), most);
        member.values.contains_key(&parameter).then(|| (parameter, weight.to_string()))
    });
    own.collect()
}

/// Weights of a balancer that reports to another collector: its backends are those of the same names. Nothing where one of them is not known here.
fn by_name(
    member: &Controlled,
    control: &Control,
    estimate: &PoolEstimate,
    weights: &Weights,
) -> Values {
    let pool = &estimate.pool;
    let names: BTreeMap<String, &str> = (pool.backends.iter())
        .flat_map(|backend| backend.placements.iter().map(move |one| (&one.server.name, backend)))
        .map(|(name, backend)| (format!("weight:{}/{name}", pool.group), backend.id.as_str()))
        .collect();
    let weight = |parameter: &String| {
        let (least, most) = *control.envelope.bounds.get(parameter)?;
        let weight = u64::from(*weights.get(*names.get(parameter)?)?).max(1);
        Some((parameter.clone(), weight.clamp(least.min(most), most).to_string()))
    };
    member.values.keys().map(weight).collect::<Option<Values>>().unwrap_or_default()
}

/// By how much a share of a balancer's requests differs from what these weights of the pool ask for, the most of its backends: through rounding, bounds, or
/// a backend that is not under control. What is not in `own` stays as it is in force.
fn off(member: &Controlled, estimate: &PoolEstimate, weights: &Weights, own: &Values) -> f64 {
    let serving: Vec<(f64, f64)> = serving(member, estimate)
        .filter_map(|(id, parameter, placement)| {
            let then = own.get(&parameter).and_then(|value| value.parse().ok());
            let then = then.unwrap_or(f64::from(placement.server.weight));
            Some((f64::from(*weights.get(id)?), then))
        })
        .collect();
    let (allowed, then): (f64, f64) =
        serving.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    if allowed <= 0.0 || then <= 0.0 {
        return 0.0;
    }
    let differs = |(x, y): &(f64, f64)| (x / allowed - y / then).abs();
    serving.iter().map(differs).fold(0.0, f64::max)
}

fn reason(estimate: &PoolEstimate, words: &[String]) -> String {
    let mut reason = estimate.outcome.push.to_string();
    for word in words {
        reason.push_str("; ");
        reason.push_str(word);
    }
    reason
}

fn inputs(estimate: &PoolEstimate, verdict: &Verdict, words: &[String]) -> Value {
    let windows: Vec<Value> = (estimate.windows.iter())
        .map(|window| {
            json!([
                window.id,
                window.requests,
                window.errors,
                window.utilization,
                window.latency_ms,
                window.age_ms,
            ])
        })
        .collect();
    json!({
        "start_ms": estimate.start_ms, "end_ms": estimate.end_ms,
        "windows": windows, "law": estimate.outcome.explain(),
        "envelope": words, "shift": verdict.shift, "utilization": verdict.utilization,
        "capacities": estimate.capacities,
    })
}

#[cfg(test)]
mod tests;
