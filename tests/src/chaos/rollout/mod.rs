//! Collectors that are killed while they carry out changes.
//!
//! One ClickHouse, one or two collectors on it, an agent, and several Redis under load. At each Redis
//! one change follows the other, proposed and confirmed over HTTP as a person would: limits that grow
//! and are promoted, limits that shrink in many steps, some taken back by hand, some that do harm. Meanwhile collectors
//! are killed with SIGKILL, at random moments and in each stage of a change, and started again. Whatever happens, each change must end, and
//! the server must have what its end says: the new value when it was promoted, else the old one. Then the journal is read from its
//! beginning: its chain is whole, no row is odd, and each change began and ended once.
//!
//! [`flyball_model::rollout`]'s property (f) says the same of the machine alone; here it is of the processes.

mod campaign;
mod check;
mod ground;
mod killer;
mod person;

pub use self::campaign::{Report, run};
