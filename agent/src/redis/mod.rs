//! The way to a Redis or Valkey: settings, connection, what INFO says. Samplers, observers and actuators share it.
//!
//! The client speaks RESP2 on a blocking socket, because whoever uses it has a thread of its own. What the client crates do not
//! give and this one is for: a deadline for a whole answer and not for each read, a bound on what a server may send, reasons that
//! never repeat a secret, and some kilobytes for each connection. Passwords are read from their file at each connection, so a new
//! one needs no restart.

mod config;
mod connection;
mod dial;
mod error;
mod info;
mod instance;
mod resp;
mod shared;

pub use config::RedisConfig;
pub(crate) use config::check_each;
pub use connection::{CLIENT_NAME, Connection};
pub use dial::Endpoint;
pub(crate) use dial::{Stream, connect, connect_unix, split_port};
pub use error::{Error, Refusal, State};
pub use info::{Command, Database, Info, Number, Percentiles, Product, Replica, Role};
pub use instance::{Instance, Limits};
pub use resp::Reply;
pub use shared::{Attribution, Expirations, Observed, ObservedCounts, Probes, Shares, Trial};
