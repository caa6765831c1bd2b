//! A rollout at load balancers as its judge sees it: those that have the change beside those that wait for it.
//!
//! Windows are those of the pools' [watch](crate::balancers::watch). The changed balancers of the wave are compared with all that are not changed yet; when none is left
//! (the last wave, or a pool with one balancer), with what the [queueing model](flyball_model::balance::queueing) says the shares of before would give
//! under the load of now, from which the model's error before the change is taken off. Where the model says nothing, the past alone stands for the old weights.

use std::collections::{BTreeMap, BTreeSet};

use flyball_model::balance::judge::{
    ERROR_RATIO, Facts, Failures, LATENCY, Span as Seen, Stop, StopLimits, stop, verdict,
};
use flyball_model::balance::queueing::{Algorithm, Load, Server, forecast};
use flyball_model::judge::{
    Arm, Expected, Margin, Metric, Predicted, Role, Trial, Unit, Value, Verdict, Window, Worse,
};
use flyball_model::rollout::{Member, Planned, Rollout, RolloutId, State, Target, TargetId};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{BalancerState, Target as Server_};
use serde_json::{Value as Json, json};

use super::settings::JudgeSettings;
use super::trial::{Cut, Span, inputs, span};
use crate::balancers::kept::{MemberWindow, PoolWindow};
use crate::balancers::watch::PoolWatch;
use crate::steer::watch::Steering;

/// Balancers that a wave is compared with at most.
const MOST_CONTROLS: usize = 32;
/// Windows before the change whose shares stand for the old weights.
const SHARES_OF: usize = 60;
/// What a prediction is off by, as a share: its level is corrected by the past.
const MODEL_ERROR: f64 = 0.02;

/// What was measured of one balancer.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) target: TargetId,
    pub(super) arm: Arm,
    pub(super) windows: Vec<MemberWindow>,
}

/// All that a look needs, read at once.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) measured: Vec<Measured>,
    pub(super) past: Vec<PoolWindow>,
    pub(super) width_ms: u32,
}

/// Reads what the pools' watch has of a rollout since `since_ms`.
pub(super) fn sight(
    pools: &PoolWatch,
    rollout: &Rollout,
    settings: &JudgeSettings,
    since_ms: i64,
) -> Option<Sight> {
    let width_ms = u32::try_from(pools.window_ms()).unwrap_or(u32::MAX).max(1);
    let (treated, controls) = sides(rollout);
    let first = treated.first()?;
    let groups = rollout
        .plan
        .members
        .iter()
        .map(|planned| (planned.target.id.0.as_str(), parameter(planned)));
    let pool = pools.pool_of_most(groups)?;
    let began_ms = rollout.touched_at_ms(rollout.place(&first.target.id)?);
    let before_ms = i64::from(settings.max_before + 2) * i64::from(width_ms);
    let from_ms = began_ms.saturating_sub(before_ms).max(since_ms);
    let of = |arm: Arm| {
        move |planned: &&Planned| Measured {
            target: planned.target.id.clone(),
            arm,
            windows: pools.member_past(&planned.target.id.0, parameter(planned), from_ms),
        }
    };
    let mut measured: Vec<Measured> = treated.iter().map(of(Arm::Treated)).collect();
    measured.extend(controls.iter().map(of(Arm::Control)));
    Some(Sight { measured, past: pools.pool_past(&pool, from_ms), width_ms })
}

/// One that is changed: it tells the group.
fn parameter(planned: &Planned) -> &str {
    planned.revert_to.keys().next().map_or("", String::as_str)
}

/// Those of the wave that is under way, and those that no wave has reached.
fn sides(rollout: &Rollout) -> (Vec<&Planned>, Vec<&Planned>) {
    let (wave, _) = rollout.compared();
    let members = || rollout.plan.members.iter().zip(&rollout.members);
    let treated = members().filter(|(planned, _)| wave.iter().any(|of| of.id == planned.target.id));
    let waits = members().filter(|(planned, member)| {
        **member == Member::Untouched && wave.iter().all(|of| of.id != planned.target.id)
    });
    let plans = |(planned, _)| planned;
    (treated.map(plans).collect(), waits.map(plans).take(MOST_CONTROLS).collect())
}

