//! Simulation of load balancing: requests, queues, balancers and a collector that sets weights, in virtual time.
//!
//! Event-driven and deterministic: the same scenario and seed give the same run on every machine. Requests come as a Poisson stream, each to one of the balancers by chance; the balancer picks a
//! backend; that has a number of workers and a first-come queue without bound; service times are exponential. At the end of each window the collector gets what backends did, with noise on
//! utilisation, and what it decides is in force a delay later. The law and the envelope are those of `flyball_model::balance`, as shipped.
//!
//! What is not simulated: time-outs and retries, connections, balancers that reload, and anything shorter than a request.

mod collector;
mod measure;
mod pick;
mod plot;
mod random;
mod scenario;
mod table;
mod world;

pub use measure::Outcome;
pub use plot::plot;
pub use scenario::{Control, Fault, Scenario};
pub use table::{Row, matrix};

/// Runs a scenario.
pub fn run(scenario: &Scenario) -> Outcome {
    world::World::new(scenario).run()
}
