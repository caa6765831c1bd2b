//! Deterministic simulation of agents, collectors and the store, in virtual time and with injected faults.
//!
//! ```text
//! FLYBALL_SIM_SEED=7 cargo nextest run -p flyball-sim replay --no-capture    one seed, told line by line
//! FLYBALL_SOAK_SECONDS=600 cargo nextest run --release -p flyball-sim soak   new seeds for a time
//! ```
//!
//! A seed is a world: hosts, settings and a list of faults ([`plan`]). The product's own code runs in it, from the outbox to the batcher; only the
//! network, the database, the clock and chance are ours. Each seed runs in a process of its own, so that it sees nothing of the seeds before it and a
//! replay is the same process again. docs/adr/010-simulation.md says what is checked and what is not.

mod agent;
mod collector;
mod journal;
mod kernel;
mod net;
mod plan;
mod seeds;
mod store;
mod trace;
mod world;
