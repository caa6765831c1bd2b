//! The stream to the agents: what is wanted goes down, what became of it and what is known of caches and load balancers comes up.
//!
//! ```text
//! driver -> Policies -- changed --> session of each agent == policy ==> agent
//!    ^                                  |
//!    +-- Agents (outcomes), Reports <---+ <== outcome, report ==
//! ```
//!
//! What is wanted is whole and has a revision, so a session needs no queue: when it is woken it sends what is wanted then. Nothing is kept here that a restart
//! could lose: what is wanted comes from the journal, and agents tell what stands on each new stream.

mod agents;
mod metrics;
mod offer;
mod policies;
mod reports;
mod service;
mod session;

pub use agents::{AgentEvent, AgentState, Agents};
pub use metrics::{Judged, SteeringMetrics};
pub use policies::{Policies, PolicyTable};
pub use reports::{Balancer, Balancers, Cache, Caches, Reported, Reports};
pub use service::Steering;
