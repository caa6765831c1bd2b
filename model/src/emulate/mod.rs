//! A small Redis that keeps no values: which keys a real one would hold at another size or with
//! another policy, by doing what it does.
//!
//! Formulas of stack distances know exact LRU only. A real server samples `maxmemory-samples` keys
//! for each eviction, keeps the 16 best candidates with scores that grow stale, measures ages in
//! whole seconds, and counts uses in a logarithm that falls by the minute. On real workloads the
//! difference is up to a point of hit ratio, and whether LFU is better than LRU is decided by it. So
//! [`MiniRedis`] follows evict.c and expire.c of Redis 7 step by step.
//!
//! It needs the wall clock of the requests: ages and minutes are those of the server. It is told the
//! time of each request and knows no other.
//!
//! Fed with the requests for a share of the keys (chosen by their hash: all requests for a key or
//! none) it stands for a server `1 / share` times as large (Waldspurger et al., ATC 2017).
//!
//! Not followed: several databases, lazy freeing, active defragmentation, collections that grow.

mod cache;
mod index;
mod policy;
mod pool;
mod request;
mod trials;

pub use cache::{Counts, MiniRedis, NEVER, Settings};
pub use policy::Policy;
pub use request::{Expiry, Request, What, string_bytes};
pub use trials::{Compared, MOST, MOST_RESIDUAL, Priors, Trials, Withheld};
