//! Formulas of one backend and of their mixture.

use super::{Algorithm, Forecast, Interval, Load, STRAY, Server, Unpredictable};

/// Utilisations of the upper end of an interval are larger by this factor.
const DOUBT: f64 = 1.05;
/// Part of the wait at the lower end of an interval.
const LEAST_WAIT: f64 = 0.5;

/// A backend at a rate of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Station {
    /// Part of requests of the mixture.
    share: f64,
    /// Requests a second of one worker, `m`.
    worker: f64,
    /// Part of requests that wait, `C`.
    waits: f64,
    /// Rate at which a wait ends, `g`.
    drain: f64,
}

impl Station {
    /// `rate` requests a second to a backend that does `capacity` with `workers` workers; `None` when it is saturated.
    pub(super) fn new(share: f64, rate: f64, capacity: f64, workers: u32) -> Option<Self> {
        let drain = capacity - rate;
        if drain <= 0.0 {
            return None;
        }
        let worker = capacity / f64::from(workers);
        Some(Self { share, worker, waits: erlang_c(rate / worker, workers), drain })
    }

    /// Mean seconds of a request.
    fn mean(&self) -> f64 {
        1.0 / self.worker + self.waits / self.drain
    }

    /// Mean requests under way.
    fn under_way(&self, rate: f64) -> f64 {
        rate * self.mean()
    }

    /// Part of requests that take longer than `seconds`.
    fn beyond(&self, seconds: f64) -> f64 {
        let (m, g) = (self.worker, self.drain);
        let service = (-m * seconds).exp();
        let both = if ((g - m) / m).abs() < 1e-6 {
            (1.0 + m * seconds) * service
        } else {
            (g * service - m * (-g * seconds).exp()) / (g - m)
        };
        (1.0 - self.waits) * service + self.waits * both
    }

    fn with_wait(mut self, part: f64) -> Self {
        // As many wait, but not as long.
        self.drain /= part;
        self
    }
}

/// Erlang C: the part of requests that wait at `workers` workers with `offered` of them in use on average, below `workers`.
pub(super) fn erlang_c(offered: f64, workers: u32) -> f64 {
    let blocked = (1..=workers).fold(1.0, |blocked, k| {
        let next = offered * blocked;
        next / (f64::from(k) + next)
    });
    blocked / (1.0 - offered / f64::from(workers) * (1.0 - blocked))
}

/// The mean and 99th percentile of a mixture, in milliseconds.
fn mixture(stations: &[Station]) -> (f64, f64) {
    let mean: f64 = stations.iter().map(|station| station.share * station.mean()).sum();
    let beyond = |seconds: f64| {
        stations.iter().map(|station| station.share * station.beyond(seconds)).sum::<f64>()
    };
    let (mut low, mut high) = (0.0, mean.max(1e-9));
    for _ in 0..200 {
        if beyond(high) <= 0.01 {
            break;
        }
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if beyond(middle) > 0.01 { low = middle } else { high = middle }
    }
    (mean * 1_000.0, high * 1_000.0)
}

/// Backends as queues at `rate` requests a second, with waits times `part` and shares as `of` says. Balancers go in turn (Allen and Cunneen).
fn stations(
    servers: &[Server],
    balancers: u32,
    rate: f64,
    part: f64,
    of: impl Fn(&Server) -> f64,
) -> Result<Vec<Station>, Unpredictable> {
    let station = |(backend, server): (usize, &Server)| {
        let (share, capacity) = (of(server), server.capacity_per_second);
        let arrivals = 1.0 - (1.0 - share).powf(f64::from(balancers));
        Station::new(share, share * rate, capacity, server.workers)
            .map(|station| station.with_wait(part * f64::midpoint(arrivals, 1.0)))
            .ok_or(Unpredictable::Saturated { backend, utilization: share * rate / capacity })
    };
    servers.iter().enumerate().map(station).collect()
}

fn total(servers: &[Server]) -> f64 {
    servers.iter().map(|server| server.capacity_per_second).sum()
}

/// Balancers for each request under way in the pool: how little each of them sees.
fn sparse(servers: &[Server], load: &Load) -> Result<f64, Unpredictable> {
    let (rate, total) = (load.requests_per_second, total(servers));
    let alone =
        stations(servers, load.balancers, rate, 1.0, |server| server.capacity_per_second / total)?;
    let under_way: f64 = alone.iter().map(|station| station.under_way(station.share * rate)).sum();
    Ok(f64::from(load.balancers) / under_way.max(1e-9))
}

