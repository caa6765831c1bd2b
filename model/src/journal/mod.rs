//! The journal of all decisions: rows of `optimization_logs` as plain types, their chain of hashes,
//! and the state that they add up to.
//!
//! Nothing but the rows is stored. Append like this: [`Log::row`] for a transition, insert it under
//! its number, read that number back, and give what is there to [`Log::admit`]. If it is another
//! collector's row, decide anew.
//!
//! Properties, each a test:
//! - (a) a transition as a row and back is the same transition;
//! - (b) rows that differ in any column have different bytes, and so different hashes;
//! - (c) changing any column of any row, dropping, adding, doubling or moving one is found at that
//!   row;
//! - (d) rows read again give the same state and the same end of the chain, from any prefix on;
//! - (e) a row that does not fit or cannot be read changes nothing but the sequence and is told.

mod chain;
mod convert;
mod log;
mod row;
#[cfg(test)]
mod tests;

pub use self::chain::{Break, Head, Why, verify, verify_after};
pub use self::convert::Unreadable;
pub use self::log::{Log, Odd};
pub use self::row::{Row, RowSubject, RowVerdict};
