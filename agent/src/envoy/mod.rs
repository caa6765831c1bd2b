//! Envoy and clients of xDS: what is configured, what is measured, what is served.
//!
//! ```text
//!  admin interface <- watch (one task each) -> what is known -> sampler
//!                                            \-> report      -> outbox -> collector
//!  collector -> worker [brain | actuator] -> plane -> xDS server -> Envoys, gRPC clients
//! ```
//!
//! All tasks are on one thread ([`thread`]), which is there only where a table of the settings asks for it.

mod admin;
mod board;
pub mod config;
pub(crate) mod http;
pub(crate) mod place;
mod report;
pub(crate) mod thread;
mod watch;
mod window;

pub(crate) use admin::Counts;
pub use board::Envoy;
pub(crate) use board::{Known, KnownCluster, KnownHost, Served, UnderWay};
pub use config::{ClusterConfig, EndpointConfig, EnvoyConfig, ListenerConfig, PolicyConfig};
pub use thread::{BalancerParts, Balancers, SpentCpu, Task};

/// What the settings say of load balancers and their backends, as those who work on it share it.
#[derive(Debug, Clone, Default)]
pub struct Balanced {
    /// Each `[[envoy]]`.
    pub envoys: Vec<Envoy>,
    /// Each `[[orca]]`.
    pub orca: Vec<crate::orca::Orca>,
    /// What backends say.
    pub utilizations: crate::orca::Utilizations,
    /// Processor time of the thread that asks.
    pub cpu: SpentCpu,
}

/// The kind of target.
pub const KIND: &str = "envoy";
