//! One window of the law.

use std::collections::BTreeMap;

use super::quantise::moved;
use super::reading::{Bound, Reading, Readings, error_ratio, per_second, read};
use super::state::elapsed;
use super::{
    BackendOutcome, BackendState, BackendWindow, Gathered, Hold, LawOutcome, PoolState, Push, Rule,
    Settings, quantise,
};
use crate::balance::{MAX_WEIGHT, median};

/// Part of the distance by which `mad` follows.
const MAD_GAIN: f64 = 0.1;
/// With a `mad` above this over the gain the gain falls, so that what is believed scatters no more.
const QUIET: f64 = 0.02;
/// The gain falls no further: within 10 windows what is believed has gone two thirds of any way.
const LEAST_GAIN: f64 = 0.1;
/// Hysteresis, least and most, as logarithms.
const HYSTERESIS: (f64, f64) = (0.05, 0.15);

/// What a window made of one backend's state.
#[derive(Debug, Clone, Copy)]
struct Update {
    rule: Rule,
    innovation: f64,
    gate: f64,
    step: f64,
}

pub(super) fn step(
    settings: &Settings,
    state: &mut PoolState,
    windows: &[BackendWindow],
    now_ms: i64,
) -> LawOutcome {
    let windows: BTreeMap<&str, &BackendWindow> =
        windows.iter().map(|window| (window.id.as_str(), window)).collect();
    state.admit(settings, &windows, now_ms);
    let Readings { valid: mut readings, mut held, bounds, trim, mean_utilization } =
        read(settings, state, &windows);
    let lost = held.values().filter(|hold| !matches!(hold, Hold::FewRequests { .. })).count();
    if !windows.is_empty() && 2 * lost <= windows.len() {
        state.valid_windows = state.valid_windows.saturating_add(1);
    }
    confirm(state, &readings, now_ms);
    let common = common(settings, state, now_ms);
    note_levels(settings, state);
    for (&id, bounds) in &bounds {
        let Some(reading) = early(settings, state, (id, bounds), &readings, common) else {
            continue;
        };
        held.remove(id);
        readings.insert(id, reading);
    }
    confirm(state, &readings, now_ms);
    let mut updates = learn(settings, state, &readings, common);
    let fresh: Vec<&str> = (windows.keys().copied())
        .filter(|&id| elapsed(state.backends[id].valid_at_ms, now_ms) < settings.expiry_ms)
        .filter(|&id| state.backends[id].measured.is_some())
        .collect();
    walk(settings, state, &readings, &fresh, &mut updates);
    wait(settings, state, &held, &fresh, &mut updates, now_ms);
    normalise(settings, state, &windows);

    let wanted: Vec<(f64, f64)> = (windows.keys())
        .map(|&id| {
            let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
            let ramp = known.ramp(settings, now_ms);
            (known.weight * ramp, ramp)
        })
        .collect();
    let most = wanted.iter().map(|&(weight, _)| weight).fold(f64::MIN_POSITIVE, f64::max);
    let wanted: Vec<_> = wanted.into_iter().map(|(weight, ramp)| (weight / most, ramp)).collect();
    let weights = quantise(&wanted.iter().map(|&(weight, _)| weight).collect::<Vec<_>>());

    let backends: Vec<BackendOutcome> = (windows.values().zip(wanted).zip(weights))
        .map(|((window, (wanted, ramp)), weight)| {
            let update = updates[window.id.as_str()];
            let known = &state.backends[window.id.as_str()];
            let reading = readings.get(window.id.as_str());
            BackendOutcome {
                id: window.id.clone(),
                requests_per_second: per_second(settings, window),
                error_ratio: error_ratio(window.errors, window.requests),
                utilization: reading.map(|reading| reading.utilization),
                capacity_per_second: reading.map(|reading| reading.z.exp()),
                rule: update.rule,
                innovation: update.innovation,
                gate: update.gate,
                step: update.step,
                ramp,
                wanted,
                weight,
                in_force: known.in_force,
                at_floor: known.weight <= settings.floor * 1.001,
            }
        })
        .collect();
    let push = push(settings, state, &backends, now_ms);
    LawOutcome { backends, valid: readings.len(), mean_utilization, trim, push }
}

type Updates<'a> = BTreeMap<&'a str, Update>;

/// The mean, or 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// Takes note of what was read.
fn confirm(state: &mut PoolState, readings: &BTreeMap<&str, Reading>, now_ms: i64) {
    for (&id, reading) in readings {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        known.valid_at_ms = now_ms;
        if reading.failing {
            (known.smoothed, known.mad, known.up_windows) = (None, 0.0, 0);
        }
        known.measured = (!reading.failing).then_some(reading.z);
    }
}