/// The verdict, with what it was computed from; `None` for a rollout that is not being judged.
pub(super) fn judged(
    rollout: &Rollout,
    sight: &Sight,
    settings: &JudgeSettings,
    now_ms: i64,
) -> Option<(Verdict, Json)> {
    let span = span(rollout)?;
    let validate_ms = rollout.plan.limits.validate_max_ms;
    let trial = trial(span, sight, settings, validate_ms);
    let failures = failures(span, sight);
    let mut inputs = inputs(&trial);
    if let Some(fields) = inputs.as_object_mut() {
        fields.insert("failures".to_owned(), json!(failures));
    }
    Some((verdict(&trial, &failures, now_ms), inputs))
}

/// The trial that is given to the judge.
pub(super) fn trial(
    span: Span,
    sight: &Sight,
    settings: &JudgeSettings,
    validate_max_ms: i64,
) -> Trial {
    let cut = Cut::new(span, sight.width_ms);
    let has_controls = sight.measured.iter().any(|of| of.arm == Arm::Control);
    let predicted = if has_controls { Vec::new() } else { predicted(span, sight, cut) };
    let unit = |of: &Measured, value: fn(&MemberWindow) -> Option<Value>, says: &[Predicted]| {
        let windows = of.windows.iter().filter_map(|window| {
            let (start_ms, width_ms) = (window.start_ms, sight.width_ms);
            cut.place(Window { start_ms, width_ms, value: value(window)? })
        });
        Unit {
            name: of.target.0.clone(),
            arm: of.arm,
            windows: windows.collect(),
            counterfactual: says.to_vec(),
            expected: Expected::AsBefore,
        }
    };
    let metric =
        |name: &str, margin, value: fn(&MemberWindow) -> Option<Value>, says: &[Predicted]| {
            Metric {
                name: name.to_owned(),
                role: Role::Guard,
                worse: Worse::Higher,
                margin,
                spread: None,
                units: sight.measured.iter().map(|of| unit(of, value, says)).collect(),
            }
        };
    let latency = Margin::Relative(settings.latency_margin);
    let errors = Margin::Absolute(settings.error_margin);
    Trial {
        changed_at_ms: cut.end_ms,
        window_ms: sight.width_ms,
        hold: None,
        limits: settings.limits(validate_max_ms, sight.width_ms, None),
        metrics: vec![
            metric(LATENCY, latency, latency_of, &predicted),
            metric(ERROR_RATIO, errors, errors_of, &[]),
        ],
    }
}

fn latency_of(window: &MemberWindow) -> Option<Value> {
    let mean = window.latency_ms?;
    (window.requests > 0).then_some(Value::Level { mean, count: window.requests })
}

fn errors_of(window: &MemberWindow) -> Option<Value> {
    let (requests, hits) = (window.requests, window.errors.min(window.requests));
    (requests > 0).then_some(Value::Ratio { requests, hits })
}

/// What the model says the shares of before would give, in each window that it can say it for.
fn predicted(span: Span, sight: &Sight, cut: Cut) -> Vec<Predicted> {
    let before = sight.past.iter().rev().filter(|window| window.start_ms < span.began_ms);
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for window in before.take(SHARES_OF) {
        for (id, share) in &window.shares {
            *shares.entry(id).or_default() += share;
        }
    }
    let sum: f64 = shares.values().sum();
    if sum.is_nan() || sum <= 0.0 {
        return Vec::new();
    }
    let said = sight.past.iter().filter_map(|window| {
        let server = |(id, share): (&&str, &f64)| {
            let capacity_per_second = *window.capacities.get(*id)?;
            let workers = window.workers.get(*id).copied().unwrap_or(1);
            Some(Server { capacity_per_second, workers, share: share / sum })
        };
        let servers: Option<Vec<Server>> = shares.iter().map(server).collect();
        let requests_per_second = window.requests_per_second;
        let load = Load { requests_per_second, balancers: 1, algorithm: Algorithm::RoundRobin };
        let value = forecast(&servers?, &load).ok()?.mean_ms.value;
        let start_ms = cut.moved(window.start_ms)?;
        Some(Predicted { start_ms, value, standard_error: value * MODEL_ERROR })
    });
    said.collect()
}

