//! Cache-aside clients of a real Redis: who reads and finds nothing writes.
//!
//! - [`Kind::Still`] (A): Zipf's law with exponent 0.99 that does not change, values of 100 to 299 bytes.
//! - [`Kind::Drifting`] (B): 65 % of that, and 35 % for sessions: a new one every 12 requests for
//!   sessions, of which recent ones are asked for most.
//! - [`Kind::Expiring`] (C): A with five prefixes of their own times to live; one of them expires all
//!   at once at each full minute.
//! - [`Kind::Sized`] (D): A with values of 50 bytes to 20 kB, log-normal; what is asked for more is
//!   smaller.
//!
//! Which keys there are, how large they are and how popular is fixed; a seed decides on the order of
//! requests only. Requests go out 32 at a time at times that a schedule fixes beforehand (open loop):
//! a server that stalls gets what was due meanwhile afterwards.

mod client;
mod workload;

pub use self::client::{Pace, Tally, drive};
pub use self::workload::{Expiry, Kind, Load, Request, Workload};
