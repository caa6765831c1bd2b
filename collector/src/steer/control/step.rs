//! One window of one pool: what the law wants, through the envelope, as weights of each balancer. Pure.

use std::collections::BTreeMap;

use flyball_model::balance::envelope::{self, Band, Facts, Reason, Verdict, guard};
use flyball_model::rollout::{Control, Controlled, Push, TargetId, Values};
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

/// What follows from a window.
pub(super) enum Step {
    /// Nothing is pushed.
    Wait {
        /// Why, in one word.
        kind: &'static str,
        /// Why, in words.
        why: String,
    },
    /// Control must not go on by itself.
    Panic {
        /// Why, in words.
        reason: String,
        /// The numbers.
        inputs: Value,
    },
    /// These weights.
    Push {
        /// What is to be pushed.
        push: Box<Push>,
        /// The envelope's word, for the law.
        verdict: Box<Verdict>,
    },
}

/// See the module.
pub(super) fn step(control: &Control, estimate: &PoolEstimate, heard: Vec<TargetId>) -> Step {
    let members = control.standing().count();
    if let Some(why) = &estimate.invalid {
        return Step::Wait { kind: "invalid", why: why.clone() };
    }
    // Who is connected and reports: what others see is not known.
    let is_fresh = |target: &TargetId| {
        estimate.pool.members.iter().any(|member| member.is_fresh() && member.id() == target.0)
    };
    let heard: Vec<TargetId> = heard.into_iter().filter(is_fresh).collect();
    if !is_majority(heard.len(), members) {
        let why = format!("{} of {members} balancers are heard, which is no majority", heard.len());
        return Step::Wait { kind: "minority", why };
    }
    let largest = control.envelope.largest_shift;
    let shift = (largest - ROUNDING).max(largest / 2.0);
    let settings = envelope::Settings { shift, ..envelope::Settings::default() };
    let facts = Facts {
        requests_per_second: estimate.pool.requests_per_second,
        unhealthy: estimate.unhealthy.clone(),
        bands: bands(control, estimate),
    };
    let verdict = guard(&settings, &estimate.state, &estimate.outcome, &facts);
    let words: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
    let Some(weights) = &verdict.weights else {
        return held(&verdict, words.join("; "), estimate);
    };
    let mut values: BTreeMap<TargetId, Values> = BTreeMap::new();
    for member in control.standing() {
        let own = of_member(member, control, estimate, weights);
        if let Some(why) = distorted(member, estimate, weights, &own) {
            return Step::Wait { kind: "distorted", why };
        }
        values.insert(member.target.id.clone(), own);
    }
    let push = Push {
        rollout: control.rollout.clone(),
        values,
        window_ms: estimate.end_ms,
        heard: heard.into_iter().collect(),
        reason: reason(estimate, &words),
        inputs: inputs(estimate, &verdict, &words),
    };
    Step::Push { push: Box::new(push), verdict: Box::new(verdict) }
}

/// Whether so many are more than half of all.
const fn is_majority(heard: usize, members: usize) -> bool {
    heard * 2 > members
}

fn held(verdict: &Verdict, why: String, estimate: &PoolEstimate) -> Step {
    let kind = match verdict.reasons.last() {
        Some(Reason::Panic { .. }) => {
            let inputs = inputs(estimate, verdict, std::slice::from_ref(&why));
            return Step::Panic { reason: why, inputs };
        }
        Some(Reason::WarmUp { .. }) => "warm_up",
        Some(Reason::Utilization { .. }) => "utilization",
        _ => "unmoved",
    };
    Step::Wait { kind, why }
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

/// Weights of one balancer. Where it has a backend whose weight is not under control, the others keep their ratio to that one.
fn of_member(
    member: &Controlled,
    control: &Control,
    estimate: &PoolEstimate,
    weights: &BTreeMap<String, u16>,
) -> Values {
    let all: Vec<_> = placements(member, estimate).collect();
    if all.is_empty() {
        return by_name(member, control, estimate, weights);
    }
    let fixed = all.iter().find_map(|(id, parameter, placement)| {
        let weight = weights.get(*id).filter(|_| !member.values.contains_key(parameter))?;
        let in_force = placement.server.weight;
        let serves = placement.server.state == BackendState::Ready;
        (serves && in_force > 0).then(|| f64::from(in_force) / f64::from(*weight))
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
    weights: &BTreeMap<String, u16>,
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

/// Why weights of a balancer would not share its requests as the envelope allowed: rounding, bounds, or a backend that is not under control. `None`: they do.
fn distorted(
    member: &Controlled,
    estimate: &PoolEstimate,
    weights: &BTreeMap<String, u16>,
    own: &Values,
) -> Option<String> {
    let serving: Vec<(f64, f64)> = placements(member, estimate)
        .filter(|(_, _, placement)| placement.server.state == BackendState::Ready)
        .filter_map(|(id, parameter, placement)| {
            let then = own.get(&parameter).and_then(|value| value.parse().ok());
            let then = then.unwrap_or(f64::from(placement.server.weight));
            Some((f64::from(*weights.get(id)?), then))
        })
        .collect();
    let (allowed, then): (f64, f64) =
        serving.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    if allowed <= 0.0 || then <= 0.0 {
        return None;
    }
    let differs = |(x, y): &(f64, f64)| (x / allowed - y / then).abs();
    let most = serving.iter().map(differs).fold(0.0, f64::max);
    (most > DISTORTION).then(|| {
        format!(
            "{} would share its requests otherwise than is wanted, by up to {:.0} %: a backend is not under control, or a bound is reached",
            member.target.id,
            most * 100.0
        )
    })
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