/// Failures of both sides, window by window.
fn failures(span: Span, sight: &Sight) -> Failures {
    let counts = |arm, is_after| {
        let spans = spans(sight, arm, (span.began_ms, span.judged_ms), is_after);
        spans.into_values().map(|seen| seen.count).collect()
    };
    Failures {
        treated_before: counts(Arm::Treated, false),
        treated_after: counts(Arm::Treated, true),
        control_before: counts(Arm::Control, false),
        control_after: counts(Arm::Control, true),
    }
}

/// Windows of one side together, before a time or whole ones after another.
fn spans(
    sight: &Sight,
    arm: Arm,
    (began_ms, since_ms): (i64, i64),
    is_after: bool,
) -> BTreeMap<i64, Seen> {
    let width_ms = i64::from(sight.width_ms);
    let counts = |window: &&MemberWindow| {
        if is_after { window.start_ms >= since_ms } else { window.start_ms + width_ms <= began_ms }
    };
    let mut all: BTreeMap<i64, Seen> = BTreeMap::new();
    for of in sight.measured.iter().filter(|of| of.arm == arm) {
        for window in of.windows.iter().filter(counts) {
            let seen = all.entry(window.start_ms).or_default();
            seen.start_ms = window.start_ms;
            seen.count.requests = seen.count.requests.saturating_add(window.requests);
            seen.count.errors = seen.count.errors.saturating_add(window.errors);
            let p99_ms = seen.p99_ms.into_iter().chain(window.latency_p99_ms);
            seen.p99_ms = p99_ms.reduce(f64::max);
            seen.queued.extend(window.queues.keys().cloned());
        }
    }
    all
}

/// What ends a rollout at once, and since when balancers cannot be reached.
#[derive(Debug, Default)]
pub(super) struct Stops {
    gone: BTreeMap<(RolloutId, TargetId), i64>,
    /// The step that a balancer has in force by its agent's word, and since which look.
    in_force: BTreeMap<(RolloutId, TargetId), (u64, i64)>,
}

impl Stops {
    /// Forgets all rollouts but these.
    pub(super) fn keep(&mut self, going: &[RolloutId]) {
        self.gone.retain(|(rollout, _), _| going.contains(rollout));
        self.in_force.retain(|(rollout, _), _| going.contains(rollout));
    }

    /// The reason to stop a rollout, if there is one, with the facts.
    pub(super) fn look(
        &mut self,
        (rollout, state): (&Rollout, &State),
        (steering, sight): (&Steering, Option<&Sight>),
        settings: &JudgeSettings,
        now_ms: i64,
    ) -> Option<(String, Json)> {
        self.note(rollout, now_ms);
        let limits = StopLimits { gone_ms: settings.breach_ms as i64, ..StopLimits::default() };
        let members = rollout.plan.members.iter().zip(&rollout.members);
        for (planned, _) in members.filter(|(_, member)| member.is_touched()) {
            let gone_ms = self.gone_ms(rollout, &planned.target, steering, now_ms);
            let facts = Facts { gone_ms, ..Facts::default() };
            if let Some(found) = stop(&facts, &limits) {
                return Some(told(&planned.target, &found, &facts));
            }
        }
        let sight = sight?;
        let (wave, _) = sides(rollout);
        let place = rollout.place(&wave.first()?.target.id)?;
        let began_ms = rollout.touched_at_ms(place);
        // The window in which it began is not whole.
        let since_ms = began_ms + i64::from(sight.width_ms);
        let of = |arm, is_after| {
            let spans = spans(sight, arm, (began_ms, since_ms), is_after);
            spans.into_values().collect::<Vec<_>>()
        };
        let facts = Facts {
            gone_ms: 0,
            mismatch: self.mismatched((rollout, state), &wave, sight),
            treated_before: of(Arm::Treated, false),
            treated_after: of(Arm::Treated, true),
            control_before: of(Arm::Control, false),
            control_after: of(Arm::Control, true),
            more: wave.iter().flat_map(|planned| more(planned)).collect(),
        };
        let found = stop(&facts, &limits)?;
        Some(told(&wave.first()?.target, &found, &facts))
    }

