//! Looks: at which numbers of windows the judge decides, and what it sees there.
//!
//! Looking again and again until something shows finds harm in every good change. So there is a
//! fixed, growing list of looks, each a third later than the one before, and each spends the same
//! share of the allowed error (alpha spending by Bonferroni's bound, which holds for any noise). However
//! often the judge is asked, between two looks its word is that of the first of them. For the
//! dozen looks of an hour that costs no more than a confidence sequence, which pays for a look
//! after every window.

use std::cmp::Ordering;

use super::arms::Partial;
use super::comparison::{Comparison, Gap};
use super::contrast::Point;
use super::estimate::{Estimate, Measure, Stretch};
use super::trial::{Limits, Trial};
use super::verdict::{Effect, Facet, Interval, Judgement};

/// Number of windows at a look over that at the one before.
const GROWTH: f64 = 1.3;
/// Share of new room in use from which on it counts as filled: replicas, buffers and deleted keys keep a
/// server from using all of it.
const FILLED: f64 = 0.9;
/// Share of a promised gain that has to come. The gain is no straight line of the room, a prediction has
/// an error of its own, and who gets the larger part has no reason to go back.
const HALF: f64 = 0.5;

/// What one look shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Windows after the change, or after the hold.
    pub windows: u32,
    /// Whether they lie within the hold: then only harm beyond the wide margin counts.
    pub held: bool,
    /// What was compared.
    pub effects: Vec<Effect>,
    /// What could not be compared: the metric's name, and why.
    pub gaps: Vec<(String, String)>,
}

/// Where a look stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// First window, counted from the change.
    from: u32,
    windows: u32,
    /// Share of the limits' probabilities of an error that it may spend.
    spend: f64,
    widen: f64,
}

/// Numbers of windows after the change, or after the hold, at which the judge decides.
pub fn looks(limits: &Limits) -> Vec<u32> {
    schedule(limits.least_after() as u32, limits.max_windows)
}

fn schedule(first: u32, last: u32) -> Vec<u32> {
    let mut looks = Vec::new();
    let mut next = first;
    while next < last {
        looks.push(next);
        next = ((f64::from(next) * GROWTH).ceil() as u32).max(next.saturating_add(1));
    }
    looks.push(last);
    looks
}

/// What each look up to `until_ms` shows, the earliest first. A window counts as told one window after
/// its end. Empty where [`judge`](super::judge()) has nothing to compare.
pub fn history(trial: &Trial, until_ms: i64) -> Vec<Look> {
    if trial.problem().is_some() {
        return Vec::new();
    }
    let comparisons = Comparison::all(trial);
    let elapsed = until_ms.saturating_sub(trial.changed_at_ms).max(0) / i64::from(trial.window_ms);
    let told = u32::try_from(elapsed - 1).unwrap_or(if elapsed < 1 { 0 } else { u32::MAX });
    places(trial)
        .into_iter()
        .filter(|place| place.windows > 0 && place.from.saturating_add(place.windows) <= told)
        .map(|place| at(&comparisons, place, trial))
        .collect()
}

fn places(trial: &Trial) -> Vec<Place> {
    let limits = &trial.limits;
    let hold = trial.hold.filter(|hold| hold.windows > 0);
    let phase = |from, looks: Vec<u32>, share: f64, widen| {
        let spend = share / looks.len() as f64;
        looks.into_iter().map(move |windows| Place { from, windows, spend, widen })
    };
    let Some(hold) = hold else {
        return phase(0, looks(limits), 1.0, 1.0).collect();
    };
    let first = (limits.least_after() as u32).min(hold.windows);
    let held = phase(0, schedule(first, hold.windows), 0.5, hold.widen);
    held.chain(phase(hold.windows, looks(limits), 0.5, 1.0)).collect()
}

fn at(comparisons: &[Result<Comparison, Gap>], place: Place, trial: &Trial) -> Look {
    let held = trial.hold.is_some_and(|hold| place.from < hold.windows);
    let mut look = Look { windows: place.windows, held, effects: Vec::new(), gaps: Vec::new() };
    let mut claims = Vec::new();
    for comparison in comparisons {
        let seen = match comparison {
            Ok(comparison) => see(comparison, place, held),
            Err(gap) => Err(gap.clone()),
        };
        match seen {
            Ok(Seen { effect, claim, promise }) => {
                if let (Ok(comparison), Some(claim)) = (comparison, claim) {
                    claims.push((look.effects.len(), comparison, claim));
                }
                look.effects.push(effect);
                look.effects.extend(promise);
            }
            Err(gap) => look.gaps.push((gap.metric, format!("{}: {}", gap.facet.name(), gap.why))),
        }
    }
    let alpha = trial.limits.gain_alpha * place.spend;
    for (index, gained) in claimed(&claims, alpha) {
        look.effects[index].gained = Some(gained);
    }
    look
}

/// Holm's step-down: the strongest claim must hold at `alpha / n`, the next at `alpha / (n - 1)`.
fn claimed(claims: &[(usize, &Comparison, Estimate)], alpha: f64) -> Vec<(usize, bool)> {
    let mut open: Vec<&(usize, &Comparison, Estimate)> = claims.iter().collect();
    let mut won = Vec::new();
    loop {
        let level = alpha / open.len().max(1) as f64;
        let holds = |(_, comparison, estimate): &&(usize, &Comparison, Estimate)| {
            comparison.sign * estimate.effect + comparison.halves(estimate, level).1 < 0.0
        };
        let (holding, rest): (Vec<_>, Vec<_>) = open.iter().copied().partition(holds);
        if holding.is_empty() {
            return won
                .into_iter()
                .map(|i| (i, true))
                .chain(rest.iter().map(|c| (c.0, false)))
                .collect();
        }
        won.extend(holding.iter().map(|claim| claim.0));
        open = rest;
    }
}

