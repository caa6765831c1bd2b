//! What keeps answers quick when more is asked than can be answered: decisions without sockets and clocks, each with time as an argument.
//!
//! [`bucket`] bounds what one caller may ask ([`Callers`]), [`shed`] refuses a share of all requests when they wait for a processor ([`Shedding`]), and
//! [`turns`] lets as many queries at a time to the store as it answers quickly ([`Turns`]). What they refuse is told at once, to be tried again.

pub mod bucket;
pub mod shed;
pub mod turns;

pub use self::bucket::{Bucket, Callers, Rate};
pub use self::shed::Shedding;
pub use self::turns::{Turn, Turns};
