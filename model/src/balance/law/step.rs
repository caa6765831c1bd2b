//! One window of the law.

use std::collections::BTreeMap;

use super::quantise::moved;
use super::state::elapsed;
use super::{
    BackendOutcome, BackendState, BackendWindow, Hold, LawOutcome, PoolState, Push, Rule, Settings,
    quantise,
};
use crate::balance::{MAX_WEIGHT, median};

/// Utilisation counts as at least this: below, `q/u` is noise divided by nothing.
const LEAST_UTILIZATION: f64 = 0.02;
/// Latency counts as at most this many times the median, and at least as that part of it.
const LATENCY_RANGE: f64 = 4.0;
/// Part of the distance by which `mad` follows.
const MAD_GAIN: f64 = 0.1;
/// Hysteresis, least and most, as logarithms.
const HYSTERESIS: (f64, f64) = (0.05, 0.15);

/// A valid window of one backend.
#[derive(Debug, Clone, Copy)]
struct Reading {
    utilization: f64,
    error_ratio: f64,
    latency_ms: Option<f64>,
    failing: bool,
    z: f64,
}

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
    let (readings, held, trim, mean_utilization) = read(settings, &windows);
    if !readings.is_empty() && 2 * readings.len() >= windows.len() {
        state.valid_windows = state.valid_windows.saturating_add(1);
    }
    let mut updates = learn(settings, state, &readings, now_ms);
    walk(settings, state, &readings, &mut updates);
    wait(settings, state, &held, &mut updates, readings.len(), now_ms);
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
                error_ratio: error_ratio(window),
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

type Readings<'a> = BTreeMap<&'a str, Reading>;
type Updates<'a> = BTreeMap<&'a str, Update>;

fn per_second(settings: &Settings, window: &BackendWindow) -> f64 {
    window.requests as f64 * 1_000.0 / settings.window_ms.max(1) as f64
}

fn error_ratio(window: &BackendWindow) -> f64 {
    (window.errors as f64 / window.requests.max(1) as f64).min(1.0)
}

/// Which windows are valid, and what they say; the exponent of latency and the mean utilisation.
fn read<'a>(
    settings: &Settings,
    windows: &BTreeMap<&'a str, &BackendWindow>,
) -> (Readings<'a>, BTreeMap<&'a str, Hold>, f64, f64) {
    let (mut readings, mut held) = (Readings::new(), BTreeMap::new());
    for (&id, window) in windows {
        match valid(settings, window) {
            Ok(reading) => drop(readings.insert(id, reading)),
            Err(hold) => drop(held.insert(id, hold)),
        }
    }
    let errors = median(readings.values().map(|reading| reading.error_ratio)).unwrap_or(0.0);
    let latency = median(readings.values().filter_map(|reading| reading.latency_ms));
    let sum: f64 = readings.values().map(|reading| reading.utilization).sum();
    let mean = if readings.is_empty() { 0.0 } else { sum / readings.len() as f64 };
    // Half of the bound at which the loop through latency becomes unstable.
    let trim = if mean > 0.0 { settings.trim.min(0.5 * (1.0 - mean) / mean).max(0.0) } else { 0.0 };
    for reading in readings.values_mut() {
        let excess = reading.error_ratio - errors;
        reading.failing =
            reading.error_ratio >= settings.failing_ratio && excess >= settings.failing_ratio / 2.0;
        if let (Some(own), Some(usual)) = (reading.latency_ms, latency) {
            let ratio = (own / usual).clamp(1.0 / LATENCY_RANGE, LATENCY_RANGE);
            reading.z -= trim * ratio.ln();
        }
    }
    (readings, held, trim, mean)
}

