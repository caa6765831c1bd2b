//! What the agent learns of a cache beyond its counters: how old keys are, how soon evicted keys are
//! asked for again, and, where that is allowed, requests.
//!
//! Three taps, each with its own cost and its own way of doing no harm:
//!
//! - keyspace events ([`events`]): evictions, expirations, deletions and misses, published by the
//!   server for 3 to 5 microseconds of its time each. The setting they need is given back after use;
//! - probes ([`probe`]): keys drawn at random with their age, size and time to live. They leave the
//!   ages alone, and what the server counts of them among its hits is told to the sampler;
//! - `MONITOR` ([`monitor`]): every request, for half a second at most, and never where the server's
//!   buffer for it could push out keys. It is one [`source`] of requests; others may take its place.
//!
//! [`watch`] puts the first two together and feeds the estimators of [`flyball_model::reuse`]. Keys
//! are hashed with a salt before anything is kept. [`observer`] decides when which of them is used, and
//! reports what comes of it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::redis::{Connection, Error, Instance};

pub mod config;
pub mod events;
pub mod hash;
pub mod monitor;
pub mod observer;
pub mod parse;
mod prefix;
pub mod probe;
pub mod source;
pub mod watch;

/// The one way by which taps reach an instance.
///
/// # Errors
/// When it cannot be reached or refuses us.
fn connect(instance: &Instance) -> Result<Connection, Error> {
    Connection::open(instance)
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Writes a file that only this user reads, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let half = path.with_extension("new");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(half, path)
}

/// The shortest wait that a socket takes.
const LEAST_WAIT: Duration = Duration::from_millis(1);
