//! Flyball's xDS server: tells Envoy and gRPC clients which endpoints get which share of the
//! requests.
//!
//! [`Snapshot`] is the wanted state in our own words, [`Server`] serves it by ADS (state of the
//! world and delta) and knows what each client has acknowledged or refused, [`pace`] says when a
//! change of weights may be pushed without starving light endpoints. No protobuf type leaves this
//! crate.

mod clients;
mod encode;
mod metrics;
pub mod pace;
mod resource;
mod server;
mod session;
pub mod snapshot;
mod stream;
mod wire;

pub use clients::{
    ClientId, ClientStatus, Confirmation, KindStatus, MAX_MESSAGE_BYTES, MAX_TEXT_BYTES, Nack,
    Protocol,
};
pub use metrics::Metrics;
pub use resource::Kind;
pub use server::{Error, GRACE, Published, Server, Settings};
pub use snapshot::{Snapshot, SnapshotError};