/// Mean and 99th percentile in milliseconds with all rates times `factor` and waits times `part`.
fn at(
    servers: &[Server],
    load: &Load,
    factor: f64,
    part: f64,
) -> Result<(f64, f64), Unpredictable> {
    let rate = load.requests_per_second * factor;
    if load.algorithm == Algorithm::RoundRobin {
        return Ok(mixture(&stations(servers, load.balancers, rate, part, |server| server.share)?));
    }
    // What looks at requests under way follows capacity by itself; no queue forms while a worker is idle anywhere, at best.
    let (total, sparse) = (total(servers), sparse(servers, load)?);
    let alone =
        stations(servers, load.balancers, rate, part, |server| server.capacity_per_second / total)?;
    let workers = servers.iter().map(|server| server.workers).sum();
    let pooled: Vec<Station> = (alone.iter())
        .filter_map(|station| {
            let shared = Station::new(station.share, rate, total, workers)?;
            Some(Station { worker: station.worker, ..shared }.with_wait(part))
        })
        .collect();
    let (apart, together) = (mixture(&alone), mixture(&pooled));
    // One balancer sees all; the more there are, the more each backend's queue is its own.
    let own = if load.balancers <= 1 { 0.0 } else { (sparse / (1.0 + sparse)).sqrt() };
    let blend = |together: f64, apart: f64| together + own * (apart - together);
    let (mean, p99) = (blend(together.0, apart.0), blend(together.1, apart.1));
    if load.algorithm != Algorithm::LeastConnections || load.balancers <= 1 || !unlike(servers) {
        return Ok((mean, p99));
    }
    let stray = 1.0 + STRAY.0 * sparse.powf(STRAY.1);
    // It is never worse than not looking at all, where that is no overload.
    let equal = 1.0 / servers.len() as f64;
    let blind =
        stations(servers, load.balancers, rate, part, |_| equal).map(|stations| mixture(&stations));
    let (worst_mean, worst_p99) = blind.unwrap_or((f64::INFINITY, f64::INFINITY));
    Ok(((mean * stray).min(worst_mean.max(mean)), (p99 * stray).min(worst_p99.max(p99))))
}

/// Whether workers of some backends are a quarter faster than those of others, or some have a quarter more of all.
fn unlike(servers: &[Server]) -> bool {
    let most = servers.iter().map(|server| server.capacity_per_second).fold(0.0, f64::max);
    let least = servers.iter().map(|server| server.capacity_per_second).fold(most, f64::min);
    most > least * 1.25
}

pub(super) fn forecast(servers: &[Server], load: &Load) -> Result<Forecast, Unpredictable> {
    check(servers, load)?;
    let (mean, p99) = at(servers, load, 1.0, 1.0)?;
    let (mean_low, p99_low) = at(servers, load, 1.0, LEAST_WAIT)?;
    let high = at(servers, load, DOUBT, 1.0).ok();
    let overall = load.requests_per_second / total(servers);
    let utilization: Vec<f64> = match load.algorithm {
        Algorithm::RoundRobin => (servers.iter())
            .map(|server| load.requests_per_second * server.share / server.capacity_per_second)
            .collect(),
        _ => vec![overall; servers.len()],
    };
    let worst = utilization.iter().copied().fold(0.0, f64::max);
    Ok(Forecast {
        mean_ms: Interval { low: mean_low, value: mean, high: high.map(|(mean, _)| mean) },
        p99_ms: Interval { low: p99_low, value: p99, high: high.map(|(_, p99)| p99) },
        worst_utilization: worst,
        max_over_mean: worst / overall,
        utilization,
    })
}

fn check(servers: &[Server], load: &Load) -> Result<(), Unpredictable> {
    let above_zero = |value: f64| value.is_finite() && value > 0.0;
    let sum: f64 = servers.iter().map(|server| server.share).sum();
    let checks = [
        ("the number of backends", "at least 1", !servers.is_empty()),
        ("requests a second", "above 0", above_zero(load.requests_per_second)),
        ("the number of balancers", "at least 1", load.balancers > 0),
        (
            "the capacity of a backend",
            "above 0",
            servers.iter().all(|server| above_zero(server.capacity_per_second)),
        ),
        (
            "the workers of a backend",
            "from 1 to 100,000",
            servers.iter().all(|server| (1..=100_000).contains(&server.workers)),
        ),
        (
            "the share of a backend",
            "from 0 to 1",
            servers.iter().all(|server| (0.0..=1.0).contains(&server.share)),
        ),
        ("the sum of shares", "1", (sum - 1.0).abs() < 1e-6),
    ];
    match checks.into_iter().find(|&(_, _, holds)| !holds) {
        Some((what, limits, _)) => Err(Unpredictable::Invalid { what, limits }),
        None => Ok(()),
    }
}
