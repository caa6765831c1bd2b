//! What becomes of a pool with other shares: utilisation by capacity, latency by the queueing model.
//!
//! Utilisation after is `q share / c`, with capacities of the law. The model's latencies are not taken as they are but for their ratio: what is measured now is
//! multiplied by it, so what the model does not know of, such as the network, scales out. The interval is the model's, and a tenth of the value at least.

use std::collections::BTreeMap;

use flyball_model::balance::queueing::{Algorithm, Forecast, Load, Server, forecast};

use super::view::PoolView;
use crate::suggest::estimate::Estimate;

/// The model is never better than this share of the latency.
const LEAST_ERROR: f64 = 0.1;
/// Utilisation that stands for a backend that is as busy as can be.
const BUSIEST: f64 = 0.97;

/// What is predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// Measured mean latency of the pool, milliseconds.
    pub latency_ms: f64,
    /// And with the new shares.
    pub latency_after_ms: Estimate,
    /// The model's p99 before and after, milliseconds; `None` before where a backend is saturated by it.
    pub p99_ms: (Option<f64>, f64),
    /// The largest utilisation before and after.
    pub worst: (f64, f64),
    /// The largest over that of the pool as a whole, before and after; 1 is best.
    pub max_over_mean: (f64, f64),
}

/// Predicts what a pool will be like with these shares, by the backend's id. They are of the backends that have a capacity.
///
/// # Errors
/// What is not known, in words.
pub fn predict(view: &PoolView, shares: &BTreeMap<String, f64>) -> Result<Effect, String> {
    let estimate = &view.estimate;
    let ids: Vec<&String> = shares.keys().collect();
    let now = measured_shares(view, &ids).ok_or("it had no requests")?;
    let new: Vec<f64> = normal(&shares.values().copied().collect::<Vec<_>>())
        .ok_or("the wanted shares are no shares")?;
    let rate = estimate.pool.requests_per_second;
    let capacities: Option<Vec<f64>> =
        ids.iter().map(|id| estimate.capacities.get(*id).copied()).collect();
    let capacities = capacities.ok_or("the capacity of some backends is not known")?;
    let total: f64 = capacities.iter().sum();
    let used = |shares: &[f64]| -> Vec<f64> {
        shares.iter().zip(&capacities).map(|(share, capacity)| rate * share / capacity).collect()
    };
    let worst = |used: &[f64]| used.iter().copied().fold(0.0, f64::max);
    let (before, after) = (worst(&used(&now)), worst(&used(&new)));
    let overall = rate / total;
    if !(overall > 0.0 && overall < 1.0 && after < 1.0) {
        return Err(format!("it is overloaded: {:.0} % of its capacity", overall * 100.0));
    }
    let usual = usual_workers(view);
    let servers = |shares: &[f64]| -> Vec<Server> {
        let one = |((id, share), capacity): ((&&String, &f64), &f64)| Server {
            capacity_per_second: *capacity,
            workers: estimate.workers.get(*id).copied().unwrap_or(usual),
            share: *share,
        };
        ids.iter().zip(shares).zip(&capacities).map(one).collect()
    };
    let balancers = u32::try_from(estimate.pool.members.len()).unwrap_or(1).max(1);
    let algorithm = Algorithm::RoundRobin;
    let load = Load { requests_per_second: rate, balancers, algorithm };
    let new_forecast = forecast(&servers(&new), &load).map_err(|error| error.to_string())?;
    let old_forecast = forecast(&servers(&within(&now, &capacities, rate)), &load).ok();
    let latency_ms = latency(view).ok_or("its latency is not known")?;
    Ok(Effect {
        latency_ms,
        latency_after_ms: scaled(latency_ms, old_forecast.as_ref(), &new_forecast),
        p99_ms: (old_forecast.map(|old| old.p99_ms.value), new_forecast.p99_ms.value),
        worst: (before, after),
        max_over_mean: (before / overall, after / overall),
    })
}

/// Shares of requests in the last window.
fn measured_shares(view: &PoolView, ids: &[&String]) -> Option<Vec<f64>> {
    let rate = |id: &&String| view.estimate.pool.backend(id).map(|one| one.requests_per_second);
    normal(&ids.iter().map(rate).collect::<Option<Vec<f64>>>()?)
}

fn normal(shares: &[f64]) -> Option<Vec<f64>> {
    let sum: f64 = shares.iter().sum();
    let sound = sum.is_finite() && sum > 0.0;
    sound.then(|| shares.iter().map(|share| share / sum).collect())
}

/// No backend of the model is as busy as to have a queue without end: what is measured is what it is, and not for ever.
fn within(shares: &[f64], capacities: &[f64], rate: f64) -> Vec<f64> {
    let cut: Vec<f64> = (shares.iter().zip(capacities))
        .map(|(share, capacity)| share.min(BUSIEST * capacity / rate))
        .collect();
    let left = 1.0 - cut.iter().sum::<f64>();
    let room: Vec<f64> = (cut.iter().zip(capacities))
        .map(|(share, capacity)| (BUSIEST * capacity / rate - share).max(0.0))
        .collect();
    let all: f64 = room.iter().sum();
    if left <= 1e-12 || all <= left {
        return shares.to_vec();
    }
    cut.iter().zip(&room).map(|(share, room)| share + left * room / all).collect()
}

fn usual_workers(view: &PoolView) -> u32 {
    let mut all: Vec<u32> = view.estimate.workers.values().copied().collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(1).max(1)
}

/// Mean latency of the last window, by requests.
pub fn latency(view: &PoolView) -> Option<f64> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for backend in &view.estimate.pool.backends {
        if let Some(latency_ms) = backend.latency_ms.filter(|latency| latency.is_finite()) {
            sum += latency_ms * backend.requests as f64;
            weight += backend.requests as f64;
        }
    }
    (weight > 0.0).then(|| sum / weight)
}

fn scaled(latency_ms: f64, old: Option<&Forecast>, new: &Forecast) -> Estimate {
    let mean = &new.mean_ms;
    let by = old.map_or(1.0, |old| latency_ms / old.mean_ms.value.max(f64::MIN_POSITIVE));
    let value = mean.value * by;
    // Where the model has no end, it is what is now.
    let high = mean.high.map_or(latency_ms, |high| high * by);
    Estimate {
        value,
        low: (mean.low * by).min(value * (1.0 - LEAST_ERROR)),
        high: high.max(value * (1.0 + LEAST_ERROR)),
    }
}
