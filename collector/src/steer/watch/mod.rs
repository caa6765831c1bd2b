//! The stream to the agents: what is wanted goes down, what became of it and what is known of caches comes up.
//!
//! ```text
//! driver -> Policies -- changed --> session of each agent == policy ==> agent
//!    ^                                  |
//!    +-- Agents (outcomes), Caches <----+ <== outcome, report ==
//! ```
//!
//! What is wanted is whole and has a revision, so a session needs no queue: when it is woken it sends what is wanted then. Nothing is kept here that a restart
//! could lose: what is wanted comes from the journal, and agents tell what stands on each new stream.

mod agents;
mod caches;
mod metrics;
mod offer;
mod policies;
mod service;
mod session;

pub use agents::{AgentEvent, AgentState, Agents};
pub use caches::{Cache, Caches};
pub use metrics::{Judged, SteeringMetrics};
pub use policies::{Policies, PolicyTable};
pub use service::Steering;