    /// Takes note of who has the change in force.
    fn note(&mut self, rollout: &Rollout, now_ms: i64) {
        for (planned, member) in rollout.plan.members.iter().zip(&rollout.members) {
            let (key, step) = (key(rollout, &planned.target), rollout.revision());
            if *member != Member::InForce {
                self.in_force.remove(&key);
            } else if self.in_force.get(&key).is_none_or(|(known, _)| *known != step) {
                self.in_force.insert(key, (step, now_ms));
            }
        }
    }

    /// See [`mismatch`].
    fn mismatched(
        &self,
        (rollout, state): (&Rollout, &State),
        wave: &[&Planned],
        sight: &Sight,
    ) -> Option<(String, String, String)> {
        wave.iter().find_map(|planned| {
            let (_, since_ms) = self.in_force.get(&key(rollout, &planned.target))?;
            mismatch((planned, state), sight, *since_ms)
        })
    }

    fn gone_ms(
        &mut self,
        rollout: &Rollout,
        target: &Target,
        steering: &Steering,
        now_ms: i64,
    ) -> i64 {
        let key = key(rollout, target);
        let report = NodeName::new(&target.node).ok().and_then(|node| {
            let server = Server_::new(&target.kind, &target.name);
            steering.balancers().get(&node, &server)
        });
        // What is not heard of at all is told by its agent's stream.
        if report.is_none_or(|known| known.report.state == BalancerState::Up) {
            self.gone.remove(&key);
            return 0;
        }
        // A moment is not nothing: the first look counts.
        now_ms.saturating_sub(*self.gone.entry(key).or_insert(now_ms)).max(0)
    }
}

fn key(rollout: &Rollout, target: &Target) -> (RolloutId, TargetId) {
    (rollout.id.clone(), target.id.clone())
}

fn told(target: &Target, found: &Stop, facts: &Facts) -> (String, Json) {
    let newest = |spans: &[Seen]| json!(spans.iter().rev().take(10).collect::<Vec<_>>());
    let inputs = json!({
        "stop": found, "gone_ms": facts.gone_ms, "more": facts.more,
        "treated": newest(&facts.treated_after), "controls": newest(&facts.control_after),
    });
    (format!("{}: {found}", target.id), inputs)
}

/// A weight that is in force by its agent's word since a time, but has been another one at the end of two windows that began later.
fn mismatch(
    (planned, state): (&Planned, &State),
    sight: &Sight,
    since_ms: i64,
) -> Option<(String, String, String)> {
    let wanted = state.wanted(&planned.target.id)?.values;
    let of = sight.measured.iter().find(|of| of.target == planned.target.id)?;
    let [.., one, two] = of.windows.as_slice() else { return None };
    if one.start_ms < since_ms {
        return None;
    }
    wanted.into_iter().find_map(|(parameter, wanted)| {
        let rest = parameter.strip_prefix("weight:")?;
        // Groups may have slashes in their names too: a backend is found by the end.
        let known = two.weights.keys().filter(|name| rest.ends_with(&format!("/{name}")));
        let name = known.max_by_key(|name| name.len())?;
        let found = [one.weights.get(name)?, two.weights.get(name)?];
        let is_other = found.iter().all(|found| found.to_string() != wanted);
        is_other.then(|| (parameter.clone(), wanted.clone(), found[1].to_string()))
    })
}

/// Backends that a balancer's change gives a larger share, by their name there.
fn more(planned: &Planned) -> BTreeSet<String> {
    let weights = |values: &flyball_model::rollout::Values| -> BTreeMap<String, f64> {
        let weight = |(name, value): (&String, &String)| {
            Some((name.strip_prefix("weight:")?.to_owned(), value.parse().ok()?))
        };
        values.iter().filter_map(weight).collect()
    };
    let (old, new) = (weights(&planned.revert_to), weights(planned.last()));
    let (olds, news): (f64, f64) = (old.values().sum(), new.values().sum());
    let grows = |(name, new): (&String, &f64)| {
        let share = old.get(name)? / olds.max(1.0);
        let name = name.rsplit_once('/').map_or(name.as_str(), |(_, backend)| backend);
        (new / news.max(1.0) > share * 1.05).then(|| name.to_owned())
    };
    new.iter().filter_map(grows).collect()
}

#[cfg(test)]
mod tests;