/// What one comparison shows at a look.
struct Seen {
    effect: Effect,
    /// What a gain is claimed by, where one is.
    claim: Option<Estimate>,
    /// Whether a promise is kept, where one was made.
    promise: Option<Effect>,
}

fn see(comparison: &Comparison, place: Place, held: bool) -> Result<Seen, Gap> {
    let gap = |why: String| Gap { metric: comparison.metric.clone(), facet: comparison.facet, why };
    let together = comparison.together;
    let from = i64::from(place.from.div_ceil(together));
    let to = i64::from(place.from.saturating_add(place.windows) / together).max(from);
    let comparison = comparison.within(from, to);
    let points = &comparison.contrast.after;
    let points: Vec<Point> =
        points.iter().filter(|p| (from..to).contains(&p.slot)).copied().collect();
    let least = comparison.least_slots();
    if points.len() < least {
        let seen = points.len();
        return Err(gap(format!("{seen} usable windows after the change, {least} needed")));
    }
    let none = || gap("nothing that varies was seen after the change".into());
    let after = Stretch::of(&points, comparison.measure).ok_or_else(none)?;
    let estimate = comparison.estimate(&after, from.unsigned_abs() as usize);
    let claim = (!held && comparison.is_claimed()).then(|| estimate.clone());
    let obstacle = comparison
        .obstacle
        .clone()
        .or_else(|| comparison.obstacle_in(from, to, &after, &points, "after the change"));
    let judged = !held && obstacle.is_none() && comparison.contrast.has_promise();
    let promise = judged.then(|| promise(comparison, place, &points)).flatten();
    Ok(Seen { effect: effect(comparison, place, &estimate, &after, obstacle), claim, promise })
}

/// Whether half of what was promised has come. Where the new room is filled in enough windows these count;
/// else all do, and then too little only keeps from passing: more may come.
fn promise(comparison: &Comparison, place: Place, points: &[Point]) -> Option<Effect> {
    let filled: Vec<Point> = points.iter().filter(|p| p.filled >= FILLED).copied().collect();
    let due = filled.len() >= comparison.least_slots();
    let points = if due { &filled[..] } else { points };
    let missing = |p: &Point| Point {
        treated: p.treated - p.promised,
        doubt: p.doubt.hypot(p.promise_doubt * HALF),
        ..*p
    };
    let after = Stretch::of(&points.iter().map(missing).collect::<Vec<_>>(), Measure::Mean)?;
    let first = points.first()?.slot.unsigned_abs() as usize;
    let estimate = comparison.estimate(&after, first);
    let weight: f64 = points.iter().map(|p| p.weight).sum();
    let promised = points.iter().map(|p| p.promised.abs() * p.weight).sum::<f64>() / weight;
    let alpha = comparison.limits.harm_alpha * place.spend * comparison.share;
    let surely = comparison.sign * estimate.effect - comparison.halves(&estimate, alpha).0;
    let broken = surely > promised * HALF && promised > 0.0;
    let still = "less than half of what the new room promises so far, and it is not filled yet";
    let mut seen = effect(comparison, place, &estimate, &after, None);
    seen.facet = Facet::Promise;
    seen.margin = promised * HALF;
    seen.result = match (broken, due) {
        (true, true) => Judgement::Harm,
        (true, false) => Judgement::Inconclusive,
        (false, _) => Judgement::Pass,
    };
    seen.obstacle = (broken && !due).then(|| still.to_owned());
    Some(seen)
}

fn effect(
    comparison: &Comparison,
    place: Place,
    estimate: &Estimate,
    after: &Stretch,
    obstacle: Option<String>,
) -> Effect {
    let limits = &comparison.limits;
    let alpha = limits.pass_alpha * place.spend;
    let harm = comparison.sign * estimate.effect;
    let surely = comparison.halves(estimate, limits.harm_alpha * place.spend * comparison.share).0;
    let (below, above) = comparison.halves(estimate, alpha);
    let margin = comparison.margin * place.widen;
    let result = if harm - surely > margin {
        Judgement::Harm
    } else if harm + above < margin && obstacle.is_none() {
        Judgement::Pass
    } else {
        Judgement::Inconclusive
    };
    let observed = comparison.observed(after);
    let around = |value: f64, half: f64| Interval { value, low: value - half, high: value + half };
    let scale = |x: f64| if comparison.is_logarithmic() { x.exp_m1() } else { x };
    let level = |x: f64| if comparison.is_logarithmic() { x.exp() } else { x };
    Effect {
        metric: comparison.metric.clone(),
        facet: comparison.facet,
        result,
        harm: Interval { value: harm, low: harm - below, high: harm + above }.map(scale),
        harm_at_least: scale(harm - surely),
        margin: scale(margin),
        gained: None,
        expected: around(observed - estimate.effect, estimate.expected_half(alpha)).map(level),
        observed: around(observed, estimate.observed_half(alpha)).map(level),
        samples: after.samples(),
        windows: after.windows as u32 * comparison.together,
        obstacle,
        left_out: comparison.partial.iter().map(Partial::told).collect(),
    }
}

/// The more harmed first: by the harm beyond the margin in units of it, then by name.
pub(super) fn worst_first(a: &Effect, b: &Effect) -> Ordering {
    let excess = |e: &Effect| (e.harm_at_least - e.margin) / e.margin.max(f64::MIN_POSITIVE);
    excess(b).total_cmp(&excess(a)).then_with(|| (&a.metric, a.facet).cmp(&(&b.metric, b.facet)))
}