/// What is common to all is the load's, not a backend's. It is taken of the last reading of each: of those that come with this window alone, a single one would always
/// be as expected.
fn common(settings: &Settings, state: &PoolState, now_ms: i64) -> f64 {
    let fresh = || {
        let fresh = |known: &&BackendState| elapsed(known.valid_at_ms, now_ms) < settings.expiry_ms;
        state.backends.values().filter(fresh)
    };
    let residual = |known: &BackendState| Some(known.measured? - known.smoothed?);
    if fresh().any(|known| residual(known).is_some()) {
        median(fresh().filter_map(residual)).unwrap_or(0.0)
    } else {
        median(fresh().filter_map(|known| known.measured)).unwrap_or(0.0)
    }
}

/// Takes note of what each can do: what began to hang in the middle of a window is believed to do half already when the next one shows it.
fn note_levels(settings: &Settings, state: &mut PoolState) {
    // What its weight says it can do: more than is believed while a weight is still on its way down.
    let by_weight = |known: &BackendState| Some(known.smoothed? - known.weight.ln());
    let centre = median(state.backends.values().filter_map(by_weight));
    let windows = settings.collapse_ms.div_ceil(settings.window_ms.max(1)) + 1;
    for known in state.backends.values_mut() {
        let weight = centre.map(|centre| known.weight.ln() + centre);
        known.levels.extend(weight.into_iter().chain(known.smoothed).reduce(f64::max));
        let old = known.levels.len().saturating_sub(usize::try_from(windows).unwrap_or(usize::MAX));
        known.levels.drain(..old);
    }
}

/// A reading from a bound: of a backend that has collapsed, or that is held for few requests and can surely do less than is believed.
fn early(
    settings: &Settings,
    state: &mut PoolState,
    (id, bounds): (&str, &[Bound]),
    readings: &BTreeMap<&str, Reading>,
    common: f64,
) -> Option<Reading> {
    let valid = readings.get(id);
    if valid.is_some_and(|reading| reading.failing || reading.collapsed.is_some()) {
        return None;
    }
    let known = &state.backends[id];
    let most = known.levels.iter().copied().reduce(f64::max)?;
    let is_low = |bound: &&Bound| bound.reading.z - common - most < -settings.collapse.ln();
    let low = || bounds.iter().filter(is_low);
    let collapsed = low().find(|bound| bound.span_ms >= settings.collapse_ms);
    let reading = if let Some(bound) = collapsed {
        Reading { collapsed: Some(bound.rule), ..bound.reading }
    } else {
        // What may be a collapse waits until it has lasted long enough.
        let gate = settings.gate.max(settings.gate_deviations * known.mad);
        let believed = known.smoothed?;
        let is_down = |bound: &&Bound| bound.reading.z - common - believed < -gate;
        if valid.is_some() || low().next().is_some() {
            return None;
        }
        bounds.iter().find(is_down)?.reading
    };
    state.backends.get_mut(id).expect("it is known").gathered = Gathered::default();
    Some(reading)
}

/// Takes in what valid windows say of capacity.
fn learn<'a>(
    settings: &Settings,
    state: &mut PoolState,
    readings: &BTreeMap<&'a str, Reading>,
    common: f64,
) -> Updates<'a> {
    let mut updates = Updates::new();
    for (&id, reading) in readings {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        let (rule, innovation, gate) = if reading.failing {
            (Rule::Failing, 0.0, settings.gate)
        } else if let Some(rule) = reading.collapsed {
            // Its capacity stays what it was: that is what is at the floor with it.
            known.smoothed = Some(reading.z - common);
            known.up_windows = 0;
            known.hangs |= rule == Rule::Hanging;
            (rule, 0.0, settings.gate)
        } else {
            known.capacity_per_second = Some(reading.z.exp());
            known.residence_s = usual(settings, known.residence_s, reading.residence_s);
            believe(settings, known, reading.z - common)
        };
        updates.insert(id, Update { rule, innovation, gate, step: 0.0 });
    }
    // Only differences mean anything; without this the numbers would wander.
    let centre = mean(state.backends.values().filter_map(|known| known.smoothed));
    for known in state.backends.values_mut() {
        for log in known.smoothed.iter_mut().chain(&mut known.levels) {
            *log -= centre;
        }
    }
    updates
}

/// The time in a backend, averaged as a logarithm.
fn usual(settings: &Settings, known_s: Option<f64>, seen_s: Option<f64>) -> Option<f64> {
    match (known_s, seen_s) {
        (Some(known), Some(seen)) => Some(known * (seen / known).powf(settings.gain)),
        _ => seen_s.or(known_s),
    }
}

