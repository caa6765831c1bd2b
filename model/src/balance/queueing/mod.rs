//! What latency and utilisation will be with other weights.
//!
//! Each backend is a queue with `c` workers: M/M/c. With `l` requests a second to it, `m` requests a second of one worker and `a = l/m`:
//!
//! ```text
//! B(0) = 1, B(k) = a B(k-1) / (k + a B(k-1))         Erlang B, the recursion (Jagerman 1984)
//! C    = B(c) / (1 - a/c (1 - B(c)))                 Erlang C: the part of requests that wait
//! mean = 1/m + C / (c m - l)                         Little's law
//! P(T > t) = (1 - C) e^(-m t) + C (g e^(-m t) - m e^(-g t)) / (g - m),  g = c m - l
//! ```
//!
//! (Kleinrock, Queueing Systems I, 3.5; the last line is service plus an exponential wait of rate `g`, and its limit where `g = m`.) A pool's mean and 99th percentile are
//! those of the mixture of its backends by their shares.
//!
//! | algorithm | taken as | why |
//! |---|---|---|
//! | [`Algorithm::RoundRobin`] | the mixture by weights | exact for a weighted draw, a little too slow for rounds |
//! | [`Algorithm::LeastConnections`] | one queue for the whole pool if there is one balancer, beyond that slower by [`STRAY`] | measured, below |
//! | [`Algorithm::Random2`] | between both | measured |
//!
//! A balancer sees only its own requests under way. With `k` balancers and `f` requests under way in the whole pool each sees `f/k` of them; below about one for each
//! balancer, all backends look idle to it, and least connections is a draw with equal chances, whatever the weights (HAProxy ranks idle servers equal). For a pool of unlike
//! backends its 99th percentile was 113, 141 and 516 ms with 1, 8 and 64 balancers where weights gave 112, 117 and 130 ms (16 backends of 4 workers, load 0.7), which is
//! `1 + 1.9 (k/f)^1.27` times that of weights. [`STRAY`] is that fit; for a pool of equal backends it is not applied.
//!
//! **The interval is not a confidence interval of statistics** but what is not known of the service time: the lower end has half of the wait (constant service times, M/D/c, is
//! about half of M/M/c), the upper end has utilisations 5 % higher. Where that saturates a backend, there is no upper end.

mod advise;
mod backend;

pub use advise::{Advice, Better, advise};

/// Factor and exponent of how much slower least connections is with `k` balancers and `f` requests under way: `1 + STRAY.0 (k/f)^STRAY.1`.
pub const STRAY: (f64, f64) = (1.9, 1.27);

/// One backend of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Server {
    /// Requests a second at full use; above 0.
    pub capacity_per_second: f64,
    /// Requests that it works on at the same time; at least 1.
    pub workers: u32,
    /// Its share of requests, 0 to 1; shares of a pool add up to 1.
    pub share: f64,
}

/// How a balancer picks a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn by weights; also a draw by weights.
    RoundRobin,
    /// The backend with the fewest requests under way at this balancer.
    LeastConnections,
    /// The less loaded of two that are drawn by weights.
    Random2,
}

/// What comes to a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests a second of the whole pool; above 0.
    pub requests_per_second: f64,
    /// Balancers that share them evenly; at least 1.
    pub balancers: u32,
    /// How each of them picks.
    pub algorithm: Algorithm,
}

/// A value and what it is at best and at worst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// At best.
    pub low: f64,
    /// The value.
    pub value: f64,
    /// At worst; `None`: no end is known, a backend may be overloaded.
    pub high: Option<f64>,
}

/// What a pool will be like.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Mean time of a request.
    pub mean_ms: Interval,
    /// 99th percentile of the time of a request.
    pub p99_ms: Interval,
    /// Utilisation of each backend, in the order of the servers: requests over capacity.
    pub utilization: Vec<f64>,
    /// The largest of them.
    pub worst_utilization: f64,
    /// The largest over that of the pool as a whole; 1 when all are equally busy.
    pub max_over_mean: f64,
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unpredictable {
    /// A number is not one that a pool can have.
    #[error("{what} must be {limits}")]
    Invalid {
        /// Which number.
        what: &'static str,
        /// What it must be.
        limits: &'static str,
    },
    /// A backend gets as much as it can do, or more: its queue grows without end, so its latency depends on how long one waits.
    #[error("backend {backend} of the pool would be {utilization:.2} in use: its queue has no end")]
    Saturated {
        /// Its number in the order of the servers.
        backend: usize,
        /// Its utilisation; 1 or more.
        utilization: f64,
    },
}

/// Predicts latency and utilisation of a pool.
///
/// # Errors
/// When a number is impossible, or a backend is saturated.
pub fn forecast(servers: &[Server], load: &Load) -> Result<Forecast, Unpredictable> {
    backend::forecast(servers, load)
}

/// The shares that make all backends equally busy: in proportion to capacity. What is not a number above 0 gets nothing.
pub fn ideal_shares(capacities: &[f64]) -> Vec<f64> {
    let sound = |capacity: f64| if capacity.is_finite() { capacity.max(0.0) } else { 0.0 };
    let sum: f64 = capacities.iter().copied().map(sound).sum();
    if sum <= 0.0 {
        return vec![1.0 / capacities.len().max(1) as f64; capacities.len()];
    }
    capacities.iter().map(|&capacity| sound(capacity) / sum).collect()
}

#[cfg(test)]
mod tests;
