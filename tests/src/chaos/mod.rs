//! Chaos: real processes, real faults, and a checker that compares every sample.
//!
//! A run has rounds. A round starts a ClickHouse, collectors on it and agents on those, with a [proxy](crate::proxy) on every connection; lets a seeded
//! [`plan`](mod@plan) of [faults](fault) happen; then heals everything, waits until the agents have nothing left to send, and compares each agent's own record with the
//! rows in ClickHouse and with the answers of every collector, sample for sample. `FLYBALL_CHAOS_SEED` replays a run.

pub mod answer;
pub mod balance;
pub mod campaign;
pub mod catalog;
pub mod check;
pub mod clock;
mod damage;
pub mod disk;
pub mod fault;
pub mod namespace;
pub mod own;
pub mod plan;
pub mod rollout;
pub mod round;
pub mod spool;
pub mod stored;
pub mod tally;
pub mod tiers;
pub mod unit;
pub mod world;

use anyhow::{Context as _, Result};
use rand::RngExt as _;

/// The environment variable that replays a run.
pub const SEED: &str = "FLYBALL_CHAOS_SEED";

/// The seed of this run: that of the environment, or a new one.
///
/// # Errors
/// When the environment holds something else.
pub fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.parse().with_context(|| format!("{SEED} is a number: {text}")),
        Err(_) => Ok(u64::from(rand::rng().random::<u32>())),
    }
}