fn valid(settings: &Settings, window: &BackendWindow) -> Result<Reading, Hold> {
    let limit_ms = settings.window_ms.saturating_mul(2);
    if window.age_ms >= limit_ms {
        return Err(Hold::Stale { age_ms: window.age_ms, limit_ms });
    }
    let needed = settings.min_requests.max(1);
    if window.requests < needed {
        return Err(Hold::FewRequests { requests: window.requests, needed });
    }
    let utilization = match window.utilization {
        Some(utilization) if utilization.is_finite() && utilization > 0.0 => utilization,
        _ => return Err(Hold::NoUtilization),
    };
    let utilization = utilization.clamp(LEAST_UTILIZATION, 1.0);
    let error_ratio = error_ratio(window);
    let cost = utilization + settings.error_penalty * error_ratio;
    Ok(Reading {
        utilization,
        error_ratio,
        latency_ms: window.latency_ms.filter(|latency| latency.is_finite() && *latency > 0.0),
        failing: false,
        z: (per_second(settings, window) / cost).ln(),
    })
}

/// The mean, or 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// Takes in what valid windows say of capacity.
fn learn<'a>(
    settings: &Settings,
    state: &mut PoolState,
    readings: &Readings<'a>,
    now_ms: i64,
) -> Updates<'a> {
    let sound = || readings.iter().filter(|(_, reading)| !reading.failing);
    let believed = |id: &str| state.backends.get(id).and_then(|known| known.smoothed);
    let known: Vec<f64> =
        sound().filter_map(|(id, reading)| Some(reading.z - believed(id)?)).collect();
    let common = if known.is_empty() {
        mean(sound().map(|(_, reading)| reading.z))
    } else {
        mean(known.into_iter())
    };
    let mut updates = Updates::new();
    for (&id, reading) in readings {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        known.valid_at_ms = now_ms;
        let (rule, innovation, gate) = if reading.failing {
            (known.smoothed, known.mad, known.up_windows) = (None, 0.0, 0);
            (Rule::Failing, 0.0, settings.gate)
        } else {
            known.capacity_per_second = Some(reading.z.exp());
            believe(settings, known, reading.z - common)
        };
        updates.insert(id, Update { rule, innovation, gate, step: 0.0 });
    }
    // Only differences mean anything; without this the numbers would wander.
    let centre = mean(state.backends.values().filter_map(|known| known.smoothed));
    for smoothed in state.backends.values_mut().filter_map(|known| known.smoothed.as_mut()) {
        *smoothed -= centre;
    }
    updates
}

/// The noise gate: what rule one window falls under, its innovation and the gate.
fn believe(settings: &Settings, known: &mut BackendState, v: f64) -> (Rule, f64, f64) {
    let gate = settings.gate.max(settings.gate_deviations * known.mad);
    let Some(smoothed) = known.smoothed.as_mut() else {
        known.smoothed = Some(v);
        return (Rule::First, 0.0, gate);
    };
    let innovation = v - *smoothed;
    known.mad += MAD_GAIN * (innovation.abs().min(2.0 * gate) - known.mad);
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
    *smoothed += match rule {
        Rule::FastDown | Rule::ConfirmedUp => innovation,
        _ => settings.gain * innovation,
    };
    (rule, innovation, gate)
}

/// Moves weights of measured backends towards what is believed.
fn walk(
    settings: &Settings,
    state: &mut PoolState,
    readings: &Readings<'_>,
    updates: &mut Updates<'_>,
) {
    let distance = |known: &BackendState| Some(known.smoothed? - known.weight.ln());
    let centre = mean(readings.keys().filter_map(|&id| distance(&state.backends[id])));
    for (&id, reading) in readings {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        if reading.failing {
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
    updates: &mut Updates<'a>,
    valid: usize,
    now_ms: i64,
) {
    let usual = median(updates.keys().map(|&id| state.backends[id].weight));
    for (&id, &hold) in held {
        let known = state.backends.get_mut(id).expect("every backend of a window is admitted");
        known.up_windows = 0;
        let mut update =
            Update { rule: Rule::Held(hold), innovation: 0.0, gate: settings.gate, step: 0.0 };
        if let Some(usual) = usual.filter(|_| valid >= held.len())
            && elapsed(known.valid_at_ms, now_ms) >= settings.expiry_ms
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