/// The noise gate: what rule one window falls under, its innovation and the gate.
fn believe(settings: &Settings, known: &mut BackendState, v: f64) -> (Rule, f64, f64) {
    let gate = settings.gate.max(settings.gate_deviations * known.mad);
    let Some(smoothed) = known.smoothed.as_mut() else {
        known.smoothed = Some(v);
        return (Rule::First, 0.0, gate);
    };
    let innovation = v - *smoothed;
    known.up_windows = if innovation > gate { known.up_windows.saturating_add(1) } else { 0 };
    let rule = if innovation < -gate {
        Rule::FastDown
    } else if innovation <= gate {
        Rule::Averaged
    } else if known.up_windows >= settings.up_windows {
        known.up_windows = 0;
        Rule::ConfirmedUp
    } else {
        Rule::Unconfirmed
    };
    // A change is no noise, and says nothing of how noisy windows are.
    let changed = matches!(rule, Rule::FastDown | Rule::ConfirmedUp);
    if !changed {
        known.mad += MAD_GAIN * (innovation.abs().min(2.0 * gate) - known.mad);
    }
    let quiet = settings.gain.min((QUIET / known.mad).max(LEAST_GAIN));
    *smoothed += if changed { innovation } else { quiet * innovation };
    (rule, innovation, gate)
}

/// Moves weights of measured backends towards what is believed.
fn walk(
    settings: &Settings,
    state: &mut PoolState,
    readings: &BTreeMap<&str, Reading>,
    fresh: &[&str],
    updates: &mut Updates<'_>,
) {
    let distance = |known: &BackendState| Some(known.smoothed? - known.weight.ln());
    let centre =
        median(fresh.iter().filter_map(|&id| distance(&state.backends[id]))).unwrap_or(0.0);
    for (&id, reading) in readings {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        if reading.failing || reading.collapsed.is_some() {
            known.weight = f64::MIN_POSITIVE;
            continue;
        }
        let Some(by) = distance(known).map(|distance| distance - centre) else { continue };
        if by.abs() >= (known.mad / 2.0).clamp(HYSTERESIS.0, HYSTERESIS.1) {
            let step = by.clamp(-settings.step_down, settings.step_up);
            known.weight *= step.exp();
            updates.get_mut(id).expect("every reading has its update").step = step;
        }
    }
}

/// What is not measured stays, or moves to the median when that has lasted too long.
fn wait<'a>(
    settings: &Settings,
    state: &mut PoolState,
    held: &BTreeMap<&'a str, Hold>,
    fresh: &[&str],
    updates: &mut Updates<'a>,
    now_ms: i64,
) {
    // Where hardly anybody is measured nobody is moved: what was learnt is all there is.
    let enough = 2 * fresh.len() >= held.len() + updates.len();
    let usual = median(fresh.iter().map(|&id| state.backends[id].weight)).filter(|_| enough);
    for (&id, &hold) in held {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        let mut update =
            Update { rule: Rule::Held(hold), innovation: 0.0, gate: settings.gate, step: 0.0 };
        let is_seen_hanging = known.hangs && !matches!(hold, Hold::Stale { .. });
        if let Some(usual) = usual
            && elapsed(known.valid_at_ms, now_ms) >= settings.expiry_ms
            && !is_seen_hanging
        {
            update.rule = Rule::Expired(hold);
            let by = (usual / known.weight).ln();
            update.step = by.clamp(-settings.step_down, settings.step_up);
            known.weight *= update.step.exp();
        }
        updates.insert(id, update);
    }
}

/// The largest weight of the pool becomes 1, and none is below the floor.
fn normalise(settings: &Settings, state: &mut PoolState, windows: &BTreeMap<&str, &BackendWindow>) {
    let present = |state: &PoolState| {
        windows.keys().map(|&id| state.backends[id].weight).fold(f64::MIN_POSITIVE, f64::max)
    };
    let most = present(state);
    for known in state.backends.values_mut() {
        known.weight = (known.weight / most).clamp(settings.floor, 1.0);
    }
}

/// Whether what is wanted is worth a push.
fn push(settings: &Settings, state: &PoolState, backends: &[BackendOutcome], now_ms: i64) -> Push {
    let measured =
        |one: &BackendOutcome| one.valid() || state.backends[&one.id].capacity_per_second.is_some();
    if !backends.iter().any(measured) {
        return Push::Nothing;
    }
    let scale = f64::from(MAX_WEIGHT);
    let most = f64::from(backends.iter().map(|one| one.in_force).max().unwrap_or(0).max(1));
    let mut largest: Option<(f64, &BackendOutcome, f64)> = None;
    for one in backends {
        let from = f64::from(one.in_force) / most * scale;
        if let Some(by) = moved(one.wanted * scale, from, settings.push_ratio)
            && largest.is_none_or(|(most, _, _)| by > most)
        {
            largest = Some((by, one, from));
        }
    }
    let Some((_, one, from)) = largest else { return Push::Unmoved };
    if let Some(pushed_at_ms) = state.pushed_at_ms {
        let since = elapsed(pushed_at_ms, now_ms);
        if since < settings.push_every_ms {
            return Push::TooSoon { wait_ms: settings.push_every_ms - since };
        }
    }
    Push::Due { backend: one.id.clone(), from, to: one.weight }
}
