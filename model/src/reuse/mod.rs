//! The hit ratio of a real Redis at other sizes, from what it tells at no cost.
//!
//! No request is seen. Three things are: how old the keys are that are there ([`Ages`]), how long
//! it takes until somebody asks for a key that was evicted ([`Ghosts`]), and the sums of INFO
//! ([`Present`]). With `S(t)` the share of requests that come later than `t` after the one before
//! for the same key, and `r` requests a second:
//!
//! - keys younger than `a` are `r` times the integral of `S` up to `a`, so the density of ages is
//!   `r S(a) / keys`: it tells `S`, which is the miss ratio of a server that keeps keys until then;
//! - a server that keeps keys `u` longer holds the ghosts younger than `u` beside its keys, and hits
//!   those that are asked for by then.
//!
//! (Denning 1968; Hu et al., ATC 2016.) The first gives the curve below the present size, the second
//! the one above it; both meet at what is measured ([`Curve`]). Nothing is fitted to a law such as
//! Zipf's: extrapolated, that was wrong by ten points where the working set moves. Outside of what
//! was seen there are bounds and no numbers.

mod ages;
mod bins;
mod bootstrap;
mod codec;
mod curve;
mod flow;
mod ghosts;
mod growth;
#[cfg(test)]
mod lab;
mod lifetime;
mod memory;
mod misses;
mod monotone;
mod rates;
mod survival;
mod tail;

pub use ages::{Ages, Drawn, Lifetime, Traffic};
pub use codec::DecodeError;
pub use curve::{Answer, Curve, Method, Point, Priors, Refused, curve};
pub use ghosts::{BLOCKS, Cause, Expiry, Ghosts, Sampling};
pub use growth::{Grown, growth};
pub use lifetime::{Effect, lifetime};
pub use memory::{Memory, Moments, Resident, Room};
pub use misses::Misses;
pub use rates::Rates;

use serde::{Deserialize, Serialize};

use crate::emulate::Policy;

/// What is measured of a server: sums of INFO, and means over the time that the estimators watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Present {
    /// `maxmemory`.
    pub maxmemory_bytes: f64,
    /// `used_memory`.
    pub used_bytes: f64,
    /// `used_memory_startup`.
    pub startup_bytes: f64,
    /// Buffers of clients and replicas, as far as they are counted for eviction, and whatever else does
    /// not grow with the keys.
    pub buffer_bytes: f64,
    /// Keys of all databases.
    pub keys: f64,
    /// Keys that expire.
    pub expiring_keys: f64,
    /// Hits of hits and misses, without the agent's own.
    pub hit_ratio: f64,
    /// Hits and misses that this is the ratio of.
    pub requests: f64,
    /// Hits and misses a second.
    pub requests_per_second: f64,
    /// Evictions a second.
    pub evictions_per_second: f64,
    /// `maxmemory-policy`; `None` when it is not known.
    pub policy: Option<Policy>,
    /// `maxmemory-samples`; 0 when it is not known.
    pub samples: u32,
}

impl Present {
    /// Keys are given up by age, all of them.
    fn is_lru(&self) -> bool {
        self.policy == Some(Policy::AllkeysLru)
    }

    /// Spread of the ages at which keys are evicted, counted in keys, as a share of all keys.
    ///
    /// For each key evicted `samples` keys are looked at, and the best are kept for later. So a key
    /// is safe as long as it is not among the oldest `1 / samples`, and from then on evicted at a
    /// constant rate: by when so many keys are younger as one minus that share, and an exponential
    /// time more, of which that share is mean and standard deviation. The pool is small and adds a
    /// twentieth (measured).
    fn spread(&self) -> f64 {
        const POOL: f64 = 1.05;
        const SAMPLES: u32 = 5;
        let samples = if self.samples == 0 { SAMPLES } else { self.samples };
        if self.is_lru() { POOL / f64::from(samples) } else { 0.0 }
    }
}
