//! Formulas of one backend and of their mixture.

use super::{Algorithm, Forecast, Interval, Load, STRAY, Server, Unpredictable};

/// Utilisations of the upper end of an interval are larger by this factor.
const DOUBT: f64 = 1.05;
/// Part of the wait that is left with constant service times.
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
        // Both factors of the mean wait: what waits waits as long, but less does.
        self.waits *= part;
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

/// Mean and 99th percentile in milliseconds with all rates times `factor` and waits times `part`.
fn at(
    servers: &[Server],
    load: &Load,
    factor: f64,
    part: f64,
) -> Result<(f64, f64), Unpredictable> {
    let total: f64 = servers.iter().map(|server| server.capacity_per_second).sum();
    let rate = load.requests_per_second * factor;
    let by_shares = |server: &Server| server.share * rate;
    let by_capacity = |server: &Server| server.capacity_per_second / total * rate;
    let stations = |of: &dyn Fn(&Server) -> f64| -> Result<Vec<Station>, Unpredictable> {
        let station = |(backend, server): (usize, &Server)| {
            let (own, capacity) = (of(server), server.capacity_per_second);
            Station::new(own / rate, own, capacity, server.workers)
                .map(|station| station.with_wait(part))
                .ok_or(Unpredictable::Saturated { backend, utilization: own / capacity })
        };
        servers.iter().enumerate().map(station).collect()
    };
    if load.algorithm == Algorithm::RoundRobin {
        return Ok(mixture(&stations(&by_shares)?));
    }
    // What looks at requests under way follows capacity by itself; no queue forms while a worker is idle anywhere, at best.
    let alone = stations(&by_capacity)?;
    let workers = servers.iter().map(|server| server.workers).sum();
    let pooled: Vec<Station> = (servers.iter().zip(&alone))
        .filter_map(|(server, station)| {
            let shared = Station::new(station.share, rate, total, workers)?;
            let worker = server.capacity_per_second / f64::from(server.workers);
            Some(Station { worker, ..shared }.with_wait(part))
        })
        .collect();
    let under_way: f64 = (servers.iter().zip(&alone))
        .map(|(server, station)| station.under_way(by_capacity(server)))
        .sum();
    let sparse = f64::from(load.balancers) / under_way.max(1e-9);
    let (apart, together) = (mixture(&alone), mixture(&pooled));
    // One balancer sees all; the more there are, the more each backend's queue is its own.
    let own = if load.balancers <= 1 { 0.0 } else { (sparse / (1.0 + sparse)).sqrt() };
    let blend = |together: f64, apart: f64| together + own * (apart - together);
    let (mean, p99) = (blend(together.0, apart.0), blend(together.1, apart.1));
    let stray = match load.algorithm {
        Algorithm::LeastConnections if load.balancers > 1 && unlike(servers) => {
            1.0 + STRAY.0 * sparse.powf(STRAY.1)
        }
        _ => 1.0,
    };
    Ok((mean * stray, p99 * stray))
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
    let total: f64 = servers.iter().map(|server| server.capacity_per_second).sum();
    let overall = load.requests_per_second / total;
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
