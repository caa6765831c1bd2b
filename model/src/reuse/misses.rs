//! Why keys are missed, and so what would help: memory, a longer time to live, or nothing.

use super::{Cause, Ghosts, Present, ghosts::Block, tail};

/// Shares of all misses, each from 0 to 1; they add up to 1.
///
/// A share is what was seen within the time that clocks have run so far, so those of known causes
/// are at least so much and `cold` is at most so much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Misses {
    /// The key had been evicted, and would not have expired meanwhile.
    pub capacity: f64,
    /// The key had expired.
    pub expired: f64,
    /// The key had been deleted.
    pub invalidated: f64,
    /// The key had not been there, as far as is known.
    pub cold: f64,
    /// Misses that this is known of.
    pub misses: u64,
}

impl Misses {
    /// From all that ghosts have told so far; `None` before the first miss.
    pub fn of(ghosts: &Ghosts, present: &Present, now_ms: u64) -> Option<Self> {
        let mut sum = Block::default();
        ghosts.blocks(now_ms).iter().for_each(|block| sum.merge(block));
        if sum.misses == 0 {
            return None;
        }
        let evicted = tail::evicted(&sum, tail::is_expiring(present));
        let of = |tail, cause: Cause| tail::share(tail, sum.gone[cause.index()], sum.misses);
        let shares = [
            of(&evicted, Cause::Evicted),
            of(&sum.tails[2], Cause::Expired),
            of(&sum.tails[3], Cause::Invalidated),
        ];
        // Chance may make them more than all.
        let scale = shares.iter().sum::<f64>().max(1.0);
        let [capacity, expired, invalidated] = shares.map(|share| share / scale);
        let cold = (1.0 - capacity - expired - invalidated).max(0.0);
        Some(Self { capacity, expired, invalidated, cold, misses: sum.misses })
    }
}
